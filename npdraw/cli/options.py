"""Every flag of the command line, written once, as the type of a command's parameter.

Flags that change a setting take their name, meaning, range and default from the dataclasses of
config.py; a flag that is not given is None. Nothing here imports torch or numpy.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from npdraw.cli import resolve
from npdraw.cli.declare import argument as _argument
from npdraw.cli.declare import option as _option
from npdraw.presets import PRESETS

INPUT, MODEL, RUN, OUTPUT = "Input", "Model", "Run", "Output"

SEEDS = "0-99"
TEMPERATURE = 1.0
NAMED = ("glyphs", "mnist", "mnist-static", "omniglot", "cifar10", "celeba")
SOURCES = (*NAMED, "folder:", "npz:", "idx:")
SETS = f"{', '.join(NAMED)}, folder:PATH, npz:FILE or idx:FOLDER"


def setting_option(section: str, name: str, panel: str = MODEL) -> Any:
    """Declare the flag of the setting `section.name` of config.py."""
    config = getattr(PRESETS["glyphs"], section)
    declared = next(f.metadata for f in fields(config) if f.name == name)
    values = {getattr(getattr(row, section), name) for row in PRESETS.values()}
    default = str(getattr(config, name)) + ("" if len(values) == 1 else " for glyphs")
    if not declared["allowed"].choices:  # typer shows those itself
        default += f"; {declared['allowed']}"
    return _option(f"--{name.replace('_', '-')}", panel, declared["meaning"], default=default)


def _preset(panel: str, meaning: str) -> Any:
    return _option(
        "--preset",
        panel,
        meaning,
        default="that of --data, or by a look at pictures",
        autocompletion=_starts(*PRESETS),
    )


def _starts(*names: str) -> Callable[[str], list[str]]:
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def data_option(meaning: str, default: str) -> Any:
    """Declare a flag `--data`; `default` describes what is used without it."""
    return _option("--data", INPUT, meaning, default=default, autocompletion=_starts(*SOURCES))


def seed_option(default: str = "") -> Any:
    """Declare the flag `--seed`; `default` describes what is used without it."""
    meaning = "seed of every random choice"
    return _option("--seed", RUN, meaning, default=default, min=0, callback=resolve.seed)


def _out(meaning: str, default: str = "") -> Any:
    return _option("--out", OUTPUT, meaning, default=default)


# Input
ParsePath = Annotated[
    Path | None,
    _argument("PARSE", "artifact written by npdraw parse", default="runs/PRESET/parse.safetensors"),
]
PriorPath = Annotated[
    Path | None,
    _argument(
        "PRIOR", "artifact written by npdraw train-prior", default="prior.safetensors beside PARSE"
    ),
]
_MODEL = "model file, name of a shipped model, or hf:OWNER/NAME"
ModelPath = Annotated[
    Path | None,
    _argument(
        "MODEL",
        _MODEL,
        default="runs/PRESET/model.safetensors",
        callback=resolve.model,
    ),
]
NamedModel = Annotated[Path, _argument("MODEL", _MODEL, callback=resolve.model)]
ArtifactPath = Annotated[
    Path,
    _argument(
        "ARTIFACT",
        "any artifact of npdraw, name of a shipped model, or hf:OWNER/NAME",
        callback=resolve.model,
    ),
]
Runs = Annotated[
    list[Path] | None,
    _argument(
        "RUN",
        "folders written by npdraw run, or models: files, names of shipped ones, hf:OWNER/NAME",
        default="runs/PRESET",
    ),
]
_DRAWING = "a picture, a drawing (.json), seed:N for a sample, or test:N for a test image"
DrawingName = Annotated[str, _argument("DRAWING", _DRAWING)]
OtherName = Annotated[str, _argument("OTHER", f"the drawing to end with: {_DRAWING}")]
ImageNames = Annotated[list[str], _argument("IMAGE", "pictures, or test:N for test images")]
Drawing = Annotated[
    str | None, _option("--image", INPUT, _DRAWING, default="none, start from an empty canvas")
]
Drawings = Annotated[
    list[str] | None,
    _option("--image", INPUT, f"{_DRAWING}; repeatable", default="samples, see --seeds"),
]
From = Annotated[
    str | None, _option("--from", INPUT, f"the drawing that --region is taken from: {_DRAWING}")
]
Region = Annotated[
    str | None,
    _option(
        "--region",
        INPUT,
        "rectangle of the image in pixels, BOTTOM and RIGHT excluded; it selects the cells of the "
        "grid that lie inside",
        metavar="TOP:BOTTOM,LEFT:RIGHT",
    ),
]
Prefix = Annotated[
    int | None, _option("--prefix", INPUT, "number of leading strokes of --image to keep", min=0)
]
Remove = Annotated[
    list[int] | None, _option("--remove", MODEL, "clear a step; repeatable", metavar="STEP")
]
Move = Annotated[
    list[str] | None,
    _option("--move", MODEL, "move a part to another step; repeatable", metavar="STEP:STEP"),
]
Replace = Annotated[
    list[str] | None,
    _option(
        "--replace",
        MODEL,
        "paint another part at a step; repeatable",
        metavar="STEP:PART[:INK:CONTRAST]",
    ),
]
Add = Annotated[
    list[str] | None,
    _option(
        "--add",
        MODEL,
        "paint a part at a blank step; repeatable",
        metavar="STEP:PART[:INK:CONTRAST]",
    ),
]
LookAt = Annotated[
    str, _argument("SOURCE", "pictures or arrays: folder:PATH, npz:FILE or idx:FOLDER")
]
SetName = Annotated[str, _argument("NAME", "mnist, mnist-static, omniglot or cifar10")]
Data = Annotated[str | None, data_option(f"data set: {SETS}", "that of the preset")]
OtherData = Annotated[
    str | None, data_option(f"data set to use instead of the artifact's: {SETS}", "the artifact's")
]
FindData = Annotated[str | None, data_option("look in the run folder of this data set", "glyphs")]
FindPreset = Annotated[str | None, _preset(INPUT, "look in runs/PRESET")]
DataRoot = Annotated[
    Path | None,
    _option("--data-root", INPUT, "folder of the data sets", default="NPDRAW_DATA, else data"),
]
Limit = Annotated[
    str | None,
    _option(
        "--limit",
        INPUT,
        "training images to use: a count, or a fraction such as 0.1",
        default="all",
        metavar="<count|fraction>",
    ),
]
Images = Annotated[
    int | None,
    _option(
        "--images",
        INPUT,
        "number of test images, evenly spaced over the test set",
        default="all",
        min=1,
    ),
]
ImageSize = Annotated[int | None, setting_option("parse", "image_size", INPUT)]
Strict = Annotated[
    bool, _option("--strict", INPUT, "fail at the first unreadable image instead of skipping it")
]

# Model
Preset = Annotated[str | None, _preset(MODEL, f"settings: {', '.join(PRESETS)}")]
ConfigFile = Annotated[
    Path | None,
    _option(
        "--config",
        MODEL,
        "TOML file with the sections of settings that it changes; flags override it",
    ),
]
Parts = Annotated[int | None, setting_option("parse", "parts")]
PartSize = Annotated[int | None, setting_option("parse", "part_size")]
Stride = Annotated[int | None, setting_option("parse", "stride")]
Jitter = Annotated[int | None, setting_option("parse", "jitter")]
SnapTo = Annotated[Literal["mean", "medoid"] | None, setting_option("parse", "snap")]
PriorSteps = Annotated[int | None, setting_option("prior", "steps")]
PriorBatchSize = Annotated[int | None, setting_option("prior", "batch_size")]
DecoderSteps = Annotated[int | None, setting_option("decoder", "steps")]
DecoderBatchSize = Annotated[int | None, setting_option("decoder", "batch_size")]
PriorMode = Annotated[Literal["joint", "frozen"] | None, setting_option("decoder", "prior")]
BothSteps = Annotated[
    int | None,
    _option(
        "--steps",
        MODEL,
        "training steps, the same number for the prior and the decoder",
        default="those of the preset",
    ),
]
Samples = Annotated[int, _option("--samples", MODEL, "importance samples per image", min=1)]
Estimator = Annotated[
    Literal["importance", "published"],
    _option(
        "--estimator",
        MODEL,
        "importance: an upper bound on the NLL; published: as in the authors' code, not a bound",
    ),
]
Temperature = Annotated[
    float,
    _option(
        "--temperature",
        MODEL,
        "temperature of the prior, above 0; lower values give more typical drawings",
    ),
]

# Run
Seed = Annotated[int, seed_option()]
LaterSeed = Annotated[int | None, seed_option("that of PARSE")]
BatchSize = Annotated[
    int, _option("--batch-size", RUN, "images or drawings per forward pass", min=1)
]
SaveEvery = Annotated[int, _option("--save-every", RUN, "steps between checkpoints", min=1)]
Device = Annotated[
    str,
    _option("--device", RUN, "auto: cuda if any; cpu, cuda, cuda:N, mps", callback=resolve.device),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    _option("--precision", RUN, "auto: bf16 where the hardware supports it"),
]
CudaGraphs = Annotated[
    bool,
    _option("--cuda-graphs", RUN, "on a CUDA device, record each kind of step and replay it"),
]
Threads = Annotated[int, _option("--threads", RUN, "CPU threads; 0: automatic", min=0, max=256)]
Port = Annotated[
    int, _option("--port", RUN, "port on 127.0.0.1; 0: any free port", min=0, max=65535)
]
NoBrowser = Annotated[bool, _option("--no-browser", RUN, "print the URL without opening a browser")]
Force = Annotated[bool, _option("--force", RUN, "start again and overwrite existing output")]
DryRun = Annotated[
    bool, _option("--dry-run", RUN, "print settings and estimates without writing anything")
]
Verify = Annotated[bool, _option("--verify", RUN, "read the whole file and check its digest")]

# Output
Out = Annotated[Path | None, _out("file to write", "in runs/PRESET, or beside the input artifact")]
OutFolder = Annotated[Path | None, _out("folder to write to", "runs/PRESET")]
OutSamples = Annotated[
    Path | None,
    _out(
        "PNG file with --grid, otherwise folder to write to",
        "samples.png or samples beside MODEL, or in runs/NAME",
    ),
]
OutResult = Annotated[
    Path | None, _out("JSON file for the result; with it, a stopped evaluation can be resumed")
]
Seeds = Annotated[
    str, _option("--seeds", OUTPUT, "one image for each seed: A-B, or a list such as 0-9,20")
]
Grid = Annotated[bool, _option("--grid", OUTPUT, "one PNG sheet instead of one PNG per image")]
Canvas = Annotated[bool, _option("--canvas", OUTPUT, "show the canvas beside each image")]
OutPicture = Annotated[
    Path | None, _out("PNG to write", "named after the command, beside MODEL or in runs/NAME")
]
OutLook = Annotated[Path | None, _out("PNG to write", "runs/look.png")]
OutPage = Annotated[
    Path | None,
    _out("HTML file to write", "report.html in the first RUN, beside that model, or in runs/NAME"),
]
OutMoving = Annotated[
    Path | None,
    _out(
        "GIF, APNG or WebP file to write, by its suffix",
        "named after the command, beside MODEL or in runs/NAME; GIF for grey, WebP for colour",
    ),
]
Fps = Annotated[
    float | None,
    _option(
        "--fps", OUTPUT, "frames per second [default: 8, or faster so that it lasts at most 15 s]"
    ),
]
Quiet = Annotated[bool, _option("--quiet", OUTPUT, "print no progress and no notes")]
AsJson = Annotated[bool, _option("--json", OUTPUT, "print the result as one JSON object")]
