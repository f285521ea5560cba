"""`npdraw studio`: what its stage is asked for, what is printed, and what an extra lacks."""

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from npdraw import extras
from npdraw.cli import execute

RESULT = {"url": "http://127.0.0.1:1/secret/", "port": 1, "model": "0" * 64}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the stage by one that is ready and ends; return what it is called with."""
    calls: list[Any] = []

    def stage(path: Path, *, ready: Any, **named: Any) -> None:
        calls.append((path, named))
        ready(RESULT)

    fake = SimpleNamespace(studio=stage)
    monkeypatch.setitem(sys.modules, "npdraw.studio.server", fake)
    return calls


def test_every_option_counts(shipped: Path, folder: Path, asked: list[Any]) -> None:
    assert execute(["studio", "omniglot"]) == 0
    words = "--data-root d --port 8080 --no-browser --device cpu --precision fp32 --threads 3"
    (folder / "x").touch()
    assert execute(["studio", "x", *words.split()]) == 0
    (path, named), (other, more) = asked
    assert path == shipped / "omniglot.safetensors"
    assert (named["port"], named["browser"], named["root"]) == (0, True, Path("data"))
    assert (named["runtime"].device, named["runtime"].threads) == ("auto", 0)
    assert other == Path("x")
    assert (more["port"], more["browser"], more["root"]) == (8080, False, Path("d"))
    runtime = more["runtime"]
    assert (runtime.device, runtime.precision, runtime.threads) == ("cpu", "fp32", 3)


def test_the_url_is_the_result(
    shipped: Path, folder: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["studio", "omniglot"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{RESULT['url']}\n", "Ctrl-C ends the studio.\n")
    assert execute(["studio", "omniglot", "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ok": True, "command": "studio", **RESULT}
    assert err == ""


def test_without_the_extra_a_hint_says_how_to_get_it(
    shipped: Path,
    folder: Path,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for missing in (["starlette"], ["starlette", "uvicorn"]):
        monkeypatch.setattr(
            extras, "find_spec", lambda name, gone=missing: name not in gone or None
        )
        assert execute(["studio", "omniglot"]) == 2
        out, err = capsys.readouterr()
        named = ", ".join(missing)
        assert out == ""
        assert err.splitlines() == [
            f"Error: npdraw studio needs packages that are not installed: {named}",
            "Hint: Install the extra: pip install 'npdraw[studio]'",
        ]
    assert asked == []


def test_ports_are_numbers_of_ports(
    shipped: Path, folder: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for port in ("-1", "65536", "http"):
        assert execute(["studio", "omniglot", "--port", port]) == 2
        assert "--port" in capsys.readouterr().err
    assert asked == []


def test_a_port_in_use_is_one_line_and_a_hint(
    shipped: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert execute(["studio", "omniglot", "--port", str(port), "--no-browser"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"Error: port {port} of 127.0.0.1 is in use",
        "Hint: Use another --port, or leave it out for any free one.",
    ]
