"""A training for TensorBoard: its curves, its sample sheets, and how often each part is drawn.

It needs the extra `npdraw[tensorboard]`, which nothing imports unless a board is made.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BOARD = "tensorboard"
"""Name of its folder in the run folder."""


class Board:
    """Event files that TensorBoard shows; they hold what a call adds when it returns."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """Open a further file in `folder`, for a training that resumes from `step`.

        TensorBoard shows what earlier files say up to that step; step 0 is shown again.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what tensorboard imports
            from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder, purge_step=step + 1 if step else 0)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def curves(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a point to the curve of each figure, in fp32."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def samples(self, step: int, sheet: "Tensor", usage: Sequence[Sequence[int]]) -> None:
        """Add a sheet, uint8 [C, height, width], and the use of parts in its drawings.

        `usage` counts how often each part of each layer is drawn: a histogram over the numbers of
        the parts, with a bucket for each.
        """
        self._writer.add_image("samples", sheet, step)
        for layer, counts in enumerate(usage):
            self._writer.add_histogram_raw(
                "parts" if len(usage) == 1 else f"parts_{layer}",
                min=0,
                max=len(counts),
                num=sum(counts),
                sum=sum(part * count for part, count in enumerate(counts)),
                sum_squares=sum(part**2 * count for part, count in enumerate(counts)),
                bucket_limits=range(1, len(counts) + 1),
                bucket_counts=counts,
                global_step=step,
            )
        self._writer.flush()
