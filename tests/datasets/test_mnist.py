"""MNIST from its archives: checked, read in memory, never from what was unpacked."""

import os

import numpy as np
import pytest

from npdraw.datasets import downloads, mnist
from npdraw.errors import DataError


def test_mnist_is_read_from_its_archives(tiny_mnist):
    root, images = tiny_mnist
    mnist.check(root)
    for split, expected in images.items():
        assert np.array_equal(mnist.read(root, split), expected)


def test_a_half_unpacked_mnist_does_not_matter_and_nothing_is_written(tiny_mnist):
    root, images = tiny_mnist
    raw = root / "MNIST" / "raw"
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    before = sorted(raw.iterdir())
    raw.chmod(0o555)
    assert np.array_equal(mnist.read(root, "train"), images["train"])
    assert sorted(raw.iterdir()) == before
    raw.chmod(0o755)


@pytest.mark.parametrize("key", ["train", "test labels"])
def test_a_damaged_mnist_file_is_named_with_a_remedy(tiny_mnist, key):
    root, _ = tiny_mnist
    path = root / mnist.FILES[key].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path.name} is damaged: .* bytes") as error:
        mnist.check(root)
    assert error.value.hint == f"Run: npdraw data download mnist --data-root {root}"
    if key == "train":
        with pytest.raises(DataError, match=path.name):
            mnist.read(root, "train")


def test_a_huge_file_and_a_pipe_are_not_read(tiny_mnist, monkeypatch):
    root, _ = tiny_mnist
    path = root / mnist.FILES["train"].path
    monkeypatch.setattr(downloads, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(DataError, match=r"idx3-ubyte\.gz is damaged: it has more than"):
        mnist.read(root, "train")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="not a regular file"):
        mnist.read(root, "train")
