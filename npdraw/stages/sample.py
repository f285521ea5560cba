"""Stage 5: draw images from the prior (docs/model.md, section 5)."""

import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import write_artifact
from npdraw.errors import UsageError
from npdraw.files import check_writable, sweep_folder
from npdraw.inputs.models import drawing_tensors, read_model, to_device
from npdraw.model.latents import concatenate
from npdraw.pictures.files import is_up_to_date, text_of, write_still
from npdraw.pictures.sheet import SAMPLE_QUEUE, draw, render, side_by_side, tile
from npdraw.run_key import RunKey
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import finished
from npdraw.runtime.settings import Runtime, explain_out_of_memory

DRAWINGS = "drawings.safetensors"
"""Name of the artifact in a folder of samples that holds their drawings."""


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
    """Sample one image per seed: one sheet, or a folder of images and their drawings.

    Returns the result of `npdraw sample --json`. Nine parameters, because each is a flag of
    the command.
    """
    if not 0 < temperature < math.inf:
        raise UsageError(
            f"temperature {temperature}; it must be a finite number above 0",
            hint="1 is the model's own; a low one such as 0.01 draws only what is most likely.",
        )

    # Read the model; check what exists at `out`.
    device = runtime.start()
    model, _, artifact = read_model(model_path)
    to_device(model, device)
    header = artifact.header
    settings = {
        "seeds": seeds,
        "temperature": temperature,
        "canvas": canvas,
        "precision": runtime.precision_name(device),
    }
    run_key = RunKey(
        {"sample": settings, **header.config}, header.dataset, {"model": header.digest}, header.seed
    )
    shown_by = {"model": header.digest, **settings}
    result: dict[str, Any] = {"images": len(seeds), "seconds": None, "files": 1, "out": str(out)}
    if not grid:
        _check_folder(out, run_key, _names(seeds), runtime.force)
    elif is_up_to_date(out, shown_by, force=runtime.force):
        return result | {"up_to_date": True}
    check_writable(out if grid else out / DRAWINGS)

    # Sample.
    began = time.perf_counter()
    drawings, pictures = [], []
    progress.start("sample", len(seeds))
    for start in range(0, len(seeds), SAMPLE_QUEUE):
        with torch.no_grad(), runtime.autocast(device), explain_out_of_memory(batch_size):
            z = draw(model.prior, seeds[start : start + SAMPLE_QUEUE], temperature)
            canvases, images = render(model, z, batch_size)
        drawings.append(z)
        pictures.append(side_by_side(canvases, images) if canvas else images)
        progress.update(start + len(z))
    progress.finish()

    # Write.
    shown = torch.cat(pictures)
    if grid:
        write_still(out, tile(shown), shown_by)
    else:
        result["files"] = 1 + _write_folder(out, shown, seeds, shown_by)
        tensors = {**model.brush.tables(), "seeds": torch.tensor(seeds)}
        tensors |= drawing_tensors(concatenate(drawings))
        write_artifact(out / DRAWINGS, "drawings", tensors, run_key=run_key, metrics={})
    return result | {"seconds": time.perf_counter() - began}


def _check_folder(out: Path, run_key: RunKey, names: Collection[str], force: bool) -> None:
    """Raise `UsageError` if the folder holds anything but samples of an earlier run.

    With the `drawings.safetensors` of a run with the same settings it may hold other files too;
    then only files called `names` are checked.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder", hint="Choose another --out, or use --grid.")
    sweep_folder(out)
    if not out.exists() or force:
        return
    complete = (out / DRAWINGS).exists()
    if complete:
        finished(out / DRAWINGS, "drawings", run_key, force=False)
    others = [p for p in out.iterdir() if (p.name in names or not complete) and not _is_sample(p)]
    if others:
        raise UsageError(
            f"{out} exists and holds other files, such as {others[0].name}",
            hint="Choose another --out, or --force to overwrite files with the names of samples.",
        )


def _names(seeds: Sequence[int]) -> list[str]:
    """Return the file name of each seed's picture."""
    digits = max(6, len(str(max(seeds))))
    return [f"{seed:0{digits}d}.png" for seed in seeds]


def _is_sample(path: Path) -> bool:
    """Return whether `sample` wrote this picture, for the seed in its name."""
    text = text_of(path) if path.is_file() else None
    try:
        settings = json.loads(text or "null")
        return isinstance(settings, dict) and settings["seeds"] == [int(path.stem)]
    except (ValueError, KeyError, TypeError):
        return False


def _write_folder(out: Path, images: Tensor, seeds: list[int], settings: Mapping[str, Any]) -> int:
    """Write one PNG per image, named by its seed; delete other samples of earlier runs."""
    names = _names(seeds)
    if out.is_dir():
        for old in out.glob("*.png"):
            if old.name not in names and _is_sample(old):
                old.unlink()
    for name, seed, image in zip(names, seeds, images, strict=True):
        write_still(out / name, image, {**settings, "seeds": [seed]})
    return len(names)
