"""`npdraw edit`."""

from npdraw.cli import console, options, resolve


def edit(
    model: options.NamedModel,
    drawing: options.DrawingName,
    *,
    source: options.From = None,
    region: options.Region = None,
    remove: options.Remove = None,
    move: options.Move = None,
    replace: options.Replace = None,
    add: options.Add = None,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    out: options.OutPicture = None,
    as_json: options.AsJson = False,
) -> None:
    """Edit a drawing: take a region from another one, or move, remove, replace and add parts.

    The PNG shows before and after; a .json file of the same name holds the edited drawing.

    Examples:

        npdraw edit mnist seed:3 --from seed:8 --region 0:16,0:28
        npdraw edit mnist seed:3 --add 0:1 --out runs/with-a-dot.png
    """
    folder = resolve.folder(model, None)
    path = resolve.artifact("model", model, folder)
    rectangle = resolve.region(region)
    moves = [(step, to) for step, to in resolve.numbers("--move", move)]
    parts, more = (
        resolve.numbers(flag, texts, (2, 4))
        for flag, texts in (("--replace", replace), ("--add", add))
    )

    from npdraw.datasets import default_root
    from npdraw.drawings.edit import Changes
    from npdraw.drawings.edit import edit as stage
    from npdraw.drawings.regions import Region
    from npdraw.runtime.settings import Runtime

    result = stage(
        path,
        name=drawing,
        other=source,
        region=None if rectangle is None else Region(*rectangle),
        changes=Changes(remove or (), moves, parts, more),
        root=data_root or default_root(),
        out=out or folder / "edited.png",
        runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
    )
    lines = console.figures({**result, "strokes": len(result["strokes"])})
    console.show("edit", result, as_json=as_json, lines=lines)
