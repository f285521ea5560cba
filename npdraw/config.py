"""Settings: each default once, with its meaning, its unit and its range.

A later stage takes the settings of the earlier ones from the artifact it reads. Nothing here
imports torch.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from npdraw.class_config import ClassConfig
from npdraw.ranges import MAX_BATCH, MAX_STEPS, check_ranges, require, setting

SAVE_EVERY = 200
"""Training steps from one checkpoint to the next, unless the command line says otherwise."""

BATCH_SIZE = 100
"""Images or drawings per forward pass outside training, unless the command line says otherwise."""

SAMPLES, CLASS_SAMPLES = 50, 10
"""Importance samples per image (S), and those to classify it, unless the command line says so."""

# Bounds that no sensible setting comes near: an artifact that asks for more is refused before
# anything of that size is built.
_MAX_WIDTH = 65_536  # channels of a layer
_MAX_DEPTH = 128  # consecutive layers or blocks
_MAX_CELLS = 4_096  # of a layout: each attends to each of them in the prior


FULL_SIDE = 32
"""Side in pixels of the largest images for which presets have their sizes of parts and decoders."""


@dataclass(frozen=True)
class ParseConfig:
    """Images, layout, part bank and parser (docs/model.md, sections 1 to 3; paper, section 3.1)."""

    image_size: int = setting(28, "side of the images in pixels", low=4, high=256)
    channels: int = setting(1, "colour channels: 1 for grey, 3 for colour", choices=(1, 3))
    binarize: bool = setting(True, "draw each pixel as 0 or 1, with probability value / 255 of 1")
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
        50, "parts in the bank, with ink patterns of each layer (K)", low=1, high=4096
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

    width: int = setting(128, "channels of the Transformer", low=1, high=_MAX_WIDTH)
    depth: int = setting(4, "layers", low=1, high=_MAX_DEPTH)
    heads: int = setting(4, "attention heads", low=1, high=1024)
    head_width: int = setting(32, "channels per head", low=1, high=1024)
    mlp_width: int = setting(512, "hidden channels of the MLP", low=1, high=_MAX_WIDTH)
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

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges("prior", self)


@dataclass(frozen=True)
class DecoderConfig:
    """Encoder, decoder and their joint training (docs/model.md, section 6; paper, section 3.3)."""

    prior: str = setting(
        "joint",
        "joint: train the prior further; frozen: keep it as it is, as in the paper",
        choices=("joint", "frozen"),
    )
    encoder_channels: int = setting(112, "channels of the encoder", low=1, high=_MAX_WIDTH)
    encoder_depth: int = setting(4, "residual blocks of the encoder", low=0, high=_MAX_DEPTH)
    encoder_gain: float = setting(
        1.0,
        "initial weight of the parser's gains in the encoder's logits, nats per unit; 0: with ink "
        "1 / (2 canvas_mse), else none",
        low=0,
    )
    decoder_channels: tuple[int, ...] = setting(
        (64, 112), "channels at each resolution, finest first", low=1, high=_MAX_WIDTH
    )
    decoder_depth: int = setting(  # blocks are made twice at each of at most 8 resolutions
        2, "residual blocks at each resolution, on the way down and up", low=0, high=16
    )
    decoder_patch: int = setting(
        2,
        "side in pixels of the squares folded into channels at the decoder's input, even with ink; "
        "0: 2 for images of up to 32 pixels, 4 for up to 64, and so on",
        low=0,
        high=256,
    )
    steps: int = setting(1400, "training steps of both phases together", low=1, high=MAX_STEPS)
    batch_size: int = setting(128, "images per training step", low=1, high=MAX_BATCH)
    encoder_learning_rate: float = setting(
        4e-3, "peak learning rate of the encoder, and of the prior where it is joint", above=0
    )
    learning_rate: float = setting(4e-3, "peak learning rate of the decoder", above=0)
    weight_decay: float = setting(0.01, "weight decay of matrices", low=0)
    warmup: float = setting(
        0.03, "fraction of each phase over which the learning rates rise", low=0, below=1
    )
    ema: float = setting(
        0.998, "decay per step of the moving average (EMA) of the weights", low=0, below=1
    )
    temperature: float = setting(
        0.4, "temperature of the relaxed samples at the start of the relaxed phase", above=0
    )
    final_temperature: float = setting(
        0.1, "temperature of the relaxed samples at the end of the relaxed phase", above=0
    )
    hard_fraction: float = setting(
        0.25, "fraction of a batch in the relaxed phase whose samples are rounded", low=0, high=1
    )
    decoder_alone: int = setting(
        0, "steps of the decoder alone after each step of all networks", low=0, high=100
    )
    parse_weight: float = setting(1.0, "initial weight of the cross-entropy to the parse", low=0)
    final_parse_weight: float = setting(
        0.0, "final weight of the cross-entropy to the parse in the relaxed phase", low=0
    )
    parse_until: float = setting(
        0.15, "fraction of the relaxed phase over which parse_weight decays", low=0, high=1
    )
    deform: float = setting(
        0.0,
        "standard deviation of random linear deformations of training images; the share of "
        "deformed images falls from 1 to 0 over the relaxed phase",
        low=0,
        high=0.5,
    )
    canvas_weight: float = setting(
        2.0, "weight of the canvas's squared error in the relaxed phase, nats", low=0
    )
    stroke_weight: float = setting(0.0, "penalty on each stroke in the relaxed phase, nats", low=0)
    kl_weight: float = setting(
        1.0, "weight of the KL in the relaxed phase; with 1 the loss is a bound", low=0
    )
    wake: float = setting(
        0.08, "fraction of the steps, at the end, in the wake phase (hard samples)", low=0, high=1
    )
    wake_samples: int = setting(
        8, "encoder samples per image in the wake phase; one is chosen", low=1, high=4096
    )
    wake_canvas_weight: float = setting(
        0.0, "weight of the canvas's squared error in choosing that sample, nats", low=0
    )
    wake_rate: float = setting(
        0.25, "peak learning rates of the wake phase, relative to the relaxed phase", above=0
    )

    @property
    def relaxed_steps(self) -> int:
        """Number of steps of the relaxed phase, which comes first."""
        return self.steps - round(self.wake * self.steps)

    def __post_init__(self) -> None:
        """Check ranges, then relations between settings."""
        check_ranges("decoder", self)
        sizes = len(self.decoder_channels)
        require(1 <= sizes <= 8, f"decoder.decoder_channels has {sizes} entries, must be 1 to 8")
        largest = 256 >> (sizes - 1)
        require(
            self.decoder_patch <= largest,
            f"decoder.decoder_patch is {self.decoder_patch}, must be at most {largest} with "
            f"{sizes} entries of decoder.decoder_channels",
        )


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
