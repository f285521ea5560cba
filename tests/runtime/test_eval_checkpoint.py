"""A stopped evaluation resumes to the result of an uninterrupted one, in every digit."""

import json
import math
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.artifacts import write_artifact
from npdraw.errors import ArtifactError, BusyError, StoppedError, UsageError
from npdraw.header import read_header
from npdraw.model.npdraw import NPDraw
from npdraw.run_key import RunKey
from npdraw.runtime import eval_checkpoint as module
from npdraw.runtime.eval_checkpoint import EvalCheckpoint
from npdraw.runtime.group import SINGLE_PROCESS
from npdraw.runtime.run_folder import locked, run_folder

BATCH = 5
"""Images per batch: the last 4 of the 24 test images form a smaller batch."""


def checkpoint(out: Path) -> Path:
    return run_folder(out) / "checkpoint.safetensors"


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a result that must be equal in every digit."""
    return {k: v for k, v in result.items() if k not in ("seconds", "resumed_from", "out")}


@pytest.fixture
def stopped(stages: Any, trained: Any, tmp_path: Path, interrupt: Any) -> Path:
    """Return an output whose evaluation stopped after 10 images."""
    out: Path = tmp_path / "deep" / "eval.json"
    with pytest.raises(StoppedError):
        stages.eval_nll(trained.model, out=out, batch_size=BATCH, progress=interrupt(10))
    return out


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("samples", "batch_size"), [(3, BATCH), pytest.param(70, 3 * BATCH, id="side by side")]
)
@pytest.mark.parametrize("at", [5, 20, 24])
def test_a_stopped_evaluation_resumes_to_the_same_digits(
    *,
    at: int,
    samples: int,
    batch_size: int,
    precision: str,
    stages: Any,
    trained: Any,
    tmp_path: Path,
    interrupt: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "eval.json"
    how = {"samples": samples, "batch_size": batch_size, "precision": precision}
    whole = stages.eval_nll(trained.model, **how)
    with pytest.raises(StoppedError, match=f"stopped at image {at} of 24"):
        stages.eval_nll(trained.model, out=out, progress=interrupt(at), **how)
    assert not out.exists()
    header = read_header(checkpoint(out), kind="checkpoint", verify=True)
    assert header.metrics["images"] == at

    seen: list[int] = []
    encode = NPDraw.encode
    monkeypatch.setattr(
        NPDraw, "encode", lambda self, images: seen.append(len(images)) or encode(self, images)
    )
    progress = stages.Recorder()
    rest = stages.eval_nll(trained.model, out=out, progress=progress, **how)
    assert seen == {5: [5, 5, 5, 4], 20: [4], 24: []}[at]  # no image is evaluated twice
    assert progress.tasks == [("eval-nll", 24, {"done": at})]
    assert (whole["resumed_from"], rest["resumed_from"]) == (0, at)
    assert figures(rest) == figures(whole)
    assert figures(json.loads(out.read_text())) == figures(whole)
    assert not run_folder(out).exists()
    again = stages.eval_nll(trained.model, out=out, **how)
    assert again == {**rest, "resumed_from": 24, "up_to_date": True}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_code(
    number: int, stages: Any, trained: Any, tmp_path: Path, interrupt: Any
) -> None:
    with pytest.raises(StoppedError) as caught:
        stages.eval_nll(
            trained.model, out=tmp_path / "e", batch_size=BATCH, progress=interrupt(5, number)
        )
    assert caught.value.exit_code == 128 + number


def test_without_an_output_nothing_is_saved_and_a_signal_acts_at_once(
    stages: Any, trained: Any, tmp_path: Path, interrupt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "EVERY", 0.0)
    progress = interrupt(10)
    with pytest.raises(KeyboardInterrupt):
        stages.eval_nll(trained.model, batch_size=BATCH, progress=progress)
    assert progress.counts == [5, 10]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("every", "saved"), [(0.0, 10), (60.0, 0)])
def test_a_crash_loses_what_was_not_saved(
    every: float,
    saved: int,
    stages: Any,
    trained: Any,
    tmp_path: Path,
    crash: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EVERY", every)
    out = tmp_path / "eval.json"
    with pytest.raises(GeneratorExit):  # after image 15, before it is saved
        stages.eval_nll(trained.model, out=out, batch_size=BATCH, progress=crash(15))
    rest = stages.eval_nll(trained.model, out=out, batch_size=BATCH)
    assert rest["resumed_from"] == saved
    assert figures(rest) == figures(stages.eval_nll(trained.model, batch_size=BATCH))


def test_figures_are_saved_every_60_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    partial, run_key = EvalCheckpoint(9, 2, SINGLE_PROCESS), RunKey({}, {}, {}, 0)
    partial.resume(tmp_path / "e", tmp_path, run_key, force=False)
    path, saved = tmp_path / "checkpoint.safetensors", []
    for _ in range(9):
        clock[0] += 25
        partial.add(torch.ones(1, 2, dtype=torch.float64))
        partial.save(now=False)
        saved.append(int(read_header(path).metrics["images"]) if path.exists() else 0)
    assert saved == [0, 0, 3, 3, 3, 6, 6, 6, 9]
    clock[0] = 7000.0
    again = EvalCheckpoint(9, 2, SINGLE_PROCESS)
    again.resume(tmp_path / "e", tmp_path, run_key, force=False)
    clock[0] += 5
    assert again.seconds == 9 * 25 + 5


def test_another_batch_size_may_resume(stages: Any, trained: Any, stopped: Path) -> None:
    rest = stages.eval_nll(trained.model, out=stopped, batch_size=7)
    assert rest["resumed_from"] == 10
    whole = stages.eval_nll(trained.model)
    for name in ("nll", "nll_se", "rate", "distortion", "canvas_mse"):
        assert rest[name] == pytest.approx(whole[name], rel=1e-5)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"samples": 2}, "samples 3, now 2"),
        ({"images": 23}, "images 24, now 23"),
        ({"estimator": "published"}, "estimator importance, now published"),
        ({"precision": "bf16"}, "precision fp32, now bf16"),
        ({"seed": 1}, "seed 0, now 1"),
    ],
)
def test_other_settings_are_refused_unless_forced(
    changed: dict[str, Any], difference: str, stages: Any, trained: Any, stopped: Path
) -> None:
    before = checkpoint(stopped).read_bytes()
    with pytest.raises(UsageError, match=r"eval\.json exists with other settings") as caught:
        stages.eval_nll(trained.model, out=stopped, batch_size=BATCH, **changed)
    assert difference in caught.value.message
    assert "--force" in caught.value.hint
    assert checkpoint(stopped).read_bytes() == before
    forced = stages.eval_nll(trained.model, out=stopped, batch_size=BATCH, force=True, **changed)
    assert forced["resumed_from"] == 0
    assert figures(forced) == figures(stages.eval_nll(trained.model, batch_size=BATCH, **changed))


def test_other_models_and_images_are_other_settings(
    stages: Any, made: Any, trained: Any, stopped: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"other settings: inputs\.model"):
        stages.eval_nll(made.model, out=stopped)
    arrays = np.load(stages.npz)
    other = stages.from_images(tmp_path / "o.npz", arrays["train"], 255 - arrays["test"])
    with pytest.raises(UsageError, match=r"other settings: dataset\.digest"):
        stages.eval_nll(trained.model, source=other.source, out=stopped)


def test_force_starts_again(stages: Any, trained: Any, stopped: Path, crash: Any) -> None:
    with pytest.raises(GeneratorExit):  # before anything is saved
        stages.eval_nll(trained.model, out=stopped, batch_size=BATCH, force=True, progress=crash(5))
    assert not run_folder(stopped).exists()
    assert stages.eval_nll(trained.model, out=stopped, batch_size=BATCH)["resumed_from"] == 0


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "another shape"])
def test_damage_is_reported_and_force_starts_again(
    damage: str, stages: Any, trained: Any, stopped: Path, flip: Any
) -> None:
    path = checkpoint(stopped)
    if damage == "flipped":
        flip(path, -3)
    elif damage == "another shape":
        header = read_header(path)
        write_artifact(
            path,
            "checkpoint",
            {"figures": torch.zeros(10, 3, dtype=torch.int64)},
            run_key=RunKey.of(header),
            metrics=header.metrics,
        )
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else b"")
    with pytest.raises(ArtifactError, match=r"is damaged|does not fit") as caught:
        stages.eval_nll(trained.model, out=stopped, batch_size=BATCH)
    assert caught.value.exit_code == 3
    assert str(path) in caught.value.message
    assert "--force" in caught.value.hint
    assert not stopped.exists()
    result = stages.eval_nll(trained.model, out=stopped, batch_size=BATCH, force=True)
    assert result["resumed_from"] == 0


@pytest.mark.parametrize(
    ("metrics", "problem"),
    [
        ({"seconds": 1.0}, "metric images is missing"),
        ({"images": 5}, "metric seconds is missing"),
        ({"images": 5, "seconds": -0.5}, "metric seconds is missing or negative"),
        ({"images": 25, "seconds": 1.0}, "metric images is 25, expected an integer in 0..24"),
        ({"images": -5, "seconds": 1.0}, "metric images is -5"),
        ({"images": 5.0, "seconds": 1.0}, "metric images is 5.0"),
        ({"images": 4, "seconds": 1.0}, "tensor figures has shape [5, 2], expected [4, 2]"),
        ({"images": 5, "seconds": 1.0}, "tensor figures is float32, expected int64"),
    ],
)
def test_figures_that_do_not_fit_the_evaluation_are_refused(
    tmp_path: Path, metrics: dict[str, float], problem: str
) -> None:
    dtype = torch.float32 if "float32" in problem else torch.int64
    fields: dict[str, Any] = {"config": {}, "dataset": {}, "inputs": {}, "seed": 0}
    tensors = {"figures": torch.zeros(5, 2, dtype=dtype)}
    path = tmp_path / "checkpoint.safetensors"
    write_artifact(path, "checkpoint", tensors, metrics=metrics, run_key=RunKey(**fields))
    partial = EvalCheckpoint(24, 2, SINGLE_PROCESS)
    with pytest.raises(ArtifactError, match=re.escape(problem)) as caught:
        partial.resume(tmp_path / "e", tmp_path, RunKey(**fields), force=False)
    assert str(path) in caught.value.message
    assert partial.done == 0


def test_a_forced_run_resumes_without_force(
    stages: Any, trained: Any, tmp_path: Path, interrupt: Any
) -> None:
    out = tmp_path / "eval.json"
    first = stages.eval_nll(trained.model, out=out)
    with pytest.raises(StoppedError):
        stages.eval_nll(
            trained.model, samples=2, out=out, batch_size=BATCH, force=True, progress=interrupt(5)
        )
    kept = stages.eval_nll(trained.model, out=out)  # the old result is still there
    assert (kept["nll"], kept["up_to_date"]) == (first["nll"], True)
    rest = stages.eval_nll(trained.model, samples=2, out=out, batch_size=BATCH)
    assert rest["resumed_from"] == 5
    assert json.loads(out.read_text())["samples"] == 2


def test_an_output_locked_by_another_process_is_busy(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "eval.json"
    with locked(out), pytest.raises(BusyError, match=f"working on {out}"):
        stages.eval_nll(made.model, out=out)
    stages.eval_nll(made.model, out=out)


def test_figures_are_restored_bit_for_bit(tmp_path: Path) -> None:
    odd = torch.tensor([[1 / 3, math.inf], [-0.0, -math.nan]], dtype=torch.float64)
    run_key = RunKey({"samples": 3}, {}, {}, 0)
    before, after = (EvalCheckpoint(4, 2, SINGLE_PROCESS) for _ in range(2))
    before.resume(tmp_path / "e", tmp_path, run_key, force=False)
    before.add(odd)
    before.save(now=True)
    after.resume(tmp_path / "e", tmp_path, run_key, force=False)
    assert after.done == 2
    assert torch.equal(after.figures[:2].view(torch.int64), odd.view(torch.int64))
