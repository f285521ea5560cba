"""Images as a model sees them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from npdraw.config import ParseConfig
from npdraw.errors import UsageError
from npdraw.inputs.images import to_levels
from npdraw.model.npdraw import NPDraw

Images = Tensor | NDArray[np.uint8] | NDArray[np.float32]
"""Images [N, C, H, W], or grey ones [N, H, W]: uint8, or floats in [0, 1]."""


OFF_LEVEL = 1e-3
"""Distance from a level, in levels, that rounding may cause."""


def preprocessed(images: Images, network: NPDraw, settings: ParseConfig, seed: int) -> Tensor:
    """Return images as float [N, C, H, W] in [0, 1]; see `DrawingModel.preprocess`."""
    x = torch.as_tensor(images)
    x = x[:, None] if x.ndim == 3 else x
    channels, side = settings.channels, settings.image_size
    if x.ndim != 4 or not len(x) or list(x.shape[1:]) != [channels, side, side]:
        raise UsageError(
            f"images of shape {list(x.shape)}; this model has "
            f"[N, {channels}, {side}, {side}], N at least 1"
        )
    if x.dtype == torch.uint8:
        return network.in_unit(to_levels(x, settings, seed))
    if not (x.is_floating_point() and bool(((x >= 0) & (x <= 1)).all())):
        raise UsageError("images are neither uint8 nor floats in 0..1")
    return x.float()


def check_levels(x: Tensor, settings: ParseConfig) -> None:
    """Raise `UsageError` if pixels in [0, 1] are between the values that have a likelihood."""
    scaled = x * (settings.levels - 1)
    if float((scaled - scaled.round()).abs().max()) > OFF_LEVEL:
        raise UsageError(
            f"images have values between the {settings.levels} that the model explains",
            hint="Give uint8 images"
            + (", which are binarised, or (images > 0.5)." if settings.binarize else "."),
        )
