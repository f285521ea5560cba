"""Progress of a stage on stderr: a bar on a terminal, otherwise plain lines.

Rich is imported only for a terminal. What the methods mean stands once, in runtime/progress.py.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from npdraw.runtime.group import environment
from npdraw.runtime.progress import Silent
from npdraw.runtime.text import on_terminal, printable, value_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_SECONDS = 10.0
"""Seconds between two lines of progress without a terminal."""

WIDE = 110
"""Columns from which a terminal shows every figure of the progress."""

MANY = 9
"""More figures than any stage reports."""


@contextmanager
def reporting(*, quiet: bool) -> Iterator["Reporter"]:
    """Give a stage what it reports to, and leave the terminal in order however the stage ends."""
    silent = quiet or not environment().is_rank_zero
    reporter = Reporter() if silent else Bar() if on_terminal() else Lines()
    try:
        yield reporter
    finally:
        reporter.close()


class Reporter(Silent):
    """What a command reports to; it shows nothing, as with --quiet."""

    def close(self) -> None:
        """Leave the terminal in order, also after an error."""


@dataclass
class Task:
    """A task under way: its steps, their rate, and its latest figures."""

    title: str
    total: int
    unit: str
    scale: int
    done: int
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the clock. Steps that were done before do not count for the rate."""
        self.first, self.started = self.done, time.monotonic()

    def status(self, most: int = MANY) -> str:
        """Return "120/300  loss 93.25  1,180 images/s  0:12 left", with at most `most` figures."""
        seconds = time.monotonic() - self.started
        rate = (self.done - self.first) / max(seconds, 1e-9)
        shown = [f"{name} {value_text(name, value)}" for name, value in self.figures.items()]
        units = rate * self.scale
        speed = f"{units:,.0f}" if units >= 10 else f"{units:.2g}"
        clocks = clock(seconds)
        if self.done < self.total:
            clocks = f"{clock((self.total - self.done) / rate)} left" if rate else "? left"
        counts = f"{self.done:,}/{self.total:,}"
        return "  ".join([counts, *shown[:most], f"{speed} {self.unit}/s", clocks])


class Lines(Reporter):
    """Plain lines for a pipe or a file: one every ten seconds and one at the end, no escapes."""

    def __init__(self) -> None:
        self.open = True

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        self.task = Task(title, total, unit, scale, done)
        self.printed_at, self.printed_step = self.task.started, -1

    def update(self, done: int, **figures: float) -> None:
        self.task.done, self.task.figures = done, figures
        if time.monotonic() - self.printed_at >= PLAIN_SECONDS:
            self._print()

    def finish(self) -> None:
        if self.printed_step != self.task.done:
            self._print()

    def note(self, text: str) -> None:
        if self.open:
            try:
                print(printable(text), file=sys.stderr, flush=True)
            except OSError:  # a closed pipe is not a reason to end a training
                self.open = False

    def _print(self) -> None:
        self.printed_at, self.printed_step = time.monotonic(), self.task.done
        self.note(f"{self.task.title} {self.task.status()}")


class Bar(Reporter):
    """A Rich progress bar on a terminal; a narrow one shows a single figure beside it."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.bar: RichProgress | None = None
        self.row: TaskID

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        self.close()
        self.task = Task(title, total, unit, scale, done)
        self.bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),  # the width that is left
            TextColumn("{task.fields[status]}", markup=False),
            console=self.console,
            expand=True,
            redirect_stdout=False,
        )
        self.row = self.bar.add_task(title, total=total, completed=done, status="")
        self.bar.start()

    def update(self, done: int, **figures: float) -> None:
        self.task.done, self.task.figures = done, figures
        if self.bar is not None:
            status = self.task.status(MANY if self.console.width >= WIDE else 1)
            self.bar.update(self.row, completed=done, status=status)

    def finish(self) -> None:
        self.close()

    def note(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text(printable(text)), soft_wrap=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def clock(seconds: float) -> str:
    """Return a duration as "1:02:03" or "2:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
