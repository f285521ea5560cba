"""Presets: a table of settings, ours and published ones. Each row changes some defaults.

Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from typing import Any

from npdraw.config import FULL_SIDE, Config, ParseConfig, PriorConfig
from npdraw.decoder_config import DecoderConfig
from npdraw.errors import UsageError, did_you_mean
from npdraw.overrides import override

# For half an hour: a smaller encoder, which starts from the parser's gains and loses next to
# nothing, and half as many blocks in the decoder, which pays off because there is time for more
# steps (LOG.md, 2026-11-30).
_SHORT = DecoderConfig(encoder_channels=64, encoder_depth=2, decoder_depth=1, steps=2_000)

_LONG = DecoderConfig(steps=12_500, encoder_learning_rate=3e-3, learning_rate=3e-3, wake=0.2)

_COLOUR = ParseConfig(image_size=32, channels=3, binarize=False, parts=200, compositing="over")

# Strokes with ink on three layers: photographs are smooth in most places, and a stroke of pattern,
# ink and contrast says as much as many parts of 2 x 2 pixels (LOG.md, 2026-11-29).
_INK = ParseConfig(
    image_size=32,
    channels=3,
    binarize=False,
    part_size=8,
    stride=8,
    finer=(4, 4),
    parts=512,
    inks=64,
    threshold=0.02,
)

# Few strokes, as for photographs: what they leave out is learned faster by the decoder than by
# drawings of smaller strokes (LOG.md, 2026-11-29). The lower threshold is for flat grounds.
_OWN = replace(_INK, parts=256, threshold=0.003)

_FINE_PRIOR = PriorConfig(depth=2, heads=2, mlp_width=256, steps=250, batch_size=64)
_OWN_PRIOR = replace(_FINE_PRIOR, width=64, steps=150)
_FINE_DECODER = DecoderConfig(
    encoder_channels=64,
    encoder_depth=3,
    encoder_gain=160.0,
    decoder_channels=(64, 64),
    decoder_depth=1,
    batch_size=32,
    encoder_learning_rate=3e-3,
    learning_rate=6e-3,
    weight_decay=0.1,
    ema=0.99,
    hard_fraction=1.0,
    canvas_weight=80.0,
    stroke_weight=1.0,
    wake=0.0,  # with it held-out images were 1 % worse (LOG.md, 2026-11-26)
)
_OWN_DECODER = replace(
    _FINE_DECODER,
    decoder_channels=(32, 64),
    decoder_patch=0,
    encoder_gain=0.0,
    batch_size=16,
    steps=1500,
    encoder_learning_rate=5e-3,
    # Without it a layer may stop painting for good: at a probability of 0 nothing else has a slope
    # (LOG.md, 2026-11-30).
    final_parse_weight=0.001,
)

_PAPER_PRIOR = PriorConfig(
    width=64, depth=8, heads=16, head_width=64, mlp_width=2048, learning_rate=1e-3
)
_PAPER_DECODER = DecoderConfig(
    prior="frozen",
    encoder_channels=128,
    encoder_depth=3,
    decoder_channels=(128,),
    decoder_depth=4,
    decoder_patch=4,
    encoder_learning_rate=1e-3,
    learning_rate=1e-4,
    temperature=1.0,
    final_temperature=0.5,
    parse_weight=50.0,
    final_parse_weight=50.0,
    canvas_weight=0.0,
    hard_fraction=0.0,
    wake=0.0,
)

PRESETS: Mapping[str, Config] = {
    "glyphs": Config(
        preset="glyphs",
        data="glyphs",
        prior=PriorConfig(width=64, depth=3, mlp_width=256, steps=200),
        decoder=DecoderConfig(encoder_channels=64, decoder_channels=(32, 64), steps=230, ema=0.99),
    ),
    "glyphs-best": Config(preset="glyphs-best", data="glyphs"),
    "mnist": Config(preset="mnist", data="mnist", decoder=_SHORT),
    "mnist-best": Config(
        preset="mnist-best",
        data="mnist",
        parse=ParseConfig(parts=100),
        prior=PriorConfig(dropout=0.1, steps=800),
        # For a GPU, where a batch of 512 takes hardly longer than one of 128. Each image is seen 70
        # times, so images are deformed at random, which reduces overfitting.
        decoder=replace(
            _LONG,
            steps=7_400,
            batch_size=512,
            encoder_learning_rate=4e-3,
            learning_rate=4e-3,
            deform=0.05,
        ),
    ),
    # Binarised once and for all, so that a digit never looks different: 50,000 are soon overfitted.
    "mnist-static": Config(
        preset="mnist-static",
        data="mnist-static",
        prior=PriorConfig(dropout=0.1),
        decoder=_SHORT,
    ),
    # For an hour and a half of one thread. Images are deformed, because each is seen eleven times.
    # With 7,000 steps it overfits (LOG.md, 2026-12-01, static MNIST overfits).
    "mnist-static-best": Config(
        preset="mnist-static-best",
        data="mnist-static",
        parse=ParseConfig(parts=100),
        prior=PriorConfig(dropout=0.1, steps=800),
        decoder=replace(_LONG, encoder_channels=64, encoder_depth=2, steps=4_500, deform=0.05),
    ),
    "omniglot": Config(
        preset="omniglot",
        data="omniglot",
        parse=ParseConfig(parts=100, shift=1),
        decoder=_SHORT,
    ),
    "omniglot-best": Config(
        preset="omniglot-best",
        data="omniglot",
        parse=ParseConfig(parts=100, shift=1),
        prior=PriorConfig(dropout=0.1),
        # Lines are thin: with lower weights the canvas gets dots that only the decoder can read.
        decoder=replace(_LONG, canvas_weight=4.0, wake_canvas_weight=4.0),
    ),
    "pictures": Config(
        preset="pictures",
        data="cifar10",
        parse=_OWN,
        prior=_OWN_PRIOR,
        decoder=_OWN_DECODER,
    ),
    # Grey images of all levels: photographs, textures, clothes.
    "textures": Config(
        preset="textures",
        data="mnist",
        parse=replace(_OWN, image_size=28, channels=1),
        prior=_OWN_PRIOR,
        # Few pictures of one kind are soon overfitted, and in grey there is less to learn.
        decoder=replace(_OWN_DECODER, steps=600),
    ),
    "cifar10": Config(
        preset="cifar10",
        data="cifar10",
        parse=_INK,
        prior=_FINE_PRIOR,
        decoder=replace(_FINE_DECODER, steps=2400),
    ),
    # Five times the steps of `cifar10`, two of three for the decoder alone, and a deeper prior.
    "cifar10-best": Config(
        preset="cifar10-best",
        data="cifar10",
        parse=_INK,
        prior=_FINE_PRIOR,
        decoder=replace(_FINE_DECODER, steps=6_000, decoder_alone=2, ema=0.998),
    ),
    # Faces at full resolution, with parts as large as those of `pictures` at this size.
    "celeba": Config(
        preset="celeba",
        data="celeba",
        parse=replace(_INK, image_size=64, part_size=8, stride=8, finer=(8, 4), threshold=0.01),
        prior=replace(_FINE_PRIOR, steps=120),
        decoder=replace(
            _OWN_DECODER,
            decoder_channels=(64, 112),
            batch_size=32,
            steps=360,
            canvas_weight=100.0,
            stroke_weight=3.0,
        ),
    ),
    # docs/model.md, section 8: sizes and schedules of the paper and of the authors' code. The prior
    # has 4.3 M parameters (theirs 4.5 M), encoder and decoder have 2.1 M (theirs 2.0 M), with the
    # residual blocks at 7 x 7.
    "mnist-paper": Config(
        preset="mnist-paper",
        data="mnist",
        parse=ParseConfig(part_size=5, stride=5),
        prior=replace(_PAPER_PRIOR, steps=79_320, batch_size=500),
        decoder=replace(_PAPER_DECODER, steps=79_320, batch_size=500),
    ),
    # The authors model CelebA with one logistic per pixel; here with a mixture, as CIFAR-10.
    "cifar10-paper": Config(
        preset="cifar10-paper",
        data="cifar10",
        parse=_COLOUR,
        prior=replace(_PAPER_PRIOR, steps=165_000, batch_size=150),
        decoder=replace(
            _PAPER_DECODER,
            steps=165_000,
            batch_size=150,
            parse_weight=500.0,
            final_parse_weight=500.0,
        ),
    ),
    "celeba-paper": Config(
        preset="celeba-paper",
        data="celeba",
        parse=replace(_COLOUR, image_size=64, canvas_size=32),
        prior=replace(_PAPER_PRIOR, steps=214_800, batch_size=150),
        decoder=replace(
            _PAPER_DECODER,
            decoder_patch=8,
            steps=214_800,
            batch_size=150,
            parse_weight=500.0,
            final_parse_weight=500.0,
            kl_weight=0.0,
        ),
    ),
}


def preset(name: str) -> Config:
    """Return the preset `name`; for an unknown name, `UsageError` suggests the nearest one."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}", hint=did_you_mean(name, PRESETS))
    return PRESETS[name]


SMALLEST_IMAGE, LARGEST_IMAGE = 8, 32
"""Range of the side, in pixels, of images whose size is chosen automatically."""


def image_side(side: int) -> int:
    """Return the side of the images that pictures with a side of `side` pixels become.

    It is their own, from 8 to 32 pixels; larger pictures are shrunk, because training takes longer
    with the square of the side.
    """
    return min(max(side, SMALLEST_IMAGE), LARGEST_IMAGE)


MOST_CELLS = 256
"""Most cells of a drawing of plain parts that are sized automatically."""


def part_sizes(canvas_side: int, row: ParseConfig) -> dict[str, Any]:
    """Return part_size, stride and finer for a canvas of `canvas_side` pixels, as settings.

    Plain parts have the side of those of the preset `row` while the grid has at most 256 cells;
    else the least with which it has. Parts with ink grow with the canvas from 32 pixels on. Grids
    that the stride does not divide are centred. Part sides and cells in all:

    | canvas | 16 | 28 | 32 | 48 | 64 | 96 | 128 |
    |---|---|---|---|---|---|---|---|
    | `glyphs` | 4: 16 | 4: 49 | 4: 64 | 4: 144 | 4: 256 | 6: 256 | 8: 256 |
    | `pictures` | 8, 4, 4: 36 | 114 | 144 | 16, 8, 8: 81 | 144 | 24, 12, 12: 144 | 32, 16, 16 |
    """
    if not row.inks:
        side = max(row.part_size, row.stride, -(-canvas_side // isqrt(MOST_CELLS)))
        return {"part_size": side, "stride": side}
    factor = max(1, -(-canvas_side // FULL_SIDE))
    side, finer = factor * row.part_size, tuple(factor * side for side in row.finer)
    return {"part_size": side, "stride": side, "finer": finer}


def from_dict(values: Mapping[str, Any], *, data: str, source: str) -> Config:
    """Return the settings stored in an artifact; missing sections come from its preset."""
    name = str(values.get("preset", ""))
    base = replace(preset(name), data=data)
    stored = {key: value for key, value in values.items() if key != "preset"}
    return override(base, stored, source=source)
