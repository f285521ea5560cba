"""Growth of a cost with a size: a power law, or a constant and what grows beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """`y = constant + factor * x^exponent`."""

    constant: float
    factor: float
    exponent: float
    residual: float
    """Largest |y - fitted| / fitted over the measured sizes."""

    def __call__(self, x: float) -> float:
        """Return the fitted cost at size `x`."""
        return float(self.constant + self.factor * x**self.exponent)

    @property
    def flat(self) -> bool:
        """Whether it is a power so near 0 that it is no growth."""
        return not self.constant and abs(self.exponent) < 0.05

    def __str__(self) -> str:
        """Return the law as the tables show it."""
        if self.constant:
            grown = "x" if self.exponent == 1 else f"x^{self.exponent:g}"
            return f"{number(self.constant)} + {number(self.factor)} {grown}"
        return "none" if self.flat else f"{number(self.factor)} x^{self.exponent:.2f}"


def number(value: float) -> str:
    """Return three digits that count, without an exponent where that is short."""
    if 100 <= value < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Fit:
    """Return the law with the smallest largest residual, to a percent; costs are positive.

    A power law, or a constant and something in proportion to the size or to its square, both
    positive; of laws as good as each other the first. What hardly grows is a power near 0. All have
    two free numbers, so `ValueError` for fewer than three sizes.
    """
    x, y = np.array(sizes, np.float64), np.array(costs, np.float64)
    if len(x) < 3 or len(x) != len(y) or min(x.min(), y.min()) <= 0:
        raise ValueError(f"cannot fit {list(costs)} at {list(sizes)}: three or more, above 0")
    power = power_law(x, y)
    if power.flat:
        return power
    laws = [power]
    laws += [f for f in (affine_law(x, y, 1), affine_law(x, y, 2)) if min(f.constant, f.factor) > 0]
    return min(laws, key=lambda law: round(law.residual, 2))


def power_law(x: Floats, y: Floats) -> Fit:
    """Least squares on logarithms."""
    exponent, log_factor = np.polyfit(np.log(x), np.log(y), 1)
    return _judged(x, y, 0.0, float(np.exp(log_factor)), float(exponent))


def affine_law(x: Floats, y: Floats, exponent: int) -> Fit:
    """Least squares of relative errors, so that the small sizes count as much as the large."""
    rows = np.stack([1 / y, x**exponent / y], 1)
    constant, factor = np.linalg.lstsq(rows, np.ones_like(y), rcond=None)[0]
    return _judged(x, y, float(constant), float(factor), float(exponent))


def _judged(x: Floats, y: Floats, constant: float, factor: float, exponent: float) -> Fit:
    """A fitted cost of 0 or less fits nothing."""
    fitted = constant + factor * x**exponent
    off = float(np.abs(y / fitted - 1).max()) if fitted.min() > 0 else float("inf")
    return Fit(constant, factor, exponent, off)
