"""Fake stages, so that commands can be tested without them."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FakeStage = Callable[[str, Callable[..., Any]], None]


@pytest.fixture
def fake_stage(monkeypatch: pytest.MonkeyPatch) -> FakeStage:
    """Replace `npdraw.stages.NAME.NAME` and, so that torch stays out, `Runtime`."""

    def replace(name: str, function: Callable[..., Any]) -> None:
        monkeypatch.setitem(
            sys.modules, f"npdraw.stages.{name}", SimpleNamespace(**{name: function})
        )
        monkeypatch.setitem(
            sys.modules, "npdraw.runtime.settings", SimpleNamespace(Runtime=SimpleNamespace)
        )

    return replace


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NPDRAW_DATA", raising=False)
    return tmp_path
