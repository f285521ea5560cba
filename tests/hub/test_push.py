"""npdraw push: what is uploaded, what is never replaced, and what can go wrong."""

import hashlib
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from npdraw.cli import execute
from npdraw.hub import upload
from tests.hub.conftest import Run
from tests.hub.fake_hub import READER, STRANGER, WRITER, FakeHub
from tests.test_interface import keys_of

pytestmark = pytest.mark.usefixtures("workdir")

PUSH = ("push", "mnist", "me/digits")


@pytest.fixture(autouse=True)
def tiny_models(shipped: Path) -> Path:
    """Replace the shipped models by tiny ones."""
    return shipped


def test_a_model_is_uploaded_with_its_card_and_comes_back(
    hub: FakeHub, logged_in: None, run: Run, shipped: Path
) -> None:
    pushed = run(*PUSH)
    repository = hub.repositories["me/digits"]
    assert repository.files["model.safetensors"] == (shipped / "mnist.safetensors").read_bytes()
    assert set(repository.files) == {".gitattributes", "model.safetensors", "README.md"}
    digest = run("info", "mnist").result["digest"]
    assert pushed.result == {
        "ok": True,
        "command": "push",
        "url": f"{hub.url}/me/digits",
        "private": False,
        "commit": repository.commit(),
        "bytes": len(repository.files["model.safetensors"]),
        "digest": digest,
        "out": "hf:me/digits",
        "up_to_date": False,
    }
    assert pushed.err == f"Uploading 0.0 MB to {hub.url}/me/digits\n"
    assert repository.messages[1:] == [f"npdraw push: model {digest[:6]}"]
    assert len(repository.commits) == 2  # file and card are one commit
    assert run("info", "hf:me/digits").result["digest"] == digest
    assert run(*PUSH, "--quiet").err == ""


def test_keys_are_listed(hub: FakeHub, logged_in: None, run: Run) -> None:
    assert hub.url
    printed = set(run(*PUSH, "--dry-run").result) | set(run(*PUSH).result)
    assert printed - {"ok", "command"} == keys_of("push")


def test_people_see_where_it_is(
    hub: FakeHub, logged_in: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute([*PUSH]) == 0
    out, err = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (lines["url"], lines["private"]) == (f"{hub.url}/me/digits", "no")
    assert (lines["out"], lines["up_to_date"]) == ("hf:me/digits", "no")
    assert WRITER not in out + err


def test_a_dry_run_shows_the_card_and_asks_nobody(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("npdraw.extras.find_spec", lambda name: None)  # not even the library
    assert execute([*PUSH, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert execute([*PUSH, "--dry-run", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert shown.out == result["card"]
    assert result["dry_run"] is True
    assert hub.asked == []
    monkeypatch.undo()


def test_the_card_that_is_shown_is_the_one_uploaded(
    hub: FakeHub, logged_in: None, run: Run
) -> None:
    text = run(*PUSH, "--dry-run").result["card"]
    run(*PUSH)
    assert hub.repositories["me/digits"].files["README.md"].decode() == text


def test_the_same_push_changes_nothing(hub: FakeHub, logged_in: None, run: Run) -> None:
    first = run(*PUSH).result
    again = run(*PUSH)
    assert again.result == first | {"up_to_date": True}
    assert again.err == ""
    assert len(hub.repositories["me/digits"].commits) == 2
    assert hub.count("PUT", "/storage/") == 1


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"model__safetensors": b"x", "README__md": b"x"}, "model.safetensors and README.md"),
        ({"model__safetensors": b"x"}, "model.safetensors"),
        ({"README__md": b"# My own words"}, "README.md"),
    ],
)
def test_other_files_are_replaced_only_by_force(
    files: dict[str, bytes], named: str, hub: FakeHub, logged_in: None, run: Run
) -> None:
    before = dict(hub.put("me/digits", **files, config__json=b"{}").files)
    error = run(*PUSH, code=2).error
    assert error["message"] == f"{hub.url}/me/digits exists with another {named}"
    assert error["hint"].startswith("--force replaces that")
    assert hub.repositories["me/digits"].files == before
    assert run(*PUSH, "--force").result["up_to_date"] is False
    after = hub.repositories["me/digits"].files
    assert (after["config.json"], after["README.md"][:3]) == (b"{}", b"---")
    assert run(*PUSH).result["up_to_date"] is True


def test_what_else_a_repository_holds_stays(hub: FakeHub, logged_in: None, run: Run) -> None:
    hub.put("me/digits", samples__png=b"a picture")
    run(*PUSH)
    assert hub.repositories["me/digits"].files["samples.png"] == b"a picture"


def test_private_is_private(hub: FakeHub, logged_in: None, run: Run) -> None:
    assert run(*PUSH, "--private").result["private"] is True
    assert hub.repositories["me/digits"].private
    assert run(*PUSH).result["private"] is True  # it stays so
    hub.put("me/open", config__json=b"{}")
    error = run("push", "mnist", "me/open", "--private", code=2).error
    assert error["message"] == f"{hub.url}/me/open exists and is public"
    assert "model.safetensors" not in hub.repositories["me/open"].files


def test_an_export_in_bf16_is_uploaded_as_it_is(hub: FakeHub, logged_in: None, run: Run) -> None:
    exported = Path(run("export", "mnist").result["out"])
    run("push", str(exported), "me/small")
    assert hub.repositories["me/small"].files["model.safetensors"] == exported.read_bytes()
    assert b"before its weights were rounded" in hub.repositories["me/small"].files["README.md"]


def test_a_model_of_the_hub_can_be_passed_on(
    hub: FakeHub, logged_in: None, run: Run, model_bytes: bytes
) -> None:
    hub.put("you/digits", model__safetensors=model_bytes)
    run("push", "hf:you/digits", "me/digits")
    assert hub.repositories["me/digits"].files["model.safetensors"] == model_bytes


def test_what_is_uploaded_is_what_was_checked(
    hub: FakeHub, logged_in: None, run: Run, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shipped / "mnist.safetensors"
    checked = path.read_bytes()
    stage = import_module("npdraw.stages.push")
    read_model = stage.read_model

    def read_and_overwrite(given: Path) -> Any:
        read = read_model(given)
        path.write_bytes(b"another process was faster")
        return read

    monkeypatch.setattr(stage, "read_model", read_and_overwrite)
    run(*PUSH)
    assert hub.repositories["me/digits"].files["model.safetensors"] == checked


def test_only_whole_models_are_uploaded(
    hub: FakeHub, logged_in: None, run: Run, shipped: Path, flip: Callable[[Path, int], None]
) -> None:
    flip(shipped / "mnist.safetensors", -1)
    assert "do not match its digest" in run(*PUSH, code=3).error["message"]
    assert "no shipped model of that name" in run("push", "mnits", "me/x", code=3).error["message"]
    features = Path(__file__).parents[2] / "data/features/glyphs.safetensors"
    error = run("push", str(features), "me/x", code=3).error
    assert error["message"].endswith("is a file of features, expected a model")
    assert hub.asked == []


@pytest.mark.parametrize("name", ["digits", "hf:me/digits", "me/digits@main", "me/di gits", ""])
def test_a_wrong_name_is_one_error(name: str, hub: FakeHub, logged_in: None, run: Run) -> None:
    for more in ([], ["--dry-run"]):
        error = run("push", "mnist", name, *more, code=2).error
        assert "is not the name of a repository on the Hugging Face hub" in error["message"]
        assert error["hint"].startswith("Write OWNER/NAME: ")
    assert hub.asked == []


def test_without_a_token_there_is_one_error(hub: FakeHub, run: Run) -> None:
    error = run(*PUSH, code=2).error
    assert error["message"] == "to upload a model, the Hugging Face hub wants a token"
    assert "hf auth login" in error["hint"]
    assert "HF_TOKEN" in error["hint"]
    assert hub.asked == []


@pytest.mark.parametrize(
    ("token", "name", "message"),
    [
        ("hf_expired", "me/digits", "{url} does not accept the token that was sent"),
        (READER, "me/digits", "{url} refuses to write me/digits: 403 You don't have the rights"),
        (STRANGER, "me/digits", "{url} refuses to write me/digits: 403 You don't have the rights"),
        (WRITER, "you/digits", "{url} refuses to write you/digits: 403 You don't have the rights"),
    ],
)
def test_a_token_that_may_not_write_is_one_error(
    token: str,
    name: str,
    message: str,
    hub: FakeHub,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    ended = run("push", "mnist", name, code=2)
    assert ended.error["message"].startswith(message.format(url=hub.url))
    assert ("hf auth login" if token == "hf_expired" else "/settings/tokens") in ended.error["hint"]
    assert len(ended.err.splitlines()) == 2
    assert token not in ended.err + str(ended.result)
    assert hub.repositories == {}


def test_a_token_to_write_is_sent_even_if_it_is_not_sent_to_read(
    hub: FakeHub, logged_in: None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    run(*PUSH)
    assert {asked.token for asked in hub.asked if asked.host.startswith("127")} == {WRITER}
    hub.asked.clear()
    run("info", "hf:me/digits")
    assert {asked.token for asked in hub.asked} == {""}


STEPS = [
    *("POST /api/repos/create", "GET /api/models/", "POST /api/validate-yaml", "/preupload/"),
    *("/objects/batch", "PUT /storage/", "POST /verify", "POST /api/models/me/digits/commit/"),
]
"""What an upload asks for, in this order."""


@pytest.mark.parametrize("step", STEPS)
def test_an_upload_that_breaks_off_is_completed_by_the_same_command(
    step: str, hub: FakeHub, logged_in: None, run: Run, no_waits: None
) -> None:
    def drop(request: Any) -> None:
        request.close_connection = True

    hub.instead[step] = drop
    error = run(*PUSH, code=5).error
    assert error["message"].startswith(f"the transfer from or to {hub.url} failed: ")
    assert error["hint"].endswith("The same command then completes the upload.")
    assert "model.safetensors" not in getattr(hub.repositories.get("me/digits"), "files", {})
    hub.instead.clear()
    run(*PUSH)
    assert len(hub.repositories["me/digits"].commits) == 2


@pytest.mark.parametrize("step", [STEPS[0], STEPS[-1]])
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (503, 5, "is out of order: 503"),
        (402, 2, "refuses to write me/digits: 402 Payment"),
        (400, 2, "refuses to write me/digits: 400 Bad"),
        (413, 2, "refuses to write me/digits: 413"),
    ],
)
def test_a_refusal_is_not_a_hub_out_of_order(
    step: str, status: int, code: int, words: str, hub: FakeHub, logged_in: None, run: Run
) -> None:
    hub.fail(status, step)
    assert f"{hub.url} {words}" in run(*PUSH, code=code).error["message"]


@pytest.mark.parametrize("step", [*STEPS[:5], STEPS[-1]])
@pytest.mark.parametrize("content", [b"<html>Log in to this network</html>", b"{}"])
def test_an_answer_that_makes_no_sense_is_one_error(
    step: str, content: bytes, hub: FakeHub, logged_in: None, run: Run
) -> None:
    hub.instead[step] = lambda request: request.send(200, content)
    if (step, content) == (STEPS[2], b"{}"):
        return  # it is what the hub says of a valid card
    assert run(*PUSH, code=5).error["message"].startswith("the transfer from or to ")


def test_what_somebody_commits_meanwhile_is_not_replaced(
    hub: FakeHub, logged_in: None, run: Run, no_waits: None
) -> None:
    def commit(request: Any) -> None:
        hub.instead.clear()
        hub.put("me/digits", model__safetensors=b"of a colleague")
        request.refuse(503, "a moment, please")

    hub.instead["/preupload/"] = commit
    assert "412 A commit has happened since" in run(*PUSH, code=2).error["message"]
    assert hub.repositories["me/digits"].files["model.safetensors"] == b"of a colleague"
    assert "exists with another model.safetensors" in run(*PUSH, code=2).error["message"]


def test_a_hub_that_does_not_answer_is_not_waited_for_indefinitely(
    hub: FakeHub, logged_in: None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "PATIENCE", 0.1)
    with hub.stalled("/commit/"):
        error = run(*PUSH, code=5).error
    assert error["message"] == f"cannot reach {hub.url}: it does not answer"


def test_settings_of_huggingface_hub_change_for_the_upload_alone(
    hub: FakeHub, logged_in: None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = import_module("huggingface_hub")
    are_disabled = import_module("huggingface_hub.utils").are_progress_bars_disabled
    commit, seen = library.HfApi.create_commit, []

    def state() -> tuple[bool, Any]:
        return are_disabled(), library.get_session().timeout.read

    def watched(*given: Any, **named: Any) -> Any:
        seen.append(state())
        return commit(*given, **named)

    monkeypatch.setattr(library.HfApi, "create_commit", watched)
    before = state()
    run(*PUSH)
    assert hub.repositories
    assert (seen, state()) == ([(True, upload.PATIENCE)], before)
    assert before == (False, None)


def test_the_token_is_not_kept(
    hub: FakeHub, logged_in: None, run: Run, workdir: Path, shipped: Path
) -> None:
    run(*PUSH)
    run("sample", "hf:me/digits", "--seeds", "0")
    stored = [path for path in workdir.rglob("*") if path.is_file() and path.parent != shipped]
    assert stored
    assert not [path for path in stored if WRITER.encode() in path.read_bytes()]
    assert all(WRITER.encode() not in f for f in hub.repositories["me/digits"].files.values())
    uploads = {asked.token for asked in hub.asked if asked.method == "PUT"}
    assert uploads == {""}  # the host that stores files gets none


def test_the_file_is_stored_by_its_checksum(hub: FakeHub, logged_in: None, run: Run) -> None:
    run(*PUSH)
    content = hub.repositories["me/digits"].files["model.safetensors"]
    assert hub.stored == {hashlib.sha256(content).hexdigest(): content}
