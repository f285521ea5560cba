"""Nothing cites a document, section, rule, equation, log entry or file that does not exist.

`python -m tests.test_citations` prints how many citations are checked.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.prose import ROOT, passages, tracked
from tests.test_layers import LAYERS

NOT_SCANNED = {"tests/test_citations.py", "tests/test_language.py"}  # they hold examples
HISTORY = {"LOG.md", "CHANGELOG.md"}
"""What they say of files was true at the time."""

MATHEMATICS = ("docs/model.md", "npdraw/model/", "npdraw/training/")
"""Where a number such as (6.8) is an equation of docs/model.md."""

NUMBERS = r"((?:\d+(?:, | and | to ))*\d+)"
EQUATIONS = r"equations? ((?:\(\d+\.\d+\)(?:, and |, | and | to ))*\(\d+\.\d+\))"
DOCUMENT = r"(?<![\w.*{}<])((?:[\w.-]+/|\.\./)*[\w.-]+\.md)\b"
FILE = (
    r"(?<![\w./{}*<-])((?:npdraw|tests|benchmarks|docs|data)/[\w./-]+"
    r"\.(?:py|md|js|css|html|svg|png|gif))\b"
)
PLACEHOLDER = re.compile(r"[A-Z]{4,}|tiny|elsewhere|^(?:\w/)?x\.|\bmine\b|hashlib")
"""Names that stand for any file, or that a test makes."""


class Citation(NamedTuple):
    """What is cited where, and whether it exists."""

    place: str
    text: str
    exists: bool


@cache
def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def sections(name: str) -> frozenset[str]:
    """Return the numbers of a document's sections, as in "## 5. Prior"."""
    return frozenset(re.findall(r"^##+ (\d+(?:\.\d+)*)\.? ", read(name), re.MULTILINE))


@cache
def rules(name: str) -> frozenset[str]:
    """Return the numbers of the list below the heading "Rules"."""
    _, _, below = read(name).partition("Rules\n")
    return frozenset(re.findall(r"^(\d+)\. ", below.partition("\n## ")[0], re.MULTILINE))


@cache
def equations() -> frozenset[str]:
    return frozenset(re.findall(r"\\tag\{(\d+\.\d+)\}", read("docs/model.md")))


@cache
def anchors(name: str) -> frozenset[str]:
    """Return the anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", read(name), re.MULTILINE)
    return frozenset(
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    )


@cache
def definitions(name: str) -> frozenset[str]:
    """Return functions, classes, methods and constants of a file, methods as `Class.method`."""
    found = set()
    for node in ast.parse(read(name)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef)}
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


def find(path: str, source: str) -> str | None:
    """Return the file that `path` means in the file `source`: from the root, or from beside it.

    A bare name, as in the tree of README.md, may be that of a document or of a model's card.
    """
    folders = [ROOT, (ROOT / source).parent]
    folders += [] if "/" in path else [ROOT / "docs", ROOT / "data/models"]
    for place in (folder / path for folder in folders):
        if place.exists() and place.resolve().is_relative_to(ROOT):
            return str(place.resolve().relative_to(ROOT))
    return None


def numbers(text: str) -> list[str]:
    """Return the numbers of "1, 2 and 5", and all of "1 to 3"."""
    found = re.findall(r"\d+", text)
    if " to " in text and len(found) == 2:
        return [str(n) for n in range(int(found[0]), int(found[1]) + 1)]
    return found


def cited(source: str, text: str) -> Iterator[tuple[str, bool]]:
    """Yield each citation in a passage of the file `source`, and whether it exists."""
    for m in re.finditer(DOCUMENT, text):
        if not PLACEHOLDER.search(Path(m[1]).stem if "/" not in m[1] else m[1]):
            yield m[0], find(m[1], source) is not None
    for m in re.finditer(FILE, text):
        if source not in HISTORY and not PLACEHOLDER.search(m[1]) and not m[1].endswith(".md"):
            yield m[0], find(m[1], source) is not None
    for kind, known in (("section", sections), ("rule", rules)):
        for m in re.finditer(rf"\b([\w/.-]+\.md), {kind}s? {NUMBERS}", text):
            name = find(m[1], source)
            for number in numbers(m[2]):
                yield f"{m[1]}, {kind} {number}", name is not None and number in known(name)
    for m in re.finditer(
        r"\bLOG\.md\]?(?:\([^)]*\))?,? (\d{4}-\d\d-\d\d)(?:: \"([^\"]+)\")?", text
    ):
        entries = [e for e in read("LOG.md").split("\n## ")[1:] if m[1] in e.partition("\n")[0]]
        title = (m[2] or "").lower()
        yield m[0], any(title in " ".join(entry.lower().split()) for entry in entries)
    if source.startswith(MATHEMATICS):
        for number in re.findall(r"\((\d\.\d+)\)", text):
            yield f"equation ({number})", number in equations()
        return
    for m in re.finditer(EQUATIONS, text):
        for number in re.findall(r"\d+\.\d+", m[1]):
            yield f"equation ({number})", number in equations()


def cited_in_document(source: str, text: str) -> Iterator[tuple[str, bool]]:
    """Yield what documents cite besides: links, functions in tables, their own sections."""
    for m in re.finditer(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", m[1]):
            continue
        path, _, anchor = m[1].partition("#")
        name = find(path, source) if path else source
        beside = name if not path or (ROOT / source).parent.joinpath(path).exists() else None
        yield m[0], beside is not None and (not anchor or anchor in anchors(beside))
    for m in re.finditer(r"`([\w/]+\.py)`: ((?:`[\w.]+`(?:, | and )?)+)", text):
        name = find(m[1], source)
        for function in re.findall(r"`([\w.]+)`", m[2]):
            yield f"{m[1]}: {function}", name is not None and function in definitions(name)
    for m in re.finditer(rf"(.{{0,12}})\b[Ss]ections? {NUMBERS}(?!\.\d)", text):
        if sections(source) and not re.search(r"(?:[Pp]aper|\d{4}|PixelCNN\+\+|\.md), $", m[1]):
            for number in numbers(m[2]):
                yield f"section {number}", number in sections(source)


def citations() -> list[Citation]:
    """Return every citation of the tracked files but LOG.md's and CHANGELOG.md's of files."""
    found = []
    for name in tracked():
        if name in NOT_SCANNED:
            continue
        for line, text in passages(name, read(name)):
            pairs = list(cited(name, text))
            if name.endswith(".md"):
                pairs += cited_in_document(name, text)
            found += [Citation(f"{name}:{line}", what, exists) for what, exists in pairs]
    return found


def count_citations() -> int:
    """Return how many citations are checked."""
    return len(citations())


def test_what_is_cited_exists() -> None:
    found = citations()
    missing = [f"{c.place} cites {c.text}" for c in found if not c.exists]
    assert not missing, "\n".join(missing)
    assert len(found) >= 550


def test_code_says_which_document_a_section_rule_or_equation_is_of() -> None:
    bare = []
    for name in tracked():
        if not name.endswith(".py") or name in NOT_SCANNED:
            continue
        for line, text in passages(name, read(name)):
            for m in re.finditer(r"(.{0,24})\b(?:[Ss]ections?|[Rr]ules?) \d", text):
                if not re.search(r"(?:docs/\w+\.md|[Pp]aper|\d{4}), $|sections?\b.*and $", m[1]):
                    bare.append(f"{name}:{line}: {m[0]}")
            for m in re.finditer(r"(?<!docs/)\bmodel\.md\b|\bequations? \d+\.\d", text):
                bare.append(f"{name}:{line}: {m[0]}")
    forms = "docs/model.md, section N; paper, section N; docs/interface.md, rule N; equation (N.N)"
    assert not bare, f"write {forms}:\n" + "\n".join(bare)


@pytest.mark.parametrize(
    ("text", "exists"),
    [
        ("docs/model.md, section 6", [True, True]),
        ("docs/model.md, sections 1 to 3", [True, True, True, True]),
        ("docs/model.md, section 99", [True, False]),
        ("docs/interface.md, rule 7", [True, True]),
        ("docs/interface.md, rule 70", [True, False]),
        ("docs/missing.md", [False]),
        ("LOG.md, 2026-11-22", [True, True]),
        ("LOG.md, 1999-01-01", [True, False]),
        ("equations (6.8) and (6.99)", [True, False]),
        ("see npdraw/model/bank.py", [True]),
        ("see npdraw/model/bank_of_england.py", [False]),
        ("paper, section 3.1; Maddison et al. 2017, equations 10 and 16", []),
    ],
)
def test_every_form_of_citation_is_read(text: str, exists: list[bool]) -> None:
    assert [e for _, e in cited("npdraw/config.py", text)] == exists


@pytest.mark.parametrize(
    ("text", "exists"),
    [
        ("[model](model.md#5-prior)", True),
        ("[model](model.md#5-posterior)", False),
        ("[model](docs/model.md)", False),
        ("`npdraw/model/bank.py`: `build_bank`", True),
        ("`npdraw/model/prior.py`: `Prior.forward`", True),
        ("`npdraw/model/bank.py`: `rob_bank`", False),
        ("Section 5 says", True),
        ("section 55", False),
    ],
)
def test_documents_cite_links_functions_and_their_own_sections(text: str, exists: bool) -> None:
    assert [e for _, e in cited_in_document("docs/interface.md", text)] == [exists]


def test_every_room_is_on_the_map() -> None:
    rooms = {path.name: f"`npdraw/{path.name}/`" for path in (ROOT / "npdraw").iterdir()}
    for name in LAYERS:
        place = rooms.get(name, f"`npdraw/{name}.py`")
        assert name == "npdraw" or place in read("docs/architecture.md"), name


if __name__ == "__main__":
    print(count_citations(), "citations")
