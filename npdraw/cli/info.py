"""`npdraw info`."""

from dataclasses import asdict

from npdraw.cli import console, options, resolve


def info(
    *,
    artifact: options.ArtifactPath,
    verify: options.Verify = False,
    as_json: options.AsJson = False,
) -> None:
    """Print the header of an artifact: kind, settings, inputs, metrics and digest.

    Examples:

        npdraw info runs/glyphs/parse.safetensors
        npdraw info mnist --verify --json
    """
    from npdraw.header import read_header

    path = resolve.fetched(artifact)
    console.show("info", asdict(read_header(path, verify=verify)), as_json=as_json)
