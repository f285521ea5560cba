"""Signals: the first is noted, the second acts, the handlers come back."""

import os
import signal

import pytest

from npdraw.errors import STOPPING, StoppedError
from npdraw.runtime.signals import StopSignal


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_is_noted_and_the_handlers_come_back(number: int) -> None:
    watched = STOPPING
    before = [signal.getsignal(n) for n in watched]
    with StopSignal() as stop:
        stop.raise_if_stopped(1, 9)  # nothing was noted, nothing happens
        assert [signal.getsignal(n) for n in watched] != before
        os.kill(os.getpid(), number)
        assert stop.signal == 0  # whoever looks twice in one step sees the same
        stop.sync()
        assert stop.signal == number
        assert [signal.getsignal(n) for n in watched] == before
        with pytest.raises(StoppedError, match="stopped at step 3 of 9") as caught:
            stop.raise_if_stopped(3, 9)
        with pytest.raises(StoppedError, match="stopped at image 3 of 9"):
            stop.raise_if_stopped(3, 9, "image")
    assert caught.value.exit_code == 128 + number
    assert [signal.getsignal(n) for n in watched] == before


def test_the_second_signal_acts_at_once() -> None:
    with StopSignal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            stop.sync()
            assert stop.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError), StopSignal():
        raise KeyError
    assert signal.getsignal(signal.SIGINT) is before
