"""Stage 5: draw images from the prior (model.md section 5)."""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from npdraw.artifacts import write_artifact, write_atomic
from npdraw.errors import UsageError
from npdraw.stages.loading import drawing_tensors, read_model
from npdraw.stages.output import Identity, finished
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime
from npdraw.stages.sheet import MARK, beside, draw, png, render, tile


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
            f"temperature {temperature}; it must be above 0",
            hint="1 is the model's own; a small one such as 0.01 draws what is likeliest.",
        )
    device = runtime.start()
    model, _, artifact = read_model(model_path)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    began = time.perf_counter()
    progress.start("sample", len(seeds))
    with torch.no_grad(), runtime.autocast(device):
        z = draw(model.prior, seeds, temperature)
        canvases, images = render(model, z, batch_size)
    progress.update(len(seeds))
    progress.finish()
    shown = beside(canvases, images) if canvas else images
    settings = {"seeds": seeds, "temperature": temperature, "canvas": canvas}
    text = json.dumps({"model": artifact.header.digest, **settings})
    if grid:
        _check_sheet(out, runtime.force)
        write_atomic(out, [png(tile(shown), text)])
        files = 1
    else:
        identity = Identity(
            {"sample": settings, **artifact.header.config},
            artifact.header.dataset,
            {"model": artifact.header.digest},
            artifact.header.seed,
        )
        _check_folder(out, identity, runtime.force)
        files = _write_folder(out, shown, seeds, text)
        write_artifact(
            out / "drawings.safetensors",
            "drawings",
            {"bank": model.bank, "seeds": torch.tensor(seeds), **drawing_tensors(z)},
            config=identity.config,
            dataset=identity.dataset,
            inputs=identity.inputs,
            seed=identity.seed,
            metrics={},
        )
        files += 1
    seconds = time.perf_counter() - began
    return {"images": len(seeds), "seconds": seconds, "files": files, "out": str(out)}


def _check_sheet(out: Path, force: bool) -> None:
    """A sheet replaces an earlier sheet, but never a picture that npdraw did not make."""
    if force or not out.is_file():
        return
    try:
        with Image.open(out) as picture:
            ours = MARK in picture.info
    except OSError:
        ours = False
    if not ours:
        raise UsageError(
            f"{out} is there and is not a sheet of npdraw's",
            hint="Choose another --out, or --force to replace it.",
        )


def _check_folder(out: Path, identity: Identity, force: bool) -> None:
    """A folder may be written again by the same command; anything else in it is left alone."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder", hint="Choose another --out, or use --grid.")
    if not out.exists() or not any(out.iterdir()) or force:
        return
    if not (out / "drawings.safetensors").exists():
        raise UsageError(
            f"{out} is there and holds other files", hint="Choose another --out, or --force."
        )
    finished(out / "drawings.safetensors", "drawings", identity, force=False)


def _write_folder(out: Path, images: Tensor, seeds: list[int], text: str) -> int:
    """Write one PNG for each image, named by its seed; removes the images of an earlier sample."""
    digits = max(6, len(str(max(seeds))))
    names = {f"{seed:0{digits}d}.png": image for seed, image in zip(seeds, images, strict=True)}
    if out.is_dir():
        for old in out.glob("*.png"):
            if old.stem.isdecimal() and old.name not in names:
                old.unlink()
    for name, image in names.items():
        write_atomic(out / name, [png(image, text)])
    return len(names)
