"""What each command hands to its stage: every option counts, nothing else does."""

from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from npdraw.cli import app, execute
from npdraw.presets import PRESETS

STAGES = (
    *("parse", "train-prior", "train-decoder", "train-classes", "eval-nll", "sample", "run"),
    "export",
)
VALUES = {
    "--data": "mnist",
    "--data-root": "elsewhere",
    "--limit": "7",
    "--image-size": "32",
    "--images": "7",
    "--preset": "mnist",
    "--config": "other.toml",
    "--background": "#102030",
    "--invert": "yes",
    "--fit": "stretch",
    "--channels": "3",
    "--pixels": "levels",
    "--parts": "7",
    "--part-size": "6",
    "--stride": "3",
    "--jitter": "2",
    "--snap": "mean",
    "--prior": "frozen",
    "--steps": "7",
    "--batch-size": "7",
    "--samples": "7",
    "--estimator": "published",
    "--temperature": "0.5",
    "--seed": "7",
    "--seeds": "7",
    "--save-every": "7",
    "--device": "cpu",
    "--precision": "fp32",
    "--threads": "7",
    "--dtype": "fp32",
    "--label": "given",
    "--minutes": "7",
    "--patience": "7",
    "--candidates": "7",
    "--log": "tensorboard",
    "--out": "there/x",
}
"""A value of each flag that is not its default; the flags that are not here take none."""
OWN_PICTURES = ("--data", "folder:own")
TOGETHER = {
    "--background": OWN_PICTURES,
    "--invert": OWN_PICTURES,
    "--fit": OWN_PICTURES,
    "export --quiet": ("--onnx",),  # without, nothing is shown that takes time
}
"""Flags that only matter together with others."""


def flags() -> list[tuple[str, str]]:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return [
        (name, max(param.opts, key=len))
        for name in STAGES
        for param in commands[name].params
        if param.param_type_name == "option"
    ]


@pytest.fixture
def called(fake_stage: Any, folder: Path) -> Any:
    """Run a command in a folder where its inputs are; return what its stage was called with."""
    for row in ("glyphs", "mnist"):
        (folder / "runs" / row).mkdir(parents=True)
        for kind in ("parse", "prior", "model"):
            (folder / "runs" / row / f"{kind}.safetensors").touch()
    for name in ("a/p", "b/q", "a/m"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.safetensors").touch()
    (folder / "own").mkdir()
    for number in range(4):
        picture = Image.new("L", (4 + number, 4))
        picture.putpixel((1, 1), 255)
        picture.save(folder / f"own/{number}.png")
    (folder / "other.toml").write_text("[parse]\nparts = 9\n[prior]\nsteps = 9\n[decoder]\nsteps=9")

    def call(name: str, *arguments: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        seen: list[Any] = []

        def stage(*positional: Any, progress: Any = None, **named: Any) -> dict[str, Any]:
            if progress is not None:
                progress.note("a note")
            seen.append((positional, named))
            return {"figure": 1}

        for stage_name in (name.replace("-", "_"), f"{name}_onnx"):
            fake_stage(stage_name, stage)
        assert execute([name, *arguments]) == 0
        return seen[0]  # type: ignore[no-any-return]

    return call


@pytest.mark.parametrize(("name", "flag"), flags())
def test_every_option_is_read(
    name: str, flag: str, called: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    others = TOGETHER.get(f"{name} {flag}", TOGETHER.get(flag, ()))
    without = called(name, *others), capsys.readouterr()
    given = (flag, VALUES[flag]) if flag in VALUES else (flag,)
    assert (called(name, *given, *others), capsys.readouterr()) != without


def test_parse_hands_over_its_settings(called: Any) -> None:
    (config,), named = called("parse", "--data", "mnist", "--limit", "0.5", "--parts", "7")
    assert (config.preset, config.data, config.parse.parts) == ("mnist", "mnist", 7)
    assert config.prior == PRESETS["mnist"].prior
    runtime = vars(named.pop("runtime"))
    assert named == {
        "source": "mnist",
        "root": Path("data"),
        "limit": 0.5,
        "seed": 0,
        "strict": False,
        "fewer_parts": False,
        "reading": None,
        "notes": (),
        "out": Path("runs/mnist/parse.safetensors"),
    }
    assert runtime == {
        "device": "auto",
        "precision": "auto",
        "threads": 0,
        "force": False,
        "dry_run": False,
    }


def test_limit_is_a_count_or_a_fraction(called: Any) -> None:
    for text, expected in (("1", 1), ("1.0", 1.0), ("500", 500), ("0.01", 0.01)):
        limit = called("parse", "--limit", text)[1]["limit"]
        assert (limit, type(limit)) == (expected, type(expected))
    assert called("parse")[1]["limit"] is None


def test_training_hands_over_only_what_is_given(called: Any) -> None:
    (path,), named = called("train-prior")
    assert (path, named["changes"]) == (Path("runs/glyphs/parse.safetensors"), {})
    assert (named["seed"], named["out"]) == (None, Path("runs/glyphs/prior.safetensors"))

    options = ("--prior", "frozen", "--config", "other.toml", "--steps", "3", "--save-every", "4")
    _, named = called("train-decoder", "a/p.safetensors", "b/q.safetensors", *options)
    assert named["changes"] == {
        "parse": {"parts": 9},
        "prior": {"steps": 9},
        "decoder": {"steps": 3, "prior": "frozen"},
    }
    assert named["out"] == Path("a/model.safetensors")
    assert named["source"] is None
    assert named["runtime"].save_every == 4


def test_a_decoder_looks_for_the_prior_beside_the_parse(called: Any, folder: Path) -> None:
    assert called("train-decoder")[0][1] == Path("runs/glyphs/prior.safetensors")
    assert called("train-decoder", "runs/mnist/parse.safetensors")[0] == (
        Path("runs/mnist/parse.safetensors"),
        Path("runs/mnist/prior.safetensors"),
    )
    assert called("train-decoder", "a/p.safetensors", "b/q.safetensors")[0] == (
        Path("a/p.safetensors"),
        Path("b/q.safetensors"),
    )


def test_samples_go_beside_the_model(called: Any) -> None:
    assert called("sample", "--grid")[1]["out"] == Path("runs/glyphs/samples.png")
    assert called("sample")[1]["out"] == Path("runs/glyphs/samples")
    assert called("sample")[1]["seeds"] == list(range(100))
    assert called("sample", "a/m.safetensors", "--grid")[1]["out"] == Path("a/samples.png")


def test_an_export_goes_beside_the_model(called: Any) -> None:
    assert called("export") == (
        (Path("runs/glyphs/model.safetensors"),),
        {"dtype": "bf16", "force": False, "out": Path("runs/glyphs/export.safetensors")},
    )
    assert called("export", "--data", "mnist")[0] == (Path("runs/mnist/model.safetensors"),)
    assert called("export", "a/m.safetensors")[1]["out"] == Path("a/export.safetensors")
    assert called("export", "--onnx") == (
        (Path("runs/glyphs/model.safetensors"),),
        {"force": False, "out": Path("runs/glyphs/onnx")},
    )
    assert called("export", "a/m.safetensors", "--onnx")[1]["out"] == Path("a/onnx")


@pytest.mark.parametrize("name", ["sample", "eval-nll", "export"])
def test_a_shipped_model_is_found_by_name_and_nothing_goes_beside_it(
    name: str, called: Any, shipped: Path
) -> None:
    file = shipped / "mnist.safetensors"
    by_name, by_path = called(name, "mnist"), called(name, str(file))
    assert by_name == by_path
    assert by_name[0] == (file,)
    outs = {"sample": Path("runs/mnist/samples"), "export": Path("runs/mnist/export.safetensors")}
    assert by_name[1]["out"] == outs.get(name)


def test_other_images_do_not_move_the_output(called: Any) -> None:
    (model,), named = called("eval-nll", "a/m.safetensors", "--data", "folder:x")
    assert (model, named["source"], named["out"]) == (Path("a/m.safetensors"), "folder:x", None)
    assert called("eval-nll", "--data", "mnist")[0] == (Path("runs/mnist/model.safetensors"),)


def test_the_data_root_comes_from_the_environment(
    called: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPDRAW_DATA", "sets")
    assert called("parse")[1]["root"] == Path("sets")
    assert called("parse", "--data-root", "here")[1]["root"] == Path("here")


def test_doctor_fails_on_a_damaged_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data").mkdir()
    (folder / "data/mnist.npz").write_bytes(b"not an archive")
    assert execute(["data", "ls"]) == 0
    sets = capsys.readouterr().out.partition("\n\n")[0].splitlines()[1:]
    listed = {line.split()[0]: line.split()[1] for line in sets}
    assert listed["omniglot"] == "missing"
    assert execute(["data", "doctor"]) == 4
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("Error: mnist is damaged: ")
    assert "npdraw data download mnist --data-root data" in hint
