"""Classes for the tiny models of `tests.tiny_stages`: bars on the left, bars on the right."""

from pathlib import Path
from typing import Any

import numpy as np

from npdraw.stages.train_classes import train_classes
from tests.tiny_stages import Recorder, bars, tiny_runtime

SETTINGS = {"steps": 300, "batch_size": 16, "drawings": 2000, "learning_rate": 1e-2, "ema": 0.95}


def one_sided(count: int, seed: int) -> tuple[Any, Any]:
    """Return images of bars in one half, the left one or the right one, and which it is."""
    images, labels = bars(count, seed), np.arange(count) % 2
    halves = 255 * (images[:, :, ::2] > 0)
    images[:] = 0
    for image, half, label in zip(images, halves, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] = half
    return images, labels


def teach(model: Path, source: Path | None, out: Path, **changes: Any) -> dict[str, Any]:
    """Run the stage with settings for tiny models."""
    given = {"limit": None, "seed": None, "progress": changes.pop("progress", None)}
    given |= {name: changes.pop(name) for name in ("limit", "seed") if name in changes}
    how = ("dry_run", "save_every", "tensorboard")
    runtime = {name: changes.pop(name) for name in how if name in changes}
    return train_classes(
        model,
        changes={"classes": SETTINGS | changes},
        source=None if source is None else f"npz:{source}",
        root=model.parent,
        out=out,
        runtime=tiny_runtime(runtime),
        **given | {"progress": given["progress"] or Recorder()},
    )


def left_and_right(model: Path, folder: Path) -> Path:
    """Teach a model the classes "left" and "right"; return the file, beside its labelled images."""
    images, labels = one_sided(60, 1)
    np.savez(folder / "bars.npz", images=images, labels=np.array(["left", "right"])[labels])
    teach(model, folder / "bars.npz", folder / "classes.safetensors")
    return folder / "classes.safetensors"
