"""MNIST binarised once and for all: its text files, their checksums and the published division."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from npdraw.datasets import Source, mnist_static
from npdraw.datasets.splits import binarize, validation_size
from npdraw.errors import DataError

COUNTS = {"train": 3, "valid": 2, "test": 4}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Write tiny files with their own checksums; return their root and the images, 0 and 1."""
    noise, images, files = np.random.default_rng(0), {}, {}
    for part, file in mnist_static.FILES.items():
        images[part] = noise.integers(0, 2, (COUNTS[part], 28, 28), dtype=np.uint8)
        lines = (" ".join(map(str, image.ravel())) for image in images[part])
        content = "".join(f"{line}\n" for line in lines).encode()
        path = tmp_path / file.path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        files[part] = replace(file, url=path.as_uri(), checksum=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(mnist_static, "FILES", files)
    return tmp_path, images


def test_ink_is_255_and_the_validation_images_end_the_training_split(tiny):
    root, images = tiny
    assert mnist_static.present(root) and mnist_static.check(root)
    whole = np.concatenate([images["train"], images["valid"]])
    assert np.array_equal(mnist_static.read(root, "train"), 255 * whole)
    assert np.array_equal(mnist_static.read(root, "test"), 255 * images["test"])
    # All of it is divided as published.
    assert validation_size(Source("mnist-static"), 60_000, 60_000) == 10_000
    assert validation_size(Source("mnist-static"), 600, 60_000) == 20


def test_binarising_them_again_changes_nothing(tiny):
    root, images = tiny
    values = mnist_static.read(root, "test")[:, None]
    for seed in range(3):
        assert np.array_equal(binarize(values, seed)[:, 0], images["test"])


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_missing_or_damaged_file_is_named_with_a_remedy(tiny, part):
    root, _ = tiny
    split = "test" if part == "test" else "train"
    path = root / mnist_static.FILES[part].path
    path.write_bytes(path.read_bytes().replace(b"1", b"0", 1))
    for work in (lambda: mnist_static.check(root), lambda: mnist_static.read(root, split)):
        with pytest.raises(DataError, match=f"{path.name} is damaged") as error:
            work()
        assert error.value.hint == f"Run: npdraw data download mnist-static --data-root {root}"
    path.unlink()
    assert not mnist_static.present(root)
    with pytest.raises(DataError, match="the data set mnist-static is not in"):
        mnist_static.read(root, split)


def test_files_are_downloaded(tiny, tmp_path):
    _, images = tiny
    elsewhere = tmp_path / "elsewhere"
    mnist_static.download(elsewhere)
    assert np.array_equal(mnist_static.read(elsewhere, "test"), 255 * images["test"])


def test_urls_are_the_published_ones():
    url = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_{}.amat"
    assert {part: file.url for part, file in mnist_static.FILES.items()} == {
        part: url.format(part) for part in ("train", "valid", "test")
    }
    assert all(
        Path(file.path).parts[0] == "binarized_mnist" for file in mnist_static.FILES.values()
    )
