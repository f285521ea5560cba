"""Models of the hub in place of files: downloaded once, seen, checked, and used without network."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import npdraw
from npdraw.hub import HubModel, download
from npdraw.runtime.progress import Silent
from tests.hub.conftest import Run
from tests.hub.fake_hub import STRANGER, WRITER, FakeHub

NAME = "hf:me/digits"


def test_a_model_is_downloaded_once_and_used(
    hub: FakeHub, run: Run, workdir: Path, cache: Path, model_bytes: bytes
) -> None:
    hub.put("me/digits", model__safetensors=model_bytes)
    first = run("sample", NAME, "--seeds", "0-3", "--grid")
    assert (first.result["images"], first.result["out"]) == (4, "runs/me/digits/samples.png")
    assert f"Downloading hf:me/digits from {hub.url}: 0.0 MB\n" in first.err
    assert run("sample", NAME, "--seeds", "0-3", "--grid").result["up_to_date"] is True
    assert run("info", NAME, "--verify").result["kind"] == "model"
    assert hub.count("GET", "/storage/") == 1
    (file,) = cache.rglob("model.safetensors")
    assert file.read_bytes() == model_bytes
    assert {path.name for path in workdir.iterdir()} == {"huggingface", "runs", "tiny"}


def test_a_download_shows_its_progress_unless_quiet(
    hub: FakeHub, run: Run, workdir: Path, model_bytes: bytes
) -> None:
    assert workdir.is_dir()
    for name in ("a", "b"):
        hub.put(f"me/{name}", model__safetensors=model_bytes)
    kilobytes = len(model_bytes) // 1000
    seen = run("sample", "hf:me/a", "--seeds", "0").err.splitlines()
    assert seen[0].startswith("Downloading hf:me/a")
    assert seen[1].startswith(f"hf:me/a {kilobytes}/{kilobytes}  ")
    assert "kB/s" in seen[1]
    assert run("sample", "hf:me/b", "--seeds", "0", "--quiet").err == ""


def test_python_loads_models_of_the_hub(
    hub: FakeHub, model_bytes: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/digits", model__safetensors=model_bytes)
    model = npdraw.load(NAME)
    assert model.decode(model.paint(model.sample(2))).shape == (2, 1, 8, 8)
    note, progress = capsys.readouterr().err.splitlines()
    assert note == f"Downloading {NAME} from {hub.url}: 0.0 MB"
    assert progress.startswith(f"{NAME} ")
    npdraw.load(NAME)
    assert capsys.readouterr().err == ""


def test_only_the_model_is_read(
    hub: FakeHub, run: Run, workdir: Path, cache: Path, model_bytes: bytes
) -> None:
    harmful = b"import os; os.abort()"
    others = {"config__json": b"{", "pytorch_model__bin": b"\x80\x04.", "__init____py": harmful}
    hub.put("me/digits", model__safetensors=model_bytes, **others)
    run("sample", NAME, "--seeds", "0")
    assert workdir.is_dir()
    assert {path.name for path in cache.glob("models--*/snapshots/*/*")} == {"model.safetensors"}
    files = {asked.path for asked in hub.asked if "/storage/" not in asked.path}
    assert files == {"/me/digits/resolve/main/model.safetensors"}


def test_a_new_commit_is_downloaded_and_a_named_one_stays(
    hub: FakeHub, run: Run, write_model: Any, tmp_path: Path, model_bytes: bytes
) -> None:
    repository = hub.put("me/digits", model__safetensors=model_bytes)
    first, digest = repository.commit(), run("info", NAME).result["digest"]
    other = tmp_path / "other.safetensors"
    write_model(other, "omniglot")
    hub.put("me/digits", model__safetensors=other.read_bytes())
    assert run("info", NAME).result["dataset"]["name"] == "omniglot"
    pinned = run("info", f"{NAME}@{first}")
    assert (pinned.result["digest"], pinned.err) == (digest, "")  # the cache still has it
    before = len(hub.asked)
    run("info", f"{NAME}@{first}")
    assert len(hub.asked) == before  # a commit never changes, so nobody is asked


def test_a_revision_is_asked_for_by_its_name(hub: FakeHub, run: Run, model_bytes: bytes) -> None:
    repository = hub.put("me/digits", model__safetensors=model_bytes)
    hub.put("me/digits", model__safetensors=b"newer, and damaged")
    repository.tags["refs/pr/1"] = 1
    assert run("info", f"{NAME}@refs/pr/1").result["kind"] == "model"
    assert hub.count("HEAD", "/resolve/refs/pr/1/model.safetensors") > 0


def test_without_network_the_copy_in_the_cache_is_used(
    hub: FakeHub, run: Run, model_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.put("me/digits", model__safetensors=model_bytes)
    digest = run("info", NAME).result["digest"]
    for reason, hinder in (
        (f"{hub.url} is out of order: 503 ", lambda: hub.fail(503)),
        ("does not answer as a Hugging Face hub does", lambda: hub.fail(200)),
        ("HF_HUB_OFFLINE is set", lambda: monkeypatch.setattr(*OFFLINE, True)),
    ):
        hinder()
        ended = run("info", NAME)
        assert ended.result["digest"] == digest
        (note,) = ended.err.splitlines()
        assert reason in note
        copy = f"Using the copy of {NAME} in the cache: commit {repository.commit()[:7]}"
        assert note.endswith(copy)


OFFLINE = ("huggingface_hub.constants.HF_HUB_OFFLINE",)


def test_a_private_model_needs_its_owner(
    hub: FakeHub, run: Run, model_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("me/digits", model__safetensors=model_bytes).private = True
    for token in (None, STRANGER):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        error = run("info", NAME, code=3).error
        assert error["message"] == f"{hub.url} has no model me/digits, or it is private"
        assert "hf auth login" in error["hint"]
    monkeypatch.setenv("HF_TOKEN", WRITER)
    assert run("info", NAME).result["kind"] == "model"
    # The host that stores files is another one, and gets no token.
    hosts = {asked.host.partition(":")[0]: asked.token for asked in hub.asked}
    assert hosts == {"127.0.0.1": WRITER, "localhost": ""}


def test_a_token_of_the_login_is_used_and_none_is_needed(
    hub: FakeHub, run: Run, tmp_path: Path, model_bytes: bytes
) -> None:
    hub.put("me/digits", model__safetensors=model_bytes)
    run("info", NAME)
    assert {asked.token for asked in hub.asked} == {""}
    (tmp_path / "huggingface/token").write_text(f"{WRITER}\n")
    hub.repositories["me/digits"].private = True
    run("info", NAME)
    assert hub.asked[-1].token == WRITER


def test_progress_is_shown_of_the_xet_protocol_too() -> None:
    # The hub of these tests does not offer it. This is how huggingface_hub reports of it.
    reporting = import_module("huggingface_hub.utils._xet_progress_reporting")
    seen: list[int] = []

    class Seen(Silent):
        def update(self, done: int, **figures: float) -> None:
            seen.append(done)

    class Report:
        total_bytes, total_bytes_completion_rate, total_transfer_bytes_completion_rate = 9000, 1, 1

        def __init__(self, written: int, arrived: int) -> None:
            self.total_bytes_completed, self.total_transfer_bytes_completed = written, arrived

    bar = download._bar(Seen(), 9000)
    with reporting.XetDownloadProgressReporter(
        reconstruction_desc="", total=9000, log_level=30, tqdm_class=bar
    ) as reporter:
        for report in (Report(0, 5000), Report(4000, 9500), Report(9000, 9500)):
            reporter.update_progress(report)
    assert seen == [5, 5, 9, 9]


def test_nothing_heavy_is_imported_and_the_environment_is_read(
    hub: FakeHub, tmp_path: Path, model_bytes: bytes
) -> None:
    hub.put("me/digits", model__safetensors=model_bytes)
    code = """
import sys
from npdraw.cli import execute
assert execute(["info", "hf:me/digits"]) == 0
assert not {"torch", "numpy", "safetensors"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "another cache")},
    )
    assert done.returncode == 0, done.stderr
    assert f"Downloading {NAME} from {hub.url}" in done.stderr
    assert len(list((tmp_path / "another cache").rglob("model.safetensors"))) == 1


def test_completion_of_a_command_line_does_not_go_online(hub: FakeHub) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "npdraw"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "_NPDRAW_COMPLETE": "complete_bash",
            "COMP_WORDS": "npdraw sample hf:me/digits --prec",
            "COMP_CWORD": "3",
        },
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["--precision"], "")
    assert hub.asked == []


def test_mistakes_on_the_command_line_are_reported_before_a_download(
    hub: FakeHub, run: Run, model_bytes: bytes
) -> None:
    hub.put("me/digits", model__safetensors=model_bytes)
    assert run("sample", NAME, "--seeds", "x", code=2).error["code"] == "usage"
    error = run("sample", NAME, "--preset", "mnist", code=2).error
    assert error["message"].endswith("but hf:me/digits is named")
    assert run("sample", NAME, "--device", "tpu", code=2)
    assert hub.asked == []


def test_names_are_for_models_alone(hub: FakeHub, run: Run) -> None:
    error = run("train-prior", NAME, code=3).error
    assert error["message"] == "there is no file hf:me/digits"
    assert hub.asked == []


def test_a_commit_that_two_revisions_share_is_downloaded_once(
    hub: FakeHub, cache: Path, model_bytes: bytes
) -> None:
    repository = hub.put("me/digits", model__safetensors=model_bytes)
    notes: list[str] = []

    class Noted(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    for revision in (repository.commit(), None, "main"):
        path = download.download(HubModel("me/digits", revision), Noted())
        assert path.resolve().is_relative_to(cache)
    assert (len(notes), hub.count("GET", "/storage/")) == (1, 1)
