"""Images beside what the model makes of them: parse, posterior canvas, decoded image."""

import math
from pathlib import Path
from typing import Any

import torch

from npdraw.datasets import digest
from npdraw.drawings.drawing_model import open_model
from npdraw.drawings.frames import rendered, still
from npdraw.drawings.named import named_image
from npdraw.drawings.stamp import stamp
from npdraw.model.latents import concatenate
from npdraw.pictures.files import check_picture, is_up_to_date, write_still
from npdraw.pictures.sheet import to_uint8
from npdraw.runtime.settings import Runtime


def reconstruct(
    model_path: Path, *, words: list[str], root: Path, samples: int, out: Path, runtime: Runtime
) -> dict[str, Any]:
    """Write a picture with a row for each image, and return its figures.

    A row shows the image, the canvas of the parse, the canvas of the likeliest drawing of the
    posterior, and the image that is decoded from that one. `figures` has for each image the bound
    on its NLL with `samples` samples, in nats and in bits a dimension, and of parse and posterior
    the canvas error and the number of parts.

    Raises:
        UsageError, DataError: see `subjects.named_image`.
    """
    check_picture(out, force=runtime.force)
    model = open_model(model_path, runtime)
    found = [named_image(word, model, root) for word in words]
    images = torch.cat([image for _, image in found])
    parse, posterior = model.parse(images), concatenate([s.drawing for s, _ in found])
    small = model.layout.shrink(images)
    # One by one: noise goes by the place in a batch, and the figure of an image is its own.
    nll = [float(model.nll(image, samples)) for image in images.split(1)]
    bit = images[0].numel() * math.log(2)  # of every dimension, nats
    figures: list[dict[str, Any]] = [
        {"image": word, "nll": bound, "bits_per_dim": bound / bit}
        for word, bound in zip(words, nll, strict=True)
    ]
    for name, z in (("parse", parse), ("posterior", posterior)):
        errors = (model.paint(z)[:, :-1] - small).square().flatten(1).mean(1)
        for row, error, parts in zip(figures, errors, z.whether.sum(1), strict=True):
            row |= {f"{name}_canvas_mse": float(error), f"{name}_parts": int(parts)}
    result = {"images": len(words), "samples": samples, "figures": figures, "out": str(out)}
    pixels = to_uint8(images)
    text = stamp("reconstruct", model, [parse, posterior], images=digest(pixels.numpy()))
    if is_up_to_date(out, text, force=runtime.force):
        return result | {"up_to_date": True}
    (parsed, _), (canvases, decoded) = rendered(model, parse), rendered(model, posterior)
    columns = (pixels, parsed, canvases, decoded)
    write_still(out, still([torch.stack(row) for row in zip(*columns, strict=True)]), text)
    return result
