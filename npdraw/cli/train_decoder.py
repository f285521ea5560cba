"""`npdraw train-decoder`."""

from npdraw.cli import console, options, resolve, training_options
from npdraw.config import SAVE_EVERY
from npdraw.inputs import settings
from npdraw.runtime.lock import command_lock
from npdraw.runtime.reporting import reporting


def train_decoder(
    *,
    parse: options.ParsePath = None,
    prior: options.PriorPath = None,
    data: options.OtherData = None,
    data_root: options.DataRoot = None,
    preset: options.FindPreset = None,
    config: options.ConfigFile = None,
    prior_mode: options.PriorMode = None,
    steps: options.DecoderSteps = None,
    batch_size: options.DecoderBatchSize = None,
    patience: training_options.DecoderPatience = None,
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
    """Train the encoder and the decoder on the images, jointly with the prior.

    Examples:

        npdraw train-decoder --steps 10
        npdraw train-decoder runs/k100/parse.safetensors --prior frozen --steps 10
    """
    folder = resolve.folder(parse, preset, find=data)
    parse_path = resolve.artifact("parse", parse, folder)
    prior_path = resolve.artifact("prior", prior, folder, made_from=parse)
    flags = {"steps": steps, "batch_size": batch_size, "patience": patience}
    changes = settings.changes(config, decoder={"prior": prior_mode, **flags})
    out = out or folder / "model.safetensors"

    with command_lock(out, parse_path, prior_path, dry_run=dry_run):
        from npdraw.datasets import default_root
        from npdraw.runtime.settings import Runtime
        from npdraw.stages.train_decoder import train_decoder as stage

        with reporting(quiet=quiet) as reporter:
            result = stage(
                parse_path,
                prior_path,
                changes=changes,
                source=data,
                root=data_root or default_root(),
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
    console.show("train-decoder", result, as_json=as_json)
