"""Stage 1: a part bank, and the drawing of every image (docs/model.md, sections 2 and 3)."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import write_artifact
from npdraw.config import Config, as_dict
from npdraw.datasets import parse_source
from npdraw.inputs.images import TrainingImages, to_levels, training_images
from npdraw.inputs.models import drawing_tensors, layout_of
from npdraw.model.bank import Bank, build_bank
from npdraw.model.canvas import paint
from npdraw.model.latents import Latents, blank
from npdraw.model.layout import Layout
from npdraw.model.parsing import parse as parse_images
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import all_gather_rows, chunks, on_rank_zero, process_group, total
from npdraw.runtime.group import Group
from npdraw.runtime.noise import generator
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import clear, locked, up_to_date, write_json, write_result
from npdraw.runtime.settings import Runtime, send

CHUNK = 1000
"""Images parsed at once, at most."""

GAINS = 1 << 26
"""Gains (steps x placements x parts of an image) held at once, at most: 256 MB, several times."""


def parse(
    config: Config,
    *,
    source: str,
    root: Path,
    limit: int | float | None,
    seed: int,
    strict: bool = False,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Build the bank from the training images and parse these and the validation images.

    The bank takes its patches from the grey images, the parses are of one binarisation from the
    seed. Processes started by torchrun share the chunks of images, so that the parse is the same
    for any number of them. Returns the figures of `npdraw parse --json`.
    """
    device = runtime.start()
    settings, layout = config.parse, layout_of(config.parse)
    data = training_images(parse_source(source), root, settings, limit, progress, strict=strict)
    run_key = RunKey(as_dict(config, ("parse",)), data.dataset, {}, seed)
    if runtime.dry_run:
        patches = data.train.shape[0] * layout.steps * layout.placements
        pixels = settings.channels * settings.part_size**2
        estimates = {
            "steps_a_drawing": layout.steps,
            "patches_at_most": patches,
            "patches_mb_at_most": patches * pixels * 4 / 1e6,
        }
        return {
            "dry_run": True,
            "settings": run_key.config,
            "estimates": estimates,
            "out": str(out),
        }
    with process_group(device) as group, locked(out, group=group) as folder:
        earlier = up_to_date(folder, out, "parse", run_key, force=runtime.force, group=group)
        if earlier is not None:
            return earlier | {"images": len(data.images)}
        began = time.perf_counter()

        def begin() -> dict[str, Any]:
            clear(folder)
            sources = {"source": str(data.source.absolute())}
            write_json(folder / "config.json", run_key.config | sources)
            return _bank(config, data, seed)

        found = on_rank_zero(group, begin)
        bank = Bank(torch.tensor(found["parts"]), found["patches"], found["error"])
        values = to_levels(data.images, settings, seed)
        z, error = _drawings(config, values, bank.parts.to(device), group, progress)
        usage = torch.bincount(z.what[z.whether], minlength=settings.parts)
        metrics = {
            "parts_painted_mean": float(z.whether.sum(1).float().mean()),
            "canvas_mse": error / (len(values) * settings.channels * settings.canvas_side**2),
            "dead_parts": int((usage == 0).sum()),
            "patches": bank.patches,
            "bank_mse": bank.error,
        }

        def write() -> dict[str, Any]:
            write_artifact(
                out,
                "parse",
                {"bank": bank.parts, "usage": usage, **drawing_tensors(z)},
                run_key=run_key,
                metrics=metrics,
            )
            seconds = time.perf_counter() - began
            result = {"images": len(data.images), "seconds": seconds, **metrics}
            write_result(folder, result)
            return {**result, "out": str(out)}

        written: dict[str, Any] = on_rank_zero(group, write)
        return written


def _bank(config: Config, data: TrainingImages, seed: int) -> dict[str, Any]:
    """Build the bank; as JSON, which holds every float32 exactly, for the other processes."""
    layout = layout_of(config.parse)
    bank = build_bank(
        _at_canvas_size(data.train, layout),
        layout,
        config.parse.parts,
        snap=config.parse.snap,
        threshold=config.parse.threshold,
        generator=generator("bank", seed, 0, torch.device("cpu")),
    )
    return {"parts": bank.parts.tolist(), "patches": bank.patches, "error": bank.error}


def _at_canvas_size(images: Tensor, layout: Layout) -> Tensor:
    """Return uint8 images [N, C, H, W] at the size of the canvas."""
    if images.shape[2] == layout.height:
        return images
    return torch.cat([layout.shrink(some.float()).round().byte() for some in images.split(CHUNK)])


def _drawings(
    config: Config, values: Tensor, bank: Tensor, group: Group, progress: Progress
) -> tuple[Latents, float]:
    """Parse uint8 [N, C, H, W]; returns the drawings and the squared error of all canvases.

    Each process parses its share of the chunks; all return everything.
    """
    settings, layout, device = config.parse, layout_of(config.parse), bank.device
    z, done = blank(len(values), layout.steps), 0
    gains = layout.steps * layout.placements * len(bank)  # of one image
    size = min(CHUNK, max(1, GAINS // gains))
    errors = torch.zeros(-(-len(values) // size), dtype=torch.float64)
    progress.start("parse", len(values))
    for number, part in chunks(group, len(values), size):
        images = layout.shrink(send(values[part], device).float() / (settings.levels - 1))
        drawn = parse_images(
            images,
            bank,
            layout,
            threshold=settings.threshold,
            compositing=settings.compositing,
            sweeps=settings.sweeps,
        )
        canvas = paint(drawn, bank, layout, settings.compositing)
        errors[number] = float((canvas[:, : images.shape[1]] - images).square().sum())
        z[part] = drawn
        done += group.size * len(images)  # the other processes are about as far
        progress.update(min(done, len(values)))
    progress.finish()
    parsed = z.map(lambda x: all_gather_rows(group, x))
    return parsed, float(total(group, errors))
