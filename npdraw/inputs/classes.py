"""The classes that a model can draw, by their names."""

from npdraw.errors import UsageError, did_you_mean
from npdraw.header import Header

ALL = "all"
"""Stands for all classes, unless one has that name."""


def class_names(header: Header) -> tuple[str, ...]:
    """Return the names of the classes that a model can draw; none if it has no such prior."""
    return tuple(header.dataset["classes"]) if "classes" in header.config else ()


def check_classes(header: Header) -> tuple[str, ...]:
    """Return the names of a model's classes; `UsageError` if it has none."""
    known = class_names(header)
    if not known:
        raise UsageError(
            "the model has no classes",
            hint="Teach it those of its images: npdraw train-classes MODEL",
        )
    return known


def label_of(header: Header, name: str | int) -> int:
    """Return the label of the class `name` of a model; 3 is the class "3".

    Raises:
        UsageError: the model has no classes, or none of this name.
    """
    known, name = check_classes(header), str(name)
    if name not in known:
        raise UsageError(f"the model has no class {name!r}", hint=did_you_mean(name, known))
    return known.index(name)


def labels_of(header: Header, text: str) -> list[int]:
    """Return the labels of the classes that `text` names, in its order, each once.

    Names and ranges A-B in the order of the classes, both ends included, with commas between them;
    `all` stands for all classes. A text that is itself the name of a class is that class.

    Raises:
        UsageError: as `label_of`, or a range is reversed.
    """
    known = check_classes(header)
    if text in known:
        return [known.index(text)]
    if text == ALL:
        return list(range(len(known)))
    labels: list[int] = []
    for piece in (piece.strip() for piece in text.split(",")):
        ends = None if piece in known else _ends(piece, known)
        if ends is None:
            labels.append(label_of(header, piece))
            continue
        first, last = ends
        low, high = label_of(header, first), label_of(header, last)
        if high < low:
            raise UsageError(f"--label {text}: {piece} is reversed", hint=f"Write {last}-{first}.")
        labels.extend(range(low, high + 1))
    return list(dict.fromkeys(labels))


def _ends(piece: str, known: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the ends of a range A-B, or None for a text that is not a range.

    Names may contain hyphens. So it is split where both ends are known, or else where A is, for an
    error that names B.
    """
    words = piece.split("-")
    pairs = [
        ("-".join(words[:n]).strip(), "-".join(words[n:]).strip()) for n in range(1, len(words))
    ]
    starts = [(first, last) for first, last in pairs if first in known and last]
    return next((pair for pair in starts if pair[1] in known), next(iter(starts), None))
