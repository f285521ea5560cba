"""`npdraw eval-nll`."""

from npdraw.cli import class_options, console, options, resolve
from npdraw.config import BATCH_SIZE, SAMPLES
from npdraw.runtime.lock import command_lock
from npdraw.runtime.reporting import reporting


def eval_nll(
    *,
    model: options.ModelPath = None,
    data: options.OtherData = None,
    data_root: options.DataRoot = None,
    preset: options.FindPreset = None,
    images: options.Images = None,
    samples: options.Samples = SAMPLES,
    estimator: options.Estimator = "importance",
    label: class_options.GivenLabel = "none",
    batch_size: options.BatchSize = BATCH_SIZE,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    out: options.OutResult = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Estimate the negative log-likelihood of the test images, in nats per image.

    With --out, the same command resumes a stopped evaluation.

    Examples:

        npdraw eval-nll --samples 5 --images 100
        npdraw eval-nll runs/k100/model.safetensors --samples 5 --images 50 --json
    """
    folder = resolve.folder(model, preset, find=data)
    model = resolve.artifact("model", model, folder, quiet=quiet)

    with command_lock(out, model):
        from npdraw.datasets import default_root
        from npdraw.runtime.settings import Runtime
        from npdraw.stages.eval_nll import eval_nll as stage

        with reporting(quiet=quiet) as reporter:
            result = stage(
                model,
                source=data,
                root=data_root or default_root(),
                samples=samples,
                images=images,
                estimator=estimator,
                given_labels=label == "given",
                seed=seed,
                batch_size=batch_size,
                out=out,
                runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
                progress=reporter,
            )
    console.show("eval-nll", result, as_json=as_json)
