"""The program that draws the README's pictures of models."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.studies import pictures


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["pictures", *arguments])
    pictures.main()


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_three_pictures_of_each_model(
    workdir: Path,
    write_model: Callable[[Path, str], None],
    bars: Callable[[int], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = bars(50)
    np.savez("bars.npz", train=drawn[:20], test=drawn[20:])
    for name in ("one", "two"):
        write_model(Path(f"{name}.safetensors"), "npz")
    Path("out").mkdir()
    models = ("one.safetensors", "two.safetensors")
    run(monkeypatch, *models, "--data", "npz:bars.npz", "--out", "out")
    sizes = {path.stem: size(path) for path in Path("out").iterdir()}
    assert sizes.keys() == {
        f"{model}-{kind}"
        for model in ("one", "two")
        for kind in ("samples", "reconstructions", "bank")
    }
    # 50 pairs, 20 triples of images of 8 pixels, and 4 parts of 4, with margins between.
    widths, heights = sizes["one-samples"], sizes["one-reconstructions"]
    assert widths[0] > 10 * 16
    assert widths[1] > 5 * 8
    assert heights[0] > 5 * 24
    assert heights[1] > 4 * 8


def test_missing_models_and_images_are_named(
    workdir: Path, write_model: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(Path("m.safetensors"), "npz")
    for arguments in (("nothing.safetensors",), ("m.safetensors",)):
        with pytest.raises(SystemExit, match=arguments[0]):
            run(monkeypatch, *arguments)
