"""Every command that reads an artifact, run on many mutants within one process."""

import io
import json
import os
import resource
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

from npdraw.cli import execute
from npdraw.runtime.eval_checkpoint import EvalCheckpoint
from tests.faults.mutants import HEAVY, PLACES, mutants

PARSE, PRIOR, MODEL = (f"{kind}.safetensors" for kind in ("parse", "prior", "model"))


@dataclass(frozen=True)
class Reader:
    """A command, and the file that is replaced by mutants."""

    words: tuple[str, ...]
    target: str
    what: str
    """The key in `mutants.CRAFTED` of content that is odd to this command."""

    @property
    def needs(self) -> list[str]:
        """Return the artifacts to copy."""
        return [name for name in (PARSE, PRIOR, MODEL) if name in self.words]


_ONE = ("--config", "tiny.toml", "--steps", "1", "--device", "cpu", "--quiet")
_LONG = ("--config", "tiny.toml", "--device", "cpu", "--quiet")
_OUT = ("--out", "out.safetensors")
_CPU = ("--device", "cpu", "--quiet")
_IMAGES = ("--data", "npz:bars.npz")
EVALUATION = ("--samples", "2", "--batch-size", "5", "--out", "out.json")
_CHECKPOINT = "out.safetensors.run/checkpoint.safetensors"

READERS = {
    "info parse": Reader(("info", "--verify", PARSE), PARSE, "parse"),
    "info model": Reader(("info", "--verify", "--json", MODEL), MODEL, "model"),
    "train-prior": Reader(("train-prior", PARSE, *_ONE, *_OUT), PARSE, "parse"),
    "train-decoder parse": Reader(
        ("train-decoder", PARSE, PRIOR, *_IMAGES, *_ONE, *_OUT), PARSE, "parse"
    ),
    "train-decoder prior": Reader(
        ("train-decoder", PARSE, PRIOR, *_IMAGES, *_ONE, *_OUT), PRIOR, "prior"
    ),
    "eval-nll": Reader(("eval-nll", MODEL, *_IMAGES, *EVALUATION, *_CPU), MODEL, "model"),
    "sample": Reader(
        ("sample", MODEL, "--grid", "--seeds", "0-3", "--out", "out.png", *_CPU), MODEL, "model"
    ),
    "export": Reader(("export", MODEL, *_OUT), MODEL, "model"),
    "train-prior resumes": Reader(("train-prior", PARSE, *_LONG, *_OUT), _CHECKPOINT, "training"),
    "train-decoder resumes": Reader(
        ("train-decoder", PARSE, PRIOR, *_IMAGES, *_LONG, *_OUT), _CHECKPOINT, "training"
    ),
    "eval-nll resumes": Reader(
        ("eval-nll", MODEL, *_IMAGES, *EVALUATION, *_CPU),
        "out.json.run/checkpoint.safetensors",
        "evaluation",
    ),
}


@dataclass(frozen=True)
class Outcome:
    """The result of a command on a mutant."""

    mutant: str
    code: int
    out: str
    err: str
    cpu: float
    """CPU seconds; on a busy machine they are fewer than the wall-clock seconds."""
    wall: float
    made: list[str]
    """New files, except locks."""


def try_mutants(name: str, count: int, report: str, short: bool) -> None:
    """Run a reader on `count` mutants and on files that are not artifacts; write a report.

    The report is a list of outcomes, followed by the growth of peak memory in MB.
    """
    reader = READERS[name]
    target = Path(reader.target)
    sound = target.read_bytes()
    before = _files()
    largest = _memory_mb()
    outcomes: list[Outcome] = []

    def attempt(mutant: str) -> bool:
        outcomes.append(_outcome(mutant, reader, before))
        return not outcomes[-1].made  # an output would be up to date for all later mutants

    for mutant, content in mutants(sound, reader.what, count):
        target.write_bytes(content)
        if not attempt(mutant):
            break
    for place in places(reader, short=short):
        target.unlink(missing_ok=True)
        PLACES[place](target)
        continues = attempt(place)
        if target.is_dir():
            target.rmdir()
        if not continues:
            break
    target.unlink(missing_ok=True)
    target.write_bytes(sound)
    results = [asdict(outcome) for outcome in outcomes]
    Path(report).write_text(json.dumps([results, _memory_mb() - largest]))


def places(reader: Reader, *, short: bool) -> list[str]:
    """Return what replaces the artifact; a missing checkpoint, as a link to itself, is fine."""
    resumes = reader.what in ("training", "evaluation")
    return [p for p in PLACES if not (p == "loop" and resumes) and (not short or p not in HEAVY)]


def _outcome(mutant: str, reader: Reader, before: set[str]) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    began, spent = time.monotonic(), time.process_time()
    with redirect_stdout(out), redirect_stderr(err):
        code = execute(reader.words)
    spent, began = time.process_time() - spent, time.monotonic() - began
    made = sorted(_files() - before)
    return Outcome(mutant, code, out.getvalue(), err.getvalue(), spent, began, made)


def _files() -> set[str]:
    paths = (path for path in Path().rglob("*") if not path.is_dir() and path.name != "lock")
    return {os.fspath(path) for path in paths}


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def leave_after_save() -> None:
    """End the process, as a kill does, once figures of an evaluation are saved."""
    save = EvalCheckpoint.save

    def save_and_leave(partial: EvalCheckpoint, *, now: bool) -> None:
        save(partial, now=True)
        os._exit(9)

    EvalCheckpoint.save = save_and_leave  # type: ignore[method-assign]
