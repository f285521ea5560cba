"""Stage 3: inputs that do not belong together are refused; the output records them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from npdraw.config import as_dict
from npdraw.datasets import digest
from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.header import read_header


def test_an_artifact_records_its_inputs(stages: Any, made: Any) -> None:
    header, parse = read_header(made.model), read_header(made.parse)
    assert header.inputs == {"parse": parse.digest, "prior": read_header(made.prior).digest}
    assert header.dataset == parse.dataset
    assert json.loads(json.dumps(as_dict(stages.config))) == header.config
    assert header.seed == 0
    beside = json.loads((made.folder / "model.safetensors.run/config.json").read_text())
    assert beside == {**header.config, "source": stages.source}
    assert str(stages.npz.parent).encode() not in made.model.read_bytes()


def test_a_prior_of_another_parse_is_refused_naming_both(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    other = tmp_path / "parse"
    stages.configured(parse={"parts": 7}).parse(other)
    digests = [read_header(path).digest[:6] for path in (made.parse, other)]
    with pytest.raises(ArtifactError) as caught:
        stages.train_decoder(other, made.prior, tmp_path / "m")
    assert caught.value.message == (
        f"{made.prior} was trained on part bank {digests[0]} (K=8), "
        f"but {other} holds {digests[1]} (K=7)"
    )
    assert f"npdraw train-prior {other}" in caught.value.hint
    assert caught.value.exit_code == 3
    assert not (tmp_path / "m").exists()


def test_artifacts_of_another_kind_or_damaged_are_refused(
    stages: Any, made: Any, tmp_path: Path, flip: Any
) -> None:
    flipped, truncated = tmp_path / "flipped", tmp_path / "truncated"
    shutil.copy(made.prior, flipped)
    flip(flipped, -1)
    truncated.write_bytes(made.prior.read_bytes()[:-1])
    for parse, prior, reason in (
        (made.parse, made.parse, "is a parse, expected a prior"),
        (made.prior, made.prior, "is a prior, expected a parse"),
        (made.parse, made.model, "is a model, expected a prior"),
        (made.parse, flipped, "flipped is damaged"),
        (made.parse, truncated, "truncated is damaged"),
        (made.parse, tmp_path / "no", "there is no file"),
    ):
        with pytest.raises(ArtifactError, match=reason) as caught:
            stages.train_decoder(parse, prior, tmp_path / "m")
        assert caught.value.exit_code == 3
    assert not (tmp_path / "m").exists()


def test_settings_of_parse_and_prior_are_fixed(stages: Any, made: Any, tmp_path: Path) -> None:
    for changes, named in (
        ({"parse": {"parts": 9}}, r"\[parse\] are fixed by"),
        ({"prior": {"steps": 9}}, r"\[prior\] are fixed by"),
        ({"decoder": {"stepz": 9}}, "stepz"),
    ):
        with pytest.raises(UsageError, match=named):
            stages.train_decoder(made.parse, made.prior, tmp_path / "m", changes=changes)
    assert list(tmp_path.iterdir()) == []


def test_other_images_are_refused_and_a_missing_path_is_requested(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    images = np.load(stages.npz)["train"]
    changed = stages.from_images(tmp_path / "changed.npz", 255 - images)
    out, lost = tmp_path / "m", tmp_path / "lost"
    with pytest.raises(DataError, match=r"but .* was made from"):
        stages.train_decoder(made.parse, made.prior, out, source=changed.source)
    shutil.copy(made.parse, lost)  # without what is beside it
    with pytest.raises(DataError, match="whose path is not known here") as caught:
        stages.train_decoder(lost, made.prior, out)
    assert caught.value.exit_code == 4
    assert "--data npz:PATH" in caught.value.hint
    assert not out.exists()
    stages.train_decoder(lost, made.prior, out, source=stages.source)
    assert out.read_bytes() == made.model.read_bytes()


def test_images_of_another_data_set_are_recorded(stages: Any, made: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(np.load(stages.npz)["train"][:40]):
        Image.fromarray(image).save(folder / f"{index}.png")
    out = tmp_path / "m"
    stages.train_decoder(made.parse, made.prior, out, source=f"folder:{folder}")
    header = read_header(out)
    assert header.dataset["name"] == "folder"
    assert header.dataset["train"] + header.dataset["validation"] == 36
    assert header.dataset["digest"] != digest(np.load(stages.npz)["train"][:, None])
    # Later stages find them beside the model.
    assert stages.eval_nll(out, samples=1)["images"] == 4
