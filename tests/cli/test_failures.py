"""Exit codes, error messages and what JSON says when a command fails."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from npdraw.cli import execute, failures
from npdraw.errors import (
    ArtifactError,
    BusyError,
    DataError,
    DivergedError,
    NpdrawError,
    ResourceError,
    StoppedError,
    Terminated,
    UsageError,
)


class OutOfMemoryError(RuntimeError):
    """Like torch's, which is recognised by its name."""


def raising(error: BaseException) -> Any:
    def stage(*_: Any, **__: Any) -> None:
        raise error

    return stage


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (ValueError("x"), 1, "bug"),
        (KeyError("x"), 1, "bug"),
        (UsageError("m", hint="h"), 2, "usage"),
        (ArtifactError("m", hint="h"), 3, "artifact"),
        (DataError("m", hint="h"), 4, "data"),
        (ResourceError("m", hint="h"), 5, "resources"),
        (OSError(errno.ENOSPC, "No space left on device", "x.tmp"), 5, "resources"),
        (MemoryError(), 5, "resources"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 5, "resources"),
        (OutOfMemoryError("CUDA out of memory"), 5, "resources"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "usage"),
        (DivergedError("m", hint="h"), 6, "diverged"),
        (BusyError("m", hint="h"), 7, "busy"),
        (StoppedError("m"), 130, "stopped"),
        (StoppedError("m", signal_number=15), 143, "stopped"),
        (KeyboardInterrupt(), 130, "stopped"),
        (Terminated(), 143, "stopped"),
    ],
)
def test_every_exception_has_its_exit_code_and_one_line(
    *,
    error: BaseException,
    exit_code: int,
    code: str,
    fake_stage: Any,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_stage("parse", raising(error))
    assert execute(["parse"]) == exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    first, second = shown.err.splitlines()
    assert first.startswith("Error: ")
    assert second.startswith("Hint: ")

    assert execute(["parse", "--json"]) == exit_code
    printed = json.loads(capsys.readouterr().out)
    described = printed.pop("error")
    assert printed == {"ok": False, "command": "parse"}
    assert list(described) == ["code", "message", "hint"]
    assert described["code"] == code
    assert f"Error: {described['message']}" == first


def test_success_is_0(fake_stage: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_stage("parse", lambda config, **_: {"images": 3, "canvas_mse": 0.25})
    assert execute(["parse", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "ok": True,
        "command": "parse",
        "images": 3,
        "canvas_mse": 0.25,
    }
    assert shown.err == ""


def test_a_folder_without_data_is_explained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pictures").mkdir()
    assert execute(["run", "pictures"]) == 2
    assert "named with --data folder:pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["parse", "--partz", "3"], "No such option: --partz", "Did you mean --parts?"),
        (["pars"], "No such command 'pars'", "Did you mean 'parse'? See: npdraw --help"),
        (["parse", "--preset", "mnst"], "unknown preset 'mnst'", "Did you mean 'mnist'?"),
        (["parse", "--data", "mnst"], "unknown data set 'mnst'", "Did you mean 'mnist'?"),
        (["parse", "--device", "gpu"], "Invalid value for '--device'", "npdraw parse --help"),
        (["parse", "--parts", "many"], "Invalid value for '--parts'", "npdraw parse --help"),
        (["parse", "--parts", "0"], "impossible settings: parse.parts is 0", ""),
        (["parse", "--limit", "1.5"], "--limit 1.5 is neither", "whole number"),
        (["parse", "surplus"], "unexpected extra argument", "npdraw parse --help"),
        (["parse", "--config", "no.toml"], "cannot read no.toml", ""),
        (["info"], "Missing argument 'ARTIFACT'", "npdraw info --help"),
        (["data", "download", "mnits"], "unknown data set 'mnits'", "Did you mean 'mnist'?"),
        (["data", "docter"], "No such command 'docter'", "Did you mean 'doctor'?"),
        (["eval-nll", "--samples", "0"], "Invalid value for '--samples'", "npdraw eval-nll"),
        (["sample", "--seeds", "9-0"], "--seeds 9-0", "Write 0-9"),
        (["run", "--seed", str(2**63)], "is too large", f"Seeds go up to {2**63 - 1}"),
        (["eval-nll", "--seed", str(10**30)], "is too large", "Seeds go up to"),
    ],
)
def test_wrong_arguments_are_usage_errors(
    arguments: list[str],
    message: str,
    hint: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert execute([*arguments, "--json"]) == 2
    shown = capsys.readouterr()
    printed = json.loads(shown.out)
    assert printed["ok"] is False
    assert printed["error"]["code"] == "usage"
    assert message in printed["error"]["message"]
    assert hint in printed["error"]["hint"]
    assert "Traceback" not in shown.err
    assert list(folder.iterdir()) == []


def test_incomplete_arguments(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["parse", "--seed"], "Option '--seed' requires an argument"),
        (["data"], "Missing command"),
    ):
        assert execute(arguments) == 2
        assert capsys.readouterr().err == (
            f"Error: {message}\nHint: See: npdraw {arguments[0]} --help\n"
        )


def test_missing_artifacts_name_the_command_that_makes_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a b").mkdir()
    (folder / "a b/p").touch()
    for arguments, path, maker in (
        (["train-prior"], "runs/glyphs/parse.safetensors", "npdraw parse"),
        (["train-decoder"], "runs/glyphs/parse.safetensors", "npdraw parse"),
        (
            ["sample", "--data", "mnist"],
            "runs/mnist/model.safetensors",
            "train-decoder --preset mn",
        ),
        (["eval-nll", "--preset", "mnist-paper"], "runs/mnist-paper/model", "--preset mnist-paper"),
        (["train-decoder", "a b/p"], "a b/prior.safetensors", "npdraw train-prior 'a b/p'"),
        (["info", "no.safetensors"], "no.safetensors", "npdraw parse"),
        (["train-prior", "no.safetensors"], "there is no file no.safetensors", "npdraw parse"),
        (["eval-nll", "no/m"], "there is no file no/m", "npdraw train-decoder"),
    ):
        assert execute(arguments) == 3
        error, hint = capsys.readouterr().err.splitlines()
        assert path in error
        assert maker in hint


def test_missing_images_are_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("npdraw.stages.parse")
    assert execute(["parse", "--data", "folder:nowhere"]) == 4
    assert "nowhere" in capsys.readouterr().err


def test_stopped_commands_say_how_to_resume_without_force(
    fake_stage: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_stage("train_prior", raising(StoppedError("stopped at step 7 of 9", hint="It is saved.")))
    parse = "my folder/parse.safetensors"
    (folder / parse).parent.mkdir()
    (folder / parse).touch()
    assert execute(["train-prior", parse, "--force", "--steps", "9"]) == 130
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "Error: stopped at step 7 of 9"
    assert hint == f"Hint: It is saved. To resume: npdraw train-prior '{parse}' --steps 9"


def test_an_evaluation_that_kept_nothing_says_how_to_keep_it() -> None:
    again = "To start again: npdraw eval-nll --samples 500"
    keep = "With --out FILE, a stopped evaluation can be resumed. "
    for arguments, hint in (
        (["eval-nll", "--samples", "500"], keep + again),
        (["eval-nll", "--samples", "500", "--out", "e.json"], f"{again} --out e.json"),
        (["eval-nll", "--samples", "500", "--out=e.json"], f"{again} --out=e.json"),
    ):
        assert failures.explain(KeyboardInterrupt(), arguments[0], arguments).hint == hint


def test_out_of_memory_outside_batches() -> None:
    for arguments, hint in (
        (["parse"], "Lower --limit or --parts."),
        (["sample"], "Close other programs, or use a smaller model."),
    ):
        assert failures.explain(MemoryError(), arguments[0], arguments).hint == hint


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_failing_machine_is_not_a_bug(number: int) -> None:
    error = failures.explain(OSError(number, "it broke", "x"), "parse", ["parse", "--force"])
    assert (error.exit_code, error.message) == (5, "cannot read or write x: it broke")
    assert error.hint == "To try again: npdraw parse --force"


def test_debug_shows_the_traceback_of_every_error(
    fake_stage: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error in (ValueError("oops"), DataError("no images")):
        fake_stage("parse", raising(error))
        execute(["parse"])
        assert "Traceback" not in capsys.readouterr().err
        with monkeypatch.context() as patch:
            patch.setenv("NPDRAW_DEBUG", "1")
            execute(["parse"])
        assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_messages_are_not_read_as_markup_and_take_one_line(
    fake_stage: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_stage("parse", raising(NpdrawError("[/data] and\n[bold]x[/bold] " + "y" * 200)))
    assert execute(["parse"]) == 1
    assert capsys.readouterr().err == f"Error: [/data] and [bold]x[/bold] {'y' * 200}\n"
