"""Omniglot from its folders of drawings: order, split, resizing, and damage."""

import hashlib
import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from npdraw.datasets import omniglot as data
from npdraw.errors import DataError

ORDER = [(character, drawer) for character in (1, 2, 3) for drawer in (1, 2)]


def drawing(character, drawer):
    """Black strokes on white paper, 105x105, like the published files."""
    paper = Image.new("1", (105, 105), 1)
    ImageDraw.Draw(paper).line((10, 10 * character, 90, 95 - 9 * drawer), fill=0, width=3)
    return paper


@pytest.fixture
def omniglot(tmp_path, monkeypatch):
    """Write three characters of two drawers, the later numbers in the earlier folder."""
    monkeypatch.setattr(data, "CHARACTERS", 3)
    monkeypatch.setattr(data, "DRAWERS", 2)
    monkeypatch.setattr(data, "SPLIT", {"train": 3, "test": 2})
    places = {1: "evaluation/Zulu/character02", 2: "background/Aleph/character09"}
    places[3] = "background/Aleph/character01"
    for character, drawer in ORDER:
        folder = tmp_path / "omniglot-py" / f"images_{places[character]}"
        folder.mkdir(parents=True, exist_ok=True)
        drawing(character, drawer).save(folder / f"{character:04}_{drawer:02}.png")
    return tmp_path


def test_omniglot_is_in_order_of_characters_and_drawers_with_ink_255(omniglot):
    assert data.present(omniglot)
    order = np.random.RandomState(0).permutation(6)
    for split, rows in [("train", sorted(order[:3])), ("test", sorted(order[3:5]))]:
        images = data.read(omniglot, split)
        assert images.max() > 200 and np.median(images) == 0
        for image, row in zip(images, rows, strict=True):
            inverse = Image.fromarray(~np.asarray(drawing(*ORDER[row]).convert("L")))
            small = inverse.resize((28, 28), Image.Resampling.BICUBIC)
            assert np.array_equal(image, np.asarray(small))


def test_a_missing_and_a_damaged_drawing_are_named(omniglot):
    path = next(omniglot.rglob("0002_01.png"))
    content = path.read_bytes()
    wide = path.with_name("wide.png")
    Image.new("1", (106, 105)).save(wide)
    for broken in (b"", content[: len(content) // 2], wide.read_bytes()):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"0002_01\.png is damaged"):
            for split in ("train", "test"):
                data.read(omniglot, split)
    path.unlink()
    os.mkfifo(path)  # opening it would wait forever
    with pytest.raises(DataError, match=r"1 of 6 Omniglot drawings are missing .* 0002_01\.png"):
        data.read(omniglot, "train")


def test_download_unpacks_drawings_again_over_broken_ones(omniglot, tmp_path, monkeypatch):
    root, files = tmp_path / "fresh", {}
    for part, file in data.FILES.items():
        path = tmp_path / f"{part}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for picture in (omniglot / "omniglot-py" / f"images_{part}").rglob("*.png"):
                archive.write(picture, picture.relative_to(omniglot / "omniglot-py"))
        checksum = hashlib.md5(path.read_bytes()).hexdigest()
        files[part] = replace(file, url=path.as_uri(), checksum=checksum)
    monkeypatch.setattr(data, "FILES", files)
    data.download(root)
    expected = data.read(omniglot, "train")
    for picture in root.rglob("*.png"):
        picture.write_bytes(b"")
    data.download(root)
    assert np.array_equal(data.read(root, "train"), expected)
