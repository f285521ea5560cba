"""Stage 3: resumed equals uninterrupted, other settings are refused."""

import signal
from pathlib import Path
from typing import Any

import pytest

from npdraw.errors import BusyError, StoppedError, UsageError
from npdraw.header import read_header
from npdraw.runtime.run_folder import locked
from npdraw.stages import train_decoder as stage
from npdraw.training.forecast import gain_if_doubled


@pytest.mark.parametrize(
    ("prior", "dropout", "number"),
    [("joint", 0.0, signal.SIGINT), ("frozen", 0.0, signal.SIGTERM), ("joint", 0.3, signal.SIGINT)],
)
def test_two_and_two_steps_are_four(
    prior: str,
    dropout: float,
    number: int,
    stages: Any,
    made: Any,
    interrupt: Any,
    metrics: Any,
    tmp_path: Path,
) -> None:
    mode = stages.configured(prior={"dropout": dropout}, decoder={"prior": prior})
    whole, halves, prior_path = tmp_path / "whole", tmp_path / "halves", tmp_path / "prior"
    mode.train_prior(made.parse, prior_path)
    mode.train_decoder(made.parse, prior_path, whole)
    stop = interrupt(2, number)
    with pytest.raises(StoppedError, match="stopped at step 2 of 4") as caught:
        mode.train_decoder(made.parse, prior_path, halves, progress=stop, save_every=100)
    assert caught.value.exit_code == 128 + number
    assert not halves.exists()
    checkpoint = tmp_path / "halves.run/checkpoint.safetensors"
    assert read_header(checkpoint, kind="checkpoint", verify=True).metrics["step"] == 2

    assert mode.train_decoder(made.parse, prior_path, halves)["resumed_from"] == 2
    assert halves.read_bytes() == whole.read_bytes()
    assert metrics(halves) == metrics(whole)
    for sheet in whole.with_name("whole.run").glob("*.png"):
        assert sheet.read_bytes() == (tmp_path / "halves.run" / sheet.name).read_bytes()


def test_a_training_resumes_with_a_step_of_the_decoder_alone(
    stages: Any, made: Any, interrupt: Any, metrics: Any, tmp_path: Path
) -> None:
    alone = stages.configured(decoder={"steps": 6, "decoder_alone": 2, "wake": 0.0})
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    alone.train_decoder(made.parse, made.prior, whole)
    with pytest.raises(StoppedError, match="stopped at step 4 of 6"):
        alone.train_decoder(made.parse, made.prior, halves, progress=interrupt(4))
    # The last record has the loss of step 3, of all networks.
    alone.train_decoder(made.parse, made.prior, halves)
    assert halves.read_bytes() == whole.read_bytes()
    assert metrics(halves) == metrics(whole)


def test_a_crashed_training_resumes_from_its_checkpoint(
    stages: Any, made: Any, crash: Any, interrupt: Any, metrics: Any, tmp_path: Path
) -> None:
    longer = stages.configured(decoder={"steps": 60})
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    longer.train_decoder(made.parse, made.prior, whole)
    logged = [record["step"] for record in metrics(whole)]
    assert len(logged) > 2
    at = logged[-2] + 3  # after a record that is newer than the last checkpoint
    every = logged[-2] * 3 // 5
    with pytest.raises(GeneratorExit):
        longer.train_decoder(made.parse, made.prior, torn, save_every=every, progress=crash(at))
    assert metrics(torn)[-1]["step"] > every
    checkpoint = tmp_path / "torn.run/checkpoint.safetensors"
    assert read_header(checkpoint).metrics["step"] == every
    # The next run reaches the record, so the last one must not repeat it.
    with pytest.raises(StoppedError, match=f"at step {logged[-2]} of"):
        longer.train_decoder(made.parse, made.prior, torn, progress=interrupt(logged[-2]))
    assert metrics(torn) == metrics(whole)[:-1]
    assert longer.train_decoder(made.parse, made.prior, torn)["resumed_from"] == logged[-2]
    assert torn.read_bytes() == whole.read_bytes()
    assert metrics(torn) == metrics(whole)


@pytest.mark.slow
def test_resuming_is_exact_in_bf16(stages: Any, made: Any, interrupt: Any, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    stages.train_decoder(made.parse, made.prior, whole, precision="bf16")
    with pytest.raises(StoppedError):
        stages.train_decoder(
            made.parse, made.prior, halves, precision="bf16", progress=interrupt(1)
        )
    stages.train_decoder(made.parse, made.prior, halves, precision="bf16")
    assert halves.read_bytes() == whole.read_bytes() != made.model.read_bytes()


def test_a_finished_training_only_rewrites_a_missing_output(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m"
    stages.train_decoder(made.parse, made.prior, out)
    out.unlink()
    monkeypatch.setattr(stage, "train_step", None)  # would fail if a step were taken
    assert stages.train_decoder(made.parse, made.prior, out)["resumed_from"] == 4
    assert out.read_bytes() == made.model.read_bytes()


def test_a_repeated_command_is_up_to_date_and_reports_the_same_metrics(
    stages: Any, made: Any
) -> None:
    before = made.model.stat()
    again = stages.train_decoder(made.parse, made.prior, made.model)
    assert again.pop("up_to_date") is True
    assert again == {**made.results["model"], "resumed_from": 4}
    assert made.model.stat() == before


def test_a_training_started_with_force_resumes_without_it(
    stages: Any, made: Any, interrupt: Any, flip: Any, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    stages.train_decoder(made.parse, made.prior, out)
    again = stages.train_decoder(made.parse, made.prior, out, force=True)
    assert "up_to_date" not in again
    assert again["resumed_from"] == 0
    for mode in (stages, stages.configured(decoder={"canvas_weight": 3.0})):
        with pytest.raises(StoppedError):
            mode.train_decoder(made.parse, made.prior, out, force=True, progress=interrupt(2))
        assert mode.train_decoder(made.parse, made.prior, out)["resumed_from"] == 2
        assert mode.train_decoder(made.parse, made.prior, out)["up_to_date"]
    with pytest.raises(StoppedError):
        stages.train_decoder(made.parse, made.prior, out, force=True, progress=interrupt(2))
    flip(tmp_path / "m.run/checkpoint.safetensors", 20)
    assert stages.train_decoder(made.parse, made.prior, out, force=True)["resumed_from"] == 0


def test_other_settings_are_refused_unless_forced(
    stages: Any, made: Any, interrupt: Any, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    other = stages.configured(decoder={"steps": 3})
    with pytest.raises(StoppedError):
        stages.train_decoder(made.parse, made.prior, out, progress=interrupt(2))
    refusal = r"m exists with other settings: decoder\.steps 4, now 3"
    with pytest.raises(UsageError, match=refusal):
        other.train_decoder(made.parse, made.prior, out)
    assert stages.train_decoder(made.parse, made.prior, out)["resumed_from"] == 2
    assert out.read_bytes() == made.model.read_bytes()
    with pytest.raises(UsageError, match=refusal) as caught:
        other.train_decoder(made.parse, made.prior, out)
    assert caught.value.exit_code == 2
    assert out.read_bytes() == made.model.read_bytes()
    assert other.train_decoder(made.parse, made.prior, out, force=True)["resumed_from"] == 0
    assert read_header(out).config["decoder"]["steps"] == 3


def test_an_output_is_trained_by_one_process(stages: Any, made: Any, tmp_path: Path) -> None:
    with locked(tmp_path / "m"), pytest.raises(BusyError):
        stages.train_decoder(made.parse, made.prior, tmp_path / "m")


def test_patience_goes_on_with_the_wake_phase_then_ends(
    stages: Any, made: Any, interrupt: Any, metrics: Any, tmp_path: Path
) -> None:
    resting = {"steps": 100, "learning_rate": 1e-30, "encoder_learning_rate": 1e-30}
    impatient = stages.configured(decoder=resting | {"patience": 1})  # relaxed up to step 75
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    result = impatient.train_decoder(made.parse, made.prior, whole)
    assert (result["steps"], result["best_step"]) == (90, 0)
    assert [record["step"] for record in metrics(whole)] == [0, 10, 80, 90]
    again = impatient.train_decoder(made.parse, made.prior, whole)
    assert again["up_to_date"] and again["steps"] == again["resumed_from"] == 90

    longer = stages.configured(decoder={"steps": 100})
    result = longer.train_decoder(made.parse, made.prior, tmp_path / "longer")
    relaxed = [(r["step"], r["nll"]) for r in metrics(tmp_path / "longer") if r["step"] <= 75]
    assert result["gain_if_doubled"] == gain_if_doubled(relaxed)
    assert 0 < result["gain_if_doubled"] < relaxed[0][1] - relaxed[-1][1]

    for step in (76, 83):
        with pytest.raises(StoppedError, match=f"stopped at step {step} of 100"):
            impatient.train_decoder(made.parse, made.prior, halves, progress=interrupt(step))
    impatient.train_decoder(made.parse, made.prior, halves)
    assert halves.read_bytes() == whole.read_bytes()
    assert metrics(halves) == metrics(whole)
