"""Reads the folder of a run; a piece that is missing or damaged is reported, not raised.

Only `find_runs` raises an error because of the content of a file.
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
from npdraw.header import COMMANDS, Header, read_header
from npdraw.inputs.shipped import name_of
from npdraw.report.render import printable
from npdraw.runtime.lock import run_folder
from npdraw.runtime.run_folder import CHECKPOINT, read_json

KINDS = ("parse", "prior", "model")
"""The artifacts of a run, in the order in which they are made."""

EVALUATION = "eval.json"

ALONE = "not stored with this model; its card has the figures"
"""Why a model that is shipped or from the hub has no evaluation and no results of earlier stages.
"""

MOST = 8
"""The most runs side by side: as many colours can be distinguished."""

_LONGEST_LOG, _LONGEST_RECORD = 16 << 20, 1 << 16
"""The most bytes that are read of a log, and of one of its lines."""

_MOST_NOTES, _LONGEST_NOTE = 20, 2000
"""The most notes of a parse that are read, and characters of each."""

_LARGEST_SHEET, _WIDEST_SHEET = 2 << 20, 8192
"""The most bytes, and pixels per side, of a sample sheet: about ten times what npdraw writes."""


@dataclass(frozen=True)
class Piece:
    """An artifact of a run and the content of its run folder."""

    kind: str
    path: Path
    header: Header | None = None
    """None if the artifact is missing or damaged: `problem` says which."""
    problem: str = ""
    records: Sequence[Mapping[str, float]] = ()
    """The records of the log by step, with finite numbers only."""
    unread: int = 0
    """Number of lines of the log that are not valid records."""
    sheets: Mapping[int, Path] = field(default_factory=dict)
    """Sample sheets by training step."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings as resolved at the start, for an artifact that is not finished yet."""
    seconds: float | None = None
    """Working time, as the run recorded it."""
    notes: Sequence[str] = ()
    """What `npdraw parse` said about pictures of your own."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Settings of the finished artifact, or else those at the start."""
        return self.header.config if self.header else self.settings


@dataclass(frozen=True)
class Run:
    """A run, as read from its files."""

    name: str
    """Its name on the page: not a path, and unique."""
    pieces: Mapping[str, Piece]
    evaluation: Mapping[str, Any]
    """The result of `npdraw eval-nll`; empty if there is none."""
    no_evaluation: str
    """Why there is no evaluation; empty if there is one."""

    @property
    def dataset(self) -> Mapping[str, Any]:
        """The record of the data set; empty without any artifact."""
        headers = [piece.header for piece in self.pieces.values() if piece.header]
        return headers[-1].dataset if headers else {}

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings; later artifacts take precedence."""
        config: dict[str, Any] = {}
        for piece in self.pieces.values():
            config |= piece.config
        return config


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Read runs: folders written by `npdraw run`, or model files.

    Raises:
        ArtifactError: a path is neither, or is a damaged model file.
        UsageError: there are more than `MOST`.
    """
    by_place: dict[str, Path] = {}
    for path in paths:
        by_place.setdefault(os.path.realpath(path), path)
    different = list(by_place.values())
    if len(different) > MOST:
        raise UsageError(f"cannot show {len(different)} runs side by side; the maximum is {MOST}")
    names = _names(different)
    return [
        _folder(path, name) if path.is_dir() else _model(path, name)
        for path, name in zip(different, names, strict=True)
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each run: the last part of its path, with as many before as needed."""
    parts = []
    for path in paths:
        shipped, real = name_of(path), Path(os.path.realpath(path))
        real = real if path.is_dir() or real.stem not in KINDS else real.parent
        parts.append([shipped] if shipped else [*real.parts[1:-1], real.stem or "run"])
    names = []
    for own in parts:
        same = [other for other in parts if other[-1] == own[-1]]
        count = next(
            (n for n in range(1, len(own)) if sum(o[-n:] == own[-n:] for o in same) == 1), 1
        )
        names.append(printable("/".join(own[-count:])))
    return [
        name if names.count(name) == 1 else f"{name} ({names[: number + 1].count(name)})"
        for number, name in enumerate(names)
    ]


def why_no_evaluation(model: str = "MODEL", folder: str = "FOLDER") -> str:
    """Return why a run has no evaluation, and the command that makes it.

    The page gets placeholders, because it must not show paths; only `missing` gets the paths.
    """
    written = shlex.quote(str(Path(folder) / EVALUATION))
    command = f"npdraw eval-nll {shlex.quote(model)} --out {written}"
    return f"no {EVALUATION} in {folder}; make it with {command}"


def _folder(folder: Path, name: str) -> Run:
    paths = {kind: folder / f"{kind}.safetensors" for kind in KINDS}
    files = [*paths.values(), folder / EVALUATION]
    if not any(os.path.lexists(path) for path in (*files, *map(run_folder, paths.values()))):
        names = ", ".join(path.name for path in files)
        raise ArtifactError(
            f"{folder} is not a run: it has none of {names}",
            hint="Name the --out folder of npdraw run, a model file, or a shipped model.",
        )
    pieces = {kind: _piece(kind, path) for kind, path in paths.items()}
    return Run(name, pieces, *_evaluation(folder / EVALUATION))


def _model(path: Path, name: str) -> Run:
    """Read a model; files next to it belong to the run if their digests match."""
    if not os.path.lexists(path):
        names = ", ".join(f"{kind}.safetensors" for kind in KINDS)
        raise ArtifactError(
            f"no run at {path}: neither a folder with any of {names}, nor a model",
            hint=f"Make one with: npdraw run --out {shlex.quote(str(path))}",
        )
    header = read_header(path, kind="model", verify=True)
    is_alone, pieces = name_of(path) is not None, {}
    for kind in KINDS[:-1]:
        piece = _piece(kind, path.with_name(f"{kind}.safetensors"))
        matches = piece.header and piece.header.digest == header.inputs.get(kind)
        if not matches:
            command = COMMANDS[kind]
            absent = f"the results of {command} are not stored with the model"
            piece = Piece(kind, piece.path, problem=ALONE if is_alone else absent)
        pieces[kind] = piece
    pieces["model"] = _piece("model", path)
    evaluation, problem = _evaluation(path.with_name(EVALUATION))
    if evaluation and evaluated(evaluation) != header.digest:
        evaluation, problem = {}, f"{EVALUATION} is of another model"
    if is_alone and not evaluation:
        problem = ALONE
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
            problem = problem_of(error, path)
    elif records or os.path.lexists(folder / CHECKPOINT):
        problem = "not finished yet"
    else:
        problem = "missing"
    written = read_json(folder / "config.json")  # it also holds a path, which is left out
    settings = {
        name: flat(written[name]) for name in SECTIONS if isinstance(written.get(name), dict)
    }
    took = read_json(folder / "result.json").get("seconds")
    seconds = float(took) if header and took is not None and is_number(took) else None
    sheets, notes = _sheets(folder), _notes(written)
    if kind == "model" and "classes" in settings:
        # The run folder is that of train-classes: how the model itself was trained is elsewhere.
        records, unread, sheets, seconds = [], 0, {}, None
    return Piece(kind, path, header, problem, records, unread, sheets, settings, seconds, notes)


def _notes(written: Mapping[str, Any]) -> list[str]:
    notes = written.get("notes")
    lines = notes[:_MOST_NOTES] if isinstance(notes, list) else []
    return [line[:_LONGEST_NOTE] for line in lines if isinstance(line, str)]


def problem_of(error: NpdrawError, path: Path) -> str:
    """Return what is wrong with a file, without the path of its folder."""
    return error.message.replace(str(path), path.name)


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a finite number that fits a float."""
    try:
        return type(value) in (int, float) and math.isfinite(float(value))
    except OverflowError:
        return False


def read_log(path: Path) -> tuple[list[dict[str, float]], int]:
    """Return the records of `metrics.jsonl` by step, and the number of invalid lines.

    If a step has several records, the last one counts. Values other than finite numbers are left
    out.
    """
    records: dict[int, dict[str, float]] = {}
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
        records[step] = {k: v for k, v in record.items() if is_number(v)}
    return [records[step] for step in sorted(records)], unread


def _sheets(folder: Path) -> dict[int, Path]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return {}
    matches = [re.fullmatch(r"samples-([0-9]{6,12})\.png", name) for name in names]
    return {int(match[1]): folder / match[0] for match in matches if match}


def read_sheet(path: Path, most: int = _LARGEST_SHEET) -> bytes | None:
    """Return the bytes of a sample sheet; None if it is not a PNG or has more than `most` bytes."""
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
        return {}, why_no_evaluation()
    result = read_json(path)
    settings = result.get("settings")
    if not isinstance(settings, dict) or type(result.get("nll")) not in (int, float):
        return {}, f"{path.name} is damaged"
    return flat(result) | {"settings": flat(settings)}, ""


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object without nested objects and nested lists."""
    return {
        key: value
        for key, value in values.items()
        if not isinstance(value, dict)
        and not (isinstance(value, list) and any(isinstance(item, dict | list) for item in value))
    }
