"""`npdraw reconstruct`."""

from npdraw.cli import console, options, resolve
from npdraw.config import SAMPLES
from npdraw.runtime.text import value_text


def reconstruct(
    model: options.NamedModel,
    images: options.ImageNames,
    *,
    samples: options.Samples = SAMPLES,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    out: options.OutPicture = None,
    as_json: options.AsJson = False,
) -> None:
    """Show images beside their parse, the canvas of their drawing and the decoded image.

    Examples:

        npdraw reconstruct glyphs test:0 test:1 test:2
        npdraw reconstruct glyphs test:7 --samples 200 --json --out runs/seven.png
    """
    folder = resolve.folder(model, None)
    path = resolve.artifact("model", model, folder)

    from npdraw.datasets import default_root
    from npdraw.drawings.reconstruct import reconstruct as stage
    from npdraw.runtime.settings import Runtime

    result = stage(
        path,
        names=images,
        root=data_root or default_root(),
        samples=samples,
        out=out or folder / "reconstruction.png",
        runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
    )
    rows = [[value_text(name, value) for name, value in row.items()] for row in result["figures"]]
    lines = console.columns([list(result["figures"][0]), *rows])
    lines += console.figures(
        {k: v for k, v in result.items() if k in ("notes", "out", "up_to_date")}
    )
    console.show("reconstruct", result, as_json=as_json, lines=lines)
