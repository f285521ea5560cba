"""`npdraw run`."""

from npdraw.cli import console, options, reading_options, resolve, training_options
from npdraw.config import SAMPLES, SAVE_EVERY
from npdraw.errors import UsageError
from npdraw.inputs.settings import RUNS
from npdraw.inputs.sources import choose
from npdraw.reading import Wanted
from npdraw.runtime.lock import command_lock
from npdraw.runtime.reporting import reporting


def run(
    *,
    data: options.Data = None,
    data_root: options.DataRoot = None,
    limit: options.Limit = None,
    image_size: options.ImageSize = None,
    background: reading_options.Background = "auto",
    invert: reading_options.Invert = "auto",
    fit: reading_options.Fit = "auto",
    channels: reading_options.Channels = "auto",
    pixels: reading_options.PixelValues = "auto",
    strict: options.Strict = False,
    images: options.Images = None,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    prior: options.PriorMode = None,
    steps: options.BothSteps = None,
    minutes: training_options.Minutes = None,
    samples: options.Samples = SAMPLES,
    seed: options.Seed = 0,
    save_every: options.SaveEvery = SAVE_EVERY,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    log: training_options.Log = None,
    out: options.OutFolder = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Run the whole pipeline, from images to samples, and skip what is up to date.

    Examples:

        npdraw run --dry-run
        npdraw run --limit 500 --steps 10 --samples 5 --images 100 --out runs/quick
    """
    if steps is not None and minutes is not None:
        raise UsageError("--steps and --minutes exclude each other", hint="Give one of them.")
    chosen = choose(
        preset,
        data,
        config,
        Wanted(background, invert, fit, channels, pixels),
        data_root,
        parse={"image_size": image_size},
        prior={"steps": steps},
        decoder={"steps": steps, "prior": prior},
    )
    kept = resolve.limit(limit)
    out = out or RUNS / chosen.config.preset

    with command_lock(out / "model.safetensors", dry_run=dry_run):  # held for all stages
        from npdraw.datasets import default_root
        from npdraw.runtime.settings import Runtime
        from npdraw.stages.run import run as stage

        with reporting(quiet=quiet) as reporter:
            result = stage(
                chosen.config,
                source=chosen.data,
                root=data_root or default_root(),
                limit=kept,
                seed=seed,
                strict=strict,
                reading=chosen.reading,
                notes=chosen.notes,
                fewer_parts=chosen.fewer_parts,
                minutes=minutes,
                samples=samples,
                images=images,
                out=out,
                runtime=Runtime(
                    device=device,
                    precision=precision,
                    threads=threads,
                    save_every=save_every,
                    force=force,
                    dry_run=dry_run,
                    tensorboard=log is not None,
                ),
                progress=reporter,
            )
    console.show("run", result, as_json=as_json)
