"""Plain English: phrases that this repository once used everywhere, and what to write instead.

Scanned are comments, docstrings and strings of Python files, and documents and pages as a whole.
"""

import json
import re
from typing import NamedTuple

import pytest

from tests.prose import ROOT, passages, tracked


class Rule(NamedTuple):
    """A phrase to avoid."""

    pattern: str
    example: str
    instead: str


UNITS = "image|drawing|step|second|pixel|dimension|cell|stroke|number|unit|channel|element|line"
COUNTED = "images|drawings|nats|bits|parts|strokes|frames|bytes|steps|ms|MB|numbers|samples|epochs"
RULES = [
    Rule(
        r"(?<!here )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|fewer\b|way\b)",
        "it is no number",
        "is not a ...",
    ),
    Rule(rf"\b(?:{COUNTED}) an? (?:{UNITS})\b", "nats an image", "nats per image"),
    Rule(r"\bdimensions? a side\b|\bpixels a side\b", "28 pixels a side", "28 x 28 pixels"),
    Rule(r"\ba word names\b|\bby a word\b", "what a word names", "a name, a source"),
    Rule(r"\btold\b(?!\.\w)", "what it told", "reported, printed, said, result"),
    Rule(r"\b(?:out|in)side of\b", "outside of the image", "outside, inside"),
    Rule(r"\bby heart\b", "learned by heart", "memorised; overfits"),
    Rule(r"\b[Ss]o many\b(?! that\b)", "keep so many strokes", "that number of, N"),
    Rule(r"\bbe (?:it|they)\b", "be it damaged", "whether ... or ..., even if"),
    Rule(r"\bput on disk\b", "put on disk", "saved"),
    Rule(r"\b(?:take|takes|taken|taking) up again\b", "taken up again", "resumed"),
    Rule(
        r"(?:^|(?<=[.!?:;] ))Of (?:the|all|an?|each|its|several|two|what|these)\b",
        "Of the first ones it keeps two.",
        "start with the subject",
    ),
    Rule(r"\bof no use\b", "weights are of no use", "unusable"),
    Rule(r"\bin the making\b", "drawings in the making", "unfinished"),
    Rule(r"\b(?:anew|afresh)\b", "starts afresh", "again, from scratch, fresh"),
    Rule(r"\bfor ever\b", "for ever", "forever, indefinitely"),
    Rule(r"\ba second time\b", "a second time", "again, twice"),
    Rule(r"\bby (?:itself|themselves)\b", "finds it by itself", "automatically, on its own"),
    Rule(r"\bin a row\b", "two blocks in a row", "consecutive, one after another"),
    Rule(
        r"\b(?:what|that) (?:is|are|was|were) there\b|\bis there (?:already|with)\b",
        "replaces what is there",
        "exists, existing",
    ),
    Rule(r"\b(?:can|cannot|may|could) be had\b", "may be had", "is available"),
    Rule(r"\bprice of\b", "price of the error", "weight of, penalty on"),
    Rule(r"\bnumbers? that (?:are|is) none\b|\bif it is none\b", "numbers that are none", "NaN"),
    Rule(r"\bgo(?:es)? on (?:where|from)\b", "goes on where it stopped", "resumes"),
    Rule(r"\b[Jj]udg(?:e|ed|es|ing)\b", "judged by nats", "evaluated, validated"),
]


def hits(name: str, text: str) -> list[str]:
    """Return a line for each banned phrase in a file: where, what, and what to write instead."""
    return [
        f"{name}:{line}: ...{passage[max(0, m.start() - 30) : m.end() + 20]}... -> {rule.instead}"
        for line, passage in passages(name, text)
        for rule in RULES
        for m in re.finditer(rule.pattern, passage)
    ]


def test_nobody_writes_the_banned_phrases() -> None:
    names = [name for name in tracked() if name != "tests/test_language.py"]  # it holds them all
    assert len(names) > 100
    found = [hit for name in names for hit in hits(name, (ROOT / name).read_text(encoding="utf-8"))]
    assert not found, f"{len(found)} phrases to rewrite:\n" + "\n".join(found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example)
def test_every_rule_finds_its_example(rule: Rule) -> None:
    assert re.search(rule.pattern, rule.example)
    assert not re.search(rule.pattern, rule.instead)


def test_comments_docstrings_strings_and_documents_are_read() -> None:
    code = 'told = 1  # what it\n# told\n"""A docstring\n    told."""\nprint(f"{told} told")\n'
    assert [hit.split(":")[1] for hit in hits("x.py", code)] == ["3", "5", "1"]
    assert len(hits("x.md", "What it\ntold.\n\nNothing.\n")) == 1
    cells = [("markdown", ["What it\n", "told."]), ("code", ["told = 1  # told"])]
    kinds = [{"cell_type": kind, "source": source, "outputs": "told"} for kind, source in cells]
    assert len(hits("x.ipynb", json.dumps({"cells": kinds}))) == 2
    assert not hits("x.py", "told = told + 1\n")
