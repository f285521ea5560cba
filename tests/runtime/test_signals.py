"""Signals: the first is noted, the second has its usual effect, the handlers are restored."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from npdraw.errors import STOPPING, StoppedError
from npdraw.runtime.signals import StopSignal


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_is_noted_and_the_handlers_are_restored(number: int) -> None:
    watched = STOPPING
    before = [signal.getsignal(n) for n in watched]
    with StopSignal() as stop:
        stop.raise_if_stopped(1, 9)  # without a signal nothing happens
        assert [signal.getsignal(n) for n in watched] != before
        os.kill(os.getpid(), number)
        assert stop.signal == 0  # unchanged until the next sync
        stop.sync()
        assert stop.signal == number
        assert [signal.getsignal(n) for n in watched] == before
        with pytest.raises(StoppedError, match="stopped at step 3 of 9") as caught:
            stop.raise_if_stopped(3, 9)
        with pytest.raises(StoppedError, match="stopped at image 3 of 9"):
            stop.raise_if_stopped(3, 9, "image")
    assert caught.value.exit_code == 128 + number
    assert [signal.getsignal(n) for n in watched] == before


def test_the_second_signal_has_its_usual_effect() -> None:
    with StopSignal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_that_nohup_ignores_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            stop.sync()
            assert stop.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_restored_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError), StopSignal():
        raise KeyError
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_leaves_the_handlers_alone() -> None:
    before = [signal.getsignal(number) for number in STOPPING]

    def watch() -> int:
        with StopSignal() as stop:
            assert [signal.getsignal(number) for number in STOPPING] == before
            stop.sync()
            return stop.signal

    with ThreadPoolExecutor() as threads:
        assert threads.submit(watch).result() == 0
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_handlers_that_are_not_pythons_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    handler = {signal.SIGTERM: None}
    known = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: handler.get(number, known(number)))
    with StopSignal():
        assert known(signal.SIGTERM) is before
        assert known(signal.SIGINT) is not signal.default_int_handler
    assert known(signal.SIGTERM) is before
