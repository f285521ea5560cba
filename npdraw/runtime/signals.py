"""Stop a stage by INT, TERM or HUP: finish the step, save, leave (docs/interface.md, rule 7)."""

import signal
from types import FrameType

from npdraw.errors import STOPPING, StoppedError
from npdraw.runtime.distributed import largest
from npdraw.runtime.group import SINGLE_PROCESS, Group


class Stop:
    """Notes the first INT, TERM or HUP, so that the loop can finish its step, save and leave.

    A second one acts at once, as if nobody had listened. In a group of processes each may note it
    at another step: they stop together, at the step at which they `agree`.
    """

    def __init__(self, group: Group = SINGLE_PROCESS) -> None:
        self.signal = 0
        """The signal to stop for, 0 for none; it changes only when the processes `agree`."""
        self._group = group
        self._noted = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Stop":
        for number in STOPPING:
            if signal.getsignal(number) is signal.SIG_IGN:  # nohup
                continue
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self._noted = number
        self._restore()

    def agree(self) -> None:
        """Take up what any process noted; each calls it once a step, before it may save."""
        self.signal = largest(self._group, self._noted)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def leave(self, step: int, steps: int, unit: str = "step") -> None:
        """Raise `StoppedError` if it was agreed to stop; call it after saving."""
        if self.signal:
            raise StoppedError(f"stopped at {unit} {step} of {steps}", signal_number=self.signal)
