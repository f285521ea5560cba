"""Stage 2: resumed equals uninterrupted, other settings are refused."""

import signal
from pathlib import Path
from typing import Any

import pytest

from npdraw.errors import ArtifactError, BusyError, DivergedError, StoppedError, UsageError
from npdraw.header import read_header
from npdraw.runtime.run_folder import locked
from npdraw.stages import train_prior as stage


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_and_two_steps_are_four(
    dropout: float,
    number: int,
    stages: Any,
    made: Any,
    interrupt: Any,
    metrics: Any,
    tmp_path: Path,
) -> None:
    dropping = stages.configured(prior={"dropout": dropout})
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    dropping.train_prior(made.parse, whole)
    with pytest.raises(StoppedError, match="stopped at step 2 of 4") as caught:
        dropping.train_prior(made.parse, halves, progress=interrupt(2, number), save_every=100)
    assert caught.value.exit_code == 128 + number
    assert not halves.exists()
    checkpoint = tmp_path / "halves.run/checkpoint.safetensors"
    assert read_header(checkpoint, kind="checkpoint", verify=True).metrics["step"] == 2

    seen = stages.Recorder()
    assert dropping.train_prior(made.parse, halves, progress=seen)["resumed_from"] == 2
    assert seen.tasks[0][2]["done"] == 2
    assert halves.read_bytes() == whole.read_bytes()
    assert metrics(halves) == metrics(whole)


def test_a_crashed_training_resumes_from_its_checkpoint(
    stages: Any, made: Any, crash: Any, interrupt: Any, metrics: Any, tmp_path: Path
) -> None:
    longer = stages.configured(prior={"steps": 60})
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert longer.train_prior(made.parse, whole)["resumed_from"] == 0
    logged = [record["step"] for record in metrics(whole)]
    assert len(logged) > 2
    at = logged[-2] + 3  # after a record that is newer than the last checkpoint
    every = logged[-2] * 3 // 5
    with pytest.raises(GeneratorExit):
        longer.train_prior(made.parse, torn, save_every=every, progress=crash(at))
    assert metrics(torn)[-1]["step"] > every
    checkpoint = tmp_path / "torn.run/checkpoint.safetensors"
    assert read_header(checkpoint).metrics["step"] == every
    # The next run reaches the record, so the last one must not repeat it.
    with pytest.raises(StoppedError, match=f"at step {logged[-2]} of"):
        longer.train_prior(made.parse, torn, progress=interrupt(logged[-2]))
    assert metrics(torn) == metrics(whole)[:-1]
    assert longer.train_prior(made.parse, torn)["resumed_from"] == logged[-2]
    assert torn.read_bytes() == whole.read_bytes()
    assert metrics(torn) == metrics(whole)


def test_a_signal_before_the_first_step_stops_the_training(
    stages: Any, made: Any, interrupt: Any, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(StoppedError, match="at step 0 of 4"):
            stages.train_prior(made.parse, tmp_path / "p", progress=interrupt(0))
    assert stages.train_prior(made.parse, tmp_path / "p")["resumed_from"] == 0
    assert (tmp_path / "p").read_bytes() == made.prior.read_bytes()


def test_a_signal_after_the_last_step_changes_nothing(
    stages: Any, made: Any, interrupt: Any, tmp_path: Path
) -> None:
    class AtTheEnd(stages.Recorder):  # type: ignore[misc, name-defined]
        def finish(self) -> None:
            signal.raise_signal(signal.SIGINT)

    stages.train_prior(made.parse, tmp_path / "p", progress=AtTheEnd())
    assert (tmp_path / "p").read_bytes() == made.prior.read_bytes()


def test_a_finished_training_only_rewrites_a_missing_output(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    stages.train_prior(made.parse, out)
    out.unlink()
    monkeypatch.setattr(stage, "train_step", None)  # would fail if a step were taken
    assert stages.train_prior(made.parse, out)["resumed_from"] == 4
    assert out.read_bytes() == made.prior.read_bytes()


def test_a_repeated_command_is_up_to_date_and_reports_the_same_metrics(
    stages: Any, made: Any
) -> None:
    before = made.prior.stat()
    again = stages.train_prior(made.parse, made.prior)
    assert again.pop("up_to_date") is True
    assert again == {**made.results["prior"], "resumed_from": 4}
    assert made.prior.stat() == before


def test_other_settings_are_refused_unless_forced(
    stages: Any, made: Any, interrupt: Any, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    other = stages.configured(prior={"steps": 3})
    stages.train_prior(made.parse, out)
    before = out.read_bytes()
    with pytest.raises(UsageError, match=r"p exists with other settings: prior\.steps 4, now 3"):
        other.train_prior(made.parse, out)
    assert out.read_bytes() == before
    assert other.train_prior(made.parse, out, force=True)["resumed_from"] == 0
    other.train_prior(made.parse, tmp_path / "fresh")
    assert out.read_bytes() == (tmp_path / "fresh").read_bytes()

    # The same for an unfinished training.
    with pytest.raises(StoppedError):
        stages.train_prior(made.parse, tmp_path / "q", progress=interrupt(2))
    with pytest.raises(UsageError, match=r"q exists with other settings: prior\.steps 4, now 3"):
        other.train_prior(made.parse, tmp_path / "q")
    assert stages.train_prior(made.parse, tmp_path / "q")["resumed_from"] == 2


def test_force_restarts_an_unfinished_training(
    stages: Any, made: Any, interrupt: Any, metrics: Any, tmp_path: Path, flip: Any
) -> None:
    out = tmp_path / "p"
    with pytest.raises(StoppedError):
        stages.train_prior(made.parse, out, progress=interrupt(2))
    flip(tmp_path / "p.run/checkpoint.safetensors", -1)
    with pytest.raises(ArtifactError, match="checkpoint") as caught:
        stages.train_prior(made.parse, out)
    assert "--force" in caught.value.hint
    assert stages.train_prior(made.parse, out, force=True)["resumed_from"] == 0
    assert out.read_bytes() == made.prior.read_bytes()
    assert metrics(out) == metrics(made.prior)


def test_a_diverged_training_fails_again_unless_forced(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    learn = stage.learning_rate
    monkeypatch.setattr(stage, "learning_rate", lambda step, *_: 1e30 if step == 2 else 1.0)
    with pytest.raises(DivergedError, match="at step 3") as caught:
        stages.train_prior(made.parse, out, save_every=1)
    assert caught.value.exit_code == 6
    assert "--force" in caught.value.hint  # the same command would only diverge again
    assert not out.exists()
    monkeypatch.setattr(stage, "learning_rate", learn)
    with pytest.raises(DivergedError):
        stages.train_prior(made.parse, out)
    stages.train_prior(made.parse, out, force=True)
    assert out.read_bytes() == made.prior.read_bytes()


def test_an_output_is_trained_by_one_process(stages: Any, made: Any, tmp_path: Path) -> None:
    with locked(tmp_path / "p"), pytest.raises(BusyError):
        stages.train_prior(made.parse, tmp_path / "p")
    stages.train_prior(made.parse, tmp_path / "p")


def test_patience_ends_a_training_that_no_longer_improves(
    stages: Any, made: Any, interrupt: Any, metrics: Any, tmp_path: Path
) -> None:
    resting = {"steps": 60, "learning_rate": 1e-30}  # no step changes anything
    impatient = stages.configured(prior=resting | {"patience": 2})
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    result = impatient.train_prior(made.parse, whole)
    assert (result["steps"], result["best_step"]) == (20, 0)
    assert [record["step"] for record in metrics(whole)] == [0, 10, 20]
    again = impatient.train_prior(made.parse, whole)
    assert again["up_to_date"] and again["steps"] == again["resumed_from"] == 20

    with pytest.raises(StoppedError, match="stopped at step 12 of 60"):
        impatient.train_prior(made.parse, halves, progress=interrupt(12))
    impatient.train_prior(made.parse, halves)
    assert halves.read_bytes() == whole.read_bytes()
    halves.unlink()  # as if the process had been killed before it wrote
    assert impatient.train_prior(made.parse, halves)["steps"] == 20
    assert halves.read_bytes() == whole.read_bytes()

    patient = stages.configured(prior=resting)
    assert patient.train_prior(made.parse, tmp_path / "patient")["steps"] == 60
    learning = stages.configured(prior={"steps": 60, "patience": 2})
    assert learning.train_prior(made.parse, tmp_path / "learning")["steps"] == 60
