"""The flags about how a model is exported."""

from pathlib import Path
from typing import Annotated, Literal

from npdraw.cli.declare import option
from npdraw.cli.options import OUTPUT

Dtype = Annotated[
    Literal["bf16", "fp32"] | None,
    option(
        "--dtype",
        OUTPUT,
        "how weights are stored; bf16: rounded, half the size",
        default="bf16; with --onnx fp32, which it needs",
    ),
]
Onnx = Annotated[
    bool,
    option(
        "--onnx", OUTPUT, "write encoder.onnx and decoder.onnx, which run without npdraw or torch"
    ),
]
OutExport = Annotated[
    Path | None,
    option(
        "--out",
        OUTPUT,
        "file to write; with --onnx, folder to write to",
        default="export.safetensors, or the folder onnx, beside MODEL or in runs/NAME",
    ),
]
