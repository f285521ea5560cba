"""Settings of the prior with classes, p(z | label); read through `npdraw.config`."""

from dataclasses import dataclass

from npdraw.ranges import MAX_BATCH, MAX_STEPS, PATIENCE, check_ranges, setting

WITH_CLASSES = "classes.safetensors"
"""The file of a model with classes, beside that of the model that they were added to."""


@dataclass(frozen=True)
class ClassConfig:
    """The prior with classes and its training (docs/classes.md)."""

    drawings: int = setting(
        200_000,
        "encoder drawings to learn from, spread evenly over the images; fewer if steps need fewer",
        low=1,
        high=10_000_000,
    )
    steps: int = setting(5000, "training steps", low=1, high=MAX_STEPS)
    batch_size: int = setting(128, "drawings per training step", low=1, high=MAX_BATCH)
    learning_rate: float = setting(3e-3, "peak learning rate", above=0)
    weight_decay: float = setting(0.01, "weight decay of matrices", low=0)
    dropout: float = setting(0.0, "dropout rate of the prior with classes", low=0, below=1)
    warmup: float = setting(
        0.03, "fraction of the steps over which the learning rate rises", low=0, below=1
    )
    ema: float = setting(
        0.998, "decay per step of the moving average (EMA) of the weights", low=0, below=1
    )
    patience: int = setting(0, PATIENCE, low=0, high=100)

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges("classes", self)
