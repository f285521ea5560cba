"""Which names can be those of classes: of folders, or of labels that are text."""

from collections import Counter

MOST_CLASSES = 1_000
LONGEST_NAME = 100
"""Characters of a name, escaped: names are stored in the header of every artifact."""


def why_not_classes(counts: Counter[str]) -> str:
    """Return why names, with the pictures of each, are not used as classes; empty if they are."""
    if len(counts) > MOST_CLASSES:
        return f"there are more than {MOST_CLASSES:,}"
    if 2 * len(counts) > counts.total():
        return "they hold fewer than two pictures on average"
    if any(len(ascii(name)) > LONGEST_NAME for name in counts):
        return f"a name has more than {LONGEST_NAME} characters"
    return ""


def printable(name: str) -> str:
    """Return a name with characters escaped that no terminal should print."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
