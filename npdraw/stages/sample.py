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
from npdraw.inputs.classes import labels_of
from npdraw.inputs.models import drawing_tensors, read_model, to_device
from npdraw.model.latents import Latents, concatenate
from npdraw.model.npdraw import NPDraw
from npdraw.pictures.files import is_up_to_date, text_of, write_still
from npdraw.pictures.sheet import (
    SAMPLE_QUEUE,
    check_candidates,
    draw,
    draw_of_classes,
    render,
    side_by_side,
    tile,
)
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
    label: str | None = None,
    candidates: int = 1,
    grid: bool,
    canvas: bool,
    temperature: float,
    batch_size: int,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Sample one image per seed: one sheet, or a folder of images and their drawings.

    With the names of classes in `label` (`classes.labels_of`), one image per class and seed; a
    sheet has a row for each class; each image is then the one of `candidates` that most probably is
    of its class. Returns the result of `npdraw sample --json`. Eleven parameters, because each is a
    flag of the command.
    """
    if not 0 < temperature < math.inf:
        raise UsageError(
            f"temperature {temperature}; it must be a finite number above 0",
            hint="1 is the model's own; a low one such as 0.01 draws only what is most likely.",
        )

    check_candidates(candidates, labelled=label is not None)

    # Read the model; check what exists at `out`.
    device = runtime.start()
    model, _, artifact = read_model(model_path)
    to_device(model, device)
    header = artifact.header
    labels = None if label is None else labels_of(header, label)
    settings = {
        "seeds": seeds,
        **({} if labels is None else {"labels": labels}),
        **({} if candidates == 1 else {"candidates": candidates}),
        "temperature": temperature,
        "canvas": canvas,
        "precision": runtime.precision_name(device),
    }
    run_key = RunKey(
        {"sample": settings, **header.config}, header.dataset, {"model": header.digest}, header.seed
    )
    shown_by = {"model": header.digest, **settings}
    ys: Sequence[int | None] = labels or [None]
    drawn = [(y, seed) for y in ys for seed in seeds]
    result: dict[str, Any] = {"images": len(drawn), "seconds": None, "files": 1, "out": str(out)}
    if not grid:
        _check_folder(out, run_key, _names(drawn), runtime.force)
    elif is_up_to_date(out, shown_by, force=runtime.force):
        return result | {"up_to_date": True}
    check_writable(out if grid else out / DRAWINGS)

    # Sample.
    began = time.perf_counter()
    drawings, pictures = [], []
    progress.start("sample", len(drawn))
    for start in range(0, len(drawn), SAMPLE_QUEUE):
        some = drawn[start : start + SAMPLE_QUEUE]
        with torch.no_grad(), runtime.autocast(device), explain_out_of_memory(batch_size):
            z = _drawings(model, some, temperature, candidates)
            canvases, images = render(model, z, batch_size)
        drawings.append(z)
        pictures.append(side_by_side(canvases, images) if canvas else images)
        progress.update(start + len(z))
    progress.finish()

    # Write.
    shown = torch.cat(pictures)
    if grid:
        write_still(out, tile(shown, len(seeds) if labels else None), shown_by)
    else:
        result["files"] = 1 + _write_folder(out, shown, drawn, shown_by)
        tensors = {**model.brush.tables(), "seeds": torch.tensor([seed for _, seed in drawn])}
        if labels:
            tensors["labels"] = torch.tensor([y for y, _ in drawn])
        tensors |= drawing_tensors(concatenate(drawings))
        write_artifact(out / DRAWINGS, "drawings", tensors, run_key=run_key, metrics={})
    return result | {"seconds": time.perf_counter() - began}


Drawn = tuple[int | None, int]
"""What a sample depends on: its label, if it has one, and its seed."""


def _drawings(model: NPDraw, drawn: list[Drawn], temperature: float, candidates: int) -> Latents:
    """Sample from p(z), or from p(z | label) if there are labels."""
    seeds, labels = [seed for _, seed in drawn], [y for y, _ in drawn if y is not None]
    if model.class_prior is None or not labels:
        return draw(model.prior, seeds, temperature)
    return draw_of_classes(model.class_prior, seeds, labels, temperature, candidates)


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


def _names(drawn: Sequence[Drawn]) -> list[str]:
    """Return the file name of each picture: its seed, after its label if it has one."""
    digits = max(6, len(str(max(seed for _, seed in drawn))))
    most = len(str(max(y or 0 for y, _ in drawn)))
    return [
        f"{seed:0{digits}d}.png" if y is None else f"{y:0{most}d}-{seed:0{digits}d}.png"
        for y, seed in drawn
    ]


def _is_sample(path: Path) -> bool:
    """Return whether `sample` wrote this picture, for the label and seed in its name."""
    text = text_of(path) if path.is_file() else None
    try:
        settings = json.loads(text or "null")
        numbers = [*settings.get("labels", []), *settings["seeds"]]
        return bool(numbers == [int(piece) for piece in path.stem.split("-")])
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _write_folder(
    out: Path, images: Tensor, drawn: Sequence[Drawn], settings: Mapping[str, Any]
) -> int:
    """Write one PNG per image (`_names`); delete other samples of earlier runs."""
    names = _names(drawn)
    if out.is_dir():
        for old in out.glob("*.png"):
            if old.name not in names and _is_sample(old):
                old.unlink()
    for name, (label, seed), image in zip(names, drawn, images, strict=True):
        only = {"seeds": [seed]} if label is None else {"seeds": [seed], "labels": [label]}
        write_still(out / name, image, {**settings, **only})
    return len(names)
