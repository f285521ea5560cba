"""An artifact with every dtype, and how tests take files apart and put them together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import write_artifact
from npdraw.errors import ArtifactError
from npdraw.header import canonical
from npdraw.run_key import RunKey

TENSORS = {
    "bank.parts": torch.linspace(-1, 1, 18).reshape(2, 3, 3),
    "adam.step": torch.tensor(7.0),
    "weights": torch.linspace(-3, 3, 5).bfloat16(),
    "where": torch.tensor([[-1, 2**40]]),
    "shorts": torch.tensor([-300, 300], dtype=torch.int16),
    "generator": torch.arange(5, dtype=torch.uint8),
    "whether": torch.tensor([True, False, True]),
    "nothing": torch.zeros(0, 4),
    "no steps": torch.zeros(3, 0, dtype=torch.int64),
}
FIELDS: dict[str, Any] = {
    "config": {"preset": "glyphs", "parse": {"parts": 2, "channels": (8, 16)}},
    "dataset": {"name": 'a "näme"', "train": 90, "digest": "ab"},
    "inputs": {"parse": "3f9a1c" + "0" * 58},
    "seed": 3,
    "metrics": {"nats": 1.25, "images": 90},
}


def write(path: Path, **changes: Any) -> str:
    """Write a prior that holds every dtype; `changes` replaces arguments."""
    kind, tensors = changes.pop("kind", "prior"), changes.pop("tensors", TENSORS)
    fields = FIELDS | changes
    metrics = fields.pop("metrics")
    return write_artifact(path, kind, tensors, run_key=RunKey(**fields), metrics=metrics)


def refused(read: Callable[[], object]) -> str:
    """Return the message of the error that `read` raises: one line, with a hint."""
    with pytest.raises(ArtifactError) as caught:
        read()
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON header of a file and the bytes of its tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def join(head: dict[str, Any] | str, body: bytes) -> bytes:
    text = head if isinstance(head, str) else json.dumps(head, separators=(",", ":"))
    raw = text.encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + body


def forge(data: bytes, **changes: Any) -> bytes:
    """Return a file whose metadata has other fields, in canonical form but with the old digest."""
    head, body = split(data)
    values = json.loads(head["__metadata__"]["npdraw"]) | changes
    head["__metadata__"]["npdraw"] = canonical(
        {name: value for name, value in values.items() if value is not None}
    )
    return join(head, body)
