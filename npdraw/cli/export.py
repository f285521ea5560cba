"""`npdraw export`."""

from npdraw.cli import console, options, resolve


def export(
    *,
    model: options.ModelPath = None,
    data: options.FindData = None,
    preset: options.FindPreset = None,
    force: options.Force = False,
    dtype: options.Dtype = "bf16",
    out: options.OutExport = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a copy of a model with its weights rounded to bf16: half the size, still complete.

    Examples:

        npdraw export
        npdraw export mnist --out runs/mnist-copy.safetensors --json
    """
    folder = resolve.folder(model, preset, data)
    model = resolve.artifact("model", model, folder)

    from npdraw.stages.export import export as stage

    result = stage(model, dtype=dtype, out=out or folder / "export.safetensors", force=force)
    console.show("export", result, as_json=as_json)
