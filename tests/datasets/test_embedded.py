"""The embedded data set: pinned pixels, balanced characters, and the geometry of its strokes."""

import hashlib

import numpy as np
import pytest

from npdraw.datasets import embedded as module
from npdraw.datasets.embedded import CHARACTERS, glyphs, labels

DIGESTS = {
    "train": "5a01a5faa7709030331f09650ec78251f973821ddcc44afe129a57e62c140479",
    "test": "387653f4fe9cf47e888743b28c1906cdb003cf8978686b206f1bbee5e8d055a6",
}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_images_are_the_same_everywhere(split):
    """If this fails, every figure measured on glyphs has to be measured again."""
    images = glyphs(split)
    assert images.dtype == np.uint8
    assert hashlib.sha256(images.tobytes()).hexdigest() == DIGESTS[split]


@pytest.mark.parametrize(("split", "each"), [("train", 1000), ("test", 100)])
def test_every_character_is_drawn_as_often_as_the_others(split, each):
    assert glyphs(split).shape == (20 * each, 1, 28, 28)
    assert np.bincount(labels(split)).tolist() == [each] * len(CHARACTERS)


def test_the_first_images_are_a_fair_subset():
    first = np.bincount(labels("train")[:2000], minlength=20)
    assert first.min() > 60 and first.max() < 140  # four deviations around 100


def test_they_are_sized_like_mnist():
    images = glyphs("train")[:, 0]
    assert 0.10 < images.mean() / 255 < 0.16
    assert images[:, [0, -1]].max() == 0 and images[:, :, [0, -1]].max() == 0
    inked = images > 0
    sides = np.maximum(inked.any(1).sum(1), inked.any(2).sum(1))
    assert sides.min() >= 18 and sides.max() <= 22
    middle = (inked.any(2) * np.arange(28)).sum(1) / inked.any(2).sum(1)
    assert np.abs(middle - 13.5).max() < 3
    soft = (images > 0) & (images < 255)
    assert 0.3 < soft.sum() / inked.sum() < 0.7


def test_no_two_drawings_are_equal_and_the_splits_have_different_writers():
    both = np.concatenate([glyphs("train"), glyphs("test")])
    assert len({image.tobytes() for image in both}) == len(both)


def test_characters_can_be_distinguished_but_vary():
    known, unknown = glyphs("train")[:6000], glyphs("test")[:500]
    a = known.reshape(len(known), -1).astype(np.float32) / 255
    b = unknown.reshape(len(unknown), -1).astype(np.float32) / 255
    squared = (b**2).sum(1)[:, None] + (a**2).sum(1) - 2 * b @ a.T
    nearest = labels("train")[:6000][squared.argmin(1)]
    assert (nearest == labels("test")[:500]).mean() > 0.97
    assert squared.min(1).mean() > 10  # of about 97 for all the ink of an image


def test_a_caller_may_change_its_copy():
    images, kinds = glyphs("test"), labels("test")
    images[:], kinds[:] = 7, 7
    assert glyphs("test").min() == 0 and labels("test").max() == 19


@pytest.mark.parametrize("character", list(CHARACTERS))
def test_a_path_runs_through_its_control_points(character):
    points, basis = module._spline(module.STROKES[character])
    path = basis @ points
    assert np.allclose(basis.sum(1), 1)  # moving all points moves the path along
    gaps = np.linalg.norm(points[:, None] - path, axis=-1).min(1)
    assert gaps.max() < 1e-12
    assert len(np.unique(points, axis=0)) == len(points)


def test_strokes_stay_joined_when_a_shared_point_moves():
    points, basis = module._spline(["0,0 100,0", "100,0 100,100"])
    assert len(points) == 5  # three ends, and a middle for each straight stroke
    corner = points.tolist().index([1, 0])
    moved = points.copy()
    moved[corner] += 0.3
    change = np.linalg.norm((basis @ moved) - basis @ points, axis=1)
    assert (change > 0.42).sum() == 2  # the end of one stroke and the start of the other


def test_a_straight_stroke_is_straight_and_densely_sampled():
    points, basis = module._spline(["0,0 100,50"])
    path = basis @ points
    assert np.allclose(path[:, 1], path[:, 0] / 2)
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 0.05


def test_ink_is_the_pen_with_an_edge_of_one_pixel(monkeypatch):
    """Against a slow, obvious loop, for paths on the grid of sixteenths."""
    generator = np.random.default_rng(0)
    path = generator.integers(4 * 16, 23 * 16, (3, 5, 2)) / 16
    radius = np.array([1.0, 1.25, 2.0])
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    images = module._inked(path, radius)
    for n in range(3):
        for row in range(28):
            for column in range(28):
                distance = min(np.hypot(column - x, row - y) for x, y in path[n])
                ink = 255 * min(max(radius[n] + 0.5 - distance, 0), 1)
                assert abs(images[n, row, column] - ink) <= 0.501
