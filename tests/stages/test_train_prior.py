"""Stage 2: the prior is a function of its settings and seed, however often it was interrupted."""

import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.artifacts import read_artifact
from npdraw.config import as_dict
from npdraw.errors import (
    ArtifactError,
    BusyError,
    DivergedError,
    StoppedError,
    UsageError,
)
from npdraw.header import read_header
from npdraw.inputs.models import drawings_of, read_parse, read_prior
from npdraw.runtime.run_folder import locked
from npdraw.stages import train_prior as stage

KEYS = {
    "steps",
    "seconds",
    "resumed_from",
    "validation_nats",
    "whether_nats",
    "where_nats",
    "what_nats",
}
"""What docs/interface.md promises of `npdraw train-prior --json`."""


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_artifact(path, kind="prior").tensors


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


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


def test_a_crash_goes_back_to_the_checkpoint(
    stages: Any, made: Any, crash: Any, interrupt: Any, metrics: Any, tmp_path: Path
) -> None:
    longer = stages.configured(prior={"steps": 60})
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert longer.train_prior(made.parse, whole)["resumed_from"] == 0
    logged = [record["step"] for record in metrics(whole)]
    assert len(logged) > 2
    at = logged[-2] + 3  # after a record that the last checkpoint before it does not know
    every = logged[-2] * 3 // 5
    with pytest.raises(GeneratorExit):
        longer.train_prior(made.parse, torn, save_every=every, progress=crash(at))
    assert metrics(torn)[-1]["step"] > every
    checkpoint = tmp_path / "torn.run/checkpoint.safetensors"
    assert read_header(checkpoint).metrics["step"] == every
    # The next one gets as far as a record, so that the last one must not repeat it.
    with pytest.raises(StoppedError, match=f"at step {logged[-2]} of"):
        longer.train_prior(made.parse, torn, progress=interrupt(logged[-2]))
    assert metrics(torn) == metrics(whole)[:-1]
    assert longer.train_prior(made.parse, torn)["resumed_from"] == logged[-2]
    assert torn.read_bytes() == whole.read_bytes()
    assert metrics(torn) == metrics(whole)


def test_a_signal_before_the_first_step_is_kept_too(
    stages: Any, made: Any, interrupt: Any, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(StoppedError, match="at step 0 of 4"):
            stages.train_prior(made.parse, tmp_path / "p", progress=interrupt(0))
    assert stages.train_prior(made.parse, tmp_path / "p")["resumed_from"] == 0
    assert (tmp_path / "p").read_bytes() == made.prior.read_bytes()


def test_a_signal_at_the_end_comes_too_late(
    stages: Any, made: Any, interrupt: Any, tmp_path: Path
) -> None:
    class AtTheEnd(stages.Recorder):  # type: ignore[misc, name-defined]
        def finish(self) -> None:
            signal.raise_signal(signal.SIGINT)

    stages.train_prior(made.parse, tmp_path / "p", progress=AtTheEnd())
    assert (tmp_path / "p").read_bytes() == made.prior.read_bytes()


def test_a_finished_training_without_its_output_only_writes_it(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    stages.train_prior(made.parse, out)
    out.unlink()
    monkeypatch.setattr(stage, "optimizer_step", None)  # would fail if a step were taken
    assert stages.train_prior(made.parse, out)["resumed_from"] == 4
    assert out.read_bytes() == made.prior.read_bytes()


def test_the_result_has_the_promised_figures(stages: Any, made: Any) -> None:
    result = made.results["prior"]
    assert result.keys() >= KEYS
    assert (result["steps"], result["resumed_from"]) == (4, 0)
    parts = sum(result[f"{name}_nats"] for name in ("whether", "where", "what"))
    assert result["validation_nats"] == pytest.approx(parts)
    assert min(result[f"{name}_nats"] for name in ("whether", "where", "what")) > 0.1

    prior, _, artifact = read_prior(made.prior)
    assert {name: result[name] for name in artifact.header.metrics} == artifact.header.metrics
    held_out = drawings_of(read_parse(made.parse))[stages.train :]
    with torch.no_grad():
        nats = [-float(prior.eval().log_prob(held_out[i : i + 1])) for i in range(len(held_out))]
    assert result["validation_nats"] == pytest.approx(np.mean(nats), rel=1e-5)


def test_validation_does_not_depend_on_the_batch_size(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior, _, _ = read_prior(made.prior)
    drawings = drawings_of(read_parse(made.parse))
    whole = stage.validate(prior.eval(), drawings)
    monkeypatch.setattr(stage, "VALIDATION_BATCH", 7)
    assert stage.validate(prior, drawings) == pytest.approx(whole, rel=1e-5)


def test_the_second_time_it_is_up_to_date_and_repeats_every_figure(stages: Any, made: Any) -> None:
    before = made.prior.stat()
    again = stages.train_prior(made.parse, made.prior)
    assert again.pop("up_to_date") is True
    assert again == {**made.results["prior"], "resumed_from": 4}
    assert made.prior.stat() == before


def test_an_artifact_says_where_it_comes_from(stages: Any, made: Any) -> None:
    header, parse = read_header(made.prior), read_header(made.parse)
    assert header.inputs == {"parse": parse.digest}
    assert header.dataset == parse.dataset
    assert header.config == as_dict(stages.config, ("parse", "prior"))
    assert header.seed == parse.seed
    beside = json.loads((made.folder / "prior.safetensors.run/config.json").read_text())
    assert beside == header.config


def test_the_seed_is_that_of_the_parse_unless_given(stages: Any, made: Any, tmp_path: Path) -> None:
    stages.parse(tmp_path / "parse", seed=5)
    stages.train_prior(tmp_path / "parse", tmp_path / "a")
    assert read_header(tmp_path / "a").seed == 5
    stages.train_prior(made.parse, tmp_path / "b", seed=5)
    assert read_header(tmp_path / "b").seed == 5
    assert not same(tensors(tmp_path / "b"), tensors(made.prior))
    stages.train_prior(made.parse, tmp_path / "c", seed=0)
    assert (tmp_path / "c").read_bytes() == made.prior.read_bytes()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", 2),
        ("heads", 4),
        ("dropout", 0.5),
        ("steps", 3),
        ("batch_size", 5),
        ("learning_rate", 2e-3),
        ("weight_decay", 0.5),
        ("warmup", 0.9),
        ("ema", 0.05),
    ],
)
def test_every_setting_counts(
    name: str, value: float, stages: Any, made: Any, tmp_path: Path
) -> None:
    stages.configured(prior={name: value}).train_prior(made.parse, tmp_path / "p")
    assert not same(tensors(tmp_path / "p"), tensors(made.prior))


def test_where_to_save_and_with_how_many_threads_does_not_count(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    stages.train_prior(made.parse, tmp_path / "p", save_every=1)
    assert (tmp_path / "p").read_bytes() == made.prior.read_bytes()


def test_held_out_drawings_are_not_trained_on(stages: Any, made: Any, tmp_path: Path) -> None:
    images = np.load(stages.npz)["train"]
    images[stages.train :] = images[: stages.validation, ::-1]
    stages.from_images(tmp_path / "other.npz", images).parse(tmp_path / "parse")
    stages.train_prior(tmp_path / "parse", tmp_path / "p")
    stored = tensors(tmp_path / "p")
    assert same(stored, tensors(made.prior))
    assert read_header(tmp_path / "p").metrics != read_header(made.prior).metrics


def test_the_loss_falls_on_a_small_problem(stages: Any, trained: Any, metrics: Any) -> None:
    log = metrics(trained.prior)
    assert log[0]["step"] == 0
    assert log[-1]["step"] == 60
    prior, _, _ = read_prior(trained.prior)
    learnt = stage.validate(prior.eval(), drawings_of(read_parse(trained.parse))[: stages.train])
    for name in ("validation_nats", "whether_nats", "where_nats", "what_nats"):
        assert learnt[name] < 0.95 * log[0][name]
    # Of forty images nothing general about whether is learnt; of parts there is.
    assert log[-1]["what_nats"] < 0.97 * log[0]["what_nats"]


def test_the_best_average_is_stored(
    stages: Any, made: Any, metrics: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [5.0, 4.0, 1.0, 3.0, 2.0]
    seen: list[dict[str, torch.Tensor]] = []

    def validate(prior: Any, *_: Any) -> dict[str, float]:
        assert not prior.training
        seen.append({name: value.clone() for name, value in prior.state_dict().items()})
        nats = scores[min(len(seen), len(scores)) - 1]
        return dict.fromkeys(("validation_nats", "whether_nats", "where_nats", "what_nats"), nats)

    monkeypatch.setattr(stage, "validate", validate)
    longer = stages.configured(prior={"steps": 40})
    result = longer.train_prior(made.parse, tmp_path / "p")
    log = metrics(tmp_path / "p")
    assert len(log) == 5
    assert result["best_step"] == log[2]["step"]
    stored = tensors(tmp_path / "p")
    stored.pop("bank")
    assert same(stored, seen[2])
    assert not same(stored, seen[4])
    assert len(seen) == 6  # the last one judges what is stored
    assert same(seen[5], seen[2])


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

    # The same for a training that is on its way.
    with pytest.raises(StoppedError):
        stages.train_prior(made.parse, tmp_path / "q", progress=interrupt(2))
    with pytest.raises(UsageError, match=r"q exists with other settings: prior\.steps 4, now 3"):
        other.train_prior(made.parse, tmp_path / "q")
    assert stages.train_prior(made.parse, tmp_path / "q")["resumed_from"] == 2


def test_force_starts_an_unfinished_training_afresh(
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


def test_settings_of_the_parse_are_fixed(stages: Any, made: Any, tmp_path: Path) -> None:
    for changes, named in (
        ({"parse": {"parts": 9}}, r"\[parse\] are fixed by"),
        ({"prior": {"stepz": 9}}, "stepz"),
        ({"prior": {"steps": 0}}, "impossible"),
        ({"pryor": {}}, "pryor"),
    ):
        with pytest.raises(UsageError, match=named):
            stages.train_prior(made.parse, tmp_path / "p", changes=changes)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_parse_is_refused(stages: Any, made: Any, tmp_path: Path, flip: Any) -> None:
    flipped, truncated, empty = (tmp_path / name for name in ("flipped", "truncated", "empty"))
    shutil.copy(made.parse, flipped)
    flip(flipped, -1)
    truncated.write_bytes(made.parse.read_bytes()[:-1])
    empty.touch()
    for path, reason in (
        (flipped, "is damaged"),
        (truncated, "is damaged"),
        (empty, "is damaged: it is empty"),
        (made.prior, "is a prior, expected a parse"),
        (made.model, "is a model, expected a parse"),
        (tmp_path / "no", "there is no file"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(ArtifactError, match=reason) as caught:
            stages.train_prior(path, tmp_path / "p")
        assert str(path) in caught.value.message
        assert caught.value.exit_code == 3
        assert caught.value.hint
    assert not (tmp_path / "p").exists()


def test_a_diverged_training_ends_and_can_go_on(
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


def test_dry_run_writes_nothing(stages: Any, made: Any, tmp_path: Path) -> None:
    result = stages.train_prior(made.parse, tmp_path / "p", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert result["dry_run"] is True
    assert result["settings"] == as_dict(stages.config, ("parse", "prior"))
    stored = tensors(made.prior)
    assert result["parameters"] == sum(t.numel() for t in stored.values()) - stored["bank"].numel()


def test_progress_counts_steps_and_shows_the_loss(stages: Any, made: Any, tmp_path: Path) -> None:
    seen = stages.Recorder()
    stages.train_prior(made.parse, tmp_path / "p", progress=seen)
    assert seen.tasks == [
        ("train-prior", 4, {"unit": "drawings", "scale": 8, "done": 0}),
    ]
    assert list(dict.fromkeys(seen.counts)) == [0, 1, 2, 3, 4, -1]
    losses = [figures["nats"] for figures in seen.figures if "nats" in figures]
    assert len(losses) == 4
    assert all(math.isfinite(loss) for loss in losses)
