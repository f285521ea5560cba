"""What people see of a stage under way, on stderr: a bar on a terminal, else plain lines.

Rich is imported only for a terminal.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from npdraw.cli.console import on_terminal, plain, value_text
from npdraw.runtime.group import environment

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_SECONDS = 10.0
"""Seconds between two lines of progress where there is no terminal."""

WIDE = 110
"""Columns from which a terminal shows every figure of the progress."""


@contextmanager
def told(*, quiet: bool) -> Iterator["Silent"]:
    """Give a stage what it reports to; whatever happens, the terminal is left in order."""
    silent = quiet or not environment().is_rank_zero
    reporter = Silent() if silent else Bar() if on_terminal() else Lines()
    try:
        yield reporter
    finally:
        reporter.close()


class Silent:
    """Reports nothing; also the base of the others (see `npdraw.runtime.progress.Progress`)."""

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
        self.printed, self.told = self.started, -1

    def update(self, done: int, **figures: float) -> None:
        """Print a line if the last one is ten seconds old."""
        super().update(done, **figures)
        now = time.monotonic()
        if now - self.printed >= PLAIN_SECONDS:
            self.printed, self.told = now, done
            self.note(f"{self.title} {self.status(most=9)}")

    def finish(self) -> None:
        """Print the last line, unless the last step has printed it."""
        if self.told != self.done:
            self.note(f"{self.title} {self.status(most=9)}")

    def note(self, text: str) -> None:
        """Print a line. If nobody reads any more, that is no reason to end a training."""
        if self.open:
            try:
                print(plain(text), file=sys.stderr, flush=True)
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

        self.console.print(Text(plain(text)), soft_wrap=True)

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
