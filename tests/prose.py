"""What people read in the tracked files: comments, docstrings, strings, documents and pages."""

import io
import json
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUFFIXES = {".py", ".md", ".ipynb", ".html", ".js", ".css", ".toml"}


def tracked() -> list[str]:
    """Return the tracked text files."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [
        name
        for name in done.stdout.split("\0")
        if (Path(name).suffix in SUFFIXES or name == "Makefile") and (ROOT / name).is_file()
    ]


def passages(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of what people read in a file; line breaks become single spaces.

    Consecutive comments are one passage; what an f-string computes is left out. In a notebook the
    number is that of the cell, and outputs are left out.
    """
    if name.endswith(".ipynb"):
        for number, cell in enumerate(json.loads(text)["cells"], 1):
            kind = ".md" if cell["cell_type"] == "markdown" else ".py"
            for _, passage in passages(kind, "".join(cell["source"])):
                yield number, passage
        return
    if name.endswith(".js"):
        text = "\n\n".join(re.findall(r"//.*|/\*.*?\*/|\"[^\"\n]*\"|`[^`]*`", text, re.DOTALL))
    if not name.endswith(".py"):
        line = 1
        for block in re.split(r"(\n\s*\n|\n(?=[|#>*-]|\d+\.))", text):
            yield line, " ".join(block.split())
            line += block.count("\n")
        return
    comment: list[str] = []
    begin, last = 0, -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            if token.start[0] != last + 1:
                yield begin, " ".join(comment)
                comment, begin = [], token.start[0]
            comment.append(token.string.lstrip("#: ").rstrip())
            last = token.start[0]
        elif kind in ("STRING", "FSTRING_MIDDLE"):
            bare = re.sub(r"^[a-zA-Z]*(\"\"\"|'''|\"|')|(\"\"\"|'''|\"|')$", "", token.string)
            if re.match(r"[rR]?[fF]", token.string):
                bare = re.sub(r"\{[^{}]*\}", "{}", bare)  # what stands there is code
            yield token.start[0], " ".join(bare.split())
    yield begin, " ".join(comment)
