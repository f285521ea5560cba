"""Figures and names as people read them, and whether a terminal shows them."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_NATS = (".2f", "nats")
_FIGURES: Mapping[str, tuple[str, str]] = {
    "seconds": (".1f", "s"),
    "parts_painted_mean": (".2f", "parts per image"),
    "canvas_mse": (".4f", ""),
    "validation_nats": _NATS,
    "whether_nats": _NATS,
    "where_nats": _NATS,
    "what_nats": _NATS,
    "ink_nats": _NATS,
    "contrast_nats": _NATS,
    "elbo": _NATS,
    "relaxed_elbo": _NATS,
    "rate": _NATS,
    "distortion": _NATS,
    "nll": _NATS,
    "nll_se": _NATS,
    "gain_if_doubled": _NATS,
    "loss": (".2f", ""),
    "decoder_loss": (".2f", ""),
    "bits_per_dim": (".4f", "bits/dim"),
    "digest": ("", ""),
}
"""How metrics are printed: name -> format and unit."""


def value_text(name: str, value: Any, *, error: float | None = None) -> str:
    """Return the value of the entry `name` for people, with its unit."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = [value_text("", item) for item in value]
        return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "...", shown[-1]])
    if isinstance(value, int) and name != "seed":
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    form, unit = _FIGURES.get(name, (".4g", ""))
    spread = f" ± {error:{form}}" if error is not None else ""
    return f"{value:{form}}{spread} {unit}".rstrip()


def printable(text: str) -> str:
    """Return `text` with control characters escaped: file names may hold some."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def on_terminal() -> bool:
    """Return whether stderr is a terminal that interprets escape sequences."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
