"""Picture files keep their values, say what they show, and never replace what is not npdraw's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from npdraw.errors import UsageError
from npdraw.pictures.files import (
    ACCENT,
    HOLD_MS,
    MOVING,
    is_up_to_date,
    text_of,
    write_moving,
    write_still,
)

TEXT = {"shows": "ünï", "model": "3f9a1c"}


def frames(channels: int) -> tuple[list[Tensor], list[Tensor]]:
    rng = torch.Generator().manual_seed(0)
    shape = channels, 12, 20
    found = [torch.randint(0, 255, shape, generator=rng, dtype=torch.uint8) for _ in range(4)]
    outlines = [torch.zeros(12, 20, dtype=torch.bool) for _ in range(4)]
    outlines[2][3:6, 4:9] = True
    return found, outlines


@pytest.mark.parametrize("suffix", MOVING)
@pytest.mark.parametrize("channels", [1, 3])
def test_moving_pictures_keep_every_value(suffix: str, channels: int, tmp_path: Path) -> None:
    path, (pixels, outlines) = tmp_path / f"x{suffix}", frames(channels)
    write_moving(path, pixels, outlines, TEXT, 120)
    with Image.open(path) as picture:
        assert picture.n_frames == 4
        assert picture.info["loop"] == 0
        found, times = [], []
        for frame in ImageSequence.Iterator(picture):
            found.append(np.asarray(frame.convert("RGB")))
            times.append(frame.info["duration"])
    if suffix != ".webp":  # Pillow tells the times of a WebP late
        assert times == [120, 120, 120, HOLD_MS]
    for shown, frame, outline in zip(found, pixels, outlines, strict=True):
        expected = frame.expand(3, -1, -1).permute(1, 2, 0).numpy().copy()
        expected[outline.numpy()] = ACCENT
        if channels == 3 and suffix == ".gif":
            assert np.abs(shown.astype(int) - expected)[~outline.numpy()].mean() < 30
        else:
            assert np.array_equal(shown, expected)


@pytest.mark.parametrize("suffix", MOVING)
def test_a_picture_is_up_to_date_if_its_text_is_the_same(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    assert not is_up_to_date(path, TEXT, suffixes=MOVING, force=False)
    write_moving(path, *frames(1), TEXT, 120)
    assert is_up_to_date(path, TEXT, suffixes=MOVING, force=False)
    assert not is_up_to_date(path, TEXT, suffixes=MOVING, force=True)
    assert not is_up_to_date(path, {**TEXT, "model": "81c2d0"}, suffixes=MOVING, force=False)


@pytest.mark.parametrize("suffix", MOVING)
def test_a_picture_that_npdraw_did_not_make_is_not_replaced(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    kind = {".gif": "GIF", ".webp": "WEBP"}.get(suffix, "PNG")
    Image.new("L", (3, 3)).save(path, kind)
    assert text_of(path) is None
    with pytest.raises(UsageError, match="not a picture that npdraw made"):
        is_up_to_date(path, TEXT, suffixes=MOVING, force=False)
    assert not is_up_to_date(path, TEXT, suffixes=MOVING, force=True)


def test_suffixes_name_formats(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not end in \.png"):
        is_up_to_date(tmp_path / "x.gif", TEXT, force=False)
    with pytest.raises(UsageError, match=r"does not end in \.gif or \.apng or \.png or \.webp"):
        is_up_to_date(tmp_path / "x.mp4", TEXT, suffixes=MOVING, force=False)
    write_still(tmp_path / "x.png", frames(1)[0][0], TEXT)
    assert is_up_to_date(tmp_path / "x.png", TEXT, force=False)
    assert text_of(tmp_path) is None
    assert text_of(tmp_path / "none.png") is None
