"""`npdraw animate`."""

from npdraw.cli import console, options, resolve
from npdraw.errors import UsageError

SEEDS = "0"


def animate(
    model: options.ModelPath = None,
    *,
    data: options.FindData = None,
    preset: options.FindPreset = None,
    image: options.Drawings = None,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    seeds: options.Seeds = SEEDS,
    fps: options.Fps = None,
    out: options.OutMoving = None,
    as_json: options.AsJson = False,
) -> None:
    """Animate a canvas as it fills stroke by stroke, beside the decoded image.

    Examples:

        npdraw animate mnist --seeds 0-3
        npdraw animate glyphs --image test:0 --fps 4 --out runs/one.apng
    """
    if image and seeds != SEEDS:
        raise UsageError("--image and --seeds cannot be combined", hint="Give one of them.")
    names = image or [f"seed:{number}" for number in resolve.seeds(seeds)]
    folder = resolve.folder(model, preset, data)
    model = resolve.artifact("model", model, folder)

    from npdraw.datasets import default_root
    from npdraw.drawings.animate import animate as stage
    from npdraw.runtime.settings import Runtime

    result = stage(
        model,
        names=names,
        root=data_root or default_root(),
        fps=fps,
        out=resolve.animation_path(out, model, folder, "animation"),
        runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
    )
    console.show("animate", result, as_json=as_json)
