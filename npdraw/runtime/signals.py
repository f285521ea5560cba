"""Stopping a stage by INT, TERM or HUP: finish the step, save, stop (docs/interface.md, rule 7)."""

import signal
import threading
from types import FrameType

from npdraw.errors import STOPPING, StoppedError
from npdraw.runtime.distributed import all_reduce_max
from npdraw.runtime.group import SINGLE_PROCESS, Group


class StopSignal:
    """Notes the first INT, TERM or HUP, so that a loop can finish its step, save and stop.

    A second signal has its usual effect. In a group the processes may receive the signal at
    different steps; `sync` makes all of them stop at the same step. Signals reach the main thread
    of Python only, so in another thread nothing is noted, and the handlers stay as they are.
    """

    def __init__(self, group: Group = SINGLE_PROCESS) -> None:
        self.signal = 0
        """The signal to stop for, 0 for none; only `sync` changes it."""
        self._group = group
        self._received = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in STOPPING:
            # SIG_IGN: nohup. None: a handler of C code, which Python could not restore.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self._received = number
        self._restore()

    def sync(self) -> None:
        """Share what any process received; every process calls it once per step, before saving."""
        self.signal = all_reduce_max(self._group, self._received)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def raise_if_stopped(self, step: int, steps: int, unit: str = "step") -> None:
        """Raise `StoppedError` if there is a signal to stop for; call it after saving."""
        if self.signal:
            raise StoppedError(f"stopped at {unit} {step} of {steps}", signal_number=self.signal)
