"""CIFAR-10 from files of the published form, with checksums of their own."""

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from npdraw.datasets import cifar10 as data
from npdraw.errors import DataError

ROWS = 4


def batch(pixels: np.ndarray) -> bytes:
    """Return a batch without labels: pickle operations, with the bytes of the pixels among them."""
    rows = pixels.transpose(0, 3, 1, 2).tobytes()
    head = b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x04dataq\x07"
    return head + b"T" + len(rows).to_bytes(4, "little") + rows + b"tbU\tfilenamesq\x0c]q\re."


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Write a CIFAR-10 of four images per batch; return its root and images."""
    monkeypatch.setattr(data, "_ROWS", ROWS)
    before = b"T" + (ROWS * 3072).to_bytes(4, "little")
    monkeypatch.setattr(data, "_BEFORE_PIXELS", before)
    rng, files, images = np.random.default_rng(0), {}, {}
    for split, published in data.BATCHES.items():
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
    monkeypatch.setattr(data, "BATCHES", files)
    return tmp_path, images


def test_cifar10_is_read_from_its_batches_in_order(cifar10):
    root, images = cifar10
    assert data.present(root)
    for split, expected in images.items():
        assert np.array_equal(data.read(root, split), expected)


def test_a_batch_with_another_checksum_is_not_read(cifar10):
    root, _ = cifar10
    path = root / data.BATCHES["test"][0].path
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="test_batch is damaged: 23 bytes with MD5") as error:
        data.read(root, "test")
    assert error.value.hint == f"Run: npdraw data download cifar10 --data-root {root}"
    path.unlink()
    assert not data.present(root)
    with pytest.raises(DataError, match="the data set cifar10 is not in"):
        data.read(root, "test")


def test_download_takes_the_batches_out_of_their_archive(cifar10, tmp_path, monkeypatch):
    source, images = cifar10
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        packed.add(source / "cifar-10-batches-py", "cifar-10-batches-py")
    path = tmp_path / "published.tar.gz"
    path.write_bytes(archive.getvalue())
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    local = replace(data.ARCHIVE, url=path.as_uri(), checksum=checksum)
    monkeypatch.setattr(data, "ARCHIVE", local)
    root = tmp_path / "fresh"
    data.download(root)
    assert np.array_equal(data.read(root, "train"), images["train"])
    path.unlink()
    (root / data.BATCHES["test"][0].path).write_bytes(b"half")
    data.download(root)  # from the intact archive
    assert np.array_equal(data.read(root, "test"), images["test"])
    (root / local.path).unlink()
    data.download(root)  # complete: nothing to fetch
