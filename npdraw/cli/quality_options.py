"""The flags about the quality of samples and the features that it is measured by."""

from pathlib import Path
from typing import Annotated

from npdraw.cli.declare import option
from npdraw.cli.options import MODEL, OUTPUT, RUN, SETS, data_option

FEATURE_STEPS = 1000
SAMPLES = 10_000

LabelledData = Annotated[str | None, data_option(f"data set with labels: {SETS}", "glyphs")]
FeatureSteps = Annotated[int, option("--steps", MODEL, "training steps, of 128 images", min=1)]
SampleCount = Annotated[
    int, option("--samples", MODEL, "samples to draw; distances depend on their number", min=1)
]
Features = Annotated[
    str,
    option(
        "--features",
        MODEL,
        "what is compared. own: a classifier of the data set that comes with npdraw; imagenet: "
        "EfficientNet-Lite0; inception: that of FID; or a FILE of npdraw train-features",
        metavar="<own|imagenet|inception|FILE>",
    ),
]
TwoSample = Annotated[
    bool,
    option(
        "--two-sample",
        RUN,
        "also train a classifier to tell samples from test images; takes a minute",
    ),
]
OutFeatures = Annotated[
    Path | None,
    option(
        "--out",
        OUTPUT,
        "file to write",
        default="runs/DATA/features.safetensors, for named data sets",
    ),
]
OutFigures = Annotated[Path | None, option("--out", OUTPUT, "JSON file for the result")]
