"""Parses a page of the report, and reads and damages the files of its run."""

import base64
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from npdraw.runtime.settings import Runtime

RUNTIME = Runtime(device="cpu", precision="fp32", threads=1)

ODD = "a<script>alert(1)<!--&amp;\"'> b"
"""A name that would end any element or attribute around it, unless it is escaped."""


class Page(HTMLParser):
    """What tests need to know about a page."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.content = content
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data
        if ("td" in self.open or "th" in self.open) and "small" not in self.open:
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def row(self, title: str, number: int = 0) -> list[str]:
        """Return the cells of a table's row, without its title."""
        rows = [row for row in self.rows if row and row[0].strip() == title]
        return [cell.strip() for cell in rows[number][1:]]

    @property
    def meta(self) -> dict[str, str]:
        return {
            str(m.get("name") or m.get("http-equiv")): str(m.get("content"))
            for m in self.named("meta")
        }

    @property
    def missing(self) -> str:
        sentences = re.findall(r'<p class="missing">(.*?)</p>', self.content.decode())
        return html.unescape(" | ".join(sentences))

    @property
    def drawings(self) -> list[dict[str, Any]]:
        block = re.search(r'id="drawings">(.*?)</script>', self.content.decode())
        value: list[dict[str, Any]] = json.loads(block[1]) if block else []
        return value


def log_of(run: Path, kind: str) -> Path:
    return run / f"{kind}.safetensors.run" / "metrics.jsonl"


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 20])


def tile_of(mosaic: dict[str, Any], at: int) -> Any:
    """Cut a frame out of a mosaic, as the script of the page does."""
    content = base64.b64decode(mosaic["src"].partition(",")[2])
    row, column = divmod(at, mosaic["columns"])
    height, width = mosaic["height"], mosaic["width"]
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)[
            row * height : (row + 1) * height, column * width : (column + 1) * width
        ]
