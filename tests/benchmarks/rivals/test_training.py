"""Rivals are trained for a given time and keep their best weights; the program resumes."""

import json
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.rivals import __main__ as program
from benchmarks.rivals import training
from benchmarks.rivals.pixelcnn import PixelCNN
from benchmarks.rivals.training import Settings, drawn, evaluate, train
from npdraw.runtime.settings import Runtime

CPU = torch.device("cpu")
SHAPE = 1, 4, 4


def stripes(images: int) -> Tensor:
    """Return uint8 images whose rows are all ink or none."""
    noise = torch.Generator().manual_seed(images)
    rows = torch.randint(0, 2, (images, 1, 4, 1), generator=noise)
    return (255 * rows).expand(-1, -1, -1, 4).to(torch.uint8)


def test_a_rival_learns_and_keeps_its_best_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()  # every look at the clock takes a second, so that steps are counted
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    reports: list[str] = []
    torch.manual_seed(0)
    model = PixelCNN(SHAPE, levels=2, width=8, depth=1)
    result = train(
        model,
        stripes(200),
        stripes(50).float() / 255,
        Settings(batch_size=32, learning_rate=0.01, ema=0.9),
        seconds=100,
        seed=0,
        levels=2,
        runtime=Runtime(device="cpu", precision="fp32"),
        report=reports.append,
    )
    scores = [float(line.split("validation ")[1].split()[0]) for line in reports]
    assert result.steps == 99 and len(scores) == training.VALIDATIONS
    assert result.validation == pytest.approx(min(scores), abs=0.01)
    with torch.no_grad():
        nll = evaluate(model, stripes(50).float() / 255, 1, 0)
    assert float(nll.mean()) == pytest.approx(result.validation, abs=1e-3)
    assert result.validation < 9  # 4 bits would be 2.8 nats, and 16 pixels by chance are 11.1
    assert drawn(model, 5, 0, CPU).shape == (5, *SHAPE)


def test_evaluation_and_samples_do_not_depend_on_the_number_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = PixelCNN(SHAPE, levels=2, width=8, depth=1).eval()
    images = stripes(30).float() / 255
    with torch.no_grad():
        together = evaluate(model, images, 1, 0)
        monkeypatch.setattr(training, "AT_ONCE", 7)
        assert torch.allclose(evaluate(model, images, 1, 0), together, atol=1e-5)


def test_what_is_there_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def measured(name: str, *_: Any) -> dict[str, Any]:
        calls.append(name)
        return {"model": name, "nll": 1.5}

    monkeypatch.setattr(program, "measure", measured)
    for models in (["AIR"], ["DRAW", "AIR"]):
        monkeypatch.setattr(sys, "argv", ["rivals", "--out", str(tmp_path / "r"), *models])
        program.main()
    assert calls == ["AIR", "DRAW"]
    lines = [json.loads(line)["model"] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["AIR", "DRAW", "AIR"]
    monkeypatch.setattr(sys, "argv", ["rivals", "--out", str(tmp_path / "r"), "--seed", "1", "AIR"])
    program.main()
    assert calls == ["AIR", "DRAW", "AIR"]
    monkeypatch.setattr(sys, "argv", ["rivals", "GAN"])
    with pytest.raises(SystemExit):
        program.main()
    assert "unknown model GAN" in capsys.readouterr().err
