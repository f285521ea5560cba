"""CIFAR-10 and CelebA from files of the published form, with checksums of their own."""

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets import photographs
from npdraw.errors import DataError, UsageError

ROWS = 4


def batch(pixels: np.ndarray) -> bytes:
    """What a batch is but for the labels: pickle operations, among them the bytes of the pixels."""
    rows = pixels.transpose(0, 3, 1, 2).tobytes()
    head = b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x04dataq\x07"
    return head + b"T" + len(rows).to_bytes(4, "little") + rows + b"tbU\tfilenamesq\x0c]q\re."


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Write a CIFAR-10 of four images a batch; return its root and images."""
    monkeypatch.setattr(photographs, "_ROWS", ROWS)
    before = b"T" + (ROWS * 3072).to_bytes(4, "little")
    monkeypatch.setattr(photographs, "_BEFORE_PIXELS", before)
    rng, files, images = np.random.default_rng(0), {}, {}
    for split, published in photographs.CIFAR.items():
        drawn = [rng.integers(0, 256, (ROWS, 32, 32, 3), dtype=np.uint8) for _ in published]
        contents = [batch(pixels) for pixels in drawn]
        files[split] = tuple(
            replace(file, checksum=hashlib.md5(content).hexdigest())
            for file, content in zip(published, contents, strict=True)
        )
        for file, content in zip(published, contents, strict=True):
            path = tmp_path / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        images[split] = np.concatenate(drawn)
    monkeypatch.setattr(photographs, "CIFAR", files)
    return tmp_path, images


def test_cifar10_is_read_from_its_batches_in_order(cifar10):
    root, images = cifar10
    assert photographs.present("cifar10", root)
    for split, expected in images.items():
        assert np.array_equal(photographs.read_cifar10(root, split), expected)


def test_a_batch_with_another_checksum_is_not_looked_into(cifar10):
    root, _ = cifar10
    path = root / photographs.CIFAR["test"][0].path
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="test_batch is damaged: 23 bytes with MD5") as error:
        photographs.read_cifar10(root, "test")
    assert error.value.hint == f"run: npdraw data download cifar10 --data-root {root}"
    path.unlink()
    assert not photographs.present("cifar10", root)
    with pytest.raises(DataError, match="the data set cifar10 is not in"):
        photographs.read_cifar10(root, "test")


def test_download_takes_the_batches_out_of_their_archive(cifar10, tmp_path, monkeypatch):
    source, images = cifar10
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        packed.add(source / "cifar-10-batches-py", "cifar-10-batches-py")
    path = tmp_path / "published.tar.gz"
    path.write_bytes(archive.getvalue())
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    local = replace(photographs.CIFAR_ARCHIVE, url=path.as_uri(), checksum=checksum)
    monkeypatch.setattr(photographs, "CIFAR_ARCHIVE", local)
    root = tmp_path / "fresh"
    photographs.download("cifar10", root)
    assert np.array_equal(photographs.read_cifar10(root, "train"), images["train"])
    path.unlink()
    (root / photographs.CIFAR["test"][0].path).write_bytes(b"half")
    photographs.download("cifar10", root)  # from the archive, which is whole
    assert np.array_equal(photographs.read_cifar10(root, "test"), images["test"])
    (root / local.path).unlink()
    photographs.download("cifar10", root)  # all there, nothing to fetch


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
    (tmp_path / photographs.CELEBA_PARTITION.path).write_text(lines)
    checksum = hashlib.md5(lines.encode()).hexdigest()
    partition = replace(photographs.CELEBA_PARTITION, checksum=checksum)
    monkeypatch.setattr(photographs, "CELEBA_PARTITION", partition)
    return tmp_path


@pytest.mark.parametrize(("split", "numbers"), [("train", (1, 2)), ("test", (5, 6))])
def test_faces_are_the_middle_of_the_aligned_ones(celeba, split, numbers):
    assert photographs.present("celeba", celeba)
    found = photographs.read_celeba(celeba, split, 64)
    assert found.shape == (2, 64, 64, 3)
    for face, number in zip(found, numbers, strict=True):
        whole = Image.open(celeba / f"celeba/img_align_celeba/{number:06}.jpg")
        middle = whole.crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BILINEAR)
        assert np.array_equal(face, np.asarray(middle))


def test_a_missing_and_a_damaged_face_are_named(celeba):
    path = celeba / "celeba/img_align_celeba/000006.jpg"
    for broken in (b"", path.read_bytes()[:300]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"000006\.jpg is damaged") as error:
            photographs.read_celeba(celeba, "test", 64)
        assert error.value.hint == "data/README.md says where to get it"
    Image.new("RGB", (10, 10)).save(path)
    with pytest.raises(DataError, match="10 x 10 pixels, not 178 x 218"):
        photographs.read_celeba(celeba, "test", 64)
    (celeba / photographs.CELEBA_PARTITION.path).write_text("000006.jpg 0\n")
    with pytest.raises(DataError, match=r"list_eval_partition\.txt is damaged"):
        photographs.read_celeba(celeba, "test", 64)
    (celeba / photographs.CELEBA_PARTITION.path).unlink()
    with pytest.raises(DataError, match="the data set celeba is not in"):
        photographs.read_celeba(celeba, "test", 64)


def test_celeba_is_for_people_to_fetch(tmp_path):
    with pytest.raises(UsageError, match="cannot be downloaded by a program") as error:
        photographs.download("celeba", tmp_path)
    assert "mmlab" in error.value.hint and str(tmp_path) in error.value.hint
