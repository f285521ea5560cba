"""The flags about classes: which one is drawn, and how a model learns them."""

from pathlib import Path
from typing import Annotated, Literal

from npdraw.class_config import WITH_CLASSES
from npdraw.cli.declare import argument, option
from npdraw.cli.options import INPUT, MODEL, OUTPUT, seed_option, setting_option

Label = Annotated[
    str | None,
    option(
        "--label",
        MODEL,
        "class to draw, for a model that npdraw train-classes wrote",
        default="whatever the model draws",
    ),
]
Labels = Annotated[
    str | None,
    option(
        "--label",
        MODEL,
        "classes to draw, each with every seed: names, ranges such as 0-9, or all",
        default="whatever the model draws",
    ),
]
Candidates = Annotated[
    int,
    option(
        "--candidates",
        MODEL,
        "with --label: drawings per sample; the one most likely to be of its class is kept",
        min=1,
    ),
]
LabelledImages = Annotated[
    str | None,
    option(
        "--limit",
        INPUT,
        "labelled images to use: a count, or a fraction such as 0.01",
        default="those that MODEL was made from, or all of --data",
    ),
]
ClassSteps = Annotated[int | None, setting_option("classes", "steps")]
ClassBatchSize = Annotated[int | None, setting_option("classes", "batch_size")]
ClassPatience = Annotated[int | None, setting_option("classes", "patience")]
OutClasses = Annotated[
    Path | None,
    option("--out", OUTPUT, "file to write", default=f"{WITH_CLASSES} beside MODEL"),
]
Pictures = Annotated[
    list[str] | None,
    argument("IMAGE", "pictures, or test:N for test images", default="all test images"),
]
GivenLabel = Annotated[
    Literal["none", "given"],
    option(
        "--label", MODEL, "none: the likelihood p(x); given: p(x | label) of each image's class"
    ),
]
ModelSeed = Annotated[int | None, seed_option("that of MODEL")]
