"""Stage 1: a part bank, and the drawing of every image (docs/model.md, sections 2 and 3)."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import write_artifact
from npdraw.config import Config, ParseConfig, as_dict
from npdraw.datasets import Source, parse_source
from npdraw.inputs.brushes import brush_of, layout_of
from npdraw.inputs.empty_images import check_contents
from npdraw.inputs.images import TrainingImages, ground_of, to_levels, training_images
from npdraw.inputs.models import drawing_tensors
from npdraw.model.bank import build_bank, different_patches
from npdraw.model.brush import Brush, part_usage
from npdraw.model.ink import InkBrush
from npdraw.model.latents import Latents, blank
from npdraw.model.layout import Layout
from npdraw.model.palette import build_palette
from npdraw.reading import Reading
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import (
    all_gather_rows,
    all_reduce_sum,
    chunks,
    on_rank_zero,
    process_group,
)
from npdraw.runtime.group import Group
from npdraw.runtime.noise import generator
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import clear, locked, up_to_date, write_json, write_result
from npdraw.runtime.settings import Runtime, send

IMAGES_AT_ONCE = 1000
"""Images parsed at once, at most."""

GAINS_AT_ONCE = 1 << 26
"""Gains (steps x placements x parts per image) computed at once, at most: tensors of 256 MB."""


def parse(
    config: Config,
    *,
    source: str,
    root: Path,
    limit: int | float | None,
    seed: int,
    strict: bool = False,
    reading: Reading | None = None,
    notes: Sequence[str] = (),
    fewer_parts: bool = False,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Build the part bank from the training images; parse training and validation images.

    The bank is built from patches of the grey images; the parses are of one binarisation from
    `seed`. Processes started by torchrun share the images, with the same result. Returns the result
    of `npdraw parse --json`.

    `reading` is how pictures and arrays that a path names become images, and `notes` are what to
    say about it. With `fewer_parts`, images with too few different patches get fewer parts
    (`_fitted`), and the settings are those of that number. Twelve parameters, because each is a
    flag of the command or follows from some.

    Raises:
        DataError: the images cannot be read, or most of those that a path names are empty.
        UsageError: they have fewer different patches than parts, and `fewer_parts` is not set.
    """
    # Read the images.
    device = runtime.start()
    for note in notes:
        progress.note(note)
    data = training_images(
        parse_source(source), root, config.parse, limit, progress, strict=strict, reading=reading
    )
    more = list(check_contents(data, config.parse, seed))
    if fewer_parts:
        config, fewer = _fitted(config, data)
        more += fewer
    for note in more:
        progress.note(note)
    settings = config.parse
    run_key = RunKey(as_dict(config, ("parse",)), data.dataset, {}, seed)
    if runtime.dry_run:
        return _plan(run_key, settings, len(data.train), out)

    with process_group(device) as group, locked(out, group=group) as folder:
        earlier = up_to_date(folder, out, "parse", run_key, force=runtime.force, group=group)
        if earlier is not None:
            return earlier | {"images": len(data.images)}
        began = time.perf_counter()

        # Build the tables of the brush in rank zero.
        def start() -> dict[str, Any]:
            clear(folder)
            record = _record_of_source(data.source, [*notes, *data.notes, *more])
            write_json(folder / "config.json", run_key.config | record)
            return _tables(config, data, reading, seed, device)

        built = on_rank_zero(group, start)
        tables = {name: torch.tensor(values) for name, values in built["tables"].items()}
        brush = brush_of(settings, tables)

        # Parse.
        values = to_levels(data.images, settings, seed)
        z, error = _drawings(values, brush.to(device), settings.levels, group, progress)
        usage = part_usage(z, brush)

        # Write tables and drawings.
        def write() -> dict[str, Any]:
            metrics = {
                "parts_painted_mean": float(z.whether.sum(1).float().mean()),
                "canvas_mse": error / (len(values) * settings.channels * settings.canvas_side**2),
                "dead_parts": int((usage == 0).sum()),
                **built["metrics"],
            }
            tensors = {**tables, "usage": usage, **drawing_tensors(z)}
            if data.labels is not None:
                tensors["labels"] = data.labels
            write_artifact(out, "parse", tensors, run_key=run_key, metrics=metrics)
            seconds = time.perf_counter() - began
            result = {"images": len(data.images), "seconds": seconds, **metrics}
            write_result(folder, result)
            return {**result, "out": str(out)}

        written: dict[str, Any] = on_rank_zero(group, write)
        return written


def _fitted(config: Config, data: TrainingImages) -> tuple[Config, list[str]]:
    """Return the settings with no more parts than the different patches allow, and a note.

    With ink these are half of the patches of the first layer: a pattern for each would leave
    nothing for the next layers to learn from.
    """
    settings, layout, wanted = config.parse, layout_of(config.parse), config.parse.parts
    images = _at_canvas_size(data.train, layout)
    if settings.inks:
        parts = max(1, different_patches(images, layout.grids[0], -1.0, 2 * wanted) // 2)
        kind, share = "patterns per layer", "half as many"
    else:
        parts = different_patches(images, layout, settings.threshold, wanted)
        kind, share = "parts", "as many"
    if not 0 < parts < wanted:
        return config, []
    note = f"{parts} {kind}, {share} as there are different patches; {wanted} were wanted (--parts)"
    return replace(config, parse=replace(settings, parts=parts)), [note]


def _record_of_source(source: Source, notes: Sequence[str]) -> dict[str, Any]:
    """Return what the run folder keeps about the images: their source, and notes on own ones.

    A report shows the notes, which therefore hold no paths.
    """
    record: dict[str, Any] = {"source": str(source.absolute())}
    if source.path is not None:
        record["notes"] = [note.replace(str(source.path), source.path.name) for note in notes]
    return record


def _plan(run_key: RunKey, settings: ParseConfig, images: int, out: Path) -> dict[str, Any]:
    """Return what `--dry-run` prints; `images` is the size of the training split."""
    layout = layout_of(settings)
    patches = images * layout.steps * layout.placements
    estimates = {
        "steps_a_drawing": layout.steps,
        "patches_at_most": patches,
        "patches_mb_at_most": patches * settings.channels * settings.part_size**2 * 4 / 1e6,
    }
    return {
        "dry_run": True,
        "settings": run_key.config,
        "estimates": estimates,
        "out": str(out),
    }


def _tables(
    config: Config,
    data: TrainingImages,
    reading: Reading | None,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    """Build the tables of the brush from the training images on `device`, and metrics of them.

    As JSON, which holds every float32 exactly, to send them to other processes.
    """
    settings, layout = config.parse, layout_of(config.parse)
    if device.type == "mps":  # k-means needs float64, which MPS lacks
        device = torch.device("cpu")
    images = _at_canvas_size(data.train, layout).to(device)
    noise = generator("bank", seed, 0, torch.device("cpu"))
    metrics: dict[str, Any] = {}
    if settings.inks:
        palette = build_palette(
            images,
            layout,
            patterns=settings.parts,
            inks=settings.inks,
            contrasts=settings.contrasts,
            snap=settings.snap,
            threshold=settings.threshold,
            ground=ground_of(reading, settings.channels).to(device) / 255,
            generator=noise,
        )
        tables = InkBrush(layout, palette).tables()
    else:
        bank = build_bank(
            images,
            layout,
            settings.parts,
            snap=settings.snap,
            threshold=settings.threshold,
            generator=noise,
        )
        tables = {"bank": bank.parts}
        metrics = {"patches": bank.patches, "bank_mse": bank.error}
    return {"tables": {k: t.tolist() for k, t in tables.items()}, "metrics": metrics}


def _at_canvas_size(images: Tensor, layout: Layout) -> Tensor:
    """Return uint8 images [N, C, H, W] shrunk to the size of the canvas."""
    if images.shape[2] == layout.height:
        return images
    chunks = images.split(IMAGES_AT_ONCE)
    return torch.cat([layout.shrink(chunk.float()).round().byte() for chunk in chunks])


def _drawings(
    values: Tensor, brush: Brush, levels: int, group: Group, progress: Progress
) -> tuple[Latents, float]:
    """Parse integer images [N, C, H, W]; return the drawings and the canvases' total squared error.

    Each process of the group parses its share of the images; all return the whole result.
    """
    layout, device = brush.layout, next(brush.buffers()).device
    z, done = blank(len(values), layout.steps, inked=brush.inked), 0
    gains = layout.steps * brush.sizes["where"] * brush.sizes["what"]  # of one image
    size = min(IMAGES_AT_ONCE, max(1, GAINS_AT_ONCE // gains))
    errors = torch.zeros(-(-len(values) // size), dtype=torch.float64)
    progress.start("parse", len(values))
    for number, part in chunks(group, len(values), size):
        images = layout.shrink(send(values[part], device).float() / (levels - 1))
        drawn = brush.parse(images)
        errors[number] = float((brush.paint(drawn)[:, :-1] - images).square().sum())
        z[part] = drawn
        done += group.size * len(images)  # the other processes are about as far
        progress.update(min(done, len(values)))
    progress.finish()
    parsed = z.map(lambda x: all_gather_rows(group, x))
    return parsed, float(all_reduce_sum(group, errors))
