"""Every stage on a GPU; skipped without one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.errors import DivergedError
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.models import drawings_of, new_model, new_prior, read_parse
from npdraw.runtime.settings import Runtime
from npdraw.stages import train_decoder as decoder_stage
from npdraw.stages import train_prior as prior_stage
from npdraw.training.examples import Examples
from npdraw.training.recording import WARM_UP
from npdraw.training.state import new_state, optimizer_step, sync_metrics

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

CUDA = torch.device("cuda")


def test_the_parse_is_nearly_that_of_the_cpu(stages: Any, made: Any, tmp_path: Path) -> None:
    result = stages.parse(tmp_path / "parse", device="cuda")
    expected = made.results["parse"]
    assert result["canvas_mse"] == pytest.approx(expected["canvas_mse"], rel=1e-3)
    assert result["parts_painted_mean"] == pytest.approx(expected["parts_painted_mean"], rel=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_the_whole_pipeline(
    cuda_graphs: bool, precision: str, stages: Any, trained: Any, tmp_path: Path
) -> None:
    fast = {"steps": 60, "learning_rate": 1e-2}
    longer = stages.configured(prior=fast, decoder={**fast, "encoder_learning_rate": 3e-3})
    how = {"device": "cuda", "precision": precision, "cuda_graphs": cuda_graphs}
    results = longer.run(tmp_path, **how)
    expected = trained.results
    for stage, figure, kind in (
        ("train_prior", "validation_nats", "prior"),
        ("train_decoder", "elbo", "model"),
    ):
        assert results[stage][figure] == pytest.approx(expected[kind][figure], rel=0.1)
    on_cpu = stages.eval_nll(tmp_path / "model.safetensors", samples=2)
    assert results["eval_nll"]["nll"] == pytest.approx(on_cpu["nll"], rel=0.02)


def test_resuming_on_a_gpu(stages: Any, made: Any, interrupt: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="stopped at step 2"):
        stages.train_decoder(
            made.parse, made.prior, tmp_path / "m", progress=interrupt(2), device="cuda"
        )
    result = stages.train_decoder(made.parse, made.prior, tmp_path / "m", device="cuda")
    assert result["resumed_from"] == 2


def decoder_step(
    stages: Any, made: Any, wake: float, cuda_graphs: bool = False
) -> Callable[[], Any]:
    config = stages.configured(decoder={"wake": wake, "steps": 10}).config
    brush = brush_of(config.parse, read_parse(made.parse).tensors)
    model = new_model(config, brush).to(CUDA, memory_format=torch.channels_last)
    state = new_state(model, [(model, 1e-3)], 0.0)
    train = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, device=CUDA)
    runtime = Runtime(device="cuda", precision="bf16", cuda_graphs=cuda_graphs)
    return lambda: decoder_stage.train_step(state, model, train, config, 0, runtime)


def prior_step(stages: Any, made: Any) -> Callable[[], Any]:
    parse = read_parse(made.parse)
    prior = new_prior(stages.config, brush_of(stages.config.parse, parse.tensors)).to(CUDA)
    state = new_state(prior, [(prior, 1e-3)], 0.0)
    train = Examples(drawings_of(parse).to(CUDA))
    runtime = Runtime(device="cuda", precision="bf16")
    return lambda: prior_stage.train_step(state, prior, train, stages.config.prior, 0, runtime)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        partial(decoder_step, wake=0.0),
        partial(decoder_step, wake=1.0),
        partial(decoder_step, wake=0.0, cuda_graphs=True),
        prior_step,
    ],
)
def test_no_step_waits_for_the_gpu(make: Any, stages: Any, made: Any) -> None:
    step = make(stages, made)
    for _ in range(WARM_UP + 2):  # one-time preparations may wait
        step()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            figures = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert figures["loss"] > 0


def test_divergence_names_its_step_although_it_is_detected_later() -> None:
    for broken in (0, 2):
        model = torch.nn.Linear(3, 1).to(CUDA)
        state = new_state(model, [(model, 1e-3)], 0.0)
        x = torch.ones(2, 3, device=CUDA)
        for step in range(broken + 1):
            scale = float("nan") if step == broken else 1.0
            optimizer_step(state, (model(x) * scale).mean(), 1.0, 0.9)
        with pytest.raises(DivergedError, match=f"the loss is nan at step {broken}"):
            sync_metrics(state)


def test_metrics_are_those_of_the_previous_step() -> None:
    model = torch.nn.Linear(3, 1).to(CUDA)
    state = new_state(model, [(model, 0.0)], 0.0)
    x = torch.ones(2, 3, device=CUDA)
    value = model(x).mean()
    assert optimizer_step(state, value, 0.0, 0.9, more=value.detach() + 1) == {}
    sync_metrics(state)
    loss = float(value.detach())
    assert state.metrics == pytest.approx({"loss": loss, "more": loss + 1})
