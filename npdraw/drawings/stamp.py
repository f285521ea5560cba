"""The text in a picture that says what it shows; an equal text means that it is up to date."""

from collections.abc import Sequence
from typing import Any

from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.strokes import fingerprint
from npdraw.model.latents import Latents

_ORDER = ("shows", "model", "images", "drawings", "fps", "precision", "written")
"""The text is compared and written byte for byte, so the order of its entries is fixed."""


def stamp(
    command: str, model: DrawingModel, drawings: Sequence[Latents], **more: Any
) -> dict[str, Any]:
    """Return what decides the bytes of a picture: the command, the model, drawings and precision.

    `more` are further entries of `_ORDER`: images, fps, written.
    """
    entries = {
        "shows": command,
        "model": model.header.digest,
        "drawings": [fingerprint(z) for z in drawings],
        "precision": model.runtime.precision_name(model.device),
    } | more
    return {name: entries.pop(name) for name in _ORDER if name in entries}
