"""The page as one file: its sections, style, script, content policy and digest."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npdraw.report import gallery, tables
from npdraw.report.curves import curves
from npdraw.report.limits import Limits
from npdraw.report.outputs import Outputs
from npdraw.report.provenance import provenance
from npdraw.report.render import render
from npdraw.report.runs import Run
from npdraw.report.stepper import stepper
from npdraw.version import __version__

NAME = "npdraw-digest"
"""Name of the meta element that holds the SHA-256 of the page."""

_NO_DIGEST = "0" * 64
"""Stands for the digest while it is computed."""


def compose(runs: Sequence[Run], outputs: Sequence[Outputs], limits: Limits) -> bytes:
    """Return the page: `templates/report.html`, filled with what the runs and models provide."""
    style, script = (
        Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8")
        for kind in ("css", "js")
    )
    whole = render(
        "report.html",
        version=__version__,
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        digest_name=NAME,
        digest=_NO_DIGEST,
        title=" and ".join(run.name for run in runs) if len(runs) < 3 else f"{len(runs)} runs",
        runs=[run.name for run in runs],
        summary=_summary(runs[0]) if len(runs) == 1 else "",
        tiles=_tiles(runs[0], outputs[0]) if len(runs) == 1 else [],
        **_sections(runs, outputs, limits),
    )
    return whole.replace(_NO_DIGEST, digest(whole), 1).encode()


def _sections(runs: Sequence[Run], outputs: Sequence[Outputs], limits: Limits) -> dict[str, Any]:
    """Return what each section shows, by the name of its template."""
    return {
        "drawing": stepper(runs, outputs, limits),
        "metrics": tables.metrics(runs, outputs),
        "curves": curves(runs, limits.points),
        "samples": gallery.samples(outputs, limits),
        "classes": gallery.classes(runs, outputs, limits),
        "reconstructions": gallery.reconstructions(outputs, limits),
        "copies": gallery.copies(outputs, limits),
        "parts": gallery.banks(outputs, limits),
        "progress": gallery.sheets(runs, limits),
        "settings": tables.settings(runs),
        "provenance": [provenance(run) for run in runs],
    }


def digest(whole: str) -> str:
    """Return the SHA-256 of a page in which the digest is zeros."""
    return hashlib.sha256(whole.encode()).hexdigest()


def is_unchanged(content: bytes) -> bool:
    """Return whether a file is a page of npdraw that nobody has edited."""
    text = content.decode("utf-8", "replace")
    _, mark, rest = text[:4096].partition(f'name="{NAME}" content="')
    return bool(mark) and digest(text.replace(rest[:64], _NO_DIGEST, 1)) == rest[:64]


def _hash(text: str) -> str:
    """Return how a content security policy names a style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _summary(run: Run) -> str:
    """Return the images of a run in a few words; empty if the run does not say."""
    record = run.dataset
    shape = record.get("image_shape")
    if not (isinstance(shape, list) and len(shape) == 3):
        return ""
    colours = "colour" if shape[0] == 3 else "binary" if record.get("binarized") else "grey"
    count = f"{record.get('train', 0):,} training images"
    return f"{record.get('name')}: {count}, {shape[1]} x {shape[2]} pixels, {colours}"


def _tiles(run: Run, output: Outputs) -> list[tuple[str, str]]:
    """Return title and value of the most important metrics, as far as the run has them."""
    stage, split = ("evaluation", "test") if run.evaluation else ("model", "validation")
    nll, error = tables.metric_of(run, stage, "nll"), run.evaluation.get("nll_se")
    canvas = tables.metric_of(run, stage, "canvas_mse")
    painted = tables.metric_of(run, "parse", "parts_painted_mean")
    tiles = [
        (f"NLL, {split}", tables.shown("nll", tables.NATS, nll, error)),
        (f"Canvas error, {split}", tables.shown("canvas_mse", "", canvas)),
        ("Parts painted per image", tables.shown("parts_painted_mean", "", painted)),
        ("Parameters", f"{output.parameters:,}" if output.parameters else tables.ABSENT),
    ]
    return [(title, value) for title, value in tiles if value != tables.ABSENT]
