"""A tiny MNIST in the form of the published files, for the tests of reading and downloading."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest

from npdraw.datasets import mnist


def idx(images):
    header = np.array([0x803, *images.shape], ">i4").tobytes()
    return gzip.compress(header + images.tobytes(), mtime=0)


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """Write a tiny MNIST with its own checksums; return its root and images."""
    images = {
        "train": np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8),
        "test": np.random.default_rng(1).integers(0, 256, (2, 28, 28), dtype=np.uint8),
    }
    contents = {split: idx(array) for split, array in images.items()}
    contents |= {"train labels": b"labels", "test labels": b"others"}
    files = {}
    for key, file in mnist.FILES.items():
        files[key] = replace(file, checksum=hashlib.sha256(contents[key]).hexdigest())
        path = tmp_path / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[key])
    monkeypatch.setattr(mnist, "FILES", files)
    return tmp_path, images
