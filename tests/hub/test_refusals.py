"""What can go wrong with a model of the hub: one clear error each, and nothing is left behind."""

import json
import os
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import npdraw
from npdraw.errors import ArtifactError, ResourceError, UsageError
from npdraw.header import canonical, digest_of
from npdraw.hub import client, download
from npdraw.tensor_layout import layout
from tests.hub.conftest import Run
from tests.hub.fake_hub import FakeHub, Request

NAME = "hf:me/digits"
COMMANDS = [("info", NAME), ("sample", NAME, "--seeds", "0"), ("export", NAME)]


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def foreign(_: bytes) -> bytes:
    """Return a safetensors file that npdraw did not write."""
    return safetensors.torch.save({"weight": torch.zeros(2, 2)}, {"format": "pt"})


def not_finite(content: bytes) -> bytes:
    """Return the model with a weight that is NaN, and the right digest."""
    header = safetensors.torch.load(content)
    size = int.from_bytes(content[:8], "little")
    values = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["npdraw"])
    name = next(n for n, tensor in header.items() if tensor.dtype == torch.float32)
    header[name].view(-1)[0] = float("nan")
    del values["digest"]
    entries = layout((n, "F32", tuple(t.shape)) for n, t in header.items())
    values["digest"] = digest_of(
        values, entries, lambda entry: [header[entry.name].numpy().tobytes()]
    )
    return safetensors.torch.save(header, {"npdraw": canonical(values)})


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a flipped bit": (flipped, "is damaged: its bytes do not match its digest"),
    "cut off": (lambda content: content[:-100], "is damaged: it has"),
    "empty": (lambda _: b"", "is damaged: it is empty"),
    "a web page": (lambda _: b"<!doctype html>" * 9, "is not an artifact"),
    "a pickle": (lambda _: b"\x80\x04cos\nabort\n)R." * 20, "is not an artifact"),
    "of another library": (foreign, "is damaged: its header is not npdraw's"),
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_or_foreign_file_is_refused(
    kind: str, command: tuple[str, ...], hub: FakeHub, run: Run, cache: Path, model_bytes: bytes
) -> None:
    damage, words = DAMAGE[kind]
    hub.put("me/digits", model__safetensors=damage(model_bytes))
    for _ in range(2):  # the second time it comes from the cache
        error = run(*command, code=3).error
        assert error["message"].startswith(f"model.safetensors of {NAME} {words}")
        folder = cache / "models--me--digits"
        assert error["hint"].endswith(f"If it was damaged here, delete {folder}")
        assert folder.is_dir()


def test_the_checks_are_those_of_every_artifact(
    hub: FakeHub, run: Run, model_bytes: bytes, workdir: Path
) -> None:
    # A stranger can sign a file with the right digest. What it holds is checked all the same.
    hub.put("me/digits", model__safetensors=not_finite(model_bytes))
    error = run("sample", NAME, "--seeds", "0", code=3).error
    assert "is damaged: its tensor" in error["message"]
    assert error["message"].endswith("is not finite")
    with pytest.raises(ArtifactError, match="is not finite"):
        npdraw.load(NAME)
    assert not (workdir / "runs").exists()


def test_an_artifact_of_another_kind_is_refused(hub: FakeHub, run: Run, made: Any) -> None:
    hub.put("me/digits", model__safetensors=made.prior.read_bytes())
    error = run("info", NAME, code=3).error
    assert error["message"] == f"model.safetensors of {NAME} is a prior, expected a model"


def none(hub: FakeHub) -> None:
    hub.put("me/digits", config__json=b"{}")


def gated(hub: FakeHub) -> None:
    hub.put("me/digits", model__safetensors=b"x").gated = True


def huge(hub: FakeHub) -> None:
    headers = {"X_Repo_Commit": "0" * 40, "X_Linked_Etag": '"x"', "Location": "http://localhost/x"}
    hub.instead["^HEAD"] = lambda request: request.send(
        302, b"", X_Linked_Size="5000000000", **headers
    )


def strange(hub: FakeHub) -> None:
    hub.instead["^HEAD"] = lambda request: request.send(200, b"<html>Log in to this network</html>")


REFUSALS: dict[str, tuple[Callable[[FakeHub], object], str, str]] = {
    "does not exist": (lambda _: None, "{url} has no model me/digits, or it is private", "login"),
    "no model in it": (none, "me/digits has no file model.safetensors, so it is", "npdraw push"),
    "gated": (
        gated,
        "the owner of me/digits decides who may read it",
        "Ask for access at {url}/me",
    ),
    "forbidden": (lambda hub: hub.fail(403), "{url} refuses to read me/digits: 403 Forb", "tokens"),
    "disabled": (lambda hub: hub.fail(451), "{url} refuses to read me/digits: 451", "Check the na"),
    "out of order": (lambda hub: hub.fail(500), "{url} is out of order: 500 Inter", "Try again"),
    "too many": (lambda hub: hub.fail(429), "{url} is out of order: 429 Too Many", "Try again"),
    "too large": (
        huge,
        "model.safetensors of hf:me/digits has 5,000,000,000 bytes",
        "Check the na",
    ),
    "not a hub": (
        strange,
        "{url} does not answer as a Hugging Face hub does; hf:me",
        "HF_ENDPOINT",
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_each_reason_is_one_error(why: str, hub: FakeHub, run: Run, cache: Path) -> None:
    arrange, message, hint = REFUSALS[why]
    arrange(hub)
    ended = run("sample", NAME, "--seeds", "0", code=3)
    assert ended.error["message"].startswith(message.format(url=hub.url))
    assert hint.format(url=hub.url) in ended.error["hint"]
    assert len(ended.err.splitlines()) == 2
    assert not list(cache.glob("models--*/snapshots/*/*"))
    assert hub.count("GET", "") == 0  # nothing was downloaded


def test_an_unknown_revision_is_named(hub: FakeHub, run: Run, model_bytes: bytes) -> None:
    hub.put("me/digits", model__safetensors=model_bytes)
    error = run("info", f"{NAME}@v9", code=3).error
    assert error["message"] == "me/digits has no revision v9"
    with pytest.raises(ArtifactError, match="no revision v9"):
        npdraw.load(f"{NAME}@v9")


def test_a_name_that_is_none_is_a_usage_error(hub: FakeHub, run: Run) -> None:
    for name in ("hf:digits", "hf:me/digits/x", "hf://me/digits", "hf:me/digits@../x"):
        for command in ("info", "sample", "report", "studio"):
            error = run(command, name, code=2).error
            assert "is not the name of a model on the Hugging Face hub" in error["message"]
        with pytest.raises(UsageError, match="is not the name"):
            npdraw.load(name)
    assert hub.asked == []


@pytest.mark.parametrize("token", ["hf_expired", "hf_two words", "hf_pässwörd", "hf_a\nhf_b"])
def test_a_wrong_token_is_one_error_and_never_printed(
    token: str, hub: FakeHub, run: Run, model_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("NPDRAW_DEBUG", "")
    hub.put("me/digits", model__safetensors=model_bytes)
    ended = run("info", NAME, code=2)
    assert ended.error["code"] == "usage"
    assert "token" in ended.error["message"]
    assert "hf auth login" in ended.error["hint"]
    assert "HF_TOKEN" in ended.error["hint"]
    for part in re.findall(r"hf_\w+", token):
        assert part not in ended.err + str(ended.result)


def test_a_server_cannot_make_a_token_appear(
    hub: FakeHub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.instead[""] = lambda request: request.refuse(400, f"You sent {request.token}. {'x' * 999}")
    ended = run("info", NAME, code=3)
    assert "400 You sent (token). xxx" in ended.error["message"]
    assert len(ended.error["message"]) < 400
    assert "hf_secret" not in ended.err + str(ended.result)


def test_an_unreadable_login_is_one_error(hub: FakeHub, run: Run, tmp_path: Path) -> None:
    assert hub.url
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface/token").write_bytes(b"\xff\xfe\xfd")
    error = run("info", NAME, code=2).error
    assert error["message"].startswith("the token for the Hugging Face hub cannot be read: ")


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("endpoint", ["a closed port", "http://", "nowhere", "http://[::1"])
def test_without_network_and_copy_there_is_one_error_at_once(
    endpoint: str, hub: FakeHub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = closed_port() if endpoint == "a closed port" else endpoint
    template = where + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", where)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    ended = run("info", NAME, code=3)
    assert ended.error["message"].startswith(f"cannot reach {where}: ")
    assert ended.error["message"].endswith(f"; {NAME} is not in the cache either")
    assert ended.error["hint"].startswith("Check the network, and HF_ENDPOINT")
    assert len(ended.err.splitlines()) == 2
    assert hub.asked == []


def test_offline_mode_is_named(hub: FakeHub, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = run("info", NAME, code=3).error
    assert error["message"].startswith(f"HF_HUB_OFFLINE is set, so {hub.url} is not asked")
    assert hub.asked == []


def test_a_hub_that_does_not_answer_is_not_waited_for(
    hub: FakeHub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    with hub.stalled():
        error = run("info", NAME, code=3).error
    assert error["message"].startswith(f"cannot reach {hub.url}: it does not answer; {NAME} is")
    assert client.TIMEOUT == 10  # which people can bear


def reset(request: Request) -> None:
    """Reset the connection after half of the content."""
    content = request.hub.stored[request.path.rpartition("/")[2]]
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])
    request.wfile.flush()
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.close_connection = True


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (reset, "the transfer from or to"),
        (lambda request: request.send(200, b"short"), "should be of size"),
        (lambda request: request.send(503, b""), "is out of order: 503"),
        (lambda request: request.send(403, b""), "refuses to read me/digits: 403"),
    ],
    ids=["reset", "short", "out of order", "forbidden"],
)
def test_an_interrupted_download_leaves_nothing_and_can_be_repeated(
    act: Callable[[Request], None],
    words: str,
    hub: FakeHub,
    run: Run,
    cache: Path,
    model_bytes: bytes,
    no_waits: None,
) -> None:
    hub.put("me/digits", model__safetensors=model_bytes)
    hub.instead["^GET /storage/"] = act
    error = run("info", NAME, code=3).error
    assert words in error["message"]
    assert not list(cache.rglob("*.incomplete"))
    assert not list(cache.rglob("model.safetensors"))
    hub.instead.clear()
    assert run("info", NAME).result["kind"] == "model"


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (28, ResourceError, "the disk is full: cannot write /x/blob"),
        (13, ArtifactError, "cannot write /x/blob: Permission denied"),
    ],
)
def test_a_cache_that_cannot_be_written_is_named(
    number: int,
    kind: type[Exception],
    words: str,
    hub: FakeHub,
    model_bytes: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.put("me/digits", model__safetensors=model_bytes)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), "/x/blob")

    monkeypatch.setattr("huggingface_hub.file_download._download_to_tmp_and_move", fail)
    with pytest.raises(kind, match=words):
        npdraw.load(NAME)


def test_without_the_extra_there_is_one_clear_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("npdraw.extras.find_spec", lambda name: None)
    for words in (["info", NAME], ["sample", NAME], ["push", "glyphs", "me/glyphs"]):
        error = run(*words, code=2).error
        assert error["message"].endswith("packages that are not installed: huggingface_hub")
        assert error["hint"] == "Install the extra: pip install 'npdraw[hub]'"
    with pytest.raises(UsageError, match="huggingface_hub"):
        npdraw.load(NAME)
