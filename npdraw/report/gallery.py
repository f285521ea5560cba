"""The picture sections of the page: samples, reconstructions, part banks, sample sheets."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from npdraw.pictures.files import png
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
    """A reconstruction: what it shows, and its caption."""

    number: int
    picture: Picture
    caption: str


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
                one.number,
                embedded(one.pixels),
                f"{one.parts} parts, canvas error {one.error:.4f}",
            )
            for one in output.reconstructions[: limits.images]
        ]
    )


class Part(NamedTuple):
    """A part of a bank, and how often it is painted."""

    number: int
    picture: Picture
    uses: int
    share: str
    """Its percentage of all strokes."""
    bar: str
    """Its count as a percentage of that of the most used part."""


class Bank(NamedTuple):
    """The parts of one run, most used first, or the reason why there are none."""

    parts: Sequence[Part] = ()
    note: str = ""
    problem: str = ""


def banks(outputs: Sequence[Outputs], limits: Limits) -> list[Bank]:
    """Return the part bank of each run."""
    return [_bank(output, limits) for output in outputs]


def _bank(output: Outputs, limits: Limits) -> Bank:
    bank, usage = output.bank, output.usage
    if bank is None or usage is None:
        return Bank(problem=f"No part bank: {output.problems.get('bank', 'missing')}.")
    counts: list[int] = usage.tolist()
    total, most = max(1, sum(counts)), max(1, int(usage.max()))
    order = sorted(range(len(bank)), key=lambda part: (-counts[part], part))[: limits.parts]
    parts = [
        Part(
            number=part,
            picture=embedded(bank[part]),
            uses=counts[part],
            share=f"{100 * counts[part] / total:.2f} %",
            bar=f"{100 * counts[part] / most:.1f}",
        )
        for part in order
    ]
    never, hidden = counts.count(0), len(bank) - len(parts)
    note = f"{len(bank)} parts, most used first, counted over the {total:,} strokes of "
    note += f"{output.counted_over}."
    note += f" Never used: {never}." if never else ""
    note += f" The {hidden} least used are not shown." if hidden else ""
    return Bank(parts, note)


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
