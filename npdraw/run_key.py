"""The key of a run, which decides whether an output is up to date or a checkpoint resumes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from npdraw.header import Header


@dataclass(frozen=True)
class RunKey:
    """What a run computes: runs with equal keys are the same run.

    How it runs (device, precision, threads, processes) is not part of the key: a finished output
    stays up to date if they change."""

    config: dict[str, Any]
    """Settings, section -> name -> value."""
    dataset: dict[str, Any]
    """Name, split sizes, image shape and digest of the data set."""
    inputs: dict[str, str]
    """Role -> digest of each artifact read."""
    seed: int

    @classmethod
    def of(cls, header: Header) -> "RunKey":
        """Return the key of the run that wrote an artifact."""
        return cls(header.config, header.dataset, header.inputs, header.seed)

    def differences(self, header: Header) -> list[str]:
        """Return the settings in which an artifact's header differs, each with both values."""
        mine = flatten({"seed": self.seed, "inputs": self.inputs, "dataset": self.dataset})
        mine |= flatten(self.config)
        other = flatten({"seed": header.seed, "inputs": header.inputs, "dataset": header.dataset})
        other |= flatten(header.config)
        return changes(other, mine)


def changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names whose values differ, each with both values."""
    names = sorted(name for name in {**earlier, **now} if earlier.get(name) != now.get(name))
    return [f"{name} {_short(earlier.get(name))}, now {_short(now.get(name))}" for name in names]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested groups into one dictionary with dotted names, such as `parse.parts`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text[:6] if len(text) == 64 else text  # a digest
