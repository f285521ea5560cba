"""What a run was made from: images, artifacts and evaluation, each with its digest."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from npdraw.reading import from_record, short
from npdraw.report.runs import KINDS, Piece, Run, evaluated
from npdraw.report.tables import ABSENT, TITLES, cut


class Check(NamedTuple):
    """Whether an input of an artifact is the one that the run has; `state` is a CSS class."""

    sign: str
    state: str
    text: str


class Link(NamedTuple):
    """A link of the chain; `digest` is empty if the run lacks it."""

    title: str
    text: str
    digest: str = ""
    checks: Sequence[Check] = ()
    notes: Sequence[str] = ()
    """How pictures of your own were read."""


def provenance(run: Run) -> list[Link]:
    """Return data set, artifacts and evaluation of a run, in the order in which they were made."""
    images = [_images(run.dataset, run.pieces["parse"].notes)] if run.dataset else []
    return [*images, *(_artifact(run, run.pieces[kind]) for kind in KINDS), _evaluation(run)]


def _images(record: Mapping[str, Any], notes: Sequence[str]) -> Link:
    facts = [cut(record.get("name"))]
    for split in ("train", "validation"):
        count = record.get(split)
        facts += [f"{count:,} {split}"] if type(count) is int else []
    levels = "binarised" if record.get("binarized") is True else "256 levels"
    facts += [f"shape {cut(record.get('image_shape'))}", levels]
    digest = cut(record.get("digest", ABSENT))
    return Link("Images", ", ".join(facts), digest, notes=notes or _read_as(record))


def _read_as(record: Mapping[str, Any]) -> list[str]:
    """Return how pictures of your own were read, as an artifact alone says."""
    lines = []
    if (reading := from_record(record.get("reading"))) is not None:
        how = {"crop": "cropped to the square in the middle", "stretch": "stretched"}
        fit = how.get(reading.fit, f"padded with {reading.background}")
        span = reading.white - reading.black
        inverted = "inverted" if reading.invert else "not inverted"
        lines.append(
            f"{inverted}; transparent pixels put on {reading.background}; pictures that are not "
            f"square {fit}; {short(reading.black, span)} becomes black, "
            f"{short(reading.white, span)} white"
        )
    classes = record.get("classes")
    if isinstance(classes, list) and classes:
        lines.append(f"{len(classes)} classes: {cut(classes)}")
    return lines


def _artifact(run: Run, piece: Piece) -> Link:
    if piece.header is None:
        return Link(TITLES[piece.kind], piece.problem)
    checks = []
    for name, digest in sorted(piece.header.inputs.items()):
        other = run.pieces[name].header if name in run.pieces and name != piece.kind else None
        checks.append(_check(name, digest, other.digest if other else None))
    return Link(TITLES[piece.kind], f"seed {piece.header.seed}", cut(piece.header.digest), checks)


def _evaluation(run: Run) -> Link:
    if not run.evaluation:
        return Link("Evaluation", run.no_evaluation)
    model, settings = run.pieces["model"].header, run.evaluation["settings"]
    check = _check("model", evaluated(run.evaluation), model.digest if model else None)
    text = f"seed {cut(settings.get('seed'))}, {cut(settings.get('precision'))}, test images"
    return Link("Evaluation", text, cut(settings.get("data", ABSENT)), [check])


def _check(name: str, digest: str, present: str | None) -> Check:
    """Compare the digest of an input with that of the run's own artifact."""
    if present is None:
        sign, state, text = "·", "unknown", "which this run lacks"
    elif present == digest:
        sign, state, text = "✓", "fits", "the one in this run"
    else:
        sign, state, text = "✗", "other", f"but this run has {present[:8]}"
    return Check(sign, state, f"made from {name} {digest[:8]}, {text}")
