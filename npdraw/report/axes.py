"""The axes of a chart: round ticks, and where a value lies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 36
"""Size and margins of a chart, in SVG units: about a pixel each on a phone."""

LOGARITHMIC = 4.0
"""An axis is logarithmic if the largest value is at least this many times the smallest."""


class Tick(NamedTuple):
    """A tick: its coordinate and its label."""

    at: str
    label: str


@dataclass(frozen=True)
class Axis:
    """Maps the values low..high to the coordinates start..end."""

    low: float
    high: float
    start: int
    end: int
    ticks: Sequence[Tick] = ()
    logarithmic: bool = False

    def at(self, value: float) -> str:
        """Return the coordinate of a value."""
        if self.logarithmic:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return f"{self.start + (self.end - self.start) * part:.1f}"

    @staticmethod
    def of_steps(steps: Sequence[int]) -> "Axis":
        """Return the horizontal axis for training steps, with ticks at whole steps."""
        low, high = min(steps), max(*steps, min(steps) + 1)
        axis = Axis(low, high, LEFT, WIDTH - RIGHT)
        whole = [int(t) for t in _ticks(low, high) if low <= t <= high and t == int(t)]
        ticks = [Tick(axis.at(tick), f"{tick:,}") for tick in whole]
        return Axis(low, high, LEFT, WIDTH - RIGHT, ticks)

    @staticmethod
    def of_values(values: Sequence[float]) -> "Axis":
        """Return the vertical axis for values, logarithmic if their range is large."""
        low, high = min(values), max(values)
        logarithmic = low > 0 and high >= LOGARITHMIC * low
        ticks = _log_ticks(low, high) if logarithmic else _ticks(low, high)
        low, high = min(low, ticks[0]), max(high, ticks[-1])
        start, end = HEIGHT - BOTTOM, TOP
        axis = Axis(low, high, start, end, logarithmic=logarithmic)
        labelled = [Tick(axis.at(tick), _label(tick)) for tick in ticks]
        return Axis(low, high, start, end, labelled, logarithmic)


def _label(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.1g}"
    text = f"{value:,.6f}"
    return text.rstrip("0").rstrip(".")


def _ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round values that reach from `low` or below to `high` or above."""
    if low == high:
        pad = abs(low) / 10 or 1.0
        low, high = low - pad, high + pad
    rough = max((high - low) / about, math.ulp(max(abs(low), abs(high))) * 4)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values of a logarithmic axis, within or around low..high."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        every = [factor * 10.0**power for power in powers for factor in factors]
        within = [tick for tick in every if low <= tick <= high]
        if 2 <= len(within) <= most:
            return within
    ends = [10.0 ** powers[0], 10.0 ** powers[-1]]
    return within[:: -(-len(within) // most)] if len(within) > most else ends
