"""What a stage tells while it works; how it is shown is the caller's business."""

from typing import Protocol


class Progress(Protocol):
    """Receiver of progress. All calls are cheap: a stage may make one a step."""

    def start(
        self, title: str, total: int, *, unit: str = "images", scale: int = 1, done: int = 0
    ) -> None:
        """Begin a task of `total` counts, each worth `scale` of `unit`; `done` were made before."""

    def update(self, done: int, **figures: float) -> None:
        """Say how many counts are done in all, and figures worth showing, such as the loss."""

    def finish(self) -> None:
        """End the task."""

    def note(self, text: str) -> None:
        """Say one line to the person at the terminal."""
