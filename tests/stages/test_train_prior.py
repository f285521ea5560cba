"""Stage 2: the prior is a function of its settings and seed."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.config import as_dict
from npdraw.errors import ArtifactError, UsageError
from npdraw.header import read_header
from npdraw.inputs.models import drawings_of, read_parse, read_prior
from npdraw.stages import train_prior as stage
from npdraw.training.examples import Examples
from tests.stages.weights import same, tensors

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


def test_the_result_has_the_documented_metrics(stages: Any, made: Any) -> None:
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
    drawings = Examples(drawings_of(read_parse(made.parse)))
    whole = stage.validate(prior.eval(), drawings)
    monkeypatch.setattr(stage, "VALIDATION_BATCH", 7)
    assert stage.validate(prior, drawings) == pytest.approx(whole, rel=1e-5)


def test_an_artifact_records_its_inputs(stages: Any, made: Any) -> None:
    header, parse = read_header(made.prior), read_header(made.parse)
    assert header.inputs == {"parse": parse.digest}
    assert header.dataset == parse.dataset
    assert header.config == json.loads(json.dumps(as_dict(stages.config, ("parse", "prior"))))
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
def test_every_setting_changes_the_weights(
    name: str, value: float, stages: Any, made: Any, tmp_path: Path
) -> None:
    stages.configured(prior={name: value}).train_prior(made.parse, tmp_path / "p")
    assert not same(tensors(tmp_path / "p"), tensors(made.prior))


def test_the_save_interval_does_not_change_the_weights(
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
    drawings = Examples(drawings_of(read_parse(trained.parse)))
    learnt = stage.validate(prior.eval(), drawings[: stages.train])
    for name in ("validation_nats", "whether_nats", "where_nats", "what_nats"):
        assert learnt[name] < 0.95 * log[0][name]
    # Forty images teach nothing general about whether, but something about parts.
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
    assert len(seen) == 6  # the last one validates the stored weights
    assert same(seen[5], seen[2])


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


def test_files_that_are_not_parses_are_refused(
    stages: Any, made: Any, tmp_path: Path, flip: Any
) -> None:
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
