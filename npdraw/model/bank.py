"""The part bank: K patches of real images, the non-parametric "what" (docs/model.md, section 2).

Paper, section 3.1: k-means over the patches of the training images, then each centre may be
replaced by the nearest real patch.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from npdraw.errors import UsageError
from npdraw.model.clusters import cluster, nearest
from npdraw.model.layout import Layout

MOST = 1 << 22
"""Most cells that are clustered; if the images have more, evenly spaced images are taken. Time and
memory then stop growing, and CIFAR-10's other images are parsed just as well (LOG.md,
2026-11-26)."""


@dataclass(frozen=True)
class Bank:
    """The parts, and how well they fit the patches they come from."""

    parts: Tensor
    """float [K, C, P, P] in [0, 1]."""
    patches: int
    """Number of patches clustered; those too faint to be painted are left out."""
    error: float
    """Mean squared distance per pixel between a patch and its part."""


def collect_patches(images: Tensor, layout: Layout, threshold: float) -> Tensor:
    """Return the patches that may become parts, under every placement: [M, C * P * P] in [0, 1].

    Images uint8 [N, C, H, W]. Pixels outside the image are 0. Painting a patch where it comes from
    lowers the squared error by its squared norm; where that is not more than `threshold` no step
    would paint it (docs/model.md, section 3), and a part like it would be dead.
    """
    pixels = images.shape[1] * layout.part_size**2
    # In main memory, where untouched pages of an empty tensor take no memory; concatenating chunks
    # would take it twice.
    kept, count = torch.empty(len(images) * layout.steps * layout.placements, pixels), 0
    for chunk in images.split(1024):
        patches = layout.patches(chunk.float() / 255).flatten(0, 2)
        chosen = patches[patches.square().sum(1) > threshold]
        kept[count : count + len(chosen)] = chosen
        count += len(chosen)
    return kept[:count].to(images.device)


def different_patches(images: Tensor, layout: Layout, threshold: float, most: int) -> int:
    """Return how many different patches may become parts, counted up to `most`.

    Images uint8 [N, C, H, W]. A bank of these images cannot have more parts.
    """
    chunks = _clustered(images, layout).split(64)
    return _count_different((collect_patches(c, layout, threshold) for c in chunks), most)


def build_bank(
    images: Tensor,
    layout: Layout,
    parts: int,
    *,
    snap: str,
    threshold: float,
    generator: torch.Generator,
    tolerance: float = 1e-4,
    iterations: int = 300,
) -> Bank:
    """Cluster the patches of uint8 images [N, C, H, W] into `parts` parts.

    k-means++ seeding, then Lloyd iterations on equation (2.1) until the error improves by at most
    `tolerance` (relative), over at most `MOST` placements. `snap` "medoid" replaces each centre by
    the nearest patch, equation (2.2); "mean" keeps it. Patches that the parser would not paint at
    `threshold` are left out (`collect_patches`). The most used parts come first.

    Raises:
        UsageError: there are fewer different patches than parts.
    """
    # Collect the patches.
    patches = collect_patches(_clustered(images, layout), layout, threshold)
    _check_enough(patches, parts)

    # Cluster them.
    centres = cluster(
        patches, parts, snap=snap, generator=generator, tolerance=tolerance, iterations=iterations
    )

    # Number the parts by their use.
    label, distance = nearest(patches, centres)
    usage = torch.bincount(label, minlength=parts)
    order = usage.argsort(descending=True, stable=True)
    shape = (parts, images.shape[1], layout.part_size, layout.part_size)
    return Bank(
        parts=centres[order].view(shape).clamp(0, 1).contiguous(),
        patches=len(patches),
        error=float(distance.mean(dtype=torch.float64)) / patches.shape[1],
    )


def _clustered(images: Tensor, layout: Layout) -> Tensor:
    """Return the images whose patches are clustered: all, or evenly spaced ones."""
    most = max(1, MOST // (layout.steps * layout.placements))
    if len(images) <= most:
        return images
    return images[torch.arange(most, device=images.device) * len(images) // most]


def _check_enough(patches: Tensor, parts: int) -> None:
    """Raise `UsageError` if there are fewer different patches than parts."""
    different = _count_different(patches.split(4096), parts)
    if different == 0:
        raise UsageError(
            "all patches of the images are too faint to be painted",
            hint="They may be empty at this size: try a larger --image-size, another --fit or "
            "--pixels levels, or a lower threshold in [parse] of a file for --config.",
        )
    if different < parts:
        raise UsageError(
            f"{parts} parts, but the images have only {different} different patches strong "
            "enough to be painted",
            hint=f"Use at most {different} parts (--parts, or parts in [parse] of a file for "
            "--config), or give more images.",
        )


def _count_different(chunks: Iterable[Tensor], most: int) -> int:
    """Return the number of different rows of all chunks [M, D], counted up to `most`."""
    known: Tensor | None = None
    for chunk in chunks:
        # Sorting to find duplicates is slow, so it ends as soon as there are enough.
        known = (chunk if known is None else torch.cat([known, chunk])).unique(dim=0)
        if len(known) >= most:
            return most
    return 0 if known is None else len(known)
