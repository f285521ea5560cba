"""The card of a model: what a repository on the hub says about the file in it.

All of it comes from the artifact, so that the same model always has the same card.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from npdraw.config import SECTIONS
from npdraw.header import Header
from npdraw.hub import FILE, HubModel

_OWN = {"folder": "own pictures", "npz": "own arrays", "idx": "own files in the format of MNIST"}
"""Data sets that are not published, by their name in artifacts."""

_NATS = ",.2f", "nats per image"
_FIGURES = {
    "nll": ("NLL, an upper bound by importance sampling", *_NATS),
    "elbo": ("-ELBO", *_NATS),
    "rate": ("rate: nats for the drawing", *_NATS),
    "distortion": ("distortion: nats for the image, given the drawing", *_NATS),
    "canvas_mse": ("mean squared error of the canvas, per pixel and channel", ".4f", ""),
    "class_nats": ("nats for a drawing whose class is given", ",.2f", "nats per drawing"),
    "nats_without_label": ("nats for the same without it", ",.2f", "nats per drawing"),
    "class_accuracy": ("drawings whose class is found", ".1%", ""),
}
"""Metrics of `train-decoder` and `train-classes` that a card shows: meaning, format, unit."""


MOST_NAMES = 20
"""Classes whose names a card shows."""


def card(
    model: HubModel, header: Header, *, parameters: int, size: int, rounded: bool = False
) -> str:
    """Return the card, in Markdown, of a model file of `size` bytes that was read and checked.

    `rounded` says that the file stores weights in bf16, and its figures are those before that.
    """
    name = model.repository.partition("/")[2]
    return "\n".join(
        [
            "---",
            "library_name: npdraw",
            "pipeline_tag: unconditional-image-generation",
            "tags: [npdraw, np-draw, image-generation]",
            "---",
            "",
            f"# {name}",
            "",
            f"Draws {_images(header)} part by part. A model of npdraw, an implementation of "
            "[NP-DRAW](https://arxiv.org/abs/2106.13435).",
            "",
            "```sh",
            "pip install 'npdraw[hub]'",
            f"npdraw sample {model} --grid",
            "```",
            "",
            "```python",
            "import npdraw",
            "",
            f'model = npdraw.load("{model}")',
            "images = model.decode(model.paint(model.sample(9)))",
            "```",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {fact} |" for name, fact in _facts(header, parameters, size).items()),
            "",
            "## Figures",
            "",
            *_figures(header, rounded=rounded),
            "",
            "## Settings",
            "",
            "<details><summary>as a file for --config</summary>",
            "",
            "```toml",
            *_settings(header.config),
            "```",
            "",
            "</details>",
            "",
            f"`{FILE}` holds tensors and a header, and nothing that is executed; npdraw checks all "
            "of it before use.",
            "",
        ]
    )


def _images(header: Header) -> str:
    channels, height, width = header.dataset["image_shape"]
    colour = "colour" if channels == 3 else "grey"
    levels = "two-valued" if header.dataset["binarized"] else "256 levels"
    return f"images of {width} x {height} pixels ({colour}, {levels})"


def _facts(header: Header, parameters: int, size: int) -> dict[str, str]:
    data, metrics = header.dataset, header.metrics
    made_from = ", ".join(f"{kind} `{digest}`" for kind, digest in header.inputs.items())
    facts = {
        "data": f"{_OWN.get(data['name'], data['name'])}: {data['train']:,} images for training, "
        f"{data['validation']:,} for validation; digest `{data['digest']}`",
        "strokes": _strokes(header.config["parse"]),
        "preset, seed": f"`{header.config['preset']}`, {header.seed}",
        "training": f"{metrics['steps']:,} steps; these weights are those of step "
        f"{metrics['best_step']:,}"
        if {"steps", "best_step"} <= metrics.keys()
        else "-",
        "parameters": f"{parameters:,}; the file has {size / 1e6:.1f} MB",
        "digest": f"`{header.digest}`",
        "made from": made_from or "-",
    }
    if "classes" in header.config:
        facts["classes"] = _classes(data["classes"])
    return facts


def _classes(names: Sequence[str]) -> str:
    """Say which classes the model can draw. Folders have given them names of any characters."""
    shown = [name.replace("`", "'").replace("|", "\\|") for name in names[:MOST_NAMES]]
    more = ", ..." if len(names) > MOST_NAMES else ""
    return f"{len(names):,}: {', '.join(f'`{name}`' for name in shown)}{more}; see `--label`"


def _strokes(parse: dict[str, Any]) -> str:
    """Say what strokes are made of: parts of a bank, or patterns and inks on one or more layers."""
    sides = [f"{side} x {side}" for side in (parse["part_size"], *parse.get("finer", ()))]
    if not parse.get("inks"):
        return f"{parse['parts']:,} parts of {sides[0]} pixels"
    return (
        f"{parse['parts']:,} patterns in {parse['inks']:,} inks and {parse['contrasts']} contrasts "
        f"on each layer, of {', '.join(sides)} pixels"
    )


def _figures(header: Header, *, rounded: bool) -> Iterator[str]:
    shown = [name for name in _FIGURES if name in header.metrics]
    if not shown:
        yield "The file stores none."
        return
    before = ", before its weights were rounded to bf16" if rounded else ""
    yield f"On validation images, as stored in the file{before}; nats and errors: lower is better."
    yield ""
    yield "| | | |"
    yield "|---|---|---|"
    for name in shown:
        meaning, form, unit = _FIGURES[name]
        yield f"| `{name}` | {meaning} | {header.metrics[name]:{form}} {unit}".rstrip() + " |"
    if "nll" in shown and not header.dataset["binarized"]:
        bits = header.metrics["nll"] / math.prod(header.dataset["image_shape"]) / math.log(2)
        yield f"| `bits_per_dim` | the same NLL per pixel and channel | {bits:.3f} bits |"


def _settings(config: dict[str, Any]) -> Iterator[str]:
    """Return the settings as TOML, which `--config` of `npdraw run` reads."""
    for section in SECTIONS:
        if section in config:
            yield f"[{section}]"
            yield from (f"{name} = {json.dumps(value)}" for name, value in config[section].items())
