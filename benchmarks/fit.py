"""Growth of a cost with a size: a power law, or a constant plus a growing term."""

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
        """Return whether the exponent is so near 0 that the cost does not grow."""
        return not self.constant and abs(self.exponent) < 0.05

    def __str__(self) -> str:
        """Return the law as the tables show it."""
        if self.constant:
            term = "x" if self.exponent == 1 else f"x^{self.exponent:g}"
            return f"{number(self.constant)} + {number(self.factor)} {term}"
        return "none" if self.flat else f"{number(self.factor)} x^{self.exponent:.2f}"


def number(value: float) -> str:
    """Format with three significant digits, or as an integer where that is short."""
    if 100 <= value < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Fit:
    """Return the law whose largest relative residual, to a percent, is smallest.

    The candidates are a power law, and a positive constant plus a term proportional to the size or
    its square; the first wins a tie, and a power near 0 means no growth. Each has two parameters.

    Raises:
        ValueError: fewer than three sizes, or a size or cost that is not positive.
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
    """Fit a power law by least squares on logarithms."""
    exponent, log_factor = np.polyfit(np.log(x), np.log(y), 1)
    return _with_residual(x, y, 0.0, float(np.exp(log_factor)), float(exponent))


def affine_law(x: Floats, y: Floats, exponent: int) -> Fit:
    """Fit by least squares of relative errors, so that small sizes count as much as large ones."""
    rows = np.stack([1 / y, x**exponent / y], 1)
    constant, factor = np.linalg.lstsq(rows, np.ones_like(y), rcond=None)[0]
    return _with_residual(x, y, float(constant), float(factor), float(exponent))


def _with_residual(x: Floats, y: Floats, constant: float, factor: float, exponent: float) -> Fit:
    """Return the law with its residual: infinite if a fitted cost is not positive."""
    fitted = constant + factor * x**exponent
    off = float(np.abs(y / fitted - 1).max()) if fitted.min() > 0 else float("inf")
    return Fit(constant, factor, exponent, off)
