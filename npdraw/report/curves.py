"""Training curves of the page: points, axes, legends and the numbers as a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from npdraw.report.axes import HEIGHT, WIDTH, Axis
from npdraw.report.runs import KINDS, Run

SMALLEST, LARGEST = 1e-30, 1e30
"""Smaller values are shown as 0, larger ones left out: neither occurs, and axes would overflow."""

NATS = "nats per image"


@dataclass(frozen=True)
class Chart:
    """Quantities of a training log that share an axis when one run is shown."""

    kind: str
    title: str
    unit: str
    names: Mapping[str, str]
    """Name in the log -> name on the page."""


CHARTS = (
    Chart(
        "prior",
        "Prior",
        NATS,
        {
            "validation_nats": "validation",
            "whether_nats": "stop and place",
            "where_nats": "offset in the cell",
            "what_nats": "choice of part",
            "ink_nats": "choice of ink",
            "contrast_nats": "choice of contrast",
        },
    ),
    Chart(
        "model",
        "Model",
        NATS,
        {
            "nll": "NLL, 8 samples",
            "elbo": "-ELBO",
            "rate": "rate",
            "distortion": "distortion",
        },
    ),
    Chart(
        "model",
        "Training loss",
        NATS,
        {
            "loss": "batch loss",
            "relaxed_elbo": "-ELBO, relaxed",
            "decoder_loss": "distortion, decoder alone",
            "wake_nll": "NLL, wake phase",
        },
    ),
    Chart("model", "Canvas error", "squared error per pixel", {"canvas_mse": "canvas"}),
)
"""All charts of the page. Except for the training loss, they show validation images."""


class Dot(NamedTuple):
    """A point of a curve: its place in the chart and its label."""

    x: str
    y: str
    label: str


class Line(NamedTuple):
    """A curve; `last` and `step` are its last value and step."""

    name: str
    colour: int
    dots: Sequence[Dot]
    last: str
    step: str


class Plot(NamedTuple):
    """A chart, ready to be drawn."""

    title: str
    unit: str
    x: Axis
    y: Axis
    description: str
    lines: Sequence[Line]
    rows: Sequence[tuple[str, Sequence[str]]]
    """The numbers: a step, and the value of each line at it."""
    size: tuple[int, int] = (WIDTH, HEIGHT)


class Curves(NamedTuple):
    """The charts of the page, and sentences about logs that are missing or damaged."""

    plots: Sequence[Plot]
    problems: Sequence[str]


class _Series(NamedTuple):
    """The points (step, value) of a curve, by step."""

    name: str
    colour: int
    points: Sequence[tuple[int, float]]


def curves(runs: Sequence[Run], most: int) -> Curves:
    """Return a plot for each chart, or with several runs, for each quantity.

    A curve has at most `most` points, evenly thinned; the first and the last are kept.
    """
    plots = []
    for chart in CHARTS:
        if len(runs) == 1:
            series = [
                _Series(shown, colour, _points(runs[0], chart.kind, name, most))
                for colour, (name, shown) in enumerate(chart.names.items())
            ]
            plots.append(_plot(chart.title, chart.unit, series))
            continue
        for name, shown in chart.names.items():
            series = [
                _Series(run.name, colour, _points(run, chart.kind, name, most))
                for colour, run in enumerate(runs)
            ]
            title = chart.title if len(chart.names) == 1 else f"{chart.title}: {shown}"
            plots.append(_plot(title, chart.unit, series))
    return Curves([plot for plot in plots if plot], _problems(runs))


def _problems(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for each log that is missing or has unreadable lines."""
    sentences = []
    for run in runs:
        pieces = [run.pieces[kind] for kind in KINDS[1:]]
        names = [piece.kind for piece in pieces if not piece.records]
        if names:
            sentences.append(f"{run.name}: no training log of the {' and the '.join(names)}.")
        sentences += [
            f"{run.name}: unreadable lines in the training log of the {piece.kind}: {piece.unread}."
            for piece in pieces
            if piece.unread
        ]
    return sentences


def _points(run: Run, kind: str, name: str, most: int) -> list[tuple[int, float]]:
    records = run.pieces[kind].records
    points = [(int(record["step"]), float(record[name])) for record in records if name in record]
    points = [(step, value if abs(value) > SMALLEST else 0.0) for step, value in points]
    points = [(step, value) for step, value in points if abs(value) < LARGEST]
    if len(points) <= most:
        return points
    return [points[number * (len(points) - 1) // (most - 1)] for number in range(most)]


def _plot(title: str, unit: str, series: Sequence[_Series]) -> Plot | None:
    """Return a plot of the series that have two points or more; None if none has."""
    # With one placement per cell, the nats of the offset are 0 at every step: leave them out.
    series = [one for one in series if len(one.points) > 1 and any(y for _, y in one.points)]
    if not series:
        return None
    x = Axis.of_steps([step for one in series for step, _ in one.points])
    y = Axis.of_values([value for one in series for _, value in one.points])
    ranges = "; ".join(
        f"{one.name} from {short(one.points[0][1])} to {short(one.points[-1][1])}" for one in series
    )
    lines = [
        Line(
            one.name,
            one.colour,
            [
                Dot(x.at(step), y.at(value), f"{one.name}, step {step:,}: {value:.6g} {unit}")
                for step, value in one.points
            ],
            short(one.points[-1][1]),
            f"{one.points[-1][0]:,}",
        )
        for one in series
    ]
    description = f"{title}, {unit}, steps {x.low:,} to {x.high:,}: {ranges}"
    return Plot(title, unit, x, y, description, lines, _rows(series))


def _rows(series: Sequence[_Series]) -> list[tuple[str, list[str]]]:
    steps = sorted({step for one in series for step, _ in one.points})
    values = [dict(one.points) for one in series]
    return [
        (f"{step:,}", [f"{value[step]:.6g}" if step in value else "-" for value in values])
        for step in steps
    ]


def short(value: float) -> str:
    """Return a number with four significant digits."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}" if value else "0"
