"""`npdraw interpolate`."""

from npdraw.cli import console, options, resolve


def interpolate(
    model: options.NamedModel,
    drawing: options.DrawingName,
    other: options.OtherName,
    *,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    fps: options.Fps = None,
    out: options.OutMoving = None,
    as_json: options.AsJson = False,
) -> None:
    """Animate one drawing turning into another, one cell of the grid at a time.

    Examples:

        npdraw interpolate mnist seed:0 seed:1
        npdraw interpolate glyphs test:0 test:1 --fps 4 --out runs/morph.webp
    """
    folder = resolve.folder(model, None)
    path = resolve.artifact("model", model, folder)

    from npdraw.datasets import default_root
    from npdraw.drawings.animate import interpolate as stage
    from npdraw.runtime.settings import Runtime

    result = stage(
        path,
        names=(drawing, other),
        root=data_root or default_root(),
        fps=fps,
        out=resolve.animation_path(out, path, folder, "interpolation"),
        runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
    )
    console.show("interpolate", result, as_json=as_json)
