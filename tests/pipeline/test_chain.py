"""The commands one after another, as a person types them, and what each prints."""

import shutil
from pathlib import Path

from npdraw.header import read_header
from tests.pipeline.commands import RUNTIME, Command

PROMISED = {
    "parse": "images seconds parts_painted_mean canvas_mse dead_parts",
    "train-prior": "steps seconds resumed_from validation_nats whether_nats where_nats what_nats",
    "train-decoder": "steps seconds resumed_from elbo rate distortion canvas_mse",
    "eval-nll": "nll nll_se elbo rate distortion bits_per_dim samples images split binarization "
    "estimator canvas_mse seconds",
    "sample": "images seconds files",
    "info": "kind schema digest inputs config dataset seed metrics",
}
"""The keys that docs/interface.md promises of each command's JSON."""


def test_the_commands_chain_and_print_what_is_promised(folder: Path, command: Command) -> None:
    shutil.rmtree("p.safetensors.run")
    Path("p.safetensors").unlink()
    config = ("--config", "short.toml", "--json", *RUNTIME)
    lines = (
        ("parse", "--data", "npz:bars.npz", "--out", "r/parse.safetensors", *config),
        ("train-prior", "r/parse.safetensors", *config),
        ("train-decoder", "r/parse.safetensors", *config),
        ("eval-nll", "r/model.safetensors", "--samples", "2", "--json", *RUNTIME),
        ("sample", "r/model.safetensors", "--seeds", "0-4", "--grid", "--json", *RUNTIME),
        ("info", "r/model.safetensors", "--verify", "--json"),
    )
    for line in lines:
        code, printed = command(*line)
        assert code == 0
        assert printed.keys() >= {"ok", "command", *PROMISED[line[0]].split()}
    digests = {
        kind: read_header(Path(f"r/{kind}.safetensors")).digest for kind in ("parse", "prior")
    }
    assert printed["inputs"] == digests
    assert Path("r/samples.png").is_file()
    for line in lines[:3]:
        code, printed = command(*line)
        assert (code, printed["up_to_date"]) == (0, True)
        assert printed.keys() >= set(PROMISED[line[0]].split())
        if line[0] != "parse":
            assert printed["resumed_from"] == printed["steps"]

    # The model needs none of what it was made from.
    sheet = Path("r/samples.png").read_bytes()
    for path in Path("r").iterdir():
        if path.name != "model.safetensors":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert command(*lines[4])[0] == 0
    assert Path("r/samples.png").read_bytes() == sheet
    code, printed = command(*lines[3])
    assert (code, printed["error"]["code"]) == (4, "data")
    assert "--data npz:PATH" in printed["error"]["hint"]
    assert command(*lines[3], "--data", "npz:bars.npz")[0] == 0


def test_run_does_everything_and_then_nothing(folder: Path, command: Command) -> None:
    line = ("run", "--data", "npz:bars.npz", "--config", "short.toml", "--samples", "2")
    code, first = command(*line, "--out", "r", *RUNTIME)
    assert code == 0
    before = {path.name: path.read_bytes() for path in Path("r").iterdir() if path.is_file()}
    assert before.keys() == {
        "parse.safetensors",
        "prior.safetensors",
        "model.safetensors",
        "eval.json",
        "samples.png",
    }
    code, second = command(*line, "--out", "r", *RUNTIME)
    assert code == 0
    for name in ("parse", "train_prior", "train_decoder", "eval_nll"):
        assert second[name]["up_to_date"] is True
        assert second[name].keys() >= set(PROMISED[name.replace("_", "-")].split())
    assert second["eval_nll"]["nll"] == first["eval_nll"]["nll"]
    after = {path.name: path.read_bytes() for path in Path("r").iterdir() if path.is_file()}
    assert after == before
