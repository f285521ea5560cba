"""`npdraw export`."""

from npdraw.cli import console, export_options, options, resolve
from npdraw.errors import UsageError
from npdraw.extras import require
from npdraw.runtime.reporting import reporting


def export(
    *,
    model: options.ModelPath = None,
    data: options.FindData = None,
    preset: options.FindPreset = None,
    force: options.Force = False,
    dtype: export_options.Dtype = None,
    onnx: export_options.Onnx = False,
    out: export_options.OutExport = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a copy of a model with its weights rounded to bf16: half the size, still complete.

    With --onnx, write its encoder and decoder for programs without npdraw or torch: images become
    drawings and drawings images. Both files are compared with the model.

    Examples:

        npdraw export
        npdraw export mnist --onnx
    """
    if onnx:
        require("onnx", "--onnx", "onnx", "onnxscript", "onnxruntime")
        if dtype == "bf16":
            raise UsageError(
                "--dtype bf16 does not go with --onnx, which stores fp32", hint="Leave it out."
            )
    folder = resolve.folder(model, preset, data)
    model = resolve.artifact("model", model, folder)

    if onnx:
        from npdraw.stages.export_onnx import export_onnx

        with reporting(quiet=quiet) as reporter:
            result = export_onnx(model, out=out or folder / "onnx", force=force, progress=reporter)
    else:
        from npdraw.stages.export import export as stage

        result = stage(
            model, dtype=dtype or "bf16", out=out or folder / "export.safetensors", force=force
        )
    console.show("export", result, as_json=as_json)
