"""Settings: each default once, with its meaning, its unit and its range.

A later stage takes the settings of the earlier ones from the artifact it reads. Nothing here
imports torch.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from npdraw.class_config import ClassConfig
from npdraw.decoder_config import DecoderConfig
from npdraw.ranges import (
    MAX_BATCH,
    MAX_DEPTH,
    MAX_STEPS,
    MAX_WIDTH,
    PATIENCE,
    check_ranges,
    require,
    setting,
)

SAVE_EVERY = 200
"""Training steps from one checkpoint to the next, unless the command line says otherwise."""

BATCH_SIZE = 100
"""Images or drawings per forward pass outside training, unless the command line says otherwise."""

SAMPLES, CLASS_SAMPLES = 50, 10
"""Importance samples per image (S), and those to classify it, unless the command line says so."""

_MAX_CELLS = 4_096  # of a layout: each attends to each of them in the prior


FULL_SIDE = 32
"""Side in pixels of the largest images for which presets have their sizes of parts and decoders."""


@dataclass(frozen=True)
class ParseConfig:
    """Images, layout, part bank and parser (docs/model.md, sections 1 to 3; paper, section 3.1)."""

    image_size: int = setting(28, "side of the images in pixels", low=4, high=256)
    channels: int = setting(1, "colour channels: 1 for grey, 3 for colour", choices=(1, 3))
    binarize: bool = setting(True, "set each pixel to 1 with probability value / 255, else to 0")
    canvas_size: int = setting(0, "side of the canvas in pixels; 0: that of the image", low=0)
    part_size: int = setting(4, "side of a part in pixels (P)", low=1)
    stride: int = setting(4, "distance between neighbouring cells of the grid in pixels", low=1)
    jitter: int = setting(  # its square is stored in 16 bits
        1, "placements per cell along each axis, one pixel apart; 1: plain grid", low=1, high=64
    )
    finer: tuple[int, ...] = setting(
        (), "sides in pixels of the parts of further layers, added to the first", low=1
    )
    parts: int = setting(
        50, "parts in the bank; with ink, patterns in each layer (K)", low=1, high=4096
    )
    inks: int = setting(
        0,
        "colours of the palette of each layer (I); 0: parts are painted as they are",
        low=0,
        high=1024,
    )
    contrasts: int = setting(
        8, "strengths of a pattern in each layer (S), with ink; the first is 0", low=2, high=64
    )
    snap: str = setting(
        "medoid",
        "medoid: parts are real patches; mean: parts are cluster centres",
        choices=("mean", "medoid"),
    )
    compositing: str = setting(
        "max",
        "max: light strokes on a dark canvas; over: later strokes cover earlier ones; strokes with "
        "ink are always added",
        choices=("max", "over"),
    )
    threshold: float = setting(
        0.5, "a part is painted only if it lowers the squared error by more than this", low=0
    )
    sweeps: int = setting(
        5, "maximum passes over the steps where placements overlap", low=1, high=1000
    )
    shift: int = setting(
        0, "add copies of the images, shifted by up to this many pixels", low=0, high=4
    )

    @property
    def canvas_side(self) -> int:
        """Side of the canvas in pixels."""
        return self.canvas_size or self.image_size

    @property
    def levels(self) -> int:
        """Number of values that a pixel can have."""
        return 2 if self.binarize else 256

    def __post_init__(self) -> None:
        """Check ranges, then relations between settings."""
        check_ranges("parse", self)
        require(
            self.channels == 1 or not self.binarize,
            "binary pixels with 3 channels; colour is not binary, so leave out --pixels binary",
        )
        require(
            self.canvas_size == 0
            or (self.canvas_size >= 4 and self.image_size % self.canvas_size == 0),
            f"parse.canvas_size is {self.canvas_size}, must be at least 4 and divide the side of "
            f"the image, {self.image_size}",
        )
        for name in ("part_size", "stride"):
            value = getattr(self, name)
            require(
                value <= self.canvas_side,
                f"parse.{name} is {value}, must be at most the canvas's side, {self.canvas_side}",
            )
        self._check_ink()
        window = self.part_size + self.jitter - 1
        require(
            window <= 2 * self.stride,
            f"part_size + jitter - 1 is {window}, must be at most twice the stride, {self.stride}",
        )
        require(
            window >= self.stride,
            f"part_size + jitter - 1 is {window}, must be at least the stride, {self.stride}",
        )
        sides = (self.stride, *self.finer)
        cells = sum((-(-self.canvas_side // side)) ** 2 for side in sides)
        require(
            cells <= _MAX_CELLS,
            f"a canvas of {self.canvas_side} pixels and stride "
            f"{' and '.join(map(str, sides))} make {cells} cells, more than {_MAX_CELLS}",
        )

    def _check_ink(self) -> None:
        """Check the settings of strokes with ink."""
        if self.inks == 0:
            require(self.finer == (), "parse.finer without parse.inks; set finer = [] as well")
            return
        require(not self.binarize, "binary pixels with inks; for those use the preset glyphs")
        require(
            self.part_size == self.stride and self.jitter == 1,
            "inks with overlapping placements; parse.stride must be parse.part_size, and jitter 1",
        )
        require(
            min(self.part_size, *self.finer, 2) >= 2,
            "inks with parts of one pixel; parse.part_size and parse.finer must be at least 2",
        )
        for side in self.finer:
            require(
                side <= self.part_size,
                f"parse.finer has {side}, must be at most parse.part_size, {self.part_size}",
            )


@dataclass(frozen=True)
class PriorConfig:
    """The prior and its training on parses (docs/model.md, sections 5 and 6; paper 3.2)."""

    width: int = setting(128, "channels of the Transformer", low=1, high=MAX_WIDTH)
    depth: int = setting(4, "layers", low=1, high=MAX_DEPTH)
    heads: int = setting(4, "attention heads", low=1, high=1024)
    head_width: int = setting(32, "channels per head", low=1, high=1024)
    mlp_width: int = setting(512, "hidden channels of the MLP", low=1, high=MAX_WIDTH)
    dropout: float = setting(
        0.0, "dropout rate of the prior, trained alone or with the decoder", low=0, below=1
    )
    steps: int = setting(1000, "training steps", low=1, high=MAX_STEPS)
    batch_size: int = setting(128, "drawings per training step", low=1, high=MAX_BATCH)
    learning_rate: float = setting(
        3e-3, "peak learning rate on parses (jointly: decoder.encoder_learning_rate)", above=0
    )
    weight_decay: float = setting(0.01, "weight decay of matrices", low=0)
    warmup: float = setting(
        0.03, "fraction of the steps over which the learning rate rises", low=0, below=1
    )
    ema: float = setting(
        0.995, "decay per step of the moving average (EMA) of the weights", low=0, below=1
    )
    patience: int = setting(0, PATIENCE, low=0, high=100)

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges("prior", self)


@dataclass(frozen=True)
class Config:
    """All settings of a pipeline, with the names of the preset and the data set."""

    preset: str = "glyphs"
    data: str = "glyphs"
    parse: ParseConfig = field(default_factory=ParseConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    classes: ClassConfig = field(default_factory=ClassConfig)

    @property
    def decoder_patch(self) -> int:
        """`decoder.decoder_patch`; if that is 0, a side that leaves at most 16 x 16 positions."""
        return self.decoder.decoder_patch or 2 * -(-self.parse.image_size // FULL_SIDE)

    def __post_init__(self) -> None:
        """Check relations between sections."""
        require(
            not self.parse.inks or self.decoder_patch % 2 == 0,
            f"decoder.decoder_patch is {self.decoder_patch}, must be even with parse.inks",
        )


SECTIONS = ("parse", "prior", "decoder", "classes")
"""The sections, in the order of the stages that use them first."""

PIPELINE = SECTIONS[:3]
"""The sections that every model has."""


def as_dict(config: Config, sections: tuple[str, ...] = PIPELINE) -> dict[str, Any]:
    """Return the settings of `sections` as plain values, as stored in artifacts."""
    return {"preset": config.preset} | {name: asdict(getattr(config, name)) for name in sections}
