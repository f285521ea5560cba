"""What twice the steps should gain, from curves whose continuation is known; and patience."""

import numpy as np
import pytest

from npdraw.training.forecast import gain_if_doubled
from npdraw.training.pauses import out_of_patience


def curve(score, steps: int = 1000) -> list[tuple[int, float]]:
    """Return ten validations of a training, after one before the first step."""
    return [(step, score(step)) for step in range(0, steps + 1, steps // 10)]


@pytest.mark.parametrize("power", [0.3, 0.5, 1.0])
def test_a_power_law_is_continued(power: float) -> None:
    def score(step: int) -> float:
        return 80 + 50 * max(step, 1) ** -power

    expected = score(1000) - score(2000)
    assert gain_if_doubled(curve(score)) == pytest.approx(expected, rel=0.1)


def test_a_logarithm_gains_as_much_again() -> None:
    found = gain_if_doubled(curve(lambda step: 90 - 3 * np.log2(max(step, 1))))
    assert found == pytest.approx(3, rel=0.01)


def test_growing_gains_are_not_extrapolated() -> None:
    found = gain_if_doubled(curve(lambda step: 90 - (step / 1000) ** 2))
    assert found == pytest.approx(0.75, rel=0.05)


def test_a_training_that_only_became_worse_gains_nothing() -> None:
    assert gain_if_doubled(curve(lambda step: abs(step - 200))) == 0
    assert gain_if_doubled(curve(lambda step: step)) == 0


def test_a_training_that_began_to_overfit_gains_nothing() -> None:
    def score(turn: int) -> float | None:
        points = curve(lambda step: 90 - 3 * np.log2(max(min(step, turn), 1)) + 0.1 * (step > turn))
        return gain_if_doubled(points)

    assert score(800) == 0
    assert score(900) > 1  # a single worse validation at the end may be noise


@pytest.mark.parametrize("points", [[], [(0, 9.0)], [(0, 9.0), (4, 8.0)]])
def test_too_few_validations_say_nothing(points: list[tuple[int, float]]) -> None:
    assert gain_if_doubled(points) is None


def test_patience_counts_validations_since_the_best_one() -> None:
    assert not out_of_patience(50, 40, 10, 2)
    assert out_of_patience(60, 40, 10, 2)
    assert not out_of_patience(60, 50, 10, 2)
    assert not out_of_patience(60, 0, 10, 0)
