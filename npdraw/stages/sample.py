"""Stage 5: draw images from the prior (model.md section 5)."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import write_artifact
from npdraw.errors import UsageError
from npdraw.files import check_place, sweep_folder
from npdraw.model.latents import concatenate
from npdraw.stages.loading import drawing_tensors, read_model
from npdraw.stages.output import Identity, finished
from npdraw.stages.pictures import is_up_to_date, text_of, write_still
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime, batches
from npdraw.stages.sheet import PORTION, beside, draw, render, tile

DRAWINGS = "drawings.safetensors"
"""Name of the artifact in a folder of samples."""


def sample(
    model_path: Path,
    *,
    seeds: list[int],
    grid: bool,
    canvas: bool,
    temperature: float,
    batch_size: int,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Sample one image for each seed: one sheet, or a folder of images and their drawings."""
    if not 0 < temperature < math.inf:
        raise UsageError(
            f"temperature {temperature}; it must be a finite number above 0",
            hint="1 is the model's own; a small one such as 0.01 draws what is likeliest.",
        )
    device = runtime.start()
    model, _, artifact = read_model(model_path)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    header = artifact.header
    precision = runtime.chosen(device)
    settings = {
        "seeds": seeds,
        "temperature": temperature,
        "canvas": canvas,
        "precision": precision,
    }
    identity = Identity(
        {"sample": settings, **header.config}, header.dataset, {"model": header.digest}, header.seed
    )
    shown_by = {"model": header.digest, **settings}
    if grid:
        if is_up_to_date(out, shown_by, force=runtime.force):
            return {
                "images": len(seeds),
                "seconds": None,
                "files": 1,
                "out": str(out),
                "up_to_date": True,
            }
    else:
        _check_folder(out, identity, runtime.force)
    check_place(out if grid else out / DRAWINGS)
    began = time.perf_counter()
    drawings, pictures = [], []
    progress.start("sample", len(seeds))
    for start in range(0, len(seeds), PORTION):
        with torch.no_grad(), runtime.autocast(device), batches(batch_size):
            z = draw(model.prior, seeds[start : start + PORTION], temperature)
            canvases, images = render(model, z, batch_size)
        drawings.append(z)
        pictures.append(beside(canvases, images) if canvas else images)
        progress.update(start + len(z))
    progress.finish()
    shown = torch.cat(pictures)
    if grid:
        write_still(out, tile(shown), shown_by)
        files = 1
    else:
        files = 1 + _write_folder(out, shown, seeds, shown_by)
        write_artifact(
            out / DRAWINGS,
            "drawings",
            {
                "bank": model.bank,
                "seeds": torch.tensor(seeds),
                **drawing_tensors(concatenate(drawings)),
            },
            config=identity.config,
            dataset=identity.dataset,
            inputs=identity.inputs,
            seed=identity.seed,
            metrics={},
        )
    seconds = time.perf_counter() - began
    return {"images": len(seeds), "seconds": seconds, "files": files, "out": str(out)}


def _check_folder(out: Path, identity: Identity, force: bool) -> None:
    """A folder may be written again by the same command; anything else in it is left alone."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder", hint="Choose another --out, or use --grid.")
    sweep_folder(out)
    if not out.exists() or force:
        return
    if (out / DRAWINGS).exists():
        finished(out / DRAWINGS, "drawings", identity, force=False)
    # An interrupted sample holds only pictures of ours.
    elif any(text_of(path) is None for path in out.iterdir()):
        raise UsageError(
            f"{out} is there and holds other files", hint="Choose another --out, or --force."
        )


def _write_folder(out: Path, images: Tensor, seeds: list[int], settings: Mapping[str, Any]) -> int:
    """Write one PNG for each image, named by its seed; removes the images of an earlier sample."""
    digits = max(6, len(str(max(seeds))))
    names = {seed: f"{seed:0{digits}d}.png" for seed in seeds}
    if out.is_dir():
        for old in out.glob("*.png"):
            if old.name not in names.values() and text_of(old) is not None:
                old.unlink()
    for seed, image in zip(seeds, images, strict=True):
        write_still(out / names[seed], image, {**settings, "seeds": [seed]})
    return len(names)
