"""Stage 1: from images to a part bank and the drawing of every image (model.md 2 and 3)."""

import time
from pathlib import Path
from typing import Any

import torch

from npdraw.artifacts import write_artifact
from npdraw.config import Config, as_dict
from npdraw.datasets import binarize, parse_source
from npdraw.model.bank import build_bank
from npdraw.model.canvas import paint
from npdraw.model.latents import concatenate
from npdraw.model.parsing import parse as parse_images
from npdraw.stages.images import training_images
from npdraw.stages.loading import drawing_tensors, layout_of
from npdraw.stages.noise import generator
from npdraw.stages.output import Identity, clear, finished, locked, repeated, write_json
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime

CHUNK = 1000
"""Images parsed at once."""


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
    seed. Returns the figures of `npdraw parse --json`.
    """
    device = runtime.start()
    settings, layout = config.parse, layout_of(config.parse)
    data = training_images(parse_source(source), root, settings, limit, progress, strict=strict)
    identity = Identity(as_dict(config, ("parse",)), data.dataset, {}, seed)
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
            "settings": identity.config,
            "estimates": estimates,
            "out": str(out),
        }
    with locked(out) as folder:
        header = finished(out, "parse", identity, force=runtime.force)
        if header is not None:
            return repeated(folder, header, out) | {"images": len(data.images)}
        clear(folder)
        write_json(
            folder / "config.json", identity.config | {"source": str(data.source.absolute())}
        )
        began = time.perf_counter()
        bank = build_bank(
            data.train,
            layout,
            settings.parts,
            snap=settings.snap,
            generator=generator("bank", seed, 0, torch.device("cpu")),
        )
        parts = bank.parts.to(device)
        binary = torch.from_numpy(binarize(data.images.numpy(), seed))
        drawings, error = [], 0.0
        progress.start("parse", len(binary))
        for chunk in binary.split(CHUNK):
            images = chunk.to(device).float()
            z = parse_images(
                images,
                parts,
                layout,
                threshold=settings.threshold,
                compositing=settings.compositing,
                sweeps=settings.sweeps,
            )
            canvas = paint(z, parts, layout, settings.compositing)
            error += float((canvas[:, : images.shape[1]] - images).square().sum())
            drawings.append(z.to(torch.device("cpu")))
            progress.update(CHUNK * (len(drawings) - 1) + len(images))
        progress.finish()
        z = concatenate(drawings)
        usage = torch.bincount(z.what[z.whether], minlength=settings.parts)
        metrics = {
            "parts_painted_mean": float(z.whether.sum(1).float().mean()),
            "canvas_mse": error / binary.numel(),
            "dead_parts": int((usage == 0).sum()),
            "patches": bank.patches,
            "bank_mse": bank.error,
        }
        write_artifact(
            out,
            "parse",
            {"bank": bank.parts, "usage": usage, **drawing_tensors(z)},
            config=identity.config,
            dataset=identity.dataset,
            inputs={},
            seed=seed,
            metrics=metrics,
        )
        seconds = time.perf_counter() - began
        result = {"images": len(data.images), "seconds": seconds, **metrics}
        write_json(folder / "result.json", result)
    return {**result, "out": str(out)}
