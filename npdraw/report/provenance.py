"""What a run was made from: images, artifacts and evaluation, each with its digest."""

from collections.abc import Sequence

from npdraw.report.markup import Html, element
from npdraw.report.runs import KINDS, Piece, Run, evaluated
from npdraw.report.tables import ABSENT, TITLES, cut


def provenance(run: Run) -> Html:
    """Return what a run was made from: data set, artifacts, evaluation, each with its digest."""
    steps = []
    record = run.dataset
    if record:
        words = [cut(record.get("name"))]
        for split in ("train", "validation"):
            count = record.get(split)
            words += [f"{count:,} {split}"] if type(count) is int else []
        binary = "binarised" if record.get("binarized") is True else "256 values"
        words += [f"shape {cut(record.get('image_shape'))}", binary]
        steps.append(_link("Images", ", ".join(words), str(record.get("digest", ABSENT))))
    for kind in KINDS:
        steps.append(_artifact(run, run.pieces[kind]))
    if run.evaluation:
        digest, model = evaluated(run.evaluation), run.pieces["model"].header
        checks = [_check("model", digest, model.digest if model else None)]
        settings = run.evaluation["settings"]
        told = f"seed {cut(settings.get('seed'))}, {cut(settings.get('precision'))}, test images"
        data = cut(settings.get("data", ABSENT))
        steps.append(_link("Evaluation", told, data, checks))
    else:
        steps.append(element("li", element("b", "Evaluation"), element("p", run.no_evaluation)))
    return element("ol", steps, class_="chain")


def _artifact(run: Run, piece: Piece) -> Html:
    title = TITLES[piece.kind]
    if piece.header is None:
        return element("li", element("b", title), element("p", piece.problem), class_="absent")
    checks = []
    for name, digest in sorted(piece.header.inputs.items()):
        other = run.pieces[name].header if name in run.pieces and name != piece.kind else None
        checks.append(_check(name, digest, other.digest if other else None))
    return _link(title, f"seed {piece.header.seed}", piece.header.digest, checks)


def _check(name: str, digest: str, there: str | None) -> Html:
    """Return whether an input is the artifact that is there."""
    if there is None:
        sign, state, told = "·", "unknown", "which is not here"
    elif there == digest:
        sign, state, told = "✓", "fits", "as it is here"
    else:
        sign, state, told = "✗", "other", f"but here is {there[:8]}"
    text = f" made from {name} {digest[:8]}, {told}"
    return element("li", element("span", sign, aria_hidden="true"), text, class_=state)


def _link(title: str, told: str, digest: str, checks: Sequence[Html] = ()) -> Html:
    return element(
        "li",
        element("b", title),
        element("p", told),
        element("code", cut(digest)),
        element("ul", checks) if checks else None,
    )
