"""Progress of a stage; the caller decides how it is shown."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Receiver of progress. All calls are cheap enough to make once per step."""

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        """Start a task of `total` counts, each worth `scale` of `unit`; `done` of them are done."""

    def update(self, done: int, **figures: float) -> None:
        """Report the total number of counts done, and metrics worth showing, such as the loss."""

    def finish(self) -> None:
        """End the task."""

    def note(self, text: str) -> None:
        """Show a line to the user."""


class Silent:
    """A `Progress` that shows nothing."""

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        """Do nothing."""

    def update(self, done: int, **figures: float) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
