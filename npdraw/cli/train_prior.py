"""`npdraw train-prior`."""

from npdraw.cli import console, options, resolve, training_options
from npdraw.config import SAVE_EVERY
from npdraw.inputs import settings
from npdraw.runtime.lock import command_lock
from npdraw.runtime.reporting import reporting


def train_prior(
    *,
    parse: options.ParsePath = None,
    data: options.FindData = None,
    preset: options.FindPreset = None,
    config: options.ConfigFile = None,
    steps: options.PriorSteps = None,
    batch_size: options.PriorBatchSize = None,
    patience: training_options.PriorPatience = None,
    seed: options.LaterSeed = None,
    save_every: options.SaveEvery = SAVE_EVERY,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    cuda_graphs: options.CudaGraphs = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    log: training_options.Log = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train the prior: a Transformer that learns which part is drawn where.

    Examples:

        npdraw train-prior --steps 20
        npdraw train-prior runs/k100/parse.safetensors --steps 20 --batch-size 64
    """
    folder = resolve.folder(parse, preset, data)
    parse = resolve.artifact("parse", parse, folder)
    flags = {"steps": steps, "batch_size": batch_size, "patience": patience}
    changes = settings.changes(config, prior=flags)
    out = out or folder / "prior.safetensors"

    with command_lock(out, parse, dry_run=dry_run):
        from npdraw.runtime.settings import Runtime
        from npdraw.stages.train_prior import train_prior as stage

        with reporting(quiet=quiet) as reporter:
            result = stage(
                parse,
                changes=changes,
                out=out,
                seed=seed,
                runtime=Runtime(
                    device=device,
                    precision=precision,
                    threads=threads,
                    cuda_graphs=cuda_graphs,
                    save_every=save_every,
                    force=force,
                    dry_run=dry_run,
                    tensorboard=log is not None,
                ),
                progress=reporter,
            )
    console.show("train-prior", result, as_json=as_json)
