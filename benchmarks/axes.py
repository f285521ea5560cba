"""The axes along which costs are measured: their sizes, and the settings of each size.

Imports no torch: the process that starts the measurements must stay small (see `scaling`).
"""

from dataclasses import dataclass, replace

from npdraw.config import Config
from npdraw.presets import preset


@dataclass(frozen=True)
class Axis:
    """One size to vary, with all other settings those of the preset `mnist`."""

    name: str
    meaning: str
    sizes: tuple[int, ...]
    stages: tuple[str, ...]


AXES = (
    Axis(
        "N",
        "images in the data set",
        (10_000, 20_000, 40_000, 80_000),
        ("bank", "parse", "command"),
    ),
    Axis(
        "T",
        "steps of a drawing; images of side 16, 28, 40 and 56",
        (16, 49, 100, 196),
        ("train_prior", "train_decoder", "sample", "eval_nll"),
    ),
    Axis("K", "parts in the bank", (25, 50, 100, 200, 400), ("bank", "parse", "train_decoder")),
    Axis(
        "P",
        "side of a part, pixels; the stride too, so that T is 196, 49, 16 and 4",
        (2, 4, 7, 14),
        ("bank", "parse", "paint", "train_decoder"),
    ),
    Axis("S", "importance samples of eval-nll", (5, 10, 25, 50), ("eval_nll",)),
    Axis(
        "prior_width",
        "width of the prior; heads of 32 channels, MLP four times as wide",
        (64, 128, 256, 512),
        ("train_prior", "sample"),
    ),
    Axis("encoder_channels", "channels of the encoder", (48, 96, 144, 192), ("train_decoder",)),
    Axis(
        "decoder_channels",
        "channels of the decoder's first size; the second has twice as many",
        (24, 48, 72, 96),
        ("train_decoder",),
    ),
    Axis("batch", "images in a training step", (32, 128, 512), ("train_prior", "train_decoder")),
)

PER = {
    "bank": "image",
    "parse": "image",
    "paint": "image",
    "train_prior": "image",
    "train_decoder": "image",
    "sample": "image",
    "eval_nll": "image and sample",
}
"""Unit of work that the seconds and operations of a stage refer to, unless `per` overrides it."""

WHAT = {
    "bank": "seeding and 20 Lloyd iterations, whatever the error",
    "command": "all of `npdraw parse --data npz:FILE`, with a bank that converges",
}
"""What stages do whose names do not say enough."""


def per(axis: str, stage: str) -> str:
    """Return the unit of work of seconds and operations: everything, if the size is the amount."""
    if axis == "N":
        return "data set"
    if axis == "batch":
        return "step"
    return "image" if axis == "S" else PER[stage]


def config_at(axis: str, size: int) -> Config:
    """Return the preset `mnist` with `size` on the axis."""
    config = preset("mnist")
    parse, prior, decoder = config.parse, config.prior, config.decoder
    if axis == "T":
        parse = replace(parse, image_size=parse.stride * round(size**0.5))
    elif axis == "K":
        parse = replace(parse, parts=size)
    elif axis == "P":
        parse = replace(parse, part_size=size, stride=size)
    elif axis == "prior_width":
        heads = size // prior.head_width
        prior = replace(prior, width=size, heads=heads, mlp_width=4 * size)
    elif axis == "encoder_channels":
        decoder = replace(decoder, encoder_channels=size)
    elif axis == "decoder_channels":
        decoder = replace(decoder, decoder_channels=(size, 2 * size))
    elif axis == "batch":
        prior = replace(prior, batch_size=size)
        decoder = replace(decoder, batch_size=size)
    return replace(config, parse=parse, prior=prior, decoder=decoder)
