"""The images of a pipeline: split, then loaded again and checked by later stages."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.datasets import Source, parse_source
from npdraw.datasets.splits import shuffled_if_sorted
from npdraw.errors import DataError, NpdrawError, UsageError
from npdraw.header import read_header
from npdraw.inputs.images import deformed, find_source, same_images, training_images


@pytest.fixture
def parse(stages: Any, made: Any, tmp_path: Path) -> Path:
    """Return a copy of the parse and its run folder."""
    shutil.copy(made.parse, tmp_path / "p")
    shutil.copytree(made.folder / "parse.safetensors.run", tmp_path / "p.run")
    return tmp_path / "p"


def same(stages: Any, parse: Path, given: str | None) -> Any:
    config = stages.config.parse
    return same_images(read_header(parse), parse, given, parse.parent, config, stages.Recorder())


def test_the_last_images_are_for_validation(stages: Any) -> None:
    config, images = stages.config.parse, np.load(stages.npz)["train"][:, None]
    result = training_images(parse_source(stages.source), Path(), config, None, stages.Recorder())
    assert torch.equal(result.train, torch.from_numpy(images[: stages.train]))
    assert torch.equal(result.held_out, torch.from_numpy(images[stages.train :]))
    assert torch.equal(result.images, torch.from_numpy(images))


def test_pictures_of_a_folder_are_shuffled_before_the_split(stages: Any, tmp_path: Path) -> None:
    grey = np.arange(80, dtype=np.uint8)
    for level in grey:
        Image.fromarray(np.full((8, 8), level)).save(tmp_path / f"{level:02}.png")
    source, config = parse_source(f"folder:{tmp_path}"), stages.config.parse
    result = training_images(source, Path(), config, None, stages.Recorder())
    levels = np.delete(grey, slice(9, None, 10))  # without the test images, every tenth
    assert (
        result.images[:, 0, 0, 0].tolist()
        == shuffled_if_sorted(source, levels).tolist()
        != levels.tolist()
    )


def test_shifted_images_are_added_to_the_training_split_only(stages: Any) -> None:
    images = np.load(stages.npz)["train"][:, None]
    config = replace(stages.config.parse, shift=1)
    result = training_images(parse_source(stages.source), Path(), config, None, stages.Recorder())
    assert torch.equal(result.held_out, torch.from_numpy(images[stages.train :]))
    assert result.dataset["train"] == len(result.train) == 9 * stages.train
    padded = np.pad(images[: stages.train], [(0, 0), (0, 0), (1, 1), (1, 1)])
    moved = {  # by pixels down and to the right
        (down, right): padded[:, :, 1 - down : 9 - down, 1 - right : 9 - right]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    assert np.array_equal(moved[0, 0], images[: stages.train])
    expected = sorted(image.tobytes() for copies in moved.values() for image in copies)
    assert sorted(image.numpy().tobytes() for image in result.train) == expected


def test_a_linear_map_takes_pixels_from_where_it_points() -> None:
    image = torch.rand(6, 6)
    turn, mirror = [[0.0, -1.0], [1.0, 0.0]], [[-1.0, 0.0], [0.0, 1.0]]
    slant, smaller = [[1.0, 2.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 3.0]]
    maps = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], turn, mirror, slant, smaller])
    result = deformed(image.expand(5, 1, 6, 6), maps)[:, 0]
    # Row y, counted from the middle (-2.5 to 2.5), takes pixels from 2 y to the right.
    slanted = torch.zeros(6, 6)
    slanted[0, 5], slanted[1, 3:], slanted[2, 1:] = image[0, 0], image[1, :3], image[2, :5]
    slanted[3, :5], slanted[4, :3], slanted[5, 0] = image[3, 1:], image[4, 3:], image[5, 5]
    third = torch.zeros(6, 6)
    third[2:4, 2:4] = image[1:5:3, 1:5:3]
    expected = torch.stack([image, image.rot90(1), image.flip(1), slanted, third])
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_deformed_images_stay_in_range() -> None:
    edges = (torch.rand(20, 1, 8, 8) < 0.5).float()  # where bicubic curves overshoot
    result = deformed(edges, torch.eye(2) + 0.1 * torch.randn(20, 2, 2))
    assert 0 <= result.min() < 0.01 and 0.99 < result.max() <= 1
    assert not torch.equal(result, edges)


def test_shifted_images_are_loaded_again_by_later_stages(stages: Any, tmp_path: Path) -> None:
    moved = stages.configured(parse={"shift": 1})
    moved.parse(tmp_path / "p", limit=20)
    result = same(moved, tmp_path / "p", None)
    assert result.dataset == read_header(tmp_path / "p").dataset
    assert (len(result.images), result.dataset["validation"]) == (9 * 10 + 10, 10)


def test_the_source_is_given_or_found_in_the_run_folder(stages: Any, parse: Path) -> None:
    header = read_header(parse)
    assert find_source(header, parse, None) == Source("npz", stages.npz)
    assert find_source(header, parse, "mnist") == Source("mnist")
    shutil.rmtree(parse.with_name("p.run"))
    assert find_source(header, parse, "folder:x") == Source("folder", Path("x"))
    with pytest.raises(DataError) as caught:
        find_source(header, parse, None)
    assert caught.value.message == f"{parse} was made from images whose path is not known here"
    assert caught.value.hint == "Name it with --data npz:PATH."
    assert caught.value.exit_code == 4


def test_a_named_set_needs_no_path(stages: Any, parse: Path) -> None:
    header = read_header(parse)
    header.dataset["name"] = "mnist"
    shutil.rmtree(parse.with_name("p.run"))
    assert find_source(header, parse, None) == Source("mnist")


def test_the_same_images_come_back_limit_included(stages: Any, tmp_path: Path) -> None:
    out = tmp_path / "p"
    stages.parse(out, limit=0.6)
    expected = torch.from_numpy(np.load(stages.npz)["train"][:36, None])
    for given in (None, stages.source):
        result = same(stages, out, given)
        assert torch.equal(result.images, expected)
        assert result.validation == read_header(out).dataset["validation"] == 18
        assert result.dataset == read_header(out).dataset


def test_other_images_of_the_same_kind_are_refused(
    stages: Any, parse: Path, tmp_path: Path
) -> None:
    images = np.load(stages.npz)["train"]
    changed = images.copy()
    changed[17, 3, 3] ^= 1
    for name, other in (("changed", changed), ("fewer", images[:50])):
        source = stages.from_images(tmp_path / f"{name}.npz", other).source
        with pytest.raises(DataError) as caught:
            same(stages, parse, source)
        assert caught.value.exit_code == 4
        assert source in caught.value.message
        assert "--data" in caught.value.hint
    # More images, the first of which are the same, are the same images with a limit.
    more = stages.from_images(tmp_path / "more.npz", np.concatenate([images, images]))
    assert len(same(stages, parse, more.source).images) == len(images)


def test_images_of_another_data_set_are_used_and_recorded(
    stages: Any, parse: Path, tmp_path: Path
) -> None:
    np.savez(
        tmp_path / "mnist.npz",
        train=np.load(stages.npz)["train"][:30],
        test=np.load(stages.npz)["test"],
    )
    result = same(stages, parse, "mnist")
    assert result.dataset["name"] == "mnist"
    assert result.dataset["train"] + result.dataset["validation"] == 30
    assert result.source == Source("mnist")


def test_a_wrong_name_is_a_usage_error(stages: Any, parse: Path) -> None:
    with pytest.raises(UsageError, match="mnits"):
        same(stages, parse, "mnits")
    with pytest.raises(NpdrawError):
        same(stages, parse, f"npz:{parse}")
