"""The tables of the page, metrics and settings, with a column for each run."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from npdraw.config import ParseConfig, PriorConfig
from npdraw.decoder_config import DecoderConfig
from npdraw.report.curves import short
from npdraw.report.outputs import Outputs
from npdraw.report.runs import Run, is_number
from npdraw.run_key import flatten

NATS, DURATION = "nats", "duration"

METRICS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "parse": {
        "parts_painted_mean": ("Parts painted per image", ""),
        "canvas_mse": ("Canvas error of the parse (squared, per pixel)", ""),
        "dead_parts": ("Parts never used", ""),
        "seconds": ("Time", DURATION),
    },
    "prior": {
        "validation_nats": ("Nats per drawing, validation", NATS),
        "whether_nats": ("of which when to stop and where to place", NATS),
        "where_nats": ("of which offset within the cell", NATS),
        "what_nats": ("of which choice of part", NATS),
        "ink_nats": ("of which choice of ink", NATS),
        "contrast_nats": ("of which choice of contrast", NATS),
        "steps": ("Training steps", ""),
        "best_step": ("Best step", ""),
        "seconds": ("Time", DURATION),
    },
    "model": {
        "nll": ("NLL with 8 samples, validation", NATS),
        "elbo": ("-ELBO, validation", NATS),
        "rate": ("Rate", NATS),
        "distortion": ("Distortion", NATS),
        "canvas_mse": ("Canvas error (squared, per pixel)", ""),
        "steps": ("Training steps", ""),
        "best_step": ("Best step", ""),
        "seconds": ("Time", DURATION),
    },
    "evaluation": {
        "nll": ("NLL of test images", NATS),
        "elbo": ("-ELBO", NATS),
        "rate": ("Rate", NATS),
        "distortion": ("Distortion", NATS),
        "bits_per_dim": ("Bits per dimension", "bits/dim"),
        "canvas_mse": ("Canvas error (squared, per pixel)", ""),
        "samples": ("Samples per image", ""),
        "images": ("Test images", ""),
        "estimator": ("Estimator", ""),
        "binarization": ("Binarisation", ""),
        "seconds": ("Time", DURATION),
    },
}
"""Stage -> metric -> its title and unit."""

LOWER = frozenset({"canvas_mse", "validation_nats", "nll", "elbo", "bits_per_dim"})
"""Metrics whose lowest value is marked, if all runs used the same images."""

TITLES = {"parse": "Parse", "prior": "Prior", "model": "Model", "evaluation": "Evaluation"}

MOST_ROWS = 400
"""The most settings that are shown, about ten times as many as npdraw has."""

_LONGEST = 120
"""Characters of a value that are shown."""

ABSENT = "-"


class Cell(NamedTuple):
    """A value of one run."""

    text: str
    best: bool = False


class Row(NamedTuple):
    """One metric or setting, with a cell for each run."""

    title: str
    cells: Sequence[Cell]
    note: str = ""
    differs: bool = False


class Body(NamedTuple):
    """Rows under a title; `problems` says for each run why values may be missing."""

    title: str
    rows: Sequence[Row]
    problems: Sequence[str]


class Table(NamedTuple):
    """A table; `notes` says why its runs cannot be compared."""

    title: str
    bodies: Sequence[Body]
    notes: Sequence[str] = ()
    differing: int = 0
    """Number of settings in which the runs differ."""


def metric_of(run: Run, stage: str, name: str) -> Any:
    """Return a metric of a stage or of the evaluation; None if the run lacks it."""
    if stage == "evaluation":
        return run.evaluation.get(name)
    piece = run.pieces[stage]
    if name == "seconds":
        return piece.seconds
    return piece.header.metrics.get(name) if piece.header else None


def shown(name: str, unit: str, value: Any, error: Any = None) -> str:
    """Return a metric as text with its unit; `error` is its standard error."""
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
    """Return seconds in a suitable unit."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def cut(value: object) -> str:
    """Return any value as text of limited length."""
    if isinstance(value, list | tuple):
        value = ", ".join(cut(item) for item in value[:64] if not isinstance(item, list))
    if isinstance(value, bool):
        value = "yes" if value else "no"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def metrics(runs: Sequence[Run], outputs: Sequence[Outputs]) -> Table:
    """Return the table of metrics; with several runs the best of a row is marked."""
    bodies = []
    for stage, names in METRICS.items():
        rows = [
            row
            for name, (title, unit) in names.items()
            if (row := _metric(runs, stage, name, title, unit))
        ]
        if stage == "model" and any(output.parameters for output in outputs):
            counts = [f"{one.parameters:,}" if one.parameters else ABSENT for one in outputs]
            rows.append(Row("Parameters", [Cell(count) for count in counts]))
        bodies.append(Body(TITLES[stage], rows, [_problem(run, stage) for run in runs]))
    return Table("Metrics", bodies, _incomparable(runs))


def _metric(runs: Sequence[Run], stage: str, name: str, title: str, unit: str) -> Row | None:
    """Return the row of a metric; None if no run has it."""
    values = [metric_of(run, stage, name) for run in runs]
    if all(value is None for value in values):
        return None
    evaluation = stage == "evaluation"
    errors = [run.evaluation.get(f"{name}_se") if evaluation else None for run in runs]
    numbers = [value for value in values if is_number(value)]
    marked = len(numbers) > 1 and name in LOWER and _same_images(runs)
    marked = marked and (not evaluation or _same_evaluation(runs))
    return Row(
        title,
        [
            Cell(shown(name, unit, value, error), marked and value == min(numbers))
            for value, error in zip(values, errors, strict=True)
        ],
    )


def _problem(run: Run, stage: str) -> str:
    return run.no_evaluation if stage == "evaluation" else run.pieces[stage].problem


def _same_images(runs: Sequence[Run]) -> bool:
    return len({str(run.dataset.get("digest")) for run in runs}) == 1


def _same_evaluation(runs: Sequence[Run]) -> bool:
    """Return whether the existing evaluations differ in nothing but the model."""
    settings = [dict(run.evaluation["settings"], model=None) for run in runs if run.evaluation]
    return all(one == settings[0] for one in settings)


def _incomparable(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for each reason why the metrics of the runs cannot be compared."""
    sentences = []
    if len({str(run.dataset.get("digest")) for run in runs if run.dataset}) > 1:
        sentences.append("The runs were trained on different images.")
    if not _same_evaluation(runs):
        sentences.append("The evaluations have different settings.")
    return sentences


def settings(runs: Sequence[Run]) -> Table:
    """Return the table of settings; rows in which runs differ are marked."""
    flat = [flatten(run.config) for run in runs]
    names = list(dict.fromkeys(name for values in flat for name in values))
    values = {name: [cut(one[name]) if name in one else ABSENT for one in flat] for name in names}
    sections = dict.fromkeys(["", *_MEANINGS, *(name.partition(".")[0] for name in names)])
    bodies, left = [], MOST_ROWS
    for section in sections:
        own = [n for n in names if (n.partition(".")[0] if "." in n else "") == section][:left]
        left -= len(own)
        if own:
            rows = [_setting(section, name, values[name]) for name in own]
            bodies.append(Body(f"[{section}]" if section else "Preset", rows, [""] * len(runs)))
    differing = sum(len(set(cells)) > 1 for cells in values.values())
    return Table("Settings", bodies, differing=differing)


def _setting(section: str, name: str, values: Sequence[str]) -> Row:
    last = name.rpartition(".")[2]
    note = _MEANINGS.get(section, {}).get(last, "")
    return Row(last, [Cell(value) for value in values], note, len(set(values)) > 1)


_MEANINGS = {
    section: {f.name: f.metadata["meaning"] for f in fields(config)}
    for section, config in (
        ("parse", ParseConfig),
        ("prior", PriorConfig),
        ("decoder", DecoderConfig),
    )
}
