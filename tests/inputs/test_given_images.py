"""Arrays of images that are given from Python: what they become, what is said, what is kept."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.datasets import parse_source, read_native
from npdraw.errors import DataError, UsageError
from npdraw.inputs.given_images import pixels_of, saved
from tests.tiny_stages import Recorder, bars, squares

GREY, COLOUR = bars(9, 0), squares(9, 0)


def converted(images: Any) -> tuple[np.ndarray, list[str]]:
    seen = Recorder()
    return pixels_of(images, seen), seen.notes


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (COLOUR, COLOUR),
        (np.moveaxis(COLOUR, 3, 1), COLOUR),
        (torch.tensor(GREY), GREY),
        (torch.tensor(GREY)[:, None], GREY),
        (torch.tensor(COLOUR).movedim(3, 1), COLOUR),
        (torch.tensor(COLOUR), COLOUR),
        (GREY[::-1, :, ::-1], GREY[::-1, :, ::-1]),
    ],
)
def test_bytes_stay_as_they_are_in_any_layout(images: Any, expected: np.ndarray) -> None:
    pixels, notes = converted(images)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, expected)
    assert notes == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_from_0_to_1_become_the_bytes_that_they_were(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(4, 8, 8)
    floats = (levels.double() / 255).to(dtype).requires_grad_()
    for images in (floats, floats.detach().numpy()):
        pixels, notes = converted(images)
        np.testing.assert_array_equal(pixels, levels)
        assert notes == ["images of floats from 0 to 1: rounded to 256 levels"]


def test_bfloat16_and_bool_are_taken_too() -> None:
    drawn = torch.tensor(GREY > 0)
    for images, said in ((drawn, "bool"), (drawn.bfloat16(), "floats"), (drawn.numpy(), "bool")):
        pixels, notes = converted(images)
        np.testing.assert_array_equal(pixels, drawn.numpy() * np.uint8(255))
        assert len(notes) == 1 and said in notes[0]


@pytest.mark.parametrize(
    ("images", "message", "hint"),
    [
        (GREY.astype(np.int64), "is int64 with values from 0 to 2", "of uint8, bool, or floats"),
        (GREY.astype(np.float32), "is float32 with values from 0 to 2", "floats from 0 to 1"),
        (GREY / 255 - 0.5, "float64 with values from -0.5 to", "floats from 0 to 1"),
        (np.full((4, 8, 8), np.nan), "256 NaN of 256 values", "Replace them"),
        (GREY[0], r"is uint8 \[8, 8\]", "of uint8, bool, or floats"),
        (GREY.reshape(9, 64), r"is uint8 \[9, 64\]", r"reshape: array.reshape(-1, 8, 8)"),
        (torch.tensor(COLOUR[0]), r"is uint8 \[8, 8, 3\]", "[N, H, W, 3] for colour"),
        (GREY[:0], r"\[0, 8, 8\]", "Images are [N, H, W]"),
        (GREY.astype(complex), "is complex128", "of uint8, bool, or floats"),
        (GREY.astype(object), "is object", "several sizes"),
        (list(GREY), "images of type list are neither", "np.stack(images)"),
        (None, "images of type NoneType are neither", "np.stack(images)"),
    ],
)
def test_anything_else_is_refused(images: Any, message: str, hint: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        converted(images)
    assert hint in caught.value.hint


def test_they_are_saved_as_a_file_that_is_read_like_any_other(tmp_path: Path) -> None:
    for images in (GREY, COLOUR):
        path = tmp_path / f"{images.ndim}/images.npy"
        with saved(images, None, path, tmp_path / "made", force=False) as source:
            both = [read_native(parse_source(source), split).images for split in ("train", "test")]
        np.testing.assert_array_equal(np.load(path), images)
        assert [len(part) for part in both] == [8, 1]


def test_equal_images_leave_the_file_as_it_is_and_others_are_refused(tmp_path: Path) -> None:
    path, made = tmp_path / "images.npy", tmp_path / "made"
    with saved(GREY, None, path, made, force=False):
        made.touch()
    before = path.stat()
    with saved(GREY.copy(), None, path, made, force=True):
        assert path.stat().st_ino == before.st_ino
    for others in (GREY[:8], GREY ^ 1, GREY.reshape(9, 4, 16)):
        with pytest.raises(UsageError, match=r"images\.npy holds other images"):
            saved(others, None, path, made, force=False).__enter__()
        np.testing.assert_array_equal(np.load(path), GREY)
        with saved(others, None, path, made, force=True):
            np.testing.assert_array_equal(np.load(path), others)
        with saved(GREY, None, path, made, force=True):
            pass
    path.write_bytes(b"somebody's")
    with pytest.raises(UsageError, match="holds other images"):
        saved(GREY, None, path, made, force=False).__enter__()
    assert path.read_bytes() == b"somebody's"


def test_a_replaced_file_is_put_back_if_nothing_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    path, made = tmp_path / "images.npy", tmp_path / "made"
    with saved(GREY, None, path, made, force=False):
        made.touch()
    with pytest.raises(DataError), saved(GREY ^ 1, None, path, made, force=True):
        raise DataError("a misspelt preset")
    np.testing.assert_array_equal(np.load(path), GREY)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr("npdraw.inputs.given_images.write_atomic", fail)
        saved(GREY ^ 1, None, path, made, force=True).__enter__()
    np.testing.assert_array_equal(np.load(path), GREY)
    with saved(GREY ^ 1, None, path, made, force=True):
        pass
    np.testing.assert_array_equal(np.load(path), GREY ^ 1)
    assert sorted(tmp_path.iterdir()) == [path, made]


def test_a_damaged_file_holds_other_images(tmp_path: Path, flip: Any) -> None:
    path, labels = tmp_path / "images.npz", np.arange(len(GREY))
    np.savez_compressed(path, images=GREY, labels=labels)
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole)
        flip(path, at)
        with suppress(UsageError), saved(GREY, labels, path, tmp_path / "made", force=False):
            pass


def test_a_file_of_which_nothing_was_made_is_removed(tmp_path: Path) -> None:
    path, made = tmp_path / "images.npy", tmp_path / "made"
    with pytest.raises(KeyboardInterrupt), saved(GREY, None, path, made, force=False):
        raise KeyboardInterrupt
    assert not path.exists()
    with pytest.raises(DataError), saved(GREY, None, path, made, force=False):
        made.touch()
        raise DataError("later")
    assert path.exists()
    made.unlink()
    with pytest.raises(DataError), saved(GREY, None, path, made, force=False):
        raise DataError("again")  # the file was there before
    assert path.exists()
