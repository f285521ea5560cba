"""What all models are measured on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """Data, time and evaluation."""

    source: str
    """Name of the data set, whose preset has its pixels."""
    root: Path
    limit: int | float | None
    """Training images, or the fraction of them; None: all."""
    seconds: float
    """Processor time of a training."""
    samples: int
    """Importance samples per image (S)."""
    images: int
    """Test images, evenly spaced."""
    drawings: int
    """Samples drawn."""
    seed: int
    threads: int
