"""Training curves, drawn in the page: axes, units, a legend, the numbers as a table."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from npdraw.report.markup import Html, element, joined
from npdraw.report.runs import KINDS, Run

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 36
"""Units of a drawing, and its margins: a unit is about a pixel on a phone."""

LOGARITHMIC = 4.0
"""From this ratio of the largest to the least value on, an axis is logarithmic."""

SMALLEST, LARGEST = 1e-30, 1e30
"""Values beyond are 0, or left out: no training has them, and axes could not be computed."""

NATS = "nats an image"


@dataclass(frozen=True)
class Group:
    """Figures of a log that share an axis if there is one run."""

    kind: str
    title: str
    unit: str
    names: Mapping[str, str]
    """Name in the log -> what it is called."""


GROUPS = (
    Group(
        "prior",
        "Prior",
        NATS,
        {
            "validation_nats": "validation",
            "whether_nats": "whether",
            "where_nats": "where",
            "what_nats": "what",
        },
    ),
    Group(
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
    Group(
        "model",
        "Training loss",
        NATS,
        {
            "loss": "loss of a batch",
            "relaxed_elbo": "-ELBO, relaxed",
            "wake_nll": "NLL, waking phase",
        },
    ),
    Group("model", "Canvas error", "squared error a pixel", {"canvas_mse": "canvas"}),
)
"""Every curve of the page. They are of validation images unless they are of a training batch."""


@dataclass(frozen=True)
class Line:
    """One curve: points (step, value) in the order of the steps."""

    name: str
    colour: int
    points: Sequence[tuple[int, float]]


def curves(runs: Sequence[Run], most: int) -> list[Html]:
    """Return a figure for each group of curves; of several runs, one for each quantity.

    Of more than `most` points of a curve some are left out, evenly; the first and last never.
    """
    found = []
    for group in GROUPS:
        if len(runs) == 1:
            lines = [
                Line(shown, colour, _points(runs[0], group.kind, name, most))
                for colour, (name, shown) in enumerate(group.names.items())
            ]
            found.append(_figure(group.title, group.unit, lines))
            continue
        for name, shown in group.names.items():
            lines = [
                Line(run.name, colour, _points(run, group.kind, name, most))
                for colour, run in enumerate(runs)
            ]
            title = group.title if len(group.names) == 1 else f"{group.title}: {shown}"
            found.append(_figure(title, group.unit, lines))
    return [figure for figure in found if figure]


def without(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for each log that is missing or has lines that cannot be read."""
    found = []
    for run in runs:
        pieces = [run.pieces[kind] for kind in KINDS[1:]]
        names = [piece.kind for piece in pieces if not piece.records]
        if names:
            found.append(f"{run.name}: no log of the training of the {' and the '.join(names)}.")
        found += [
            f"{run.name}: lines of the log of the {piece.kind} that cannot be read: {piece.unread}."
            for piece in pieces
            if piece.unread
        ]
    return found


def _points(run: Run, kind: str, name: str, most: int) -> list[tuple[int, float]]:
    records = run.pieces[kind].records
    points = [(int(record["step"]), float(record[name])) for record in records if name in record]
    points = [(step, value if abs(value) > SMALLEST else 0.0) for step, value in points]
    points = [(step, value) for step, value in points if abs(value) < LARGEST]
    if len(points) <= most:
        return points
    return [points[number * (len(points) - 1) // (most - 1)] for number in range(most)]


def _figure(title: str, unit: str, lines: Sequence[Line]) -> Html | None:
    """Return a drawing with its legend and its numbers; None without any line of two points."""
    # On a plain grid there is no choice of where, so that its nats are 0 at every step.
    lines = [line for line in lines if len(line.points) > 1 and any(y for _, y in line.points)]
    if not lines:
        return None
    legend = [
        element(
            "li",
            element("span", class_=f"swatch c{line.colour}"),
            f"{line.name} ",
            element("b", short(line.points[-1][1])),
            f" at step {line.points[-1][0]:,}",
        )
        for line in lines
    ]
    return element(
        "figure",
        element("figcaption", element("b", title), element("span", unit, class_="unit")),
        _drawing(title, unit, lines),
        element("ul", legend, class_="legend"),
        element("details", element("summary", "Numbers"), _table(title, lines)),
        class_="plot",
    )


def _drawing(title: str, unit: str, lines: Sequence[Line]) -> Html:
    values = [y for line in lines for _, y in line.points]
    steps = [x for line in lines for x, _ in line.points]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high >= LOGARITHMIC * low
    ticks = _log_ticks(low, high) if logarithmic else _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    first, last = min(steps), max(*steps, min(steps) + 1)

    def across(step: float) -> str:
        return _unit(LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / (last - first))

    def down(value: float) -> str:
        if logarithmic:
            part = math.log(value / low) / math.log(high / low)
        else:
            part = (value - low) / (high - low)
        return _unit(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part)

    grid: list[Html] = []
    for tick in ticks:
        y = down(tick)
        grid.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        grid.append(element("text", _tick(tick), x=LEFT - 6, y=y, class_="y"))
    bottom = HEIGHT - BOTTOM
    for tick in _ticks(first, last):
        if first <= tick <= last and tick == int(tick):
            x = across(tick)
            grid.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
            grid.append(element("text", f"{int(tick):,}", x=x, y=bottom + 15, class_="x"))
    grid.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    scale = "training step" + (", vertical axis logarithmic" if logarithmic else "")
    middle = (LEFT + WIDTH - RIGHT) / 2
    grid.append(element("text", scale, x=_unit(middle), y=HEIGHT - 5, class_="x"))
    drawn = [_curve(line, unit, across, down) for line in lines]
    told = "; ".join(
        f"{line.name} from {short(line.points[0][1])} to {short(line.points[-1][1])}"
        for line in lines
    )
    return element(
        "svg",
        grid,
        drawn,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}, {unit}, steps {first:,} to {last:,}: {told}",
    )


def _curve(
    line: Line, unit: str, across: Callable[[float], str], down: Callable[[float], str]
) -> Html:
    places = [(across(x), down(y)) for x, y in line.points]
    dots = [
        element(
            "circle",
            element("title", f"{line.name}, step {step:,}: {value:.6g} {unit}"),
            cx=x,
            cy=y,
            r=2.6,
        )
        for (x, y), (step, value) in zip(places, line.points, strict=True)
    ]
    path = " ".join(f"{x},{y}" for x, y in places)
    return element("g", element("polyline", points=path), dots, class_=f"line c{line.colour}")


def _table(title: str, lines: Sequence[Line]) -> Html:
    steps = sorted({step for line in lines for step, _ in line.points})
    names, found = [line.name for line in lines], [dict(line.points) for line in lines]
    head = element("tr", *(element("th", name, scope="col") for name in ("step", *names)))
    rows = [
        element(
            "tr",
            element("th", f"{step:,}", scope="row"),
            *(element("td", f"{by[step]:.6g}" if step in by else "-") for by in found),
        )
        for step in steps
    ]
    caption = element("caption", f"{title}, by training step", class_="hidden")
    whole = element("table", caption, element("thead", head), element("tbody", rows))
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=title)


def short(value: float) -> str:
    """Return a number with four digits that count."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}" if value else "0"


def _tick(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.1g}"
    text = f"{value:,.6f}"
    return text.rstrip("0").rstrip(".")


def _ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round values that reach from `low` or below to `high` or above."""
    if low == high:
        pad = abs(low) / 10 or 1.0
        low, high = low - pad, high + pad
    rough = max((high - low) / about, math.ulp(max(abs(low), abs(high))) * 4)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values of a logarithmic axis, within or around low..high."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        every = [factor * 10.0**power for power in powers for factor in factors]
        within = [tick for tick in every if low <= tick <= high]
        if 2 <= len(within) <= most:
            return within
    ends = [10.0 ** powers[0], 10.0 ** powers[-1]]
    return within[:: -(-len(within) // most)] if len(within) > most else ends


def _unit(value: float) -> str:
    return f"{value:.1f}"


def notes(sentences: Sequence[str]) -> Html:
    """Return sentences about what is missing, each a line."""
    return joined([element("p", sentence, class_="missing") for sentence in sentences])
