"""`npdraw decode`."""

from npdraw.cli import console, options, resolve


def decode(
    model: options.NamedModel,
    drawing: options.DrawingName,
    *,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    out: options.OutPicture = None,
    as_json: options.AsJson = False,
) -> None:
    """Paint a drawing and decode it: canvas and image side by side.

    Examples:

        npdraw decode mnist seed:3
        npdraw decode mnist runs/mnist/edited.json --out runs/edited-again.png
    """
    folder = resolve.folder(model, None)
    path = resolve.artifact("model", model, folder)

    from npdraw.datasets import default_root
    from npdraw.drawings.edit import decode as stage
    from npdraw.runtime.settings import Runtime

    result = stage(
        path,
        drawing=drawing,
        root=data_root or default_root(),
        out=out or folder / "decoded.png",
        runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
    )
    console.show("decode", result, as_json=as_json)
