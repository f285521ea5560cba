"""`npdraw complete`."""

from npdraw.cli import class_options, console, options, resolve
from npdraw.runtime.reporting import reporting

SEEDS = "0-7"


def complete(
    model: options.ModelPath = None,
    *,
    data: options.FindData = None,
    preset: options.FindPreset = None,
    image: options.Drawing = None,
    prefix: options.Prefix = None,
    region: options.Region = None,
    label: class_options.Label = None,
    temperature: options.Temperature = options.TEMPERATURE,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    seeds: options.Seeds = SEEDS,
    out: options.OutPicture = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Keep some strokes of a drawing and sample the rest from the prior, several times.

    Examples:

        npdraw complete glyphs --image test:0 --region 0:14,0:28
        npdraw complete mnist --image seed:3 --prefix 1 --out runs/completed.png
    """
    numbers = resolve.seeds(seeds)
    folder = resolve.folder(model, preset, data)
    model = resolve.artifact("model", model, folder, quiet=quiet)
    rectangle = resolve.region(region)

    from npdraw.datasets import default_root
    from npdraw.drawings.complete import complete as stage
    from npdraw.drawings.regions import Region
    from npdraw.runtime.settings import Runtime

    with reporting(quiet=quiet) as reporter:
        result = stage(
            model,
            name=image,
            prefix=prefix,
            region=None if rectangle is None else Region(*rectangle),
            seeds=numbers,
            label=label,
            temperature=temperature,
            root=data_root or default_root(),
            out=out or folder / "completions.png",
            runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
            progress=reporter,
        )
    counts = {name: len(result[name]) for name in ("given", "drawings")}
    console.show("complete", result, as_json=as_json, lines=console.figures({**result, **counts}))
