"""The classifier learns, is reproducible, and separates only sets that differ."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from npdraw.datasets import embedded
from npdraw.quality.classifier import Classifier
from npdraw.runtime.settings import Runtime
from npdraw.training import classify
from npdraw.training.classify import (
    Labelled,
    Schedule,
    accuracy,
    trained_classifier,
    two_sample_accuracy,
)

CPU = torch.device("cpu")


def glyphs(split: str, count: int) -> Labelled:
    images, labels = embedded.glyphs(split)[:count], embedded.labels(split)[:count]
    return Labelled(torch.from_numpy(images), torch.from_numpy(labels))


def train(data: Labelled, classes: int, steps: int, **changes: Any) -> Classifier:
    schedule = Schedule(steps, classify.CLASSES_RATE, changes.pop("binarize", True))
    given: dict[str, Any] = {"seed": 0, "report": lambda *_: None, **changes}
    runtime = Runtime(precision="fp32")
    return trained_classifier(
        data, classes, schedule=schedule, runtime=runtime, device=CPU, **given
    )


def test_a_few_steps_teach_glyphs() -> None:
    data, test = glyphs("train", 2000), glyphs("test", 400)
    steps: list[int] = []
    learned = train(data, 20, 60, report=lambda step, metrics: steps.append(step))
    assert steps == list(range(1, 61))
    assert accuracy(learned, test) > 0.7  # guessing reaches 0.05
    assert not learned.training


def test_the_same_seed_gives_the_same_weights() -> None:
    data = glyphs("train", 200)
    first, again, other = (train(data, 20, 3, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_pixels_are_drawn_again_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    forward = Classifier.forward

    def remember(self: Classifier, images: Tensor) -> Tensor:
        seen.append(images)
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", remember)
    grey = Labelled(torch.full((1, 1, 28, 28), 51, dtype=torch.uint8), torch.zeros(1).long())
    train(grey, 2, 2)
    assert not torch.equal(seen[0], seen[1])
    assert set(torch.cat(seen).unique().tolist()) == {0, 1}
    assert float(torch.cat(seen).mean()) == pytest.approx(0.2, abs=0.05)
    seen.clear()
    train(grey, 2, 2, binarize=False)
    assert seen[0].unique().tolist() == pytest.approx([0.2])


def test_accuracy_counts_right_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "AT_ONCE", 3)
    monkeypatch.setattr(Classifier, "forward", lambda _, x: torch.stack([1 - x, x], 1))
    images = torch.tensor([0, 255, 255, 0, 255], dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 0, 0])
    assert accuracy(Classifier(1, 2), Labelled(images, labels)) == 3 / 5


def two_sample(samples: Tensor, images: Tensor) -> tuple[float, float]:
    runtime = Runtime(precision="fp32")
    return two_sample_accuracy(
        samples, images, seed=0, runtime=runtime, device=CPU, report=lambda *_: None
    )


def test_equal_distributions_are_not_told_apart_and_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classify, "APART_STEPS", 30)
    images = glyphs("train", 1200).images
    share, error = two_sample(images[:600], images[600:])
    assert error == pytest.approx(math.sqrt(share * (1 - share) / 600))
    assert abs(share - 0.5) < 4 * error
    share, error = two_sample(images[:600] // 3, images[600:1000])
    assert share > 0.95  # on as many samples as images
    assert error == pytest.approx(math.sqrt(share * (1 - share) / 400))


def test_the_two_sample_test_learns_from_one_half_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "APART_STEPS", 1)
    used: list[Labelled] = []

    def remember(data: Labelled, classes: int, **_: Any) -> Classifier:
        used.append(data)
        return Classifier(1, classes)

    def evaluate(_: Classifier, data: Labelled) -> float:
        used.append(data)
        return 0.5

    monkeypatch.setattr(classify, "trained_classifier", remember)
    monkeypatch.setattr(classify, "accuracy", evaluate)
    numbers = torch.arange(50, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    two_sample(numbers[:21], numbers[21:])
    learned, rest = (set(data.images.flatten().tolist()) for data in used)
    assert (len(learned), len(rest), learned & rest) == (20, 20, set())
    for data in used:
        assert data.labels.tolist() == [0] * 10 + [1] * 10
        assert (data.images.flatten() >= 21).tolist() == [False] * 10 + [True] * 10
