"""`npdraw train-classes`."""

from npdraw.class_config import WITH_CLASSES
from npdraw.cli import class_options, console, options, resolve, training_options
from npdraw.config import SAVE_EVERY
from npdraw.inputs import settings
from npdraw.runtime.lock import command_lock
from npdraw.runtime.reporting import reporting


def train_classes(
    *,
    model: options.ModelPath = None,
    data: options.OtherData = None,
    data_root: options.DataRoot = None,
    limit: class_options.LabelledImages = None,
    preset: options.FindPreset = None,
    config: options.ConfigFile = None,
    steps: class_options.ClassSteps = None,
    batch_size: class_options.ClassBatchSize = None,
    patience: class_options.ClassPatience = None,
    seed: class_options.ModelSeed = None,
    save_every: options.SaveEvery = SAVE_EVERY,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    log: training_options.Log = None,
    out: class_options.OutClasses = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Teach a trained model the classes of its images, to draw one of them or to classify.

    Writes a copy of the model that can also be asked for a class: `sample --label`, `classify`.
    Without a label it draws and evaluates exactly as before.

    Examples:

        npdraw train-classes --steps 20
        npdraw train-classes glyphs --steps 9 --out runs/az.safetensors
    """
    folder = resolve.folder(model, preset, find=data)
    model = resolve.artifact("model", model, folder, quiet=quiet)
    flags = {"steps": steps, "batch_size": batch_size, "patience": patience}
    changes = settings.changes(config, classes=flags)
    out = out or folder / WITH_CLASSES

    with command_lock(out, model, dry_run=dry_run):
        from npdraw.datasets import default_root
        from npdraw.runtime.settings import Runtime
        from npdraw.stages.train_classes import train_classes as stage

        with reporting(quiet=quiet) as reporter:
            result = stage(
                model,
                changes=changes,
                source=data,
                root=data_root or default_root(),
                limit=resolve.limit(limit),
                out=out,
                seed=seed,
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
    console.show("train-classes", result, as_json=as_json)
