"""The command serves the page until a signal ends it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import npdraw
from npdraw.errors import UsageError
from npdraw.runtime.settings import Runtime
from npdraw.studio.guard import HOST
from npdraw.studio.server import studio


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_leaves_nothing_behind(
    number: signal.Signals, trained: Any, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "npdraw", "studio", os.fspath(trained.model)]
    process = subprocess.Popen(
        [*command, "--no-browser", "--threads", "1", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(npdraw.__file__).parents[1])},
    )
    try:
        assert process.stdout is not None
        result = json.loads(process.stdout.readline())
        assert result["url"].startswith(f"http://{HOST}:{result['port']}/")
        with urllib.request.urlopen(
            result["url"]
        ) as answer:  # stays open, like a browser's connection
            assert b"npdraw studio" in answer.read()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "Ctrl-C ends the studio.\n")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, result["port"]))
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use"):
            studio(
                tmp_path / "none",
                port=port,
                browser=False,
                root=tmp_path,
                runtime=Runtime(),
                ready=lambda _: None,
            )


def test_a_browser_is_opened_only_if_there_is_a_screen(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    urls: list[str] = []
    for display, browser in (("", True), (":0", False), (":0", True)):
        monkeypatch.setenv("DISPLAY", display)
        studio(
            trained.model,
            port=0,
            browser=browser,
            root=tmp_path,
            runtime=Runtime(),
            ready=lambda result: urls.append(result["url"]),
        )
    assert len(set(urls)) == 3  # a new token each time
    assert opened == urls[2:]
