"""Growth of a cost with a size: a power law, or a constant and something proportional."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """`y = a * x^b`, or `y = a + b * x` if affine."""

    a: float
    b: float
    affine: bool
    residual: float
    """Largest |y - fitted| / fitted over the measured sizes."""

    def __call__(self, x: float) -> float:
        """Return the fitted cost at size `x`."""
        return self.a + self.b * x if self.affine else self.a * x**self.b

    def __str__(self) -> str:
        """Return the law as the tables show it; a power near 0 is no growth."""
        if self.affine:
            return f"{number(self.a)} + {number(self.b)} x"
        return "none" if abs(self.b) < 0.05 else f"{number(self.a)} x^{self.b:.2f}"


def number(value: float) -> str:
    """Return three digits that count, without an exponent where that is short."""
    if 100 <= value < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Fit:
    """Return the law with the smaller largest residual; costs are positive.

    The affine law is for a constant and a slope that are not negative: what bends upwards is a
    power. `ValueError` for fewer than three sizes, which two constants fit anyhow.
    """
    x, y = np.array(sizes, np.float64), np.array(costs, np.float64)
    if len(x) < 3 or len(x) != len(y) or min(x.min(), y.min()) <= 0:
        raise ValueError(f"cannot fit {list(costs)} at {list(sizes)}: three or more, above 0")
    power, affine = power_law(x, y), affine_law(x, y)
    usable = affine.a >= 0 and affine.b >= 0
    return affine if usable and affine.residual < power.residual else power


def power_law(x: Floats, y: Floats) -> Fit:
    """Least squares on logarithms."""
    b, log_a = np.polyfit(np.log(x), np.log(y), 1)
    a = float(np.exp(log_a))
    return Fit(a, float(b), False, _residual(y, a * x**b))


def affine_law(x: Floats, y: Floats) -> Fit:
    """Least squares of relative errors, so that the small sizes count as much as the large."""
    rows = np.stack([1 / y, x / y], 1)
    a, b = np.linalg.lstsq(rows, np.ones_like(y), rcond=None)[0]
    return Fit(float(a), float(b), True, _residual(y, a + b * x))


def _residual(y: Floats, fitted: Floats) -> float:
    """A fitted cost of 0 or less fits nothing."""
    if fitted.min() <= 0:
        return float("inf")
    return float(np.abs(y / fitted - 1).max())
