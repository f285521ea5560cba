"""Settings of encoder and decoder; read through `npdraw.config`."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class DecoderConfig:
    """Encoder, decoder and their joint training (docs/model.md, section 6; paper, section 3.3)."""

    prior: str = setting(
        "joint",
        "joint: train the prior further; frozen: keep it as it is, as in the paper",
        choices=("joint", "frozen"),
    )
    encoder_channels: int = setting(112, "channels of the encoder", low=1, high=MAX_WIDTH)
    encoder_depth: int = setting(4, "residual blocks of the encoder", low=0, high=MAX_DEPTH)
    encoder_gain: float = setting(
        1.0,
        "initial weight of the parser's gains in the encoder's logits, nats per unit; 0: with ink "
        "1 / (2 canvas_mse), else none",
        low=0,
    )
    decoder_channels: tuple[int, ...] = setting(
        (64, 112), "channels at each resolution, finest first", low=1, high=MAX_WIDTH
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
    patience: int = setting(0, f"{PATIENCE}; the wake phase still follows", low=0, high=100)
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
