"""`--minutes`: steps that fit into a time, planned once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from npdraw.decoder_config import DecoderConfig
from npdraw.errors import UsageError
from npdraw.header import read_header
from npdraw.runtime.group import Group
from npdraw.runtime.run_folder import read_json
from npdraw.stages import plan
from npdraw.stages.plan import Costs, steps_for
from npdraw.training.decoder_step import schedule
from npdraw.training.pauses import WATCHED_SHARE

COSTS = Costs(prior=0.2, relaxed=0.5, wake=2.0, fixed=30.0)


def took(config: Any, steps: list[int], costs: Costs) -> float:
    """Return how long trainings of these steps take."""
    done = plan.with_steps(config, *steps)
    wake = done.decoder.steps - done.decoder.relaxed_steps
    seconds = steps[0] * costs.prior
    seconds += done.decoder.relaxed_steps * costs.relaxed + wake * costs.wake
    return seconds * (1 + WATCHED_SHARE) + costs.fixed


@pytest.mark.parametrize("seconds", [300.0, 4000.0])
def test_the_steps_planned_take_the_time_that_is_left(stages: Any, seconds: float) -> None:
    config = stages.configured(prior={"steps": 1000}, decoder={"steps": 1400, "wake": 0.1}).config
    steps = steps_for(config, COSTS, seconds)
    assert took(config, steps, COSTS) == pytest.approx(seconds, rel=0.02)
    assert steps[0] / steps[1] == pytest.approx(1000 / 1400, rel=0.02)


def test_no_step_fits_into_no_time(stages: Any) -> None:
    assert steps_for(stages.config, COSTS, 20.0) == [0, 0]


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the measurement; return a list that grows with each."""
    measured: list[int] = []

    def measure(*_: Any) -> Costs:
        measured.append(len(measured))
        return Costs(prior=0.5, relaxed=0.5, wake=0.5, fixed=1.0 + 5 * len(measured))

    monkeypatch.setattr(plan, "_costs", measure)
    return measured


def test_a_plan_is_kept(stages: Any, costs: list[int], interrupt: Any, tmp_path: Path) -> None:
    seen = stages.Recorder()
    stages.run(tmp_path / "r", minutes=0.5, progress=seen)
    steps = read_json(tmp_path / "r/plan.json")["steps"]
    assert min(steps) >= plan.FEWEST_STEPS
    header = read_header(tmp_path / "r/model.safetensors")
    assert [header.config[name]["steps"] for name in ("prior", "decoder")] == steps
    assert any("are planned" in note for note in seen.notes)
    again = stages.run(tmp_path / "r", minutes=0.5)
    assert again["train_decoder"]["up_to_date"] is True
    assert len(costs) == 1
    with pytest.raises(UsageError, match="steps"):  # another time, other steps
        stages.run(tmp_path / "r", minutes=1.0)
    stages.run(tmp_path / "r", minutes=1.0, force=True)
    assert read_json(tmp_path / "r/plan.json")["steps"] != steps


def test_too_little_time_is_refused(stages: Any, costs: list[int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--minutes 0\.1 is too short"):
        stages.run(tmp_path / "r", minutes=0.1)
    assert not (tmp_path / "r/plan.json").exists()


def test_costs_are_measured(stages: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PROBED_SECONDS", 0.0)
    found = plan._costs(
        stages.config,
        made.parse,
        stages.source,
        stages.npz.parent,
        plan.Runtime(device="cpu", precision="fp32", threads=1),
        stages.Recorder(),
    )
    assert min(found) > 0


def test_several_processes_are_refused(
    stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("npdraw.stages.run.environment", lambda: Group(0, 2, 0, 2))
    with pytest.raises(UsageError, match="--minutes times the steps of one process"):
        stages.run(tmp_path / "r", minutes=1.0)
    assert not (tmp_path / "r").exists()


def test_steps_with_the_parse_are_part_of_the_relaxed_phase() -> None:
    settings = DecoderConfig(steps=100, wake=0.0, parse_until=0.15)
    assert plan._parsed_steps(settings, 1) == (0.15, 16)
    assert plan._parsed_steps(settings, 3) == (0.15, 18)
    for step, weighs in ((14, True), (16, False)):
        assert (schedule(step, settings)[1] > 0) is weighs
    share, first = plan._parsed_steps(replace(settings, final_parse_weight=0.1), 1)
    assert share == 1.0 and first >= settings.relaxed_steps


def test_a_frozen_prior_is_not_trained_to_time_it(
    stages: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = []

    def step(state: Any, model: Any, *_: Any) -> None:
        learned.append(
            {
                name: any(p.requires_grad for p in part.parameters())
                for name, part in (("prior", model.prior), ("decoder", model.decoder))
            }
        )

    monkeypatch.setattr(plan, "PROBED_SECONDS", 0.0)
    monkeypatch.setattr("npdraw.training.decoder_step.train_step", step)
    frozen = stages.configured(decoder={"prior": "frozen"})
    plan._costs(
        frozen.config,
        made.parse,
        stages.source,
        stages.npz.parent,
        plan.Runtime(device="cpu", precision="fp32", threads=1),
        stages.Recorder(),
    )
    assert learned and all(one == {"prior": False, "decoder": True} for one in learned)
