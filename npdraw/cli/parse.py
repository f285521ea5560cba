"""`npdraw parse`."""

from typing import Any

from npdraw.cli import console, options, reading_options, resolve
from npdraw.inputs.settings import RUNS
from npdraw.inputs.sources import choose
from npdraw.reading import Wanted
from npdraw.runtime.lock import command_lock
from npdraw.runtime.reporting import reporting


def parse(
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
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    parts: options.Parts = None,
    part_size: options.PartSize = None,
    stride: options.Stride = None,
    jitter: options.Jitter = None,
    snap: options.SnapTo = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    out: options.Out = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Build a bank of parts from images, and parse each image into a drawing made of them.

    Examples:

        npdraw parse --limit 500
        npdraw parse --parts 100 --limit 0.1 --out runs/k100/parse.safetensors
    """
    chosen = choose(
        preset,
        data,
        config,
        Wanted(background, invert, fit, channels, pixels),
        data_root,
        parse={
            "image_size": image_size,
            "parts": parts,
            "part_size": part_size,
            "stride": stride,
            "jitter": jitter,
            "snap": snap,
        },
    )
    kept = resolve.limit(limit)
    out = out or RUNS / chosen.config.preset / "parse.safetensors"

    with command_lock(out, dry_run=dry_run):
        from npdraw.datasets import default_root
        from npdraw.runtime.settings import Runtime
        from npdraw.stages.parse import parse as stage

        with reporting(quiet=quiet) as reporter:
            result: dict[str, Any] = stage(
                chosen.config,
                source=chosen.data,
                root=data_root or default_root(),
                limit=kept,
                seed=seed,
                strict=strict,
                reading=chosen.reading,
                notes=chosen.notes,
                fewer_parts=chosen.fewer_parts,
                out=out,
                runtime=Runtime(
                    device=device,
                    precision=precision,
                    threads=threads,
                    force=force,
                    dry_run=dry_run,
                ),
                progress=reporter,
            )
    console.show("parse", result, as_json=as_json)
