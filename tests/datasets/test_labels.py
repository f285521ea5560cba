"""Labels come in the order of the images, from every kind of data set that has them."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets import cifar10, embedded, load, mnist, omniglot, parse_source
from npdraw.datasets.labels import load_labels, no_labels_error
from npdraw.errors import DataError


def nearest_mean(images, values, others, expected):
    """Return how often the class whose mean image is nearest to an image is its label."""
    flat = images.reshape(len(images), -1).astype(float)
    means = np.stack([flat[values == k].mean(0) for k in range(values.max() + 1)])
    rows = others.reshape(len(others), -1).astype(float)
    found = (-2 * rows @ means.T + (means**2).sum(1)).argmin(1)
    return (found == expected).mean()


def test_labels_of_glyphs_are_their_characters(tmp_path):
    source = parse_source("glyphs")
    labels = load_labels(source, "test", root=tmp_path)
    assert labels.classes == tuple(embedded.CHARACTERS)
    assert labels.values.dtype == np.int16
    images = load(source, "test", root=tmp_path, image_size=28).images
    # Half of the images say what the characters look like, and the others look like that.
    share = nearest_mean(images[::2], labels.values[::2], images[1::2], labels.values[1::2])
    assert share > 0.7


def test_labels_of_mnist_are_in_the_order_of_its_images(npdraw_data):
    source = parse_source("mnist")
    images, labels = {}, {}
    for split in ("train", "test"):
        images[split] = load(source, split, root=npdraw_data, image_size=28).images
        labels[split] = load_labels(source, split, root=npdraw_data)
        assert len(labels[split].values) == len(images[split])
    assert labels["test"].classes == tuple("0123456789")
    assert labels["test"].values[:5].tolist() == [7, 2, 1, 0, 4]
    share = nearest_mean(
        images["train"], labels["train"].values, images["test"], labels["test"].values
    )
    assert share > 0.8


def test_labels_of_mnist_are_read_behind_their_checksum(tmp_path, monkeypatch):
    digits = bytes([3, 1, 4])
    packed = gzip.compress(b"\0\0\x08\x01\0\0\0\x03" + digits, mtime=0)
    known = replace(mnist.FILES["train labels"], checksum=hashlib.sha256(packed).hexdigest())
    monkeypatch.setitem(mnist.FILES, "train labels", known)
    path = tmp_path / known.path
    path.parent.mkdir(parents=True)
    path.write_bytes(packed)
    labels = load_labels(parse_source("mnist"), "train", root=tmp_path)
    assert (labels.values.tolist(), labels.values.dtype) == ([3, 1, 4], np.int16)
    path.write_bytes(packed[:-1])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz is damaged"):
        load_labels(parse_source("mnist"), "train", root=tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="the data set mnist is not in"):
        load_labels(parse_source("mnist"), "train", root=tmp_path)


def test_labels_of_omniglot_are_alphabets(tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot, "CHARACTERS", 3)
    monkeypatch.setattr(omniglot, "DRAWERS", 2)
    monkeypatch.setattr(omniglot, "SPLIT", {"train": 3, "test": 2})
    alphabets = {1: "Zulu", 2: "Aleph", 3: "Beta"}
    parts = {1: "evaluation", 2: "background", 3: "background"}
    for character, drawer in [(c, d) for c in alphabets for d in (1, 2)]:
        folder = tmp_path / f"omniglot-py/images_{parts[character]}/{alphabets[character]}/one"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("1", (105, 105), 1).save(folder / f"{character:04}_{drawer:02}.png")
    order = np.random.RandomState(0).permutation(6)
    for split, rows in [("train", sorted(order[:3])), ("test", sorted(order[3:5]))]:
        labels = load_labels(parse_source("omniglot"), split, root=tmp_path)
        assert labels.classes == ("Aleph", "Beta", "Zulu")
        named = [labels.classes[value] for value in labels.values]
        assert named == [alphabets[row // 2 + 1] for row in rows]


@pytest.mark.parametrize(
    ("name", "classes"), [("cifar10", "airplane automobile bird"), ("omniglot", "0 1 2")]
)
def test_an_archive_of_a_named_set_may_hold_labels(tmp_path, name, classes):
    images = np.zeros((4, 28, 28), np.uint8)
    saved = {"train": images, "test": images[:2]}
    saved |= {"train_labels": np.array([2, 0, 1, 0], np.uint8), "test_labels": np.array([1, 2])}
    np.savez(tmp_path / f"{name}.npz", **saved)
    source = parse_source(name)
    for split in ("train", "test"):
        labels = load_labels(source, split, root=tmp_path)
        assert labels.values.tolist() == saved[f"{split}_labels"].tolist()
        assert labels.classes[:3] == tuple(classes.split())
    # The images of a run stay without labels: `parse` stores those of `load`.
    assert load(source, "train", root=tmp_path, image_size=28).labels is None
    np.savez(tmp_path / f"{name}.npz", train=images, test=images)
    assert load_labels(source, "train", root=tmp_path) is None


def test_sets_without_labels_say_what_to_do(tmp_path):
    source = parse_source("cifar10")
    for files in cifar10.BATCHES.values():  # they exist, and are not read
        for file in files:
            (tmp_path / file.path).parent.mkdir(exist_ok=True)
            (tmp_path / file.path).touch()
    assert load_labels(source, "train", root=tmp_path) is None
    error = no_labels_error(source, tmp_path)
    assert "in pickles, which are never unpickled" in error.message
    assert f"as {tmp_path / 'cifar10.npz'}: np.savez_compressed" in error.hint
    for name in ("mnist-static", "celeba"):
        assert load_labels(parse_source(name), "train", root=tmp_path) is None
        assert no_labels_error(parse_source(name), tmp_path).message == f"{name} has no labels"
    own = parse_source("folder:mine")
    assert no_labels_error(own, tmp_path).hint.startswith("Put pictures of each class in a folder")


def test_labels_of_a_named_set_that_cannot_be_used_say_why(tmp_path):
    images = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "cifar10.npz", train=images, test=images, train_labels=[-1, 0, 1, 2])
    with pytest.raises(DataError, match=r"cifar10\.npz: .*train_labels"):
        load_labels(parse_source("cifar10"), "train", root=tmp_path)
