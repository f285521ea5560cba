"""Reconstructions: images next to their parse, posterior canvas and decoded image."""

import math
from pathlib import Path
from typing import Any

import torch

from npdraw.datasets import digest
from npdraw.drawings.drawing_model import open_model
from npdraw.drawings.frames import rendered, still
from npdraw.drawings.named import named_image, noted
from npdraw.drawings.stamp import stamp
from npdraw.model.latents import concatenate
from npdraw.pictures.files import check_picture, is_up_to_date, write_still
from npdraw.pictures.sheet import to_uint8
from npdraw.runtime.settings import Runtime


def reconstruct(
    model_path: Path, *, names: list[str], root: Path, samples: int, out: Path, runtime: Runtime
) -> dict[str, Any]:
    """Write a picture with a row for each image, and return the figures of every image.

    A row shows the image, the canvas of its parse, the canvas of the likeliest drawing of the
    posterior, and the image decoded from that canvas. `figures` has, for each image, the bound on
    its NLL with `samples` samples, in nats and in bits/dim, and the canvas error and the number of
    parts of parse and posterior.

    Raises:
        UsageError, DataError: see `named.named_image`.
    """
    # Parse and encode the images.
    check_picture(out, force=runtime.force)
    model = open_model(model_path, runtime)
    named = [named_image(name, model, root) for name in names]
    images = torch.cat([image for _, image in named])
    parse, posterior = model.parse(images), concatenate([source.drawing for source, _ in named])

    # Their figures. One image at a time, because noise depends on the position in a batch.
    small = model.layout.shrink(images)
    nll = [float(model.nll(image, samples)) for image in images.split(1)]
    bit = images[0].numel() * math.log(2)  # nats of one bit in every dimension
    figures: list[dict[str, Any]] = [
        {"image": name, "nll": bound, "bits_per_dim": bound / bit}
        for name, bound in zip(names, nll, strict=True)
    ]
    for kind, z in (("parse", parse), ("posterior", posterior)):
        errors = (model.paint(z)[:, :-1] - small).square().flatten(1).mean(1)
        for row, error, parts in zip(figures, errors, z.whether.sum(1), strict=True):
            row |= {f"{kind}_canvas_mse": float(error), f"{kind}_parts": int(parts)}
    result = {"images": len(names), "samples": samples, "figures": figures, "out": str(out)}
    result |= noted(*(source for source, _ in named))

    # Write the picture, unless it is up to date.
    pixels = to_uint8(images)
    text = stamp("reconstruct", model, [parse, posterior], images=digest(pixels.numpy()))
    if is_up_to_date(out, text, force=runtime.force):
        return result | {"up_to_date": True}
    (parsed, _), (canvases, decoded) = rendered(model, parse), rendered(model, posterior)
    columns = (pixels, parsed, canvases, decoded)
    write_still(out, still([torch.stack(row) for row in zip(*columns, strict=True)]), text)
    return result
