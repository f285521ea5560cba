"""A hub on this machine in place of the real one, without the caller's token and cache."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from npdraw.cli import execute
from tests.hub.fake_hub import WRITER, FakeHub, serving

Run = Callable[..., "Ended"]


class Ended(NamedTuple):
    """What a command printed: the object on stdout, and the lines on stderr."""

    result: Any
    err: str

    @property
    def error(self) -> dict[str, str]:
        error: dict[str, str] = self.result["error"]
        return error


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json in this process, and check its exit code."""

    def call(*words: str, code: int = 0) -> Ended:
        ended = execute([*words, "--json"])
        out, err = capsys.readouterr()
        assert ended == code, out + err
        assert "Traceback" not in err
        return Ended(json.loads(out), err)

    return call


@pytest.fixture
def hub(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Serve a hub, and lead huggingface_hub to it, in an empty working directory.

    The library reads the environment when it is imported, so its constants are replaced too.
    """
    constants = import_module("huggingface_hub.constants")
    close_session = import_module("huggingface_hub").close_session
    home = workdir / "huggingface"
    with serving() as served:
        for name, value in environment(served.url, home).items():
            monkeypatch.setenv(name, value)
        replaced = {
            "ENDPOINT": served.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": served.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "AGENT_HARNESSES_PATH": str(home / "harnesses"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
        }
        for name, value in replaced.items():
            monkeypatch.setattr(constants, name, value)
        close_session()
        try:
            yield served
        finally:
            close_session()


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """Return the variables that lead a process to a hub, with a cache and logins of its own."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


@pytest.fixture
def cache(hub: FakeHub, tmp_path: Path) -> Path:
    """Return the folder where huggingface_hub keeps what it downloads."""
    assert hub.url
    return tmp_path / "huggingface/hub"


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub try again at once, as often as it does."""
    for name in ("file_download", "utils._http"):
        monkeypatch.setattr(f"huggingface_hub.{name}.time.sleep", lambda _: None)


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log in as the user `me`."""
    monkeypatch.setenv("HF_TOKEN", WRITER)


@pytest.fixture
def model_bytes(write_model: Any, tmp_path: Path) -> bytes:
    """Return the file of a tiny model of 8 x 8 images."""
    path = tmp_path / "tiny/model.safetensors"
    write_model(path, "mnist")
    return path.read_bytes()
