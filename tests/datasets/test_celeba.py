"""CelebA from files of the published form, with a checksum of their own."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets import celeba as data
from npdraw.errors import DataError, UsageError


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    """Write six faces, two for each split."""
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 7):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        coarse.resize((178, 218)).save(folder / f"{number:06}.jpg", quality=95)
    lines = "".join(f"{number:06}.jpg {(number - 1) // 2}\n" for number in range(1, 7))
    (tmp_path / data.PARTITION.path).write_text(lines)
    checksum = hashlib.md5(lines.encode()).hexdigest()
    partition = replace(data.PARTITION, checksum=checksum)
    monkeypatch.setattr(data, "PARTITION", partition)
    return tmp_path


@pytest.mark.parametrize(("split", "numbers"), [("train", (1, 2)), ("test", (5, 6))])
def test_faces_are_the_resized_centre_of_the_aligned_ones(celeba, split, numbers):
    assert data.present(celeba)
    faces = data.read(celeba, split)
    assert faces.shape == (2, 64, 64, 3)
    for face, number in zip(faces, numbers, strict=True):
        whole = Image.open(celeba / f"celeba/img_align_celeba/{number:06}.jpg")
        middle = whole.crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BILINEAR)
        assert np.array_equal(face, np.asarray(middle))


def test_a_missing_and_a_damaged_face_are_named(celeba):
    path = celeba / "celeba/img_align_celeba/000006.jpg"
    for broken in (b"", path.read_bytes()[:300]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"000006\.jpg is damaged") as error:
            data.read(celeba, "test", 64)
        assert error.value.hint == "See data/README.md for where to get it"
    Image.new("RGB", (10, 10)).save(path)
    with pytest.raises(DataError, match="10 x 10 pixels, not 178 x 218"):
        data.read(celeba, "test", 64)
    (celeba / data.PARTITION.path).write_text("000006.jpg 0\n")
    with pytest.raises(DataError, match=r"list_eval_partition\.txt is damaged"):
        data.read(celeba, "test", 64)
    (celeba / data.PARTITION.path).unlink()
    with pytest.raises(DataError, match="the data set celeba is not in"):
        data.read(celeba, "test", 64)


def test_celeba_cannot_be_downloaded(tmp_path):
    with pytest.raises(UsageError, match="cannot be downloaded by a program") as error:
        data.download(tmp_path)
    assert "mmlab" in error.value.hint and str(tmp_path) in error.value.hint
