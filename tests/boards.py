"""What TensorBoard reads of a training."""

import io
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer


@dataclass(frozen=True)
class Shown:
    """Curves, sheets and the use of parts, as TensorBoard's own reader returns them."""

    events: EventAccumulator

    @property
    def tags(self) -> set[str]:
        tags = self.events.Tags()
        return {tag for kind in ("scalars", "images", "histograms") for tag in tags[kind]}

    def curves(self) -> list[dict[str, float]]:
        """Return a record for each step, as in `metrics.jsonl`; equal steps are repeated."""
        records: dict[tuple[int, int], dict[str, float]] = {}
        for tag in self.events.Tags()["scalars"]:
            seen: list[int] = []
            for event in self.events.Scalars(tag):
                turn = seen.count(event.step)
                seen.append(event.step)
                record = records.setdefault((event.step, turn), {"step": event.step})
                record[tag] = event.value
        return [records[key] for key in sorted(records)]

    def sheets(self) -> list[tuple[int, bytes]]:
        """Return the step and the PNG of each sheet."""
        return [(event.step, event.encoded_image_string) for event in self.events.Images("samples")]

    def usage(self, tag: str = "parts") -> list[tuple[int, list[float]]]:
        """Return the step, and how often each part is drawn, of each histogram."""
        return [
            (event.step, list(event.histogram_value.bucket))
            for event in self.events.Histograms(tag)
        ]


def shown(folder: Path) -> Shown:
    """Read all that is in a folder."""
    everything = dict.fromkeys(("scalars", "images", "histograms"), 0)
    events = EventAccumulator(str(folder), size_guidance=everything)
    events.Reload()
    return Shown(events)


def as_fp32(records: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return records with the rounding of a curve."""
    return [
        {name: value if name == "step" else float(np.float32(value)) for name, value in r.items()}
        for r in records
    ]


def pixels(content: bytes | Path) -> np.ndarray:
    """Return the pixels of a PNG."""
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
        return np.asarray(picture.convert("RGB"))


def seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each event file seem younger than the last: their order is that of the second in a name.

    The runs of a test take less.
    """
    later = count(round(time.time()))
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: next(later)))
