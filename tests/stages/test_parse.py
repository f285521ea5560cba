"""Stage 1: what is stored, from which images, and what happens to existing output."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.artifacts import read_artifact
from npdraw.config import as_dict
from npdraw.datasets import digest
from npdraw.datasets.splits import binarize
from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.inputs.models import drawings_of, layout_of
from npdraw.model.parsing import parse as parse_images
from npdraw.stages import parse as stage

KEYS = {"images", "seconds", "parts_painted_mean", "canvas_mse", "dead_parts"}
"""What docs/interface.md promises of `npdraw parse --json`."""


def images_of(stages: Any) -> Any:
    return np.load(stages.npz)["train"]


def test_the_bank_comes_from_the_training_split_only(stages: Any, tmp_path: Path) -> None:
    images = images_of(stages)
    held_out, train = images.copy(), images.copy()
    held_out[stages.train :] = 255 - held_out[stages.train :]
    train[stages.train - 1] = 255 - train[stages.train - 1]
    banks, drawings = [], []
    for name, changed in (("a", images), ("held_out", held_out), ("train", train)):
        stages.from_images(tmp_path / f"{name}.npz", changed).parse(tmp_path / name)
        artifact = read_artifact(tmp_path / name, kind="parse")
        banks.append(artifact.tensors["bank"])
        drawings.append(artifact.tensors["what"][: stages.train])
    assert torch.equal(banks[0], banks[1])
    assert torch.equal(drawings[0], drawings[1])
    assert not torch.equal(banks[0], banks[2])


@pytest.mark.parametrize(("seed", "limit"), [(3, None), (0, 10)])
def test_stored_drawings_and_metrics_are_of_one_binarisation(
    seed: int, limit: int | None, stages: Any, slow_paint: Any, tmp_path: Path
) -> None:
    result = stages.parse(tmp_path / "p", seed=seed, limit=limit)
    artifact = read_artifact(tmp_path / "p", kind="parse")
    settings = stages.config.parse
    z = drawings_of(artifact)
    assert len(z) == result["images"] == (limit or stages.train + stages.validation)
    for other in range(5):
        binary = binarize(images_of(stages)[: len(z), None], other)
        again = parse_images(
            torch.from_numpy(binary).float(),
            artifact.tensors["bank"],
            layout_of(settings),
            threshold=settings.threshold,
            compositing=settings.compositing,
            sweeps=settings.sweeps,
        )
        same = [torch.equal(getattr(z, n), getattr(again, n)) for n in ("whether", "where", "what")]
        assert all(same) is (other == seed)

    tensors = {name: tensor.numpy() for name, tensor in artifact.tensors.items()}
    whether, what = tensors["whether"], tensors["what"]
    binary = binarize(images_of(stages)[: len(z), None], seed)
    canvas = slow_paint(whether, tensors["where"], what, tensors["bank"], settings)
    assert result["canvas_mse"] == pytest.approx(((canvas - binary) ** 2).mean(), rel=1e-6)
    assert 0 < result["canvas_mse"] < binary.mean() / 2  # far better than a blank canvas
    assert result["parts_painted_mean"] == pytest.approx(whether.sum() / len(whether), rel=1e-6)
    usage = [int((whether & (what == part)).sum()) for part in range(settings.parts)]
    assert tensors["usage"].tolist() == usage
    assert result["dead_parts"] == usage.count(0)
    assert limit is None or {0, 1} <= set(usage)  # a part painted once is not dead
    assert (tensors["where"][~whether] == 0).all()
    assert (what[~whether] == 0).all()
    assert {name: result[name] for name in artifact.header.metrics} == artifact.header.metrics
    assert result.keys() >= KEYS


def test_images_without_strokes_are_refused(stages: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="all patches of the images are too faint"):
        stages.configured(parse={"threshold": 1e6}).parse(tmp_path / "p")


@pytest.mark.parametrize("bound", ["IMAGES_AT_ONCE", "GAINS_AT_ONCE"])
def test_chunks_do_not_change_the_result(
    bound: str, stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, parts = layout_of(stages.config.parse), stages.config.parse.parts
    gains = layout.steps * layout.placements * parts
    monkeypatch.setattr(stage, bound, {"IMAGES_AT_ONCE": 7, "GAINS_AT_ONCE": 8 * gains - 1}[bound])
    seen = stages.Recorder()
    result = stages.parse(tmp_path / "p", progress=seen)
    assert seen.tasks == [("parse", 60, {})]
    assert seen.counts == [7, 14, 21, 28, 35, 42, 49, 56, 60, -1]
    assert result["canvas_mse"] == pytest.approx(made.results["parse"]["canvas_mse"], rel=1e-6)
    whole = read_artifact(made.parse, kind="parse").tensors
    for name, tensor in read_artifact(tmp_path / "p", kind="parse").tensors.items():
        assert torch.equal(tensor, whole[name])


def test_the_same_command_gives_the_same_bytes_in_any_folder(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    elsewhere = stages.from_images(
        tmp_path / "copy.npz", images_of(stages), np.load(stages.npz)["test"]
    )
    elsewhere.parse(tmp_path / "deep" / "folder" / "p")
    assert (tmp_path / "deep/folder/p").read_bytes() == made.parse.read_bytes()
    stages.parse(tmp_path / "other", seed=1)
    assert (tmp_path / "other").read_bytes() != made.parse.read_bytes()


@pytest.mark.parametrize(("limit", "kept"), [(30, 30), (0.5, 30), (1.0, 60), (1, None), (61, None)])
def test_limit_uses_only_the_first_images(
    limit: int | float, kept: int | None, stages: Any, tmp_path: Path
) -> None:
    if kept is None:
        with pytest.raises(UsageError, match=r"--limit|training images"):
            stages.parse(tmp_path / "p", limit=limit)
        assert not (tmp_path / "p").exists()
        return
    result = stages.parse(tmp_path / "p", limit=limit)
    assert result["images"] == kept
    stages.from_images(tmp_path / "few.npz", images_of(stages)[:kept]).parse(tmp_path / "few")
    assert (tmp_path / "p").read_bytes() == (tmp_path / "few").read_bytes()


def test_an_artifact_records_its_inputs(stages: Any, made: Any) -> None:
    header = read_artifact(made.parse, kind="parse").header
    images = images_of(stages)[:, None]
    assert header.dataset == {
        "name": "npz",
        "train": stages.train,
        "validation": stages.validation,
        "image_shape": [1, 8, 8],
        "binarized": True,
        "digest": digest(images),
    }
    assert header.config == json.loads(json.dumps(as_dict(stages.config, ("parse",))))
    assert (header.inputs, header.seed) == ({}, 0)


def test_every_setting_changes_the_weights(stages: Any, made: Any, tmp_path: Path) -> None:
    whole = read_artifact(made.parse, kind="parse").tensors
    for name, value in {
        "parts": 7,
        "part_size": 3,
        "stride": 3,
        "jitter": 1,
        "snap": "mean",
        "compositing": "over",
        "threshold": 2.0,
        "sweeps": 1,
        "image_size": 12,
        "shift": 1,
    }.items():
        out = tmp_path / name
        stages.configured(parse={name: value}).parse(out)
        tensors = read_artifact(out, kind="parse").tensors
        assert any(
            tensors[key].shape != whole[key].shape or not torch.equal(tensors[key], whole[key])
            for key in whole
        ), name


def test_a_repeated_command_is_up_to_date(
    stages: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.parse.stat()
    monkeypatch.setattr(stage, "build_bank", None)  # would fail if it were called
    result = stages.parse(made.parse)
    assert result.pop("up_to_date") is True
    assert result == made.results["parse"]
    assert made.parse.stat() == before


def test_other_settings_are_refused_unless_forced(stages: Any, tmp_path: Path) -> None:
    out, fresh = tmp_path / "p", tmp_path / "fresh"
    stages.parse(out)
    before = out.read_bytes()
    fewer = stages.configured(parse={"parts": 7})
    for refused, named in (
        (lambda: fewer.parse(out), "parse.parts 8, now 7"),
        (lambda: stages.parse(out, seed=1), "seed 0, now 1"),
        (lambda: stages.parse(out, limit=30), "dataset.train 40, now 15"),
    ):
        with pytest.raises(UsageError) as caught:
            refused()
        assert named in caught.value.message
        assert str(out) in caught.value.message
        assert caught.value.exit_code == 2
        assert "--force" in caught.value.hint
        assert out.read_bytes() == before
    fewer.parse(out, force=True)
    fewer.parse(fresh)
    assert out.read_bytes() == fresh.read_bytes() != before
    assert fewer.parse(out)["up_to_date"] is True


def test_a_damaged_output_is_named_and_kept_until_forced(
    stages: Any, made: Any, tmp_path: Path, flip: Any
) -> None:
    out = tmp_path / "p"
    whole = made.parse.read_bytes()
    for content in (whole[:-1], whole[:100], b"", b"my diary"):
        out.write_bytes(content)
        with pytest.raises(ArtifactError, match=str(out)) as caught:
            stages.parse(out)
        assert (caught.value.exit_code, caught.value.hint) == (3, "--force replaces it.")
        assert out.read_bytes() == content
    out.write_bytes(whole)
    flip(out, -1)
    with pytest.raises(ArtifactError):
        stages.parse(out)
    assert "up_to_date" not in stages.parse(out, force=True)
    assert out.read_bytes() == whole


def test_more_parts_than_patches_is_a_usage_error(stages: Any, tmp_path: Path) -> None:
    out = tmp_path / "p"
    with pytest.raises(UsageError, match="4096 parts, but the images have only") as caught:
        stages.configured(parse={"parts": 4096}).parse(out)
    assert caught.value.exit_code == 2
    assert "--parts" in caught.value.hint
    assert not out.exists()
    stages.parse(out)  # what the failure left in the run folder does not matter
    assert out.exists()


def test_equal_images_are_a_data_error(stages: Any, tmp_path: Path) -> None:
    blank = stages.from_images(tmp_path / "blank.npz", np.zeros((30, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"all 30 training images of npz:.* are equal"):
        blank.parse(tmp_path / "p")


def test_fewer_than_three_images_are_a_data_error(stages: Any, tmp_path: Path) -> None:
    few = stages.from_images(tmp_path / "few.npz", images_of(stages)[:2])
    with pytest.raises(DataError, match="only 2 training images") as caught:
        few.parse(tmp_path / "p")
    assert caught.value.hint == ("At least 4 different images are needed, 3 of them for training.")


def test_four_pictures_are_enough(stages: Any, tmp_path: Path) -> None:
    pictures(tmp_path / "few", images_of(stages)[:4])
    few = stages.configured(parse={"parts": 2})
    few.parse(tmp_path / "p", source=f"folder:{tmp_path / 'few'}")
    dataset = read_artifact(tmp_path / "p", kind="parse").header.dataset
    assert (dataset["train"], dataset["validation"]) == (2, 1)


def test_dry_run_writes_nothing(stages: Any, tmp_path: Path) -> None:
    result = stages.parse(tmp_path / "deep" / "p", dry_run=True)
    assert result["dry_run"] is True
    assert result["settings"] == as_dict(stages.config, ("parse",))
    assert result["estimates"]["steps_a_drawing"] == 4
    assert list(tmp_path.iterdir()) == []


def pictures(folder: Path, images: Any) -> None:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")


def test_the_path_of_a_folder_is_kept_in_the_run_folder_only(stages: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "secret-place", tmp_path / "p"
    pictures(folder, images_of(stages))
    stages.parse(out, source=f"folder:{folder}")
    config = json.loads((tmp_path / "p.run/config.json").read_text())
    assert config["source"] == f"folder:{folder}"
    assert config["parse"] == json.loads(json.dumps(as_dict(stages.config)))["parse"]
    assert b"secret-place" not in out.read_bytes()
    header = read_artifact(out, kind="parse").header
    assert header.dataset["name"] == "folder"
    assert (
        header.dataset["train"] + header.dataset["validation"] == 54
    )  # every tenth is a test image


def test_unreadable_pictures_are_reported(stages: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    pictures(folder, images_of(stages)[:12])
    (folder / "torn.png").write_bytes((folder / "000.png").read_bytes()[:40])
    seen = stages.Recorder()
    source = f"folder:{folder}"
    few = stages.configured(parse={"parts": 4})
    few.parse(tmp_path / "p", source=source, progress=seen)
    assert any("torn.png" in note for note in seen.notes)
    with pytest.raises(DataError, match=r"torn\.png"):
        few.parse(tmp_path / "q", source=source, strict=True)


def test_missing_images_are_a_data_error(stages: Any, tmp_path: Path) -> None:
    for source in (f"npz:{tmp_path}/no.npz", f"folder:{tmp_path}/no", "mnist"):
        with pytest.raises(DataError) as caught:
            stages.parse(tmp_path / "p", source=source)
        assert caught.value.exit_code == 4
        assert list(tmp_path.iterdir()) == []
