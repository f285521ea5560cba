"""Rivals are trained for a given time and keep their best weights; the program resumes."""

import json
import sys
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.rivals import __main__ as program
from benchmarks.rivals import settings, training
from benchmarks.rivals.pixelcnn import PixelCNN
from benchmarks.rivals.settings import Settings
from benchmarks.rivals.tables import tables
from benchmarks.rivals.task import Task
from benchmarks.rivals.training import drawn, evaluate, train
from benchmarks.rivals.vae import VAE
from npdraw.inputs.models import new_model, read_model
from npdraw.inputs.shipped import find_model
from npdraw.presets import preset
from npdraw.runtime.reporting import Lines
from npdraw.runtime.settings import Runtime

CPU = torch.device("cpu")
SHAPE = 1, 4, 4


def stripes(images: int) -> Tensor:
    """Return uint8 images whose rows are all ink or none."""
    noise = torch.Generator().manual_seed(images)
    rows = torch.randint(0, 2, (images, 1, 4, 1), generator=noise)
    return (255 * rows).expand(-1, -1, -1, 4).to(torch.uint8)


def trained(
    model: PixelCNN, how: Settings, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> tuple[training.Trained, list[str]]:
    """Train by a clock that goes on a second whenever it is read, so that steps are counted."""
    ticks = count()
    monkeypatch.setattr(training, "time", SimpleNamespace(process_time=lambda: next(ticks)))
    reports: list[str] = []
    result = train(
        model,
        stripes(200),
        stripes(50).float() / 255,
        how,
        seconds=seconds,
        seed=0,
        levels=2,
        runtime=Runtime(device="cpu", precision="fp32"),
        report=reports.append,
    )
    return result, reports


def test_a_rival_learns_and_keeps_its_best_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = PixelCNN(SHAPE, levels=2, width=8, depth=1)
    how = Settings(batch_size=32, learning_rate=0.01, ema=0.9)
    result, reports = trained(model, how, 130, monkeypatch)
    scores = [float(line.split("validation ")[1].split()[0]) for line in reports]
    assert 100 < result.steps < 130
    assert result.validation == pytest.approx(min(scores), abs=0.01)
    with torch.no_grad():
        nll, elbo = evaluate(model, stripes(50).float() / 255, 3, 0).T
    assert torch.equal(nll, elbo)  # it needs no samples
    assert float(nll.mean()) == pytest.approx(result.validation, abs=1e-3)
    assert result.validation < 9  # 4 bits would be 2.8 nats, and 16 pixels by chance are 11.1
    assert drawn(model, 5, 0, CPU).shape == (5, *SHAPE)


def test_validations_come_at_the_first_steps_and_then_take_their_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = PixelCNN(SHAPE, levels=2, width=8, depth=1)
    _, reports = trained(model, Settings(batch_size=8), 300, monkeypatch)
    steps = [int(line.split("step ")[1].split(",")[0]) for line in reports]
    assert steps[:5] == [0, 1, 2, 4, 8]
    # By this clock a validation takes a second, and so one comes after some 20 steps.
    apart = [later - sooner for sooner, later in pairwise(steps[4:-1])]
    assert len(apart) > 3 and all(20 < steps < 23 for steps in apart)


def test_the_number_of_steps_ends_a_training_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PixelCNN(SHAPE, levels=2, width=8, depth=1)
    result, reports = trained(model, Settings(batch_size=8, steps=7), 1000, monkeypatch)
    assert result.steps == 7 and reports[-1].startswith("100%, step 7")


@torch.no_grad()
def test_evaluation_gives_the_bound_and_the_negative_elbo() -> None:
    torch.manual_seed(0)
    model = VAE(SHAPE, levels=2, latents=2, channels=(4, 8), depth=1, patch=1).eval()
    images = stripes(30).float() / 255
    nll, elbo = evaluate(model, images, 20, 0).T
    assert (nll <= elbo).all() and nll.mean() < elbo.mean()
    assert torch.equal(*evaluate(model, images, 1, 0).T)


def test_an_exact_likelihood_does_not_depend_on_the_number_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = PixelCNN(SHAPE, levels=2, width=8, depth=1).eval()
    images = stripes(30).float() / 255
    together = evaluate(model, images, 1, 0)
    monkeypatch.setattr(training, "AT_ONCE", 7)
    assert torch.allclose(evaluate(model, images, 1, 0), together, atol=1e-5)


@pytest.mark.parametrize("data", ["mnist", "mnist-static", "omniglot", "cifar10"])
def test_all_models_have_about_as_many_parameters(data: str) -> None:
    sizes = {
        name: sum(p.numel() for p in settings.rival(name, data, 50_000)[0].parameters())
        for name in settings.models(data)
        if name not in (settings.OURS, "empty canvas", "small PixelCNN")
    }
    like = "mnist" if preset(data).parse.channels == 1 else "cifar10"
    shipped, _, _ = read_model(find_model(like))
    network = new_model(preset(data), shipped.brush, 0.01)
    ours = sum(p.numel() for p in network.parameters())
    assert {name: size for name, size in sizes.items() if not 0.8 < size / ours < 1.2} == {}


def test_few_images_get_few_steps_and_dropout() -> None:
    full = preset("mnist")
    assert settings.ours(full, 55_000) == full
    few = [settings.ours(full, n) for n in (40, 580, 5_940, 55_000)]
    steps = [config.decoder.steps for config in few]
    assert steps == sorted(set(steps))
    assert [config.parse.shift for config in few] == [1, 1, 0, 0]
    small, _ = settings.rival("VAE", "mnist", 40)
    large, _ = settings.rival("VAE", "mnist", 55_000)
    assert small.drop.p > large.drop.p == 0


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["rivals", *map(str, arguments)])
    program.main()


def test_what_is_there_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def measured(name: str, task: Task, *_: Any) -> dict[str, Any]:
        calls.append(f"{name} {task.seconds:.0f}")
        return {"model": name, "seconds": 2 * task.seconds}

    monkeypatch.setattr(program, "measure", measured)
    monkeypatch.setattr(program, "tables", lambda _: "")
    monkeypatch.setattr(program, "quality", lambda *_: {})
    out = ["--out", tmp_path / "r"]
    run(monkeypatch, *out, "--seconds", 10, "AIR")
    assert calls == ["NP-DRAW 10", "AIR 20"]  # as much as NP-DRAW took
    capsys.readouterr()
    run(monkeypatch, *out, "--seconds", 10, "AIR", "DRAW")
    assert calls[2:] == ["DRAW 20"]
    shown = capsys.readouterr().out.splitlines()
    names = [json.loads(line)["model"] for line in shown if line]
    assert names == ["NP-DRAW", "DRAW", "AIR"]
    run(monkeypatch, *out, "--seconds", 10, "--seed", 1, "AIR")
    assert calls[3:] == ["NP-DRAW 10", "AIR 20"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["GAN"], "unknown model GAN for mnist"),
        (["empty canvas", "--data", "cifar10", "mnist"], "unknown model empty canvas for mnist"),
        (["--drawings", 5], "--drawings 5: at least 6"),
        (["--seconds", 0], "must be above 0"),
        (["--samples", 0], "--samples must be at least 1, --images at least 2"),
        (["--images", 1], "--samples must be at least 1, --images at least 2"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(
    given: list[object],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *given)
    assert problem in capsys.readouterr().err


def test_an_unknown_data_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="mnsit"):
        run(monkeypatch, "--data", "mnsit")


def test_results_of_one_protocol_share_a_table(tmp_path: Path) -> None:
    line = {
        **{"model": "A", "data": "mnist", "train": 40, "held_out": 20, "nll": 90.0, "nll_se": 1.0},
        **{"elbo": 91.0, "parameters": 5, "seconds": 7.0, "steps": 3, "best_step": 2},
        **{"seconds_per_sample": 0.002, "exact": True},
        "options": {
            **{"threads": 1, "images": 100, "samples": 5, "drawings": 6, "seed": 0, "seconds": 7.0}
        },
    }
    others = {**line["options"], "threads": 2}
    lines = [line, {**line, "model": "B", "nll": 80.0}, {**line, "model": "C", "options": others}]
    (tmp_path / "mnist").mkdir()
    for number, each in enumerate(lines):
        (tmp_path / "mnist" / f"{number}.json").write_text(json.dumps(each))
    shown = tables(tmp_path)
    assert shown.count("mnist, 40 + 20 images, threads: ") == 2
    assert shown.index("| B | 80.00 ± 1.00 |") < shown.index("| A | 90.00 ± 1.00 |")
    assert shown.index("| A |") < shown.index("threads: 2") < shown.index("| C |")
    # A model that had another time than NP-DRAW took is left out.
    ours = {**line, "model": "NP-DRAW", "seconds": 7.0}
    late = {**line, "model": "D", "options": {**line["options"], "seconds": 8.0}}
    for name, each in (("ours", ours), ("late", late)):
        (tmp_path / "mnist" / f"{name}.json").write_text(json.dumps(each))
    shown = tables(tmp_path)
    assert "| NP-DRAW |" in shown and "| A |" in shown and "| D |" not in shown


def test_shifted_copies_do_not_count_as_images(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    usual = preset("glyphs")
    copied = replace(usual, parse=replace(usual.parse, shift=1))
    monkeypatch.setattr(program, "preset", lambda _: copied)

    def counted(_: object, images: int) -> None:
        counts.append(images)
        raise KeyboardInterrupt

    monkeypatch.setattr(settings, "ours", counted)
    task = Task("glyphs", Path(), 60, 1.0, 1, 10, 6, 0, 1)
    with pytest.raises(KeyboardInterrupt):
        program.measure("VAE", task, Path(), Lines())
    assert counts == [40]


def test_npdraw_and_a_rival_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path, "--data", "glyphs", "--limit", 60, "--seconds", 2, "--threads", 1]
    small = ["--samples", 2, "--images", 10, "--drawings", 6, "NP-DRAW", "VAE"]
    run(monkeypatch, *out, *small)
    shown = capsys.readouterr().out
    ours, vae = (json.loads(line) for line in shown.splitlines() if line.startswith("{"))
    assert (ours["train"], ours["held_out"]) == (vae["train"], vae["held_out"]) == (40, 20)
    assert 1 <= ours["steps"] < 150
    assert vae["seconds"] >= ours["seconds"]
    for line in (ours, vae):
        assert 0 < line["nll"] < line["elbo"]
        assert line["bits_per_dim"] == pytest.approx(line["nll"] / (784 * 0.693147), rel=1e-5)
        assert 0 <= line["quality"]["coverage"] <= 1 and line["quality"]["kid_se"] is None
    assert "| NP-DRAW | ≤ " in shown and "| VAE | ≤ " in shown
    assert shown.count("glyphs, 40 + 20 images") == 1
    names = {path.name for path in (tmp_path / "glyphs-60").glob("*.npz")}
    assert names == {"NP-DRAW.npz", "VAE.npz"}


def test_without_the_data_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="npdraw data download mnist"):
        run(monkeypatch, "--data-root", tmp_path / "nowhere", "--out", tmp_path)
