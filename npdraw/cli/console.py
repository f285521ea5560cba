"""What people and programs see: results on stdout; progress, notes and errors on stderr.

The only user of Rich besides typer, and Rich is imported only for a terminal. Paths and messages
are never read as markup.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from npdraw.errors import NpdrawError
from npdraw.stages.group import environment

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_SECONDS = 10.0
"""Seconds between two lines of progress where there is no terminal."""

WIDE = 110
"""Columns from which a terminal shows every figure of the progress."""

_NATS = (".2f", "nats")
_FIGURES: Mapping[str, tuple[str, str]] = {
    "seconds": (".1f", "s"),
    "parts_painted_mean": (".2f", "parts an image"),
    "canvas_mse": (".4f", ""),
    "validation_nats": _NATS,
    "whether_nats": _NATS,
    "where_nats": _NATS,
    "what_nats": _NATS,
    "elbo": _NATS,
    "relaxed_elbo": _NATS,
    "rate": _NATS,
    "distortion": _NATS,
    "nll": _NATS,
    "nll_se": _NATS,
    "loss": (".2f", ""),
    "bits_per_dim": (".4f", "bits/dim"),
    "digest": ("", ""),
}
"""How figures are printed: name -> format and unit."""


# Results


def show(
    command: str, result: Mapping[str, Any], *, as_json: bool, lines: Iterable[str] | None = None
) -> None:
    """Print the result of a command on stdout: one JSON object, or for people `lines`.

    Without `lines` they are "name value", one for each figure.
    """
    if as_json:
        _print_json({"ok": True, "command": command, **result})
    else:
        shown = figures(result) if lines is None else lines
        sys.stdout.write("".join(line + "\n" for line in shown))
    sys.stdout.flush()


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def figures(result: Mapping[str, Any]) -> list[str]:
    """Return aligned lines "name value"; a value with a standard error is shown as a ± b.

    Groups of values are flattened, with a point between the names: `config.parse.parts`.
    """
    return columns([row for row in _rows("", result) if not row[0].endswith("_se")])


def _rows(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _rows(f"{prefix}{name}.", value)
        else:
            yield prefix + name, value_text(name, value, error=values.get(f"{name}_se"))


def value_text(name: str, value: Any, *, error: float | None = None) -> str:
    """Return the value of the figure `name` as people read it, with its unit."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = [value_text("", item) for item in value]
        return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "...", shown[-1]])
    if isinstance(value, int) and name != "seed":
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    form, unit = _FIGURES.get(name, (".4g", ""))
    spread = f" ± {error:{form}}" if error is not None else ""
    return f"{value:{form}}{spread} {unit}".rstrip()


def _print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(_finite(value), allow_nan=False, default=str) + "\n")


def _finite(value: Any) -> Any:
    """Return `value` with null for numbers that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Errors


def show_error(command: str, error: NpdrawError, *, as_json: bool) -> None:
    """Print an error: one line and a hint on stderr; with `as_json` one object on stdout too."""
    group = environment()
    message, hint = (" ".join(text.splitlines()) for text in (error.message, error.hint))
    where = "" if group.first else f" (process {group.rank + 1} of {group.size})"
    lines = [(f"Error{where}:", message, "bold red"), ("Hint:", hint, "bold")]
    _print_labelled(lines if hint else lines[:1])
    if as_json:
        described = {"code": error.code, "message": message, "hint": hint}
        _print_json({"ok": False, "command": command, "error": described})
        sys.stdout.flush()


def _print_labelled(lines: Sequence[tuple[str, str, str]]) -> None:
    """Print lines "label text" on stderr, on a terminal the label in its style.

    All at once, so that lines of several processes do not mix.
    """
    if _on_terminal():
        from rich.console import Console
        from rich.text import Text

        shown = [Text.assemble((label, style), " ", text) for label, text, style in lines]
        Console(stderr=True, highlight=False).print(Text("\n").join(shown), soft_wrap=True)
    else:
        sys.stderr.write("".join(f"{label} {text}\n" for label, text, _ in lines))
        sys.stderr.flush()


# Progress


@contextmanager
def progress(*, quiet: bool) -> Iterator["Silent"]:
    """Give a stage what it reports to; whatever happens, the terminal is left in order."""
    silent = quiet or not environment().first
    reporter = Silent() if silent else Bar() if _on_terminal() else Lines()
    try:
        yield reporter
    finally:
        reporter.close()


def _on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Silent:
    """Reports nothing; also the base of the others (see `npdraw.stages.progress.Progress`)."""

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        """Begin `total` steps of `scale` units each, of which `done` are done already."""

    def update(self, done: int, **figures: float) -> None:
        """Report that `done` steps are done, and figures such as the loss."""

    def finish(self) -> None:
        """End what was started."""

    def note(self, text: str) -> None:
        """Tell people one thing."""

    def close(self) -> None:
        """Leave the terminal in order, also after an error."""


class _Counting(Silent):
    """Counts steps and measures their rate."""

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        """Begin counting at `done`: what was done before does not count for the rate."""
        self.title, self.total, self.unit, self.scale = title, total, unit, scale
        self.first = self.done = done
        self.figures: dict[str, float] = {}
        self.started = time.monotonic()

    def update(self, done: int, **figures: float) -> None:
        """Set the count and the figures."""
        self.done, self.figures = done, figures

    def status(self, most: int) -> str:
        """Return "120/300  loss 93.25  1,180 images/s  0:12 left", with `most` figures at most."""
        seconds = time.monotonic() - self.started
        rate = (self.done - self.first) / max(seconds, 1e-9)
        shown = [f"{name} {value_text(name, value)}" for name, value in self.figures.items()]
        speed = (
            f"{rate * self.scale:,.0f}" if rate * self.scale >= 10 else f"{rate * self.scale:.2g}"
        )
        clocks = clock(seconds)
        if self.done < self.total:
            clocks = f"{clock((self.total - self.done) / rate)} left" if rate else "? left"
        counts = f"{self.done:,}/{self.total:,}"
        return "  ".join([counts, *shown[:most], f"{speed} {self.unit}/s", clocks])


class Lines(_Counting):
    """Plain lines for a pipe or a file: one every 10 s and one at the end, no escape bytes."""

    def __init__(self) -> None:
        self.printed = 0.0
        self.open = True

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        """Begin; the first line comes after ten seconds."""
        super().start(title, total, unit=unit, scale=scale, done=done)
        self.printed = self.started

    def update(self, done: int, **figures: float) -> None:
        """Print a line if the last one is ten seconds old."""
        super().update(done, **figures)
        now = time.monotonic()
        if now - self.printed >= PLAIN_SECONDS:
            self.printed = now
            self.note(f"{self.title} {self.status(most=9)}")

    def finish(self) -> None:
        """Print the last line."""
        self.note(f"{self.title} {self.status(most=9)}")

    def note(self, text: str) -> None:
        """Print a line. If nobody reads any more, that is no reason to end a training."""
        if self.open:
            try:
                print(text, file=sys.stderr, flush=True)
            except OSError:
                self.open = False


class Bar(_Counting):
    """A Rich progress bar on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.bar: RichProgress | None = None
        self.task: TaskID

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        """Show the bar; it takes the width that the words leave."""
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self.close()
        super().start(title, total, unit=unit, scale=scale, done=done)
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.fields[status]}", markup=False),
            console=self.console,
            expand=True,
            redirect_stdout=False,
        )
        self.task = self.bar.add_task(title, total=total, completed=done, status="")
        self.bar.start()

    def update(self, done: int, **figures: float) -> None:
        """Move the bar; a narrow terminal shows one figure."""
        super().update(done, **figures)
        if self.bar is not None:
            status = self.status(most=9 if self.console.width >= WIDE else 1)
            self.bar.update(self.task, completed=done, status=status)

    def finish(self) -> None:
        """Leave the bar as it is and go on below it."""
        self.close()

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        from rich.text import Text

        self.console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Stop drawing."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def clock(seconds: float) -> str:
    """Return a duration as "1:02:03" or "2:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
