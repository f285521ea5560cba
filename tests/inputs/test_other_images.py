"""Images that a model was not made from are refused, or a note says what is done to them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from npdraw.cli import execute
from npdraw.config import ParseConfig
from npdraw.datasets import parse_source
from npdraw.errors import DataError, UsageError
from npdraw.header import read_header
from npdraw.inputs.other_images import check_images
from npdraw.reading import Reading
from tests.datasets.own_pictures import drawings
from tests.inputs.test_invalid_models import rewrite
from tests.tiny_stages import Recorder, bars

GREY = ParseConfig(image_size=28)
COLOUR = ParseConfig(image_size=32, channels=3, binarize=False, compositing="over")


def notes(source: str, made_of: str, config: ParseConfig, folder: Path) -> list[str]:
    """Check `source` for a model made of `made_of`; return the notes."""
    progress = Recorder()
    header: Any = SimpleNamespace(dataset={"name": made_of})
    place = folder / "model.safetensors"
    check_images(parse_source(source), folder, header, place, config, progress)
    return progress.notes


@pytest.mark.parametrize(
    ("source", "made_of", "config"),
    [("cifar10", "mnist", GREY), ("celeba", "folder", GREY), ("mnist", "cifar10", COLOUR)],
)
def test_other_channels_are_refused(
    source: str, made_of: str, config: ParseConfig, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"the images of {source} are (in colour|grey), those of"):
        notes(source, made_of, config, tmp_path)


def test_other_sizes_are_noted(tmp_path: Path) -> None:
    assert notes("celeba", "cifar10", COLOUR, tmp_path) == [
        "the images of celeba are 64 x 64 pixels; they are resized to 32 x 32"
    ]
    assert notes("omniglot", "mnist", GREY, tmp_path) == []
    assert notes("celeba", "celeba", COLOUR, tmp_path) == []  # as in its training


def write_pictures(folder: Path, *, colour: bool, sizes: tuple[tuple[int, int], ...]) -> str:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        picture = Image.new("RGB" if colour else "L", sizes[number % len(sizes)])
        values = rng.integers(100, 256, 3).tolist()
        values[0] = 0
        picture.paste(tuple(values) if colour else 255, (3, 3, 8 + number % 5, 12))
        picture.save(folder / f"{number}.png")
    return f"folder:{folder}"


def test_folders_are_looked_at(tmp_path: Path) -> None:
    grey = write_pictures(tmp_path / "grey", colour=False, sizes=((28, 28),))
    colour = write_pictures(tmp_path / "colour", colour=True, sizes=((40, 40), (60, 50)))
    assert notes(grey, "mnist", GREY, tmp_path) == []
    for source, made_of, config in ((colour, "mnist", GREY), (grey, "cifar10", COLOUR)):
        with pytest.raises(UsageError, match="those of"):
            notes(source, made_of, config, tmp_path)
    resized = f"the images of {colour} are 40 x 40 to 60 x 50 pixels; they are resized to "
    assert notes(colour, "cifar10", COLOUR, tmp_path) == [f"{resized}32 x 32"]
    # The user of a model of a folder may have chosen its channels.
    assert notes(colour, "folder", GREY, tmp_path) == [
        f"the images of {colour} are in colour; they are read as grey",
        f"{resized}28 x 28",
    ]


def own_notes(source: str, reading: Reading, folder: Path) -> list[str]:
    """Check `source` for a model of own pictures that were read so; return the notes."""
    progress = Recorder()
    dataset = {"name": "folder", "reading": reading.record()}
    header: Any = SimpleNamespace(dataset=dataset)
    place = folder / "model.safetensors"
    check_images(parse_source(source), folder, header, place, GREY, progress)
    return progress.notes


def test_images_that_look_the_other_way_round_are_noted(tmp_path: Path) -> None:
    paper = f"folder:{drawings(tmp_path / 'paper', 8, ground=255, ink=0)}"
    board = f"folder:{drawings(tmp_path / 'board', 8)}"
    for_paper, for_board = Reading("white", invert=True), Reading()
    model = tmp_path / "model.safetensors"
    for source, reading, kind in (
        (paper, for_board, "dark strokes on a light"),
        (board, for_paper, "light strokes on a dark"),
    ):
        assert own_notes(source, reading, tmp_path) == [
            f"the images of {source} are {kind} ground, the other way round than those of {model}, "
            "but are read like these: invert their files first"
        ]
    assert own_notes(paper, for_paper, tmp_path) == own_notes(board, for_board, tmp_path) == []


def test_images_that_are_cropped_are_noted(tmp_path: Path) -> None:
    wide = f"folder:{drawings(tmp_path / 'wide', 8, size=(60, 28))}"
    said = f"the images of {wide} are 60 x 28 pixels; they are "
    assert own_notes(wide, Reading(), tmp_path) == [f"{said}cropped and resized to 28 x 28"]
    assert own_notes(wide, Reading(fit="pad"), tmp_path) == [f"{said}resized to 28 x 28"]


def test_arrays_are_looked_at(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28, 3), dtype=np.uint8)
    np.savez(tmp_path / "c.npz", train=images[:8], test=images[8:])
    source = f"npz:{tmp_path / 'c.npz'}"
    with pytest.raises(UsageError, match="are in colour"):
        notes(source, "mnist", GREY, tmp_path)
    assert notes(source, "cifar10", COLOUR, tmp_path) == [
        f"the images of {source} are 28 x 28 pixels; they are resized to 32 x 32"
    ]
    assert notes("npz:none.npz", "mnist", GREY, tmp_path) == []  # reading it says what is wrong


def test_the_images_of_the_model_itself_are_not_checked(tmp_path: Path) -> None:
    source = f"folder:{tmp_path / 'none'}"
    run = tmp_path / "model.safetensors.run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"source": source}))
    assert notes(source, "folder", GREY, tmp_path) == []
    assert notes("mnist", "mnist", COLOUR, tmp_path) == []


def test_an_evaluation_refuses_or_notes(stages: Any, trained: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the images of cifar10 are in colour, those of .* grey"):
        stages.eval_nll(trained.model, source="cifar10")
    progress = stages.Recorder()
    larger = np.kron(bars(12, 3), np.ones((1, 2, 2), np.uint8))
    other = stages.from_images(tmp_path / "x.npz", larger[:8], larger[8:])
    stages.eval_nll(trained.model, source=other.source, samples=1, progress=progress)
    assert progress.notes == [
        f"the images of {other.source} are 16 x 16 pixels; they are resized to 8 x 8"
    ]
    progress = stages.Recorder()
    stages.eval_nll(trained.model, source=stages.source, samples=1, progress=progress)
    assert progress.notes == []
    with pytest.raises(DataError):
        stages.eval_nll(trained.model, source="npz:none.npz")


def test_the_exit_code_is_that_of_usage(
    shipped: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["eval-nll", "mnist", "--data", "cifar10", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "npdraw run --data cifar10" in err.splitlines()[1]


def test_a_training_refuses_or_notes_another_data_set(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"the images of cifar10 are in colour, those of .* grey"):
        stages.train_decoder(made.parse, made.prior, tmp_path / "m", source="cifar10")
    colour = write_pictures(tmp_path / "colour", colour=True, sizes=((8, 8),))
    with pytest.raises(UsageError, match="in colour"):
        stages.train_decoder(made.parse, made.prior, tmp_path / "m", source=colour)
    grey, progress = drawings(tmp_path / "grey", size=(16, 16)), stages.Recorder()
    source = f"folder:{grey}"
    stages.train_decoder(made.parse, made.prior, tmp_path / "m", source=source, progress=progress)
    assert progress.notes == [
        f"the images of {source} are 16 x 16 pixels; they are resized to 8 x 8",
        "every 10th picture is a test picture",
    ]


@pytest.fixture
def of_mnist(made: Any, tmp_path: Path) -> Path:
    """Artifacts that say that they were made from MNIST."""
    folder = tmp_path / "named"
    folder.mkdir()
    for kind in ("parse", "prior", "model"):
        path = getattr(made, kind)
        dataset = {**read_header(path).dataset, "name": "mnist"}
        inputs = {
            name: read_header(folder / f"{name}.safetensors").digest
            for name in read_header(path).inputs
        }
        rewrite(path, folder / path.name, lambda _: None, dataset=dataset, inputs=inputs)
    return folder


def test_pictures_for_a_model_of_a_named_set_are_inverted_if_need_be(
    of_mnist: Path, stages: Any, tmp_path: Path
) -> None:
    paper = f"folder:{drawings(tmp_path / 'paper', 40, ground=255, ink=0)}"
    board = f"folder:{drawings(tmp_path / 'board', 40, ground=0, ink=255)}"
    model, results = of_mnist / "model.safetensors", []
    for source, said in ((paper, "dark strokes on a light ground: inverted"), (board, "light")):
        progress = stages.Recorder()
        results.append(stages.eval_nll(model, source=source, samples=1, progress=progress))
        assert said in " ".join(progress.notes)
        assert "(--" not in " ".join(progress.notes)
    assert results[0]["nll"] == results[1]["nll"]
    out = tmp_path / "m"
    artifacts = [of_mnist / f"{kind}.safetensors" for kind in ("parse", "prior")]
    stages.train_decoder(*artifacts, out, source=paper)
    assert read_header(out).dataset["reading"]["invert"] is True
