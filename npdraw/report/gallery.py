"""The picture sections of the page: samples, reconstructions, part banks, sample sheets."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from npdraw.pictures.files import png
from npdraw.pictures.sheet import side_by_side
from npdraw.report.closest import median
from npdraw.report.limits import Limits, spread
from npdraw.report.outputs import Outputs
from npdraw.report.runs import KINDS, Run, read_sheet


class Picture(NamedTuple):
    """A picture embedded in the page."""

    src: str
    """A data: URL."""
    width: int
    height: int
    """In pixels of the picture; style sheets may enlarge it."""


def embedded(pixels: Tensor) -> Picture:
    """Return uint8 [C, H, W] as an embedded picture."""
    height, width = pixels.shape[1:]
    return Picture(data_url(png(pixels)), width, height)


def data_url(content: bytes) -> str:
    """Return the data: URL of a PNG."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


class Samples(NamedTuple):
    """Samples of one run, or the reason why there are none."""

    pairs: Sequence[Picture] = ()
    problem: str = ""


def samples(outputs: Sequence[Outputs], limits: Limits) -> list[Samples]:
    """Return the samples of each run."""
    return [
        Samples([embedded(pair) for pair in output.samples[: limits.samples]])
        if output.samples
        else Samples(problem=no_model(output))
        for output in outputs
    ]


def no_model(output: Outputs) -> str:
    """Return why a run has nothing that its model would have drawn."""
    return f"No model to draw with: {output.problems['model']}."


class Strip(NamedTuple):
    """Pictures side by side, what they are, and a caption."""

    picture: Picture
    alt: str
    caption: str


class Classes(NamedTuple):
    """Samples of the classes of one run, or the reason why there are none."""

    strips: Sequence[Strip] = ()
    note: str = ""
    problem: str = ""


def classes(runs: Sequence[Run], outputs: Sequence[Outputs], limits: Limits) -> list[Classes]:
    """Return the classes of each run; nothing if no run has any."""
    if not any(output.classes or "classes" in output.problems for output in outputs):
        return []
    return [_classes(run, output, limits) for run, output in zip(runs, outputs, strict=True)]


def _classes(run: Run, output: Outputs, limits: Limits) -> Classes:
    if "model" in output.problems:
        return Classes(problem=no_model(output))
    if output.with_classes is None:
        return Classes(problem=output.problems.get("classes", "The model has no classes."))
    header = output.with_classes
    figures, names = header.metrics, header.dataset["classes"]
    shown = list(output.classes.items())[: limits.classes]
    note = ""
    if {"class_nats", "nats_without_label", "class_accuracy"} <= figures.keys():
        note = (
            f"Held-out drawings cost {figures['class_nats']:.2f} nats each given their class, and "
        )
        note += f"{figures['nats_without_label']:.2f} without it; for "
        note += f"{figures['class_accuracy']:.1%} of them their own class is the most likely."
    if len(shown) < len(names):
        note += f" The first {len(shown)} of {len(names):,} classes are shown."
    strips = [
        Strip(embedded(_joined(samples)), f"Samples of class {name}", name)
        for name, samples in shown
    ]
    return Classes(strips, note)


class Reconstructions(NamedTuple):
    """Reconstructions of one run, or the reason why there are none."""

    strips: Sequence[Strip] = ()
    problem: str = ""


def reconstructions(outputs: Sequence[Outputs], limits: Limits) -> list[Reconstructions]:
    """Return the reconstructions of each run."""
    return [_reconstructions(output, limits) for output in outputs]


def _reconstructions(output: Outputs, limits: Limits) -> Reconstructions:
    if "model" in output.problems:
        return Reconstructions(problem=no_model(output))
    if not output.reconstructions:
        reason = output.problems.get("images", "there are no test images")
        return Reconstructions(problem=f"No reconstructions: {reason}.")
    return Reconstructions(
        [
            Strip(
                embedded(one.pixels),
                f"Test image {one.number}, canvas of its parse, canvas of the encoder's drawing, "
                "decoded image",
                f"{one.parts} parts, canvas error {one.error:.4f}",
            )
            for one in output.reconstructions[: limits.images]
        ]
    )


class Copies(NamedTuple):
    """Samples of one run beside the closest training images, or why there are none."""

    strips: Sequence[Strip] = ()
    note: str = ""
    problem: str = ""


def copies(outputs: Sequence[Outputs], limits: Limits) -> list[Copies]:
    """Return the samples of each run beside the training images closest to them."""
    return [_copies(output, limits) for output in outputs]


def _copies(output: Outputs, limits: Limits) -> Copies:
    if "model" in output.problems:
        return Copies(problem=no_model(output))
    if not output.closest:
        return Copies(problem=f"No comparison: {output.problems['training images']}.")
    note = f"Median difference from the closest one: {median(output.closest):.4f}"
    if output.closest_decoded:
        note += f", and {median(output.closest_decoded):.4f} for decoded test images"
    strips = [
        Strip(
            embedded(_joined(one.pictures)),
            f"Sample {number} and the training images closest to it",
            f"{one.difference:.4f}",
        )
        for number, one in enumerate(output.closest[: limits.closest])
    ]
    return Copies(strips, f"{note}.")


def _joined(pictures: Tensor) -> Tensor:
    """Return pictures, uint8 [N, C, H, W], side by side, uint8 [C, H, width]."""
    joined = pictures[:1]
    for picture in pictures[1:]:
        joined = side_by_side(joined, picture[None])
    return joined[0]


class Part(NamedTuple):
    """A part of a bank, and how often it is painted."""

    name: str
    picture: Picture
    uses: int
    share: str
    """Its percentage of the strokes of its layer."""
    bar: str
    """Its count as a percentage of that of the most used part."""


class Layer(NamedTuple):
    """The parts of a layer, most used first, and its inks."""

    title: str
    """Empty if there is only one layer."""
    note: str
    parts: Sequence[Part]
    inks: Picture | None
    """A square for each ink, from dark to light; None for plain parts."""
    inks_note: str


class Bank(NamedTuple):
    """The parts of one run, layer by layer, or the reason why there are none."""

    layers: Sequence[Layer] = ()
    problem: str = ""


def banks(outputs: Sequence[Outputs], limits: Limits) -> list[Bank]:
    """Return the part bank of each run."""
    return [_bank(output, limits) for output in outputs]


def _bank(output: Outputs, limits: Limits) -> Bank:
    if not output.bank or output.usage is None:
        return Bank(problem=f"No part bank: {output.problems.get('bank', 'missing')}.")
    most = max(1, limits.parts // len(output.bank))
    return Bank([_layer(output, number, most) for number in range(len(output.bank))])


def _layer(output: Outputs, number: int, most: int) -> Layer:
    """Return at most `most` parts of a layer, and its inks."""
    assert output.usage is not None
    pictures, several = output.bank[number], len(output.bank) > 1
    counts: list[int] = output.usage.view(len(output.bank), -1)[number].tolist()
    total, largest = int(output.usage.sum()), max(1, *counts)
    in_layer = max(1, sum(counts))
    order = sorted(range(len(counts)), key=lambda part: (-counts[part], part))[:most]
    parts = [
        Part(
            name=f"Part {part} of layer {number + 1}" if several else f"Part {part}",
            picture=embedded(pictures[part]),
            uses=counts[part],
            share=f"{100 * counts[part] / in_layer:.2f} %",
            bar=f"{100 * counts[part] / largest:.1f}",
        )
        for part in order
    ]
    never, hidden = counts.count(0), len(counts) - len(parts)
    strokes = f"{sum(counts):,} of {total:,}" if several else f"{total:,}"
    note = f"{len(counts)} parts, most used first, counted over the {strokes} strokes of "
    note += f"{output.counted_over}."
    note += f" Never used: {never}." if never else ""
    note += f" The {hidden} least used are not shown." if hidden else ""
    side = pictures.shape[2]
    title = f"Layer {number + 1}: {side} x {side} pixels" if several else ""
    if not output.inks:
        return Layer(title, note, parts, None, "")
    inks = output.inks[number]
    below = "on grey, since they shift the colours below" if number else "on the empty canvas"
    return Layer(title, note, parts, embedded(_squares(inks)), f"{len(inks)} inks, {below}")


_INKS_PER_ROW = 32


def _squares(inks: Tensor) -> Tensor:
    """Return a pixel for each of the colours [I, C], from dark to light: [C, rows, columns].

    The last ones of the last row are repeated, to fill it.
    """
    ordered = inks[inks.int().sum(1).argsort(stable=True)]
    columns = min(_INKS_PER_ROW, len(inks))
    missing = -len(inks) % columns
    filled = torch.cat([ordered, ordered[-1:].expand(missing, -1)])
    return filled.T.reshape(inks.shape[1], -1, columns)


class Sheet(NamedTuple):
    """A sample sheet that training saved."""

    step: str
    src: str
    """Empty if the file is damaged or too large."""


class Sheets(NamedTuple):
    """The sample sheets of one training."""

    kind: str
    title: str
    sheets: Sequence[Sheet]


def sheets(runs: Sequence[Run], limits: Limits) -> list[list[Sheets]]:
    """Return the sample sheets of each run, by training."""
    return [
        [
            Sheets(
                kind,
                "Prior: canvases" if kind == "prior" else "Model: decoded images",
                [
                    _sheet(run, kind, step, limits)
                    for step in spread(list(run.pieces[kind].sheets), limits.sheets)
                ],
            )
            for kind in KINDS[1:]
        ]
        for run in runs
    ]


def _sheet(run: Run, kind: str, step: int, limits: Limits) -> Sheet:
    content = read_sheet(run.pieces[kind].sheets[step], 2 * limits.strip)
    return Sheet(f"step {step:,}", "" if content is None else data_url(content))
