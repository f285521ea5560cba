"""Declaring a setting: the values that it may have stand beside its default and its meaning."""

from dataclasses import dataclass, field, fields
from typing import Any

from npdraw.errors import UsageError

MAX_STEPS = 1_000_000_000
"""Training steps, at most."""

# Bounds that no sensible setting comes near: an artifact that asks for more is refused before
# anything of that size is built.
MAX_BATCH = 16_384
"""Images or drawings in a training step, at most."""

MAX_WIDTH = 65_536
"""Channels of a layer, at most."""

MAX_DEPTH = 128
"""Consecutive layers or blocks, at most."""

PATIENCE = (
    "stop after this many consecutive validations, of about ten, without improvement; 0: never"
)
"""The meaning of the setting `patience` of each training."""


@dataclass(frozen=True)
class Allowed:
    """Values that a setting may have: `choices`, or numbers within bounds, each None where open."""

    low: float | None = None
    """Smallest value."""
    above: float | None = None
    """Lower bound that is itself excluded."""
    high: float | None = None
    """Largest value."""
    below: float | None = None
    """Upper bound that is itself excluded."""
    choices: tuple[Any, ...] = ()

    def __contains__(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        # NaN fails every comparison.
        return (
            (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.choices:
            return " or ".join(map(str, self.choices))
        if self.low is not None and self.high is not None:
            return f"between {self.low:,} and {self.high:,}"
        bounds = {"at least": self.low, "above": self.above}
        bounds |= {"at most": self.high, "below": self.below}
        return " and ".join(f"{word} {n:,}" for word, n in bounds.items() if n is not None)


def setting(default: Any, meaning: str, **allowed: Any) -> Any:
    """Declare a setting: its default, its meaning, and the values it may have (see `Allowed`).

    The meaning is shown by `--help` and by the report. Each entry of a tuple is checked.
    """
    return field(default=default, metadata={"meaning": meaning, "allowed": Allowed(**allowed)})


def check_ranges(section: str, config: Any) -> None:
    """Check each setting of a section on its own; relations between them are checked elsewhere."""
    for declared in fields(config):
        allowed, value = declared.metadata["allowed"], getattr(config, declared.name)
        for item in value if isinstance(value, tuple) else (value,):
            shown = f"{item!r}" if isinstance(item, str) else f"{item}"
            require(item in allowed, f"{section}.{declared.name} is {shown}, must be {allowed}")


def require(condition: bool, message: str) -> None:
    """Raise the `UsageError` of impossible settings unless `condition` holds."""
    if not condition:
        raise UsageError(
            f"impossible settings: {message}",
            hint="Change it in the --config file or with its flag.",
        )
