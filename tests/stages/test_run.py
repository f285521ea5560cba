"""Running all stages, each doing only what is not up to date."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from npdraw.errors import StoppedError, UsageError
from npdraw.header import read_header
from tests.tiny_stages import bars

ARTIFACTS = ("parse", "prior", "model")
STAGES = ("parse", "train_prior", "train_decoder", "eval_nll", "sample")


def digests(out: Path) -> list[str]:
    return [read_header(out / f"{kind}.safetensors", verify=True).digest for kind in ARTIFACTS]


def test_run_gives_the_same_bytes_as_the_stages_one_by_one(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    seen = stages.Recorder()
    result = stages.run(out, progress=seen)
    assert tuple(result) == (*STAGES, "out")
    assert result["out"] == str(out)
    assert [task[0] for task in seen.tasks] == [name.replace("_", "-") for name in STAGES]
    for kind in ARTIFACTS:
        assert (out / f"{kind}.safetensors").read_bytes() == getattr(made, kind).read_bytes()
    alone = stages.eval_nll(made.model, samples=2)
    assert result["eval_nll"]["nll"] == alone["nll"]
    assert json.loads((out / "eval.json").read_text())["nll"] == alone["nll"]
    stages.sample(made.model, tmp_path / "s.png", grid=True, seeds=range(100))
    assert (out / "samples.png").read_bytes() == (tmp_path / "s.png").read_bytes()
    assert result["train_prior"]["validation_nats"] == made.results["prior"]["validation_nats"]
    assert result["train_decoder"]["elbo"] == made.results["model"]["elbo"]
    assert result["parse"]["canvas_mse"] == made.results["parse"]["canvas_mse"]


def test_only_what_is_not_up_to_date_is_done(stages: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = stages.run(out)
    before, sheet = digests(out), (out / "samples.png").read_bytes()
    assert not any("up_to_date" in first[name] for name in STAGES)

    second = stages.run(out)
    for name in STAGES:
        assert second[name].pop("up_to_date") is True
        again = dict(first[name])
        if "resumed_from" in again:
            again["resumed_from"] = again.get("steps", stages.test)  # all of it
        if name == "sample":
            again["seconds"] = None  # a sheet does not record it
        assert second[name] == again
    assert digests(out) == before
    assert (out / "samples.png").read_bytes() == sheet

    (out / "model.safetensors").unlink()
    shutil.rmtree(out / "model.safetensors.run")
    (out / "samples.png").unlink()
    third = stages.run(out)
    done = [name for name in STAGES if "up_to_date" not in third[name]]
    assert done == ["train_decoder", "sample"]  # the same model has the same likelihood
    assert third["train_decoder"]["resumed_from"] == 0
    assert digests(out) == before
    assert (out / "samples.png").read_bytes() == sheet

    (out / "prior.safetensors").unlink()
    fourth = stages.run(out)
    assert fourth["train_prior"]["resumed_from"] == 4  # its checkpoint existed
    assert fourth["train_decoder"]["up_to_date"] is True
    assert digests(out) == before


def test_an_interrupted_run_resumes(stages: Any, made: Any, tmp_path: Path) -> None:
    def at(done: int) -> None:
        if seen.tasks[-1][0] == "train-decoder" and done == 3 and not sent:
            sent.append(done)
            signal.raise_signal(signal.SIGINT)

    sent: list[int] = []
    seen = stages.Recorder(at)
    out = tmp_path / "run"
    with pytest.raises(StoppedError, match="stopped at step 3 of 4"):
        stages.run(out, progress=seen)
    assert sorted(path.name for path in out.glob("*.safetensors")) == [
        "parse.safetensors",
        "prior.safetensors",
    ]
    result = stages.run(out)
    assert result["parse"]["up_to_date"] is True
    assert result["train_prior"]["up_to_date"] is True
    assert result["train_decoder"]["resumed_from"] == 3
    assert (out / "model.safetensors").read_bytes() == made.model.read_bytes()


def test_other_settings_are_refused_unless_forced(stages: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stages.run(out)
    before = digests(out)
    for other in (
        stages.configured(parse={"parts": 7}),
        stages.configured(prior={"steps": 3}),
        stages.configured(decoder={"steps": 3}),
    ):
        with pytest.raises(UsageError, match="exists with other settings"):
            other.run(out)
        assert digests(out) == before
    with pytest.raises(UsageError, match=r"eval\.json exists with other settings"):
        stages.run(out, samples=3)
    changed = stages.configured(prior={"steps": 3})
    result = changed.run(out, force=True)
    assert not any("up_to_date" in result[name] for name in STAGES)
    assert digests(out)[0] == before[0]
    assert set(digests(out)[1:]).isdisjoint(before)
    assert changed.run(out)["eval_nll"]["up_to_date"] is True
    with Image.open(out / "samples.png") as picture:
        assert json.loads(picture.info["npdraw"])["model"] == digests(out)[2]


def test_seed_and_images_reach_every_stage(stages: Any, tmp_path: Path) -> None:
    result = stages.run(tmp_path / "run", seed=3, samples=1, images=5)
    for kind in ARTIFACTS:
        assert read_header(tmp_path / "run" / f"{kind}.safetensors").seed == 3
    assert result["eval_nll"]["settings"]["seed"] == 3
    assert (result["eval_nll"]["samples"], result["eval_nll"]["images"]) == (1, 5)


def test_dry_run_writes_nothing(stages: Any, tmp_path: Path) -> None:
    result = stages.run(tmp_path / "run", dry_run=True)
    assert result["dry_run"] is True
    assert result["settings"]["preset"] == "glyphs"
    assert result["settings"]["decoder"]["steps"] == 4
    assert result["settings"]["parse"]["parts"] == 8
    assert list(tmp_path.iterdir()) == []


def test_too_many_test_images_are_an_error_before_anything_is_made(
    stages: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"--images 9999, but there are"):
        stages.run(tmp_path / "run", images=9999)
    assert not (tmp_path / "run").exists()


def test_a_run_says_once_how_images_are_divided(stages: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", bars(40, 0))
    progress, own = stages.Recorder(), replace(stages, npz=tmp_path / "a.npy")
    own.run(tmp_path / "run", progress=progress)
    assert sum("every 10th image" in note for note in progress.notes) == 1
