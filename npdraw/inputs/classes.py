"""The classes that a model can draw, by their names."""

from npdraw.errors import UsageError, did_you_mean
from npdraw.header import Header

MOST_SHOWN = 12
"""Classes that an error lists."""

ALL = "all"
"""Stands for all classes, unless one has that name."""


def class_names(header: Header) -> tuple[str, ...]:
    """Return the names of the classes that a model can draw; none if it has no such prior."""
    return tuple(header.dataset["classes"]) if "classes" in header.config else ()


def label_of(header: Header, name: str) -> int:
    """Return the label of the class `name` of a model.

    Raises:
        UsageError: the model has no classes, or none of this name.
    """
    known = class_names(header)
    if not known:
        raise UsageError(
            f"label {name}: the model has no classes",
            hint="Teach it those of its images: npdraw train-classes MODEL",
        )
    if name not in known:
        shown = ", ".join(known[:MOST_SHOWN]) + (", ..." if len(known) > MOST_SHOWN else "")
        hint = did_you_mean(name, known)
        raise UsageError(
            f"label {name}: the model has no class of this name",
            hint=hint if "Did you" in hint else f"Its classes: {shown}.",
        )
    return known.index(name)


def labels_of(header: Header, text: str) -> list[int]:
    """Return the labels of the classes that `text` names, in its order, each once.

    Names and ranges A-B in the order of the classes, both ends included, with commas between them;
    `all` stands for all classes. A text that is itself the name of a class is that class.

    Raises:
        UsageError: as `label_of`, or a range is reversed.
    """
    known = class_names(header)
    if text in known:
        return [known.index(text)]
    if text == ALL and known:
        return list(range(len(known)))
    labels: list[int] = []
    for piece in (piece.strip() for piece in text.split(",")):
        first, _, last = piece.partition("-")
        if piece in known or not (first in known and last in known):
            labels.append(label_of(header, piece))
            continue
        low, high = label_of(header, first), label_of(header, last)
        if high < low:
            raise UsageError(f"label {piece}: the range is reversed", hint=f"Write {last}-{first}.")
        labels.extend(range(low, high + 1))
    return list(dict.fromkeys(labels))
