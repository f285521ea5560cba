"""`npdraw.fit`: the files of `npdraw run`, from Python."""

import json
import math
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import npdraw
from npdraw.cli import execute
from npdraw.datasets import digest
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.errors import BusyError, DataError, NpdrawError, StoppedError, UsageError
from npdraw.reading import Wanted
from npdraw.runtime.lock import command_lock
from npdraw.runtime.settings import Runtime
from npdraw.stages import fit as stage
from tests.tiny_stages import Recorder, bars

ARTIFACTS = ("parse.safetensors", "prior.safetensors", "model.safetensors")

CONFIG = {
    "parse": {"part_size": 4, "stride": 4, "parts": 8},
    "prior": {"width": 16, "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 32},
    "decoder": {"encoder_channels": 8, "encoder_depth": 1, "decoder_channels": [8, 16]},
}
CONFIG["prior"]["batch_size"] = CONFIG["decoder"]["batch_size"] = 8
CONFIG["decoder"]["decoder_depth"] = 1


DEFAULTS: dict[str, Any] = dict.fromkeys(
    (
        *("labels", "preset", "config", "image_size", "steps", "minutes"),
        *("limit", "out", "data_root", "progress"),
    )
)
DEFAULTS |= {"wanted": Wanted(), "seed": 0, "runtime": Runtime()}
"""Arguments of the stage."""


def fit(images: Any, out: Path | None, **given: Any) -> DrawingModel:
    """Fit with tiny settings, in a moment."""
    quick = {"config": CONFIG, "steps": 4, "threads": 1, "progress": None}
    return npdraw.fit(images, out=out, **{**quick, **given})


def files(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in ARTIFACTS]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return bars(70, 3)


@pytest.fixture(scope="module")
def fitted(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> DrawingModel:
    """The model of the images, trained without interruption."""
    return fit(images, tmp_path_factory.mktemp("fitted") / "run", seed=3)


def test_files_are_those_of_the_command(
    stages: Any,
    tiny_settings: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(tiny_settings())
    flags = ["--limit", "50", "--steps", "4", "--seed", "3", "--pixels", "levels"]
    command = ["run", "--data", stages.source, "--config", str(file), *flags, "--quiet"]
    small = ["--samples", "1", "--images", "2", "--threads", "1"]
    assert execute([*command, *small, "--out", str(tmp_path / "command")]) == 0
    arguments: dict[str, Any] = {"limit": 50, "seed": 3, "pixels": "levels"}
    model = fit(stages.source, tmp_path / "python", config=str(file), **arguments)
    assert files(tmp_path / "python") == files(tmp_path / "command")
    assert model.path == tmp_path / "python/model.safetensors"
    assert model.header.config["preset"] == "textures"
    assert model.header.metrics["nll"] > 0
    capsys.readouterr()
    assert execute([*command, *small, "--out", str(tmp_path / "python"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert all(result[name]["up_to_date"] for name in ("parse", "train_prior", "train_decoder"))
    settings = {name: dict(model.header.config[name]) for name in ("parse", "prior", "decoder")}
    again = fit(stages.source, tmp_path / "mapping", config=settings, **arguments)
    assert again.header.digest == model.header.digest


def test_an_array_and_the_file_of_it_make_the_same_model(
    images: np.ndarray, fitted: DrawingModel, tmp_path: Path
) -> None:
    np.savez(tmp_path / "saved.npz", anything=images)
    from_file = fit(tmp_path / "saved.npz", tmp_path / "file", seed=3)
    assert files(tmp_path / "file") == files(fitted.path.parent)
    assert from_file.header.dataset["name"] == "npz"
    tensor = torch.tensor(images)[:, None] / 255
    fit(tensor, tmp_path / "tensor", seed=3)
    assert files(tmp_path / "tensor") == files(fitted.path.parent)


def test_a_finished_run_returns_at_once(images: np.ndarray, fitted: DrawingModel) -> None:
    seen, out = Recorder(), fitted.path.parent
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert fit(images, out, seed=3, progress=seen).header.digest == fitted.header.digest
    assert seen.tasks == []
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before
    assert float(fitted.nll(images[:4], samples=2).mean()) > 0  # it is a model to work with
    for other in ({"steps": 5}, {"seed": 4}, {"preset": "mnist"}, {"limit": 50}):
        with pytest.raises(UsageError, match="exists with other settings"):
            fit(images, out, **{"seed": 3, **other})
    with pytest.raises(UsageError, match="holds other images"):
        fit(images[:60], out, seed=3)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


def test_force_starts_again(images: np.ndarray, tmp_path: Path) -> None:
    fit(images, tmp_path / "run")
    forced = fit(images[:60], tmp_path / "run", steps=3, force=True)
    assert forced.header.digest == fit(images[:60], tmp_path / "new", steps=3).header.digest


def test_an_interrupted_run_resumes_to_the_same_files(
    images: np.ndarray, fitted: DrawingModel, interrupt: Callable[..., Recorder], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for stopped in ("prior", "model"):  # each stage at its third step
        with pytest.raises(KeyboardInterrupt, match=r"stopped at step 3 of 4\. Call npdraw"):
            fit(images, out, seed=3, progress=interrupt(3))
        assert (out / f"{stopped}.safetensors.run/checkpoint.safetensors").exists()
        assert not (out / f"{stopped}.safetensors").exists()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    seen = Recorder()
    fit(images, out, seed=3, progress=seen)
    assert [task[0] for task in seen.tasks] == ["train-decoder"]
    assert seen.tasks[0][2]["done"] == 3
    assert files(out) == files(fitted.path.parent)


def test_a_forced_run_resumes_without_force(
    images: np.ndarray, interrupt: Callable[..., Recorder], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"same arguments to resume, but without force"):
        fit(images, tmp_path / "run", force=True, progress=interrupt(3))
    seen = Recorder()
    fit(images, tmp_path / "run", progress=seen)
    assert seen.tasks[0][2]["done"] == 3


def test_termination_saves_too(
    images: np.ndarray, interrupt: Callable[..., Recorder], tmp_path: Path
) -> None:
    with pytest.raises(StoppedError, match="stopped at step 2 of 4") as caught:
        fit(images, tmp_path / "run", progress=interrupt(2, signal.SIGTERM))
    assert caught.value.exit_code == 143
    assert "Call npdraw.fit again" in caught.value.hint


def test_after_an_interruption_before_anything_is_made_other_images_may_follow(
    images: np.ndarray, interrupt: Callable[..., Recorder], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(images, tmp_path / "run", progress=interrupt(63))  # the parse is done, not written
    assert [path.name for path in tmp_path.rglob("*.npy")] == []
    other = fit(images[:60], tmp_path / "run")
    assert other.header.dataset["train"] + other.header.dataset["validation"] == 54


def test_a_thread_trains_as_well(images: np.ndarray, fitted: DrawingModel, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        trained = threads.submit(fit, images, tmp_path / "run", seed=3).result()
    assert trained.header.digest == fitted.header.digest


def test_one_fit_at_a_time_writes_to_a_folder(
    stages: Any, images: np.ndarray, tmp_path: Path
) -> None:
    with command_lock(tmp_path / "model.safetensors"):
        for given in (images, stages.source):
            with pytest.raises(BusyError):
                fit(given, tmp_path)


def test_few_images_have_fewer_parts_unless_their_number_is_given(tmp_path: Path) -> None:
    few = {**CONFIG, "parse": {"part_size": 4, "stride": 4}}
    assert fit(bars(7, 0), tmp_path / "run", config=few).brush.sizes["what"] < 28
    with pytest.raises(UsageError, match="different patches"):
        fit(bars(7, 0), tmp_path / "other", config={**few, "parse": {"parts": 50}})


def test_random_numbers_and_threads_of_the_caller_stay(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workdir.is_dir()

    def train(*_: Any, **__: Any) -> None:
        torch.manual_seed(6)
        torch.set_num_threads(2)

    monkeypatch.setattr(stage, "train", train)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    stage.fit("mnist", **DEFAULTS)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 1


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> Callable[..., str]:
    """Return a function that says where a model would be written; nothing is trained."""
    assert workdir.is_dir()
    monkeypatch.setattr(stage, "train", lambda *_, **how: made.append(how["out"]))
    monkeypatch.setattr(stage, "train_classes", lambda *_, **__: None)
    made: list[Path] = []

    def folder(images: Any, **given: Any) -> str:
        path = stage.fit(images, **{**DEFAULTS, **given})
        kind = "classes" if "labels" in given else "model"
        assert path == made[-1] / f"{kind}.safetensors"
        return str(path.parent)

    return folder


def test_without_out_a_run_has_the_name_of_its_preset_or_images(
    images: np.ndarray, folders: Callable[..., str]
) -> None:
    assert folders("mnist") == "runs/mnist"
    assert folders("mnist", preset="mnist-best") == "runs/mnist-best"
    Path("pictures").mkdir()
    for number, image in enumerate(images[:6]):
        Image.fromarray(image).save(f"pictures/{number}.png")
    assert folders(Path("pictures")) == folders("folder:pictures") == "runs/glyphs"
    assert folders(images) == f"runs/images-{digest(images)[:8]}"
    assert folders(images, preset="mnist") == folders(images)
    assert folders(images[::-1]) != folders(images)
    named = np.arange(len(images)) % 2
    assert folders(images, labels=named) == f"runs/labelled-{digest(images)[:8]}"
    assert folders(images, out="mine") == "mine"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": "4"}, "steps is '4', not a whole number"),
        ({"steps": True}, "steps is True, not a whole number"),
        ({"steps": 0}, "steps"),
        ({"limit": "all"}, "limit is 'all', not a whole number"),
        ({"limit": 0}, "limit 0 is neither a count nor a fraction"),
        ({"limit": 1000}, "limit 1000, but there are 63 images"),
        ({"steps": None, "minutes": 0}, "minutes is 0, not a time"),
        ({"steps": None, "minutes": "5"}, "minutes is '5', not a time"),
        ({"minutes": 5}, "steps and minutes exclude each other"),
        ({"labels": True}, "labels=True, but the images are an array"),
        ({"seed": -1}, "seed -1 is not in"),
        ({"seed": 2**63}, "is not in 0.."),
        ({"seed": None}, "seed None is not in"),
        ({"preset": "gliphs"}, "unknown preset 'gliphs'"),
        ({"config": {"parse": {"part": 7}}}, "unknown setting parse.part in config"),
        ({"config": {"parse": 7}}, "parse in config is not a section"),
        ({"config": "missing.toml"}, "cannot read missing.toml"),
        ({"invert": "perhaps"}, "--invert perhaps is unknown"),
        ({"channels": 2}, "--channels 2 is unknown"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"progress": "yes"}, "progress is 'yes'"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_made(
    wrong: dict[str, Any], message: str, images: np.ndarray, workdir: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        fit(images, Path("run"), **wrong)
    assert message in caught.value.message
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("gliphs", "unknown data set 'gliphs'"),
        ("folder:missing", "there is no folder missing"),
        (Path("missing"), "missing is neither a folder nor"),
        (np.zeros((9, 8, 8), np.uint8), "all 9 images of run/images.npy are equal"),
        (bars(3, 0), "has 3 images; at least 4 are needed"),
        (bars(9, 0).astype(np.int32), "is int32 with values"),
        (3, "images of type int are neither"),
    ],
)
def test_images_that_are_none_are_an_error_and_nothing_is_made(
    wrong: Any, message: str, workdir: Path
) -> None:
    with pytest.raises(NpdrawError) as caught:
        fit(wrong, Path("run"))
    assert message in caught.value.message
    assert list(workdir.iterdir()) == []


NAMES = np.array(["across", "down"])


def test_labels_of_an_array_make_a_model_with_classes(
    images: np.ndarray, fitted: DrawingModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, labels = tmp_path / "run", NAMES[np.arange(70) % 2]
    model = fit(images, out, seed=np.int64(3), labels=labels)
    assert model.path == out / "classes.safetensors"
    assert model.classes == ("across", "down")
    assert torch.equal(model.nll(images[:4], samples=2), fitted.nll(images[:4], samples=2))
    with np.load(out / "images.npz") as saved:
        assert np.array_equal(saved["images"], images)
        assert saved["labels"].tolist() == labels.tolist()

    seen = Recorder()
    again = fit(images, out, seed=3, labels=labels.astype(object), progress=seen)
    assert again.header.digest == model.header.digest and seen.tasks == []
    with pytest.raises(UsageError, match="holds other images or labels"):
        fit(images, out, seed=3, labels=labels[::-1])

    command = ["train-classes", str(out / "model.safetensors"), "--steps", "4", "--threads", "1"]
    assert execute([*command, "--out", str(tmp_path / "command.safetensors")]) == 0
    capsys.readouterr()
    assert npdraw.load(tmp_path / "command.safetensors").header.digest == model.header.digest


def test_arguments_override_settings_of_classes_too(images: np.ndarray, tmp_path: Path) -> None:
    config = {**CONFIG, "prior": {**CONFIG["prior"], "steps": 3}, "classes": {"drawings": 40}}
    model = fit(images, tmp_path / "run", config=config, steps=2, labels=np.arange(70) % 2)
    steps = [model.header.config[name]["steps"] for name in ("prior", "decoder", "classes")]
    assert steps == [2, 2, 2]
    assert model.header.config["classes"]["drawings"] == 40


def test_labels_for_a_run_without_them_leave_nothing_behind(
    images: np.ndarray, tmp_path: Path
) -> None:
    fit(images, tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="exists with other settings"):
        fit(images, tmp_path / "run", labels=np.arange(70) % 2)
    assert sorted(tmp_path.rglob("*")) == before


def test_labels_of_files_are_asked_for_by_true(images: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "saved.npz", images=images, labels=np.arange(70) % 3)
    assert fit(tmp_path / "saved.npz", tmp_path / "run", labels=True).classes == ("0", "1", "2")
    with pytest.raises(UsageError, match="labels were given, but the images are read from files"):
        fit(tmp_path / "saved.npz", tmp_path / "other", labels=np.arange(70))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(69), r"labels for 70 images are int64 \[69\]"),
        (np.full(70, -1), "labels for 70 images are int64"),
        ([[1, 2], [3]], "labels for 70 images are object"),
        ([None] * 70, "labels for 70 images are object"),
        (["cat", math.nan] * 35, "labels for 70 images are object"),
        ([1, "a"] * 35, "labels for 70 images are object"),
        ("cat", r"labels for 70 images are <U3 \[\]"),
        (np.zeros(70, int), "have the same label"),
    ],
)
def test_labels_that_cannot_be_learned_are_an_error_before_the_training(
    labels: Any, message: str, images: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        fit(images, tmp_path / "run", labels=labels)
    assert list(tmp_path.rglob("*.*")) == []


def test_labels_are_checked_again_with_force(images: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "saved.npz", images=images, labels=np.arange(70) % 2)
    model = fit(tmp_path / "saved.npz", tmp_path / "run", labels=True)
    np.savez(tmp_path / "saved.npz", images=images)
    seen = Recorder()
    with pytest.raises(DataError, match="has no labels"):
        fit(tmp_path / "saved.npz", tmp_path / "run", labels=True, force=True, progress=seen)
    assert not any(task[0] == "train-prior" for task in seen.tasks)
    assert npdraw.load(model.path).header.digest == model.header.digest


def test_files_without_labels_are_an_error_before_the_training(
    images: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "saved.npy", images)
    with pytest.raises(DataError, match="has no labels"):
        fit(tmp_path / "saved.npy", tmp_path / "run", labels=True)
    assert list((tmp_path / "run").rglob("*.safetensors")) == []


def test_minutes_plan_the_steps(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(config: Any, path: Path, minutes: float, *_: Any, **__: Any) -> list[int]:
        assert minutes == 0.5
        return [2, 3]

    monkeypatch.setattr("npdraw.stages.run.planned", planned)
    model = fit(images, tmp_path / "run", steps=None, minutes=np.float32(0.5))
    assert model.header.config["prior"]["steps"] == 2
    assert model.header.config["decoder"]["steps"] == 3


def test_notes_say_how_an_array_is_read(
    images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(255 - images, tmp_path / "run", progress=True)
    said = capsys.readouterr().err
    assert "dark strokes on a light ground: inverted (--invert no keeps them)" in said
    assert "every 10th image is a test image" in said
    assert "train-decoder 4/4" in said
    fit(255 - images, tmp_path / "kept", invert="no", progress=False)
    assert capsys.readouterr() == ("", "")
    assert (
        npdraw.load(tmp_path / "kept/model.safetensors").header.dataset["reading"]["invert"]
        is False
    )
