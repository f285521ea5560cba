"""Settings: each default once, with its meaning and unit.

Settings are resolved as defaults < preset < TOML file < command line. A later stage takes the
settings of the earlier ones from the artifact it reads. Nothing here imports torch.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from npdraw.errors import UsageError, did_you_mean

SAVE_EVERY = 200
"""Training steps from one checkpoint to the next, unless the command line says otherwise."""

BATCH_SIZE = 100
"""Images or drawings per forward pass outside training, unless the command line says otherwise."""

SAMPLES = 50
"""Importance samples per image (S), unless the command line says otherwise."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(
            f"impossible settings: {message}", hint="Change it in the --config file or by its flag."
        )


def _within(low: float, high: float, **named: float) -> None:
    """Require numbers in low..high; what is `section__name` here is `section.name` to people."""
    for name, value in named.items():
        shown = name.replace("__", ".")
        _require(low <= value <= high, f"{shown} {value}, not in {low}..{high}")


# Bounds that no sensible setting comes near: what an artifact asks for is built in moments, or its
# tensors would have to be there.
_WIDEST = 65_536
"""Channels of a layer."""

_DEEPEST = 128
"""Layers or blocks in a row."""

_MOST_CELLS = 4_096
"""Cells of a layout: the prior attends from each to each."""

_MOST_STEPS = 1_000_000_000
"""Training steps."""


_LONGEST_TOML = 1 << 20
"""Bytes of a file of settings."""
_LARGEST = 1e300
"""Settings that are no integers; not a number and infinity are beyond it too."""


def setting(default: Any, meaning: str) -> Any:
    """Declare a dataclass field whose meaning can be shown by `--dry-run` and the help."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class ParseConfig:
    """Images, layout, part bank and parser (docs/model.md, sections 1 to 3; paper, section 3.1)."""

    image_size: int = setting(28, "side of the images, pixels")
    channels: int = setting(1, "colour channels: 1 grey, 3 colour")
    binarize: bool = setting(True, "pixels are 0 or 1, 1 with probability value / 255")
    canvas_size: int = setting(0, "side of the canvas, pixels; 0: that of the image")
    part_size: int = setting(4, "side of a part, pixels (P)")
    stride: int = setting(4, "distance between cells of the grid, pixels")
    jitter: int = setting(1, "placements of a cell along each axis, one pixel apart; 1: plain grid")
    parts: int = setting(50, "parts in the bank (K)")
    snap: str = setting("medoid", "medoid: real patches; mean: cluster centres")
    compositing: str = setting("max", "max: light strokes on dark; over: later steps cover")
    threshold: float = setting(0.5, "a part is painted if it lowers the squared error by more")
    sweeps: int = setting(5, "most passes over the steps where placements overlap")
    shift: int = setting(0, "few images: also take them moved by up to so many pixels")

    @property
    def canvas_side(self) -> int:
        """Side of the canvas, pixels."""
        return self.canvas_size or self.image_size

    @property
    def levels(self) -> int:
        """Values of a pixel."""
        return 2 if self.binarize else 256

    def __post_init__(self) -> None:
        """Check ranges."""
        _within(4, 256, image_size=self.image_size)
        _require(self.channels in (1, 3), f"channels {self.channels}; 1 is grey, 3 is colour")
        _require(
            self.channels == 1 or not self.binarize,
            "channels 3 with binarize; colour is not binary",
        )
        _require(
            self.canvas_size == 0
            or (self.canvas_size >= 4 and self.image_size % self.canvas_size == 0),
            f"canvas_size {self.canvas_size}; a whole number of pixels of the image, whose side is "
            f"{self.image_size}, must make one of the canvas, of at least 4 a side",
        )
        within = f"not in 1..{self.canvas_side}, the side of the canvas"
        _require(1 <= self.part_size <= self.canvas_side, f"part_size {self.part_size}, {within}")
        _require(1 <= self.stride <= self.canvas_side, f"stride {self.stride}, {within}")
        _within(1, 64, jitter=self.jitter)  # placements, its square, are stored in 16 bits
        _require(
            self.part_size + self.jitter - 1 <= 2 * self.stride,
            f"the window part_size + jitter - 1 = {self.part_size + self.jitter - 1} is more than "
            f"twice the stride {self.stride}",
        )
        _require(self.part_size + self.jitter > self.stride, "stride leaves gaps between cells")
        cells = (-(-self.canvas_side // self.stride)) ** 2
        _require(
            cells <= _MOST_CELLS,
            f"a canvas of {self.canvas_side} pixels and stride {self.stride} make {cells} cells, "
            f"more than {_MOST_CELLS}",
        )
        _within(1, 4096, parts=self.parts)
        _require(self.snap in ("mean", "medoid"), f"snap {self.snap!r}, not mean or medoid")
        _require(
            self.compositing in ("max", "over"),
            f"compositing {self.compositing!r}, not max or over",
        )
        _require(self.threshold >= 0, f"threshold {self.threshold} is negative")
        _within(0, 4, shift=self.shift)
        _within(1, 1000, sweeps=self.sweeps)


@dataclass(frozen=True)
class PriorConfig:
    """The Transformer prior and its training on parses (docs/model.md, section 5; paper, 3.2)."""

    width: int = setting(128, "channels of the Transformer")
    depth: int = setting(4, "layers")
    heads: int = setting(4, "attention heads")
    head_width: int = setting(32, "channels of a head")
    mlp_width: int = setting(512, "channels inside the MLP")
    dropout: float = setting(0.0, "dropout in training, on parses and jointly, 0..1")
    steps: int = setting(1000, "training steps")
    batch_size: int = setting(128, "drawings in a step")
    learning_rate: float = setting(3e-3, "peak learning rate")
    weight_decay: float = setting(0.01, "weight decay of matrices")
    warmup: float = setting(0.03, "fraction of the steps in which the learning rate rises")
    ema: float = setting(0.995, "decay a step of the moving average of the weights")

    def __post_init__(self) -> None:
        """Check ranges."""
        _within(1, _WIDEST, prior__width=self.width, prior__mlp_width=self.mlp_width)
        _within(1, _DEEPEST, prior__depth=self.depth)
        _within(1, 1024, prior__heads=self.heads, prior__head_width=self.head_width)
        _require(0 <= self.dropout < 1, f"prior.dropout {self.dropout}, not in [0, 1)")
        _check_training("prior", self)


@dataclass(frozen=True)
class DecoderConfig:
    """Encoder, decoder and their joint training (docs/model.md, section 6; paper, section 3.3)."""

    prior: str = setting("joint", "joint: the prior goes on training; frozen: the paper's setting")
    encoder_channels: int = setting(112, "channels of the encoder")
    encoder_depth: int = setting(4, "residual blocks of the encoder")
    encoder_gain: float = setting(1.0, "weight of the parser's gains at the start, nats a unit")
    decoder_channels: tuple[int, ...] = setting((64, 112), "channels at each halving of size")
    decoder_depth: int = setting(2, "residual blocks at each size, down and up")
    decoder_patch: int = setting(2, "side of the squares of pixels the decoder starts from")
    steps: int = setting(1400, "training steps of both phases")
    batch_size: int = setting(128, "images in a step")
    encoder_learning_rate: float = setting(4e-3, "peak learning rate of encoder and prior")
    learning_rate: float = setting(4e-3, "peak learning rate of the decoder")
    weight_decay: float = setting(0.01, "weight decay of matrices")
    warmup: float = setting(0.03, "fraction of a phase's steps in which the learning rate rises")
    ema: float = setting(0.998, "decay a step of the moving average of the weights")
    temperature: float = setting(0.4, "temperature of the relaxed sample at the start")
    final_temperature: float = setting(0.1, "temperature at the end of the relaxed steps")
    hard_fraction: float = setting(
        0.25, "fraction of a relaxed batch whose latents are rounded, 0..1"
    )
    parse_weight: float = setting(1.0, "weight of the cross-entropy to the parse at the start")
    final_parse_weight: float = setting(0.0, "its floor, in relaxed steps")
    parse_until: float = setting(
        0.15, "fraction of the relaxed steps in which it decays to the floor"
    )
    deform: float = setting(
        0.0, "spread of random linear maps of images, whose share falls to 0 over the relaxed steps"
    )
    canvas_weight: float = setting(
        2.0, "price of the canvas's squared error, in nats, in relaxed steps"
    )
    kl_weight: float = setting(1.0, "weight of the KL in relaxed steps; 1 makes their loss a bound")
    wake: float = setting(
        0.08, "last fraction of the steps, on hard samples in place of relaxed ones, 0..1"
    )
    wake_samples: int = setting(8, "samples of the encoder that one such is chosen from")
    wake_canvas_weight: float = setting(
        0.0, "price of the canvas's squared error in that choice, nats"
    )
    wake_rate: float = setting(0.25, "peak of these steps' learning rates, in those of the others")

    @property
    def relaxed_steps(self) -> int:
        """Steps of the first phase, on relaxed samples."""
        return self.steps - round(self.wake * self.steps)

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(
            self.prior in ("joint", "frozen"), f"decoder.prior {self.prior!r}, not joint or frozen"
        )
        _within(1, _WIDEST, decoder__encoder_channels=self.encoder_channels)
        _within(0, _DEEPEST, decoder__encoder_depth=self.encoder_depth)
        sizes = len(self.decoder_channels)
        _require(1 <= sizes <= 8, f"decoder.decoder_channels has {sizes} entries, not 1..8")
        for channels in self.decoder_channels:
            _within(1, _WIDEST, decoder__decoder_channels=channels)
        _within(0, 16, decoder__decoder_depth=self.decoder_depth)  # twice at each of 8 sizes
        _within(1, 256 >> (sizes - 1), decoder__decoder_patch=self.decoder_patch)
        _require(self.encoder_learning_rate > 0, "decoder.encoder_learning_rate must be positive")
        _require(
            self.temperature > 0 and self.final_temperature > 0,
            "decoder.temperature and decoder.final_temperature must be positive",
        )
        weights = ("parse_weight", "final_parse_weight", "canvas_weight", "wake_canvas_weight")
        for name in (*weights, "kl_weight", "encoder_gain"):
            _require(getattr(self, name) >= 0, f"decoder.{name} is negative")
        _require(0 <= self.hard_fraction <= 1, f"decoder.hard_fraction {self.hard_fraction}")
        _require(0 <= self.deform <= 0.5, f"decoder.deform {self.deform}, not in 0..0.5")
        _require(0 <= self.parse_until <= 1, f"decoder.parse_until {self.parse_until}")
        _require(0 <= self.wake <= 1, f"decoder.wake {self.wake}, not in 0..1")
        _within(1, 4096, decoder__wake_samples=self.wake_samples)
        _require(self.wake_rate > 0, f"decoder.wake_rate {self.wake_rate} must be positive")
        _check_training("decoder", self)


def _check_training(section: str, config: PriorConfig | DecoderConfig) -> None:
    _within(1, _MOST_STEPS, **{f"{section}__steps": config.steps})
    _within(1, 16_384, **{f"{section}__batch_size": config.batch_size})
    _require(config.learning_rate > 0, f"{section}.learning_rate must be positive")
    _require(config.weight_decay >= 0, f"{section}.weight_decay is negative")
    _require(0 <= config.warmup < 1, f"{section}.warmup {config.warmup}, not in [0, 1)")
    _require(0 <= config.ema < 1, f"{section}.ema {config.ema}, not in [0, 1)")


@dataclass(frozen=True)
class Config:
    """All settings of a pipeline; `preset` and `data` say where they come from."""

    preset: str = "glyphs"
    data: str = "glyphs"
    parse: ParseConfig = field(default_factory=ParseConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)


SECTIONS = ("parse", "prior", "decoder")
"""The sections in the order of the stages that fix them."""


def override(config: Config, changes: Mapping[str, Mapping[str, Any]], *, source: str) -> Config:
    """Return `config` with the settings in `changes` (section -> name -> value) replaced.

    `source` names where they come from in the `UsageError` for an unknown section or name, or a
    value of another type.
    """
    for section, values in changes.items():
        if section not in SECTIONS:
            raise UsageError(
                f"unknown section [{section}] in {source}", hint=did_you_mean(section, SECTIONS)
            )
        if not isinstance(values, Mapping):
            raise UsageError(f"{section} in {source} is not a section of settings")
        current = getattr(config, section)
        known = {f.name: getattr(current, f.name) for f in fields(current)}
        for name in values:
            if name not in known:
                raise UsageError(
                    f"unknown setting {section}.{name} in {source}", hint=did_you_mean(name, known)
                )
        typed = {
            name: _typed(f"{section}.{name}", value, known[name], source)
            for name, value in values.items()
        }
        config = replace(config, **{section: replace(current, **typed)})
    return config


def _typed(name: str, value: Any, current: Any, source: str) -> Any:
    """Return `value` as the type of the default `current`."""
    if isinstance(current, tuple) and isinstance(value, list | tuple):
        value = tuple(value)
        fits = all(type(item) is int for item in value)
    elif isinstance(current, float):
        fits = type(value) in (int, float) and -_LARGEST < value < _LARGEST
        value = float(value) if fits else value
    else:
        fits = type(value) is type(current)
    if not fits:
        wanted = "list of integers" if isinstance(current, tuple) else type(current).__name__
        raise UsageError(
            f"{name} in {source} is {value!r}, expected {wanted}",
            hint=f"The default is {list(current) if isinstance(current, tuple) else current}.",
        )
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings; `UsageError` if it is missing or not TOML."""
    try:
        with path.open("rb") as file:  # it may be a pipe, but not an endless one
            content = file.read(_LONGEST_TOML + 1)
        if len(content) > _LONGEST_TOML:
            raise UsageError(f"{path} has more than {_LONGEST_TOML:,} bytes of settings")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from error


def as_dict(config: Config, sections: tuple[str, ...] = SECTIONS) -> dict[str, Any]:
    """Return the settings of `sections` as plain values, as stored in artifacts."""
    return {"preset": config.preset} | {name: asdict(getattr(config, name)) for name in sections}
