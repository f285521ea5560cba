"""`npdraw train-features`."""

from npdraw.cli import console, options, quality_options
from npdraw.errors import UsageError
from npdraw.inputs.settings import RUNS
from npdraw.inputs.sources import choose
from npdraw.reading import Wanted
from npdraw.runtime.lock import command_lock
from npdraw.runtime.reporting import reporting


def train_features(
    *,
    data: quality_options.LabelledData = None,
    data_root: options.DataRoot = None,
    steps: quality_options.FeatureSteps = quality_options.FEATURE_STEPS,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    out: quality_options.OutFeatures = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a small classifier on labels; eval-samples compares images by what it sees in them.

    Examples:

        npdraw train-features --steps 20
        npdraw train-features --steps 20 --out runs/features.safetensors --json
    """
    chosen = choose(None, data, None, Wanted(), data_root, parse={})
    if out is None and ":" in chosen.data:
        raise UsageError("features of your own images need an --out", hint="Add --out FILE.")
    out = out or RUNS / chosen.config.preset / "features.safetensors"

    with command_lock(out):
        from npdraw.datasets import default_root
        from npdraw.runtime.settings import Runtime
        from npdraw.stages.train_features import train_features as stage

        with reporting(quiet=quiet) as reporter:
            result = stage(
                chosen.config,
                source=chosen.data,
                root=data_root or default_root(),
                steps=steps,
                seed=seed,
                reading=chosen.reading,
                notes=chosen.notes,
                out=out,
                runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
                progress=reporter,
            )
    console.show("train-features", result, as_json=as_json)
