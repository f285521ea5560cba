"""The flags about when a training ends, and what it shows while it runs."""

from typing import Annotated, Literal

from npdraw.cli import resolve
from npdraw.cli.declare import option
from npdraw.cli.options import MODEL, OUTPUT, setting_option

Log = Annotated[
    Literal["tensorboard"] | None,
    option(
        "--log",
        OUTPUT,
        "tensorboard: also write curves, sample sheets and the use of parts for TensorBoard, into "
        "OUT.run/tensorboard",
        default="only OUT.run/metrics.jsonl",
        callback=resolve.log,
    ),
]
PriorPatience = Annotated[int | None, setting_option("prior", "patience")]
DecoderPatience = Annotated[int | None, setting_option("decoder", "patience")]
Minutes = Annotated[
    float | None,
    option(
        "--minutes",
        MODEL,
        "instead of --steps: approximate minutes for reading, parsing and training",
        callback=resolve.minutes,
    ),
]
