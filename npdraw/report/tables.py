"""The tables of the page, figures and settings, with a column for each run."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from npdraw.config import DecoderConfig, ParseConfig, PriorConfig
from npdraw.report.curves import short
from npdraw.report.drawn import Drawn
from npdraw.report.markup import Html, element
from npdraw.report.runs import Run, is_number
from npdraw.run_key import flatten

NATS, DURATION = "nats", "duration"

FIGURES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "parse": {
        "parts_painted_mean": ("Parts painted an image", ""),
        "canvas_mse": ("Canvas error of the parse, squared a pixel", ""),
        "dead_parts": ("Parts never used", ""),
        "seconds": ("Time", DURATION),
    },
    "prior": {
        "validation_nats": ("Nats of a drawing, validation", NATS),
        "whether_nats": ("of which whether", NATS),
        "where_nats": ("of which where", NATS),
        "what_nats": ("of which what", NATS),
        "steps": ("Training steps", ""),
        "best_step": ("Best step", ""),
        "seconds": ("Time", DURATION),
    },
    "model": {
        "nll": ("NLL with 8 samples, validation", NATS),
        "elbo": ("-ELBO, validation", NATS),
        "rate": ("Rate", NATS),
        "distortion": ("Distortion", NATS),
        "canvas_mse": ("Canvas error, squared a pixel", ""),
        "steps": ("Training steps", ""),
        "best_step": ("Best step", ""),
        "seconds": ("Time", DURATION),
    },
    "evaluation": {
        "nll": ("NLL of test images", NATS),
        "elbo": ("-ELBO", NATS),
        "rate": ("Rate", NATS),
        "distortion": ("Distortion", NATS),
        "bits_per_dim": ("Bits a dimension", "bits/dim"),
        "canvas_mse": ("Canvas error, squared a pixel", ""),
        "samples": ("Samples an image", ""),
        "images": ("Test images", ""),
        "estimator": ("Estimator", ""),
        "binarization": ("Binarised", ""),
        "seconds": ("Time", DURATION),
    },
}
"""Stage -> figure -> what it is called, and its unit."""

LOWER = frozenset({"canvas_mse", "validation_nats", "nll", "elbo", "bits_per_dim"})
"""Figures of which the least is marked, where all runs have the same images."""

TITLES = {"parse": "Parse", "prior": "Prior", "model": "Model", "evaluation": "Evaluation"}

MOST_ROWS = 400
"""Settings that are shown: those of npdraw are a tenth of it."""

_LONGEST = 120
"""Characters of a value."""

ABSENT = "-"


def figure_of(run: Run, stage: str, name: str) -> Any:
    """Return a figure of a stage, or of the evaluation; None if it is not there."""
    if stage == "evaluation":
        return run.evaluation.get(name)
    piece = run.pieces[stage]
    if name == "seconds":
        return piece.seconds
    return piece.header.metrics.get(name) if piece.header else None


def shown(name: str, unit: str, value: Any, error: Any = None) -> str:
    """Return a figure as people read it, with its unit; `error` is its standard error."""
    if value is None:
        return ABSENT
    if unit == DURATION:
        return duration(value) if is_number(value) else ABSENT
    if type(value) is int and is_number(value):
        return f"{value:,}"
    if not is_number(value):
        return cut(value)
    text = short(value)
    if unit == NATS and abs(value) < 1e6:
        text = f"{value:.2f}" + (f" ± {error:.2f}" if is_number(error) else "")
    return f"{text} {unit}".rstrip()


def duration(seconds: float) -> str:
    """Return seconds in a unit that fits."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def cut(value: object) -> str:
    """Return any value as text that is not too long."""
    if isinstance(value, list | tuple):
        value = ", ".join(cut(item) for item in value[:64] if not isinstance(item, list))
    if isinstance(value, bool):
        value = "yes" if value else "no"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def figures(runs: Sequence[Run], drawn: Sequence[Drawn]) -> Html:
    """Return the table of figures; of several runs the least of each row is marked."""
    bodies = []
    same = len({str(run.dataset.get("digest")) for run in runs}) == 1
    for stage, names in FIGURES.items():
        rows = []
        for name, (title, unit) in names.items():
            values = [figure_of(run, stage, name) for run in runs]
            if all(value is None for value in values):
                continue
            errors = [run.evaluation.get(f"{name}_se") for run in runs]
            errors = errors if stage == "evaluation" else [None] * len(runs)
            cells = [
                shown(name, unit, value, error) for value, error in zip(values, errors, strict=True)
            ]
            numbers = [value for value in values if is_number(value)]
            marked = len(numbers) > 1 and same and name in LOWER
            marked = marked and (stage != "evaluation" or _alike(runs))
            best = [marked and value == min(numbers) for value in values]
            rows.append(_row(title, cells, best=best))
        if stage == "model" and any(found.parameters for found in drawn):
            counts = [f"{found.parameters:,}" if found.parameters else ABSENT for found in drawn]
            rows.append(_row("Parameters", counts))
        bodies.append(_Body(TITLES[stage], rows, [_problem(run, stage) for run in runs]))
    return _table("Figures", runs, bodies)


def _problem(run: Run, stage: str) -> str:
    return run.no_evaluation if stage == "evaluation" else run.pieces[stage].problem


def _alike(runs: Sequence[Run]) -> bool:
    """Whether the evaluations that are there differ in nothing but the model."""
    found = [dict(run.evaluation["settings"], model=None) for run in runs if run.evaluation]
    return all(settings == found[0] for settings in found)


def comparable(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for each reason why figures of several runs cannot be compared."""
    found = []
    if len({str(run.dataset.get("digest")) for run in runs if run.dataset}) > 1:
        found.append("The runs were trained on different images.")
    if not _alike(runs):
        found.append("The evaluations have different settings.")
    return found


def settings(runs: Sequence[Run]) -> Html:
    """Return the table of settings; rows in which runs differ are marked."""
    flat = [flatten(run.config) for run in runs]
    names = list(dict.fromkeys(name for values in flat for name in values))
    bodies = []
    order = ("", *_MEANINGS)
    sections = list(dict.fromkeys([*order, *(name.partition(".")[0] for name in names)]))
    left = MOST_ROWS
    for section in sections:
        own = [n for n in names if (n.partition(".")[0] if "." in n else "") == section][:left]
        left -= len(own)
        rows = []
        for name in own:
            values = [cut(values[name]) if name in values else ABSENT for values in flat]
            last = name.rpartition(".")[2]
            meaning = _MEANINGS.get(section, {}).get(last, "")
            differs = len(set(values)) > 1
            rows.append(_row(last, values, note=meaning, class_="differs" if differs else None))
        if rows:
            bodies.append(_Body(f"[{section}]" if section else "Preset", rows, [""] * len(runs)))
    return _table("Settings", runs, bodies)


_MEANINGS = {
    section: {f.name: f.metadata["meaning"] for f in fields(config)}
    for section, config in (
        ("parse", ParseConfig),
        ("prior", PriorConfig),
        ("decoder", DecoderConfig),
    )
}


def differing(runs: Sequence[Run]) -> int:
    """Return in how many settings the runs differ."""
    flat = [{k: cut(v) for k, v in flatten(run.config).items()} for run in runs]
    names = {name for values in flat for name in values}
    return sum(len({values.get(name) for values in flat}) > 1 for name in names)


class _Body(NamedTuple):
    """Rows of a table under a title of their own, and of each run why values may be missing."""

    title: str
    rows: Sequence[Html]
    problems: Sequence[str]


def _table(title: str, runs: Sequence[Run], bodies: Sequence[_Body]) -> Html:
    """Return a table with a column for each run; of one run, a small table for each body."""
    if len(runs) == 1:
        small = [
            element(
                "table",
                element("caption", body.title),
                element("tbody", body.rows),
                element("tfoot", element("tr", _problems(body))) if body.problems[0] else None,
            )
            for body in bodies
        ]
        return element("div", small, class_="small-tables")
    columns = [
        element("th", element("span", class_=f"swatch c{n}"), f" {run.name}", scope="col")
        for n, run in enumerate(runs)
    ]
    table = element(
        "table",
        element("caption", title, class_="hidden"),
        element("thead", element("tr", element("td"), columns)),
        [
            element(
                "tbody",
                element(
                    "tr",
                    element("th", body.title, scope="rowgroup"),
                    _problems(body),
                    class_="group",
                ),
                body.rows,
            )
            for body in bodies
        ],
    )
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=title)


def _problems(body: _Body) -> list[Html]:
    span = 2 if len(body.problems) == 1 else None
    return [element("td", told, class_="problem", colspan=span) for told in body.problems]


def _row(
    title: str,
    cells: Sequence[str],
    *,
    best: Sequence[bool] = (),
    note: str = "",
    class_: str | None = None,
) -> Html:
    head = element("th", title, element("small", note) if note else None, scope="row")
    marked = best or [False] * len(cells)
    data = [
        element("td", cell, class_="best" if least else None)
        for cell, least in zip(cells, marked, strict=True)
    ]
    return element("tr", head, data, class_=class_)
