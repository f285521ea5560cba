"""Small and simple sets of own pictures: banks with fewer parts, and pictures that are empty."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.cli import execute
from npdraw.errors import DataError, UsageError
from npdraw.header import read_header
from npdraw.inputs.empty_images import count_empty
from npdraw.inputs.models import read_parse
from npdraw.reading import Reading
from tests.datasets.own_pictures import drawings

INK = {
    "image_size": 8, "channels": 3, "binarize": False, "part_size": 4, "stride": 4, "jitter": 1,
    "finer": (2,), "inks": 8, "contrasts": 3, "threshold": 0.01,
}  # fmt: skip


def simple(count: int, empty: int = 0) -> Any:
    """Return images of 8 x 8 pixels with six different patches of 4 x 4, `empty` of them black."""
    images = np.zeros((count, 8, 8), np.uint8)
    for number, image in enumerate(images[empty:]):
        image[: 2 + number % 3, :4] = 255
        image[4:, 4 : 6 + number % 3] = 255
    images[empty:, 0, 0] = 255
    return images


@pytest.fixture
def few(stages: Any, tmp_path: Path) -> Any:
    """The stages on images with fewer patches than parts."""
    plain = stages.configured(parse={"jitter": 1, "parts": 30})
    return plain.from_images(tmp_path / "few.npz", simple(40))


def test_a_bank_has_as_many_parts_as_there_are_patches(few: Any, tmp_path: Path) -> None:
    out, seen = tmp_path / "parse.safetensors", few.Recorder()
    result = few.parse(out, fewer_parts=True, progress=seen)
    artifact = read_parse(out)
    bank = artifact.tensors["bank"]
    parts = len(bank)
    assert parts == len(bank.flatten(1).unique(dim=0)) < 30
    assert result["canvas_mse"] == 0  # every patch is a part
    assert artifact.header.config["parse"]["parts"] == parts
    note = f"{parts} parts, as many as there are different patches; 30 were wanted (--parts)"
    assert seen.notes[1:] == [note]  # after that on validation
    stored = json.loads((tmp_path / "parse.safetensors.run/config.json").read_text())["notes"]
    assert stored[1:] == [note]
    assert few.parse(out, fewer_parts=True)["up_to_date"] is True
    assert few.configured(parse={"parts": parts}).parse(out)["up_to_date"] is True
    planned = few.parse(tmp_path / "other", fewer_parts=True, dry_run=True)
    assert planned["settings"]["parse"]["parts"] == parts
    enough = few.configured(parse={"parts": parts - 1})
    enough.parse(tmp_path / "other", fewer_parts=True)
    assert len(read_parse(tmp_path / "other").tensors["bank"]) == parts - 1


def test_with_ink_there_are_half_as_many_patterns_so_that_every_layer_has_some(
    stages: Any, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)
    settings = {**INK, "parts": 300}
    ink = stages.configured(parse=settings).from_images(
        tmp_path / "x.npz", images[:44], images[44:]
    )
    out, seen = tmp_path / "parse.safetensors", ink.Recorder()
    ink.parse(out, fewer_parts=True, progress=seen)
    tables, dataset = read_parse(out).tensors, read_header(out).dataset
    parts = dataset["train"] * 4 // 2  # four cells each in the first layer, all different
    assert f"{parts} patterns per layer, half as many as there are different" in seen.notes[-1]
    assert [len(tables[f"patterns_{n}"].unique(dim=0)) for n in (0, 1)] == [parts, parts]


def test_a_number_of_parts_that_was_given_is_an_error(few: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="30 parts, but the images have only") as caught:
        few.parse(tmp_path / "p")
    assert caught.value.hint.startswith("Use at most ")
    with pytest.raises(UsageError, match="all patches of the images are too faint") as caught:
        few.configured(parse={"threshold": 1e6}).parse(tmp_path / "p", fewer_parts=True)
    for option in ("--image-size", "--fit", "--pixels", "threshold"):
        assert option in caught.value.hint


SHORT = ("--steps", "2", "--samples", "1", "--image-size", "16", "--quiet")


def test_every_stage_of_a_run_knows_the_number(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawings(workdir / "own", 12, size=(16, 16))
    command = ["run", "--data", "folder:own", "--out", "out", *SHORT]
    assert execute([*command, "--dry-run", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["settings"]["parse"]["parts"]
    assert parts < 50
    assert execute(command) == 0
    for kind in ("parse", "prior", "model"):
        stored = read_header(workdir / f"out/{kind}.safetensors").config
        assert stored["parse"]["parts"] == parts
    capsys.readouterr()
    assert execute([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert all(result[stage]["up_to_date"] for stage in ("parse", "train_prior", "train_decoder"))
    parse = ["parse", "--data", "folder:own", "--image-size", "16", "--quiet"]
    assert execute([*parse, "--out", "out/parse.safetensors"]) == 0  # up to date
    assert execute([*parse, "--out", "p", "--parts", "50"]) == 2
    assert f"Use at most {parts} parts" in capsys.readouterr().err
    (workdir / "x.toml").write_text("[parse]\nparts = 50\n")
    assert execute([*parse, "--out", "p", "--config", "x.toml"]) == 2


@pytest.mark.parametrize("shift", [0, 1])
def test_empty_images_are_counted(shift: int, few: Any, tmp_path: Path) -> None:
    some = few.from_images(tmp_path / "some.npz", simple(40, empty=7))
    seen = some.Recorder()
    some.configured(parse={"shift": shift}).parse(tmp_path / "p", fewer_parts=True, progress=seen)
    assert seen.notes[0] == (
        "7 of 40 images are empty: try a larger --image-size, another --fit, or --pixels levels"
    )
    most = few.from_images(tmp_path / "most.npz", simple(40, empty=21))
    with pytest.raises(DataError, match=r"21 of 40 images of npz:.* are empty at 8 x 8") as caught:
        most.parse(tmp_path / "q", fewer_parts=True)
    for option in ("--image-size", "--fit", "--pixels"):
        assert option in caught.value.hint
    assert not (tmp_path / "q").exists()
    grey = most.configured(parse={"binarize": False, "shift": shift})
    with pytest.raises(DataError) as caught:
        grey.parse(tmp_path / "q", fewer_parts=True, reading=Reading(invert=True))
    assert "--pixels" not in caught.value.hint


def test_an_image_of_one_colour_is_empty() -> None:
    red = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 200
    red[1, 2, 3, 3] = 1
    assert count_empty(red) == 1


@pytest.mark.parametrize("edge", [0, -1])
def test_copies_that_are_shifted_out_of_the_frame_do_not_count(
    edge: int, few: Any, tmp_path: Path
) -> None:
    images = np.zeros((40, 8, 8), np.uint8)
    for number, image in enumerate(images):
        image[edge, number % 5 : 3 + number % 5] = 255
    seen = few.Recorder()
    shifted = few.from_images(tmp_path / "edge.npz", images).configured(parse={"shift": 1})
    shifted.parse(tmp_path / "p", fewer_parts=True, progress=seen)
    assert not any("empty" in note for note in seen.notes)


def test_stored_notes_hold_no_path(few: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    shades = np.arange(60, dtype=np.uint8)[:, None, None]
    np.savez(tmp_path / "secret/one.npz", simple(60) // 4 + shades)
    seen = few.Recorder()
    source = f"npz:{tmp_path / 'secret/one.npz'}"
    few.parse(tmp_path / "p", source=source, fewer_parts=True, progress=seen)
    assert any("secret/one.npz" in note for note in seen.notes)
    stored = json.loads((tmp_path / "p.run/config.json").read_text())["notes"]
    assert len(stored) == len(seen.notes)
    assert "secret" not in str(stored) and "one.npz" in str(stored)
