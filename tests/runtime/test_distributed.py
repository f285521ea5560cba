"""Two processes, started by torchrun on the CPU, give the result of one."""

import json
from pathlib import Path
from typing import Any

import pytest

from npdraw.runtime.run_folder import locked
from tests.runtime.processes import (
    FEW,
    RUN,
    close,
    records,
    two,
)


def test_the_parse_is_the_same_to_the_bit(single: Path, double: Any) -> None:
    assert (single / "parse.safetensors").read_bytes() == (
        double[0] / "parse.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("kind", ["prior", "model"])
def test_losses_and_validation_are_those_of_one_process(
    kind: str, single: Path, double: Any
) -> None:
    alone = records(single / f"{kind}.safetensors")
    together = records(double[0] / f"{kind}.safetensors")
    if kind == "prior":  # nothing is trained yet: shared validation changes no bit
        assert alone[0] == together[0]
    validated = [0, FEW] if kind == "prior" else [0, FEW - 1, FEW]
    assert [record["step"] for record in alone] == validated
    assert alone[1] != pytest.approx(alone[0], rel=1e-3)
    assert close(alone, together)
    results = [
        json.loads((folder / f"{kind}.safetensors.run/result.json").read_text())
        for folder in (single, double[0])
    ]
    assert [r.pop("gain_if_doubled") for r in results] == [None, None]  # too few validations
    assert close(*([{k: v for k, v in r.items() if k != "seconds"}] for r in results))


def test_only_rank_zero_prints_and_writes(single: Path, double: Any) -> None:
    folder, done = double
    assert len(done.stdout.splitlines()) == 1
    printed = json.loads(done.stdout)
    assert printed["ok"] is True
    assert set(printed) == {
        "ok",
        "command",
        "parse",
        "train_prior",
        "train_decoder",
        "eval_nll",
        "sample",
        "out",
    }
    # Three notes on how the images are read, then one line for each of the five stages: none from
    # torch and none twice.
    images, values, splits, *lines = done.stderr.splitlines()
    assert " images, " in images and values.startswith("values from ") and " in test, " in splits
    assert [line.split()[0] for line in lines] == [
        "parse",
        "train-prior",
        "train-decoder",
        "eval-nll",
        "sample",
    ]
    files = sorted(str(path.relative_to(single)) for path in single.rglob("*"))
    assert files == sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    names = (folder / "model.safetensors.run").glob("*.png")
    assert len(list(names)) == 4  # sheets of steps 0, 1, 2, 4


def test_evaluation_is_the_same(start: Path, single: Path) -> None:
    done = two("eval-nll", "single/model.safetensors", "--samples", "3", cwd=start)
    together = json.loads(done.stdout)
    alone = json.loads((single / "eval.json").read_text())
    assert together["images"] == 250
    for name in ("nll", "nll_se", "elbo", "rate", "distortion", "bits_per_dim", "canvas_mse"):
        assert together[name] == pytest.approx(alone[name], rel=1e-9), name
    assert together["settings"] == alone["settings"]


def test_a_busy_output_ends_both_processes(start: Path, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    arguments = ("train-prior", str(single / "parse.safetensors"), "--out", str(out))
    with locked(out):
        done = two(*arguments, cwd=start)
    assert done.returncode != 0
    assert json.loads(done.stdout)["error"]["code"] == "busy"
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert errors == [f"Error: another npdraw is working on {out}"]
    assert not out.exists()


@pytest.mark.slow
def test_up_to_date_outputs_are_not_made_again(start: Path, double: Any) -> None:
    folder, first = double
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    done = two(*RUN, "--steps", str(FEW), "--out", "double", cwd=start)
    assert done.returncode == 0
    again, printed = json.loads(done.stdout), json.loads(first.stdout)
    for stage in ("parse", "train_prior", "train_decoder", "eval_nll"):
        assert again[stage].pop("up_to_date") is True
        assert again[stage] | {"resumed_from": 0} == printed[stage] | {"resumed_from": 0}
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    other = two(*RUN, "--steps", str(FEW + 1), "--out", "double", cwd=start)
    assert other.returncode != 0
    assert json.loads(other.stdout)["error"]["code"] == "usage"
    dry = two(*RUN, "--out", "dry", "--dry-run", cwd=start)
    assert json.loads(dry.stdout)["dry_run"] is True
    assert not (start / "dry").exists()


def test_an_error_of_all_processes_is_printed_once(
    start: Path, tmp_path: Path, tiny_settings: Any
) -> None:
    config = tmp_path / "one.toml"
    config.write_text(tiny_settings(prior={"batch_size": 1}, decoder={"batch_size": 1}))
    out = tmp_path / "run"
    run = ("run", "--data", "npz:bars.npz", "--config", str(config), "--out", str(out))
    for arguments, code in (
        ((*run, "--dry-run"), "usage"),
        (run, "usage"),
        (("parse", "--data", "npz:nowhere.npz", "--out", str(out / "p.safetensors")), "data"),
        (("train-prior", str(out / "parse.safetensors")), "artifact"),
    ):
        done = two(*arguments, cwd=start)
        assert done.returncode != 0
        assert json.loads(done.stdout)["error"]["code"] == code
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
        assert len(errors) == 1
        assert not out.exists()
