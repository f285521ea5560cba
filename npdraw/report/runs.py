"""What lies in the folder of a run, read with care: a piece that is missing or damaged is told.

Nothing here but `find_runs` raises an error because of what a file holds.
"""

import io
import json
import math
import os
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from npdraw.config import SECTIONS
from npdraw.errors import ArtifactError, NpdrawError, UsageError
from npdraw.header import Header, read_header
from npdraw.inputs.shipped import name_of
from npdraw.report.markup import plain
from npdraw.runtime.lock import run_folder
from npdraw.runtime.run_folder import CHECKPOINT, read_json

KINDS = ("parse", "prior", "model")
"""Artifacts of a run, in the order in which they are made."""

EVALUATION = "eval.json"

MOST = 8
"""Runs side by side: as many colours can be told apart."""

_LONGEST_LOG, _LONGEST_RECORD = 16 << 20, 1 << 16
"""Bytes of a log that are read, and of a line of it."""

_LARGEST_SHEET, _WIDEST_SHEET = 2 << 20, 8192
"""Bytes and pixels a side of a sample sheet: those of npdraw have a tenth of it."""


@dataclass(frozen=True)
class Piece:
    """An artifact of a run, and what its run folder holds."""

    kind: str
    path: Path
    header: Header | None = None
    """None if it is missing or damaged: `problem` says which."""
    problem: str = ""
    records: Sequence[Mapping[str, float]] = ()
    """The lines of the log in the order of their steps, each with finite numbers."""
    unread: int = 0
    """Lines of the log that are none."""
    sheets: Mapping[int, Path] = field(default_factory=dict)
    """Sample sheets by the step of training."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """As resolved when it was begun, for what is not finished yet."""
    seconds: float | None = None
    """Of work, as the run recorded it."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Settings of the finished artifact, else those that it was begun with."""
        return self.header.config if self.header else self.settings


@dataclass(frozen=True)
class Run:
    """A run as it lies on the disk."""

    name: str
    """What the page calls it: no path, and no other run has it."""
    pieces: Mapping[str, Piece]
    evaluation: Mapping[str, Any]
    """The result of `npdraw eval-nll`, empty if there is none."""
    no_evaluation: str
    """Why not."""

    @property
    def dataset(self) -> Mapping[str, Any]:
        """The record of the images; empty if no artifact is there."""
        headers = [piece.header for piece in self.pieces.values() if piece.header]
        return headers[-1].dataset if headers else {}

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings; those of the last artifact count."""
        found: dict[str, Any] = {}
        for piece in self.pieces.values():
            found |= piece.config
        return found


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Read runs: folders as `npdraw run` writes them, or files of models.

    Raises:
        ArtifactError: one is neither, or a model that is named itself is damaged.
        UsageError: they are more than `MOST`.
    """
    found: dict[str, Path] = {}
    for path in paths:
        found.setdefault(os.path.realpath(path), path)
    different = list(found.values())
    if len(different) > MOST:
        raise UsageError(f"{len(different)} runs side by side; {MOST} are the most")
    names = _names(different)
    return [
        _folder(path, name) if path.is_dir() else _model(path, name)
        for path, name in zip(different, names, strict=True)
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each run: its last part, with those before it as far as they differ."""
    parts = []
    for path in paths:
        shipped, real = name_of(path), Path(os.path.realpath(path))
        real = real if path.is_dir() or real.stem not in KINDS else real.parent
        parts.append([shipped] if shipped else [*real.parts[1:-1], real.stem or "run"])
    found = []
    for own in parts:
        same = [other for other in parts if other[-1] == own[-1]]
        count = next(
            (n for n in range(1, len(own)) if sum(o[-n:] == own[-n:] for o in same) == 1), 1
        )
        found.append(plain("/".join(own[-count:])))
    return [
        name if found.count(name) == 1 else f"{name} ({found[: number + 1].count(name)})"
        for number, name in enumerate(found)
    ]


def _folder(folder: Path, name: str) -> Run:
    paths = {kind: folder / f"{kind}.safetensors" for kind in KINDS}
    looked_for = [*paths.values(), folder / EVALUATION]
    if not any(os.path.lexists(path) for path in (*looked_for, *map(run_folder, paths.values()))):
        named = ", ".join(path.name for path in looked_for)
        raise ArtifactError(
            f"{folder} is no run: it has none of {named}",
            hint="Name a folder of npdraw run --out, a model, or a shipped model by its name.",
        )
    pieces = {kind: _piece(kind, path) for kind, path in paths.items()}
    return Run(name, pieces, *_evaluation(folder / EVALUATION))


def _model(path: Path, name: str) -> Run:
    """Read a model; what lies beside it belongs to the run if the digests say so."""
    if not os.path.lexists(path):
        named = ", ".join(f"{kind}.safetensors" for kind in KINDS)
        raise ArtifactError(
            f"there is no run {path}: neither a folder with any of {named}, nor a model",
            hint=f"Make one: npdraw run --out {shlex.quote(str(path))}",
        )
    header = read_header(path, kind="model", verify=True)
    pieces = {}
    for kind in KINDS[:-1]:
        beside = _piece(kind, path.with_name(f"{kind}.safetensors"))
        chained = beside.header and beside.header.digest == header.inputs.get(kind)
        pieces[kind] = beside if chained else Piece(kind, beside.path, problem="not with the model")
    pieces["model"] = _piece("model", path)
    evaluation, problem = _evaluation(path.with_name(EVALUATION))
    if evaluation and evaluated(evaluation) != header.digest:
        evaluation, problem = {}, "not with the model"
    return Run(name, pieces, evaluation, problem)


def evaluated(evaluation: Mapping[str, Any]) -> str:
    """Return the digest of the model that was evaluated."""
    return str(evaluation["settings"].get("model"))


def _piece(kind: str, path: Path) -> Piece:
    folder = run_folder(path)
    records, unread = read_log(folder / "metrics.jsonl")
    header, problem = None, ""
    if os.path.lexists(path):
        try:
            header = read_header(path, kind=kind, verify=True)
        except ArtifactError as error:
            problem = told(error, path)
    elif records or os.path.lexists(folder / CHECKPOINT):
        problem = "not finished yet"
    else:
        problem = "missing"
    written = read_json(folder / "config.json")  # beside the sections it has a path
    settings = {
        name: flat(written[name]) for name in SECTIONS if isinstance(written.get(name), dict)
    }
    took = read_json(folder / "result.json").get("seconds")
    seconds = float(took) if header and took is not None and is_number(took) else None
    return Piece(kind, path, header, problem, records, unread, _sheets(folder), settings, seconds)


def told(error: NpdrawError, path: Path) -> str:
    """Return what is wrong with a file, in words that do not depend on where it lies."""
    return error.message.replace(str(path), path.name)


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number that is not too large to compute with."""
    try:
        return type(value) in (int, float) and math.isfinite(float(value))
    except OverflowError:
        return False


def read_log(path: Path) -> tuple[list[dict[str, float]], int]:
    """Return the records of `metrics.jsonl` by step, and how many lines are none.

    Of two records of a step the later one counts. Values that are no finite numbers are left out.
    """
    found: dict[int, dict[str, float]] = {}
    unread = 0
    try:
        with path.open("rb") if path.is_file() else io.BytesIO() as file:
            content = file.read(_LONGEST_LOG)
    except OSError:
        return [], 1
    for line in content.splitlines():
        try:
            record = json.loads(line) if len(line) <= _LONGEST_RECORD else None
        except (ValueError, RecursionError):
            record = None
        step = record.get("step") if isinstance(record, dict) else None
        if not (isinstance(record, dict) and type(step) is int and 0 <= step < 1 << 40):
            unread += 1
            continue
        found[step] = {k: v for k, v in record.items() if is_number(v)}
    return [found[step] for step in sorted(found)], unread


def _sheets(folder: Path) -> dict[int, Path]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return {}
    matches = [re.fullmatch(r"samples-([0-9]{6,12})\.png", name) for name in names]
    return {int(match[1]): folder / match[0] for match in matches if match}


def read_sheet(path: Path, most: int = _LARGEST_SHEET) -> bytes | None:
    """Return the bytes of a sample sheet; None if it is no picture, or has more than `most`."""
    try:
        if not path.is_file() or path.stat().st_size > most:
            return None
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                if max(picture.size) > _WIDEST_SHEET:
                    return None
                picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return content


def _evaluation(path: Path) -> tuple[dict[str, Any], str]:
    if not os.path.lexists(path):
        return {}, "not evaluated yet"
    found = read_json(path)
    settings = found.get("settings")
    if not isinstance(settings, dict) or type(found.get("nll")) not in (int, float):
        return {}, f"{path.name} is damaged"
    return flat(found) | {"settings": flat(settings)}, ""


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a JSON object that are not objects themselves, nor lists of such."""
    return {
        key: value
        for key, value in values.items()
        if not isinstance(value, dict)
        and not (isinstance(value, list) and any(isinstance(item, dict | list) for item in value))
    }
