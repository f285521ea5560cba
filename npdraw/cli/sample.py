"""`npdraw sample`."""

from npdraw.cli import class_options, console, options, resolve
from npdraw.config import BATCH_SIZE
from npdraw.runtime.reporting import reporting


def sample(
    *,
    model: options.ModelPath = None,
    data: options.FindData = None,
    preset: options.FindPreset = None,
    temperature: options.Temperature = options.TEMPERATURE,
    batch_size: options.BatchSize = BATCH_SIZE,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    seeds: options.Seeds = options.SEEDS,
    label: class_options.Labels = None,
    candidates: class_options.Candidates = 1,
    grid: options.Grid = False,
    canvas: options.Canvas = False,
    out: options.OutSamples = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw new images, one per seed; with --label one per class and seed, a row for each class.

    Examples:

        npdraw sample --grid
        npdraw sample mnist --seeds 0-9,20 --canvas --temperature 0.8 --out runs/drawn
    """
    numbers = resolve.seeds(seeds)
    folder = resolve.folder(model, preset, data)
    model = resolve.artifact("model", model, folder, quiet=quiet)

    from npdraw.runtime.settings import Runtime
    from npdraw.stages.sample import sample as stage

    with reporting(quiet=quiet) as reporter:
        result = stage(
            model,
            seeds=numbers,
            label=label,
            candidates=candidates,
            grid=grid,
            canvas=canvas,
            temperature=temperature,
            batch_size=batch_size,
            out=out or folder / ("samples.png" if grid else "samples"),
            runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
            progress=reporter,
        )
    console.show("sample", result, as_json=as_json)
