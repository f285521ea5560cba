"""npdraw: images drawn part by part (NP-DRAW, Zeng et al., UAI 2021).

import npdraw

model = npdraw.load("mnist")  # a shipped model, or a file
drawings = model.sample(9, seed=0)
images = model.decode(model.paint(drawings))
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from npdraw.version import __version__ as __version__

if TYPE_CHECKING:
    from npdraw.drawings.drawing_model import DrawingModel


def load(
    path_or_name: str | PathLike[str], *, device: str = "auto", precision: str = "auto"
) -> DrawingModel:
    """Read a trained model: a file written by `npdraw train-decoder`, or a shipped model by name.

    `device` is auto (cuda if available), cpu, cuda, cuda:N or mps; `precision` is auto, fp32 or
    bf16. Torch is imported when this is called, not with npdraw.

    Raises:
        npdraw.errors.ArtifactError: the model does not exist, or is damaged.
        npdraw.errors.UsageError: the device does not exist, or one of the names is unknown.
    """
    from npdraw.drawings.drawing_model import open_model
    from npdraw.inputs.shipped import find_model
    from npdraw.runtime.settings import Runtime

    return open_model(find_model(path_or_name), Runtime(device=device, precision=precision))
