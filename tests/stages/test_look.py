"""What `npdraw data look` writes and returns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from npdraw.errors import UsageError
from npdraw.inputs.sources import choose
from npdraw.pictures.files import text_of
from npdraw.pictures.sheet import BORDER
from npdraw.reading import Wanted
from npdraw.stages.look import look
from tests.datasets.own_pictures import drawings


def looked_at(source: str, out: Path, *, force: bool = False, **flags: Any) -> dict[str, Any]:
    size = flags.pop("image_size", 28)
    chosen = choose(None, source, None, Wanted(**flags), None, parse={"image_size": size})
    assert chosen.seen is not None
    result: dict[str, Any] = look(
        chosen.config, chosen.seen, source=source, root=Path(), out=out, force=force
    )
    return result


def pixels_of(path: Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture)


def first_image(sheet: Path, side: int) -> Any:
    """Return the first image of a sheet, at its own size."""
    pixels = pixels_of(sheet)
    return pixels[BORDER : BORDER + 2 * side : 2, BORDER : BORDER + 2 * side : 2]


def test_the_sheet_shows_the_images_as_a_model_sees_them(tmp_path: Path) -> None:
    source = f"folder:{drawings(tmp_path / 'paper', 100, ground=255, ink=0)}"
    out = tmp_path / "look.png"
    result = looked_at(source, out)
    assert (result["shown"], result["empty"], result["training_images"]) == (64, 0, 90)
    assert (result["preset"], result["binarize"], result["channels"]) == ("glyphs", True, 1)
    assert result["reading"]["invert"] is True
    dark = 255 - pixels_of(tmp_path / "paper/000.png")
    assert (first_image(out, 28) == dark).all()
    side = 8 * (56 + BORDER) + BORDER
    assert pixels_of(out).shape == (side, side)


def test_options_change_the_sheet(tmp_path: Path) -> None:
    source = f"folder:{drawings(tmp_path / 'red', mode='RGB', ink=(200, 0, 0))}"
    assert looked_at(source, tmp_path / "a.png")["preset"] == "pictures"
    assert first_image(tmp_path / "a.png", 28).max((0, 1)).tolist() == [200, 0, 0]
    result = looked_at(source, tmp_path / "b.png", channels="1", pixels="levels", image_size=14)
    assert (result["preset"], result["image_size"]) == ("textures", 14)
    assert pixels_of(tmp_path / "b.png").ndim == 2


def test_it_is_up_to_date_until_the_images_change(tmp_path: Path) -> None:
    source, out = f"folder:{drawings(tmp_path / 'own')}", tmp_path / "look.png"
    assert looked_at(source, out)["up_to_date"] is False
    before = out.read_bytes()
    assert looked_at(source, out)["up_to_date"] is True
    assert looked_at(source, out, force=True)["up_to_date"] is False
    assert out.read_bytes() == before
    assert looked_at(source, out, invert="yes")["up_to_date"] is False
    assert text_of(out) is not None


def test_a_picture_of_somebody_else_is_kept(tmp_path: Path) -> None:
    source, out = f"folder:{drawings(tmp_path / 'own')}", tmp_path / "look.png"
    Image.new("L", (4, 4)).save(out)
    before = out.read_bytes()
    with pytest.raises(UsageError, match="is not a picture that npdraw made"):
        looked_at(source, out)
    assert out.read_bytes() == before
    assert looked_at(source, out, force=True)["up_to_date"] is False


def test_images_without_content_are_counted(tmp_path: Path) -> None:
    source = f"folder:{drawings(tmp_path / 'large', size=(600, 600), width=1)}"
    result = looked_at(source, tmp_path / "look.png")
    assert result["empty"] > 0
    assert f"{result['empty']} of the {result['shown']} images on the sheet" in result["notes"][-2]


def test_arrays_are_looked_at_too(tmp_path: Path) -> None:
    images = (np.random.default_rng(0).random((10, 8, 8)) > 0.5).astype(np.uint8)
    np.savez(tmp_path / "own.npz", train=images, test=images)
    result = looked_at(f"npz:{tmp_path / 'own.npz'}", tmp_path / "look.png", image_size=8)
    assert (result["pictures"], result["reading"]["white"], result["values"]) == (20, 1, [0, 1])
    assert result["shown"] == 10


def test_a_note_says_that_half_of_few_pictures_are_for_validation(tmp_path: Path) -> None:
    result = looked_at(f"folder:{drawings(tmp_path / 'few', 22)}", tmp_path / "a.png")
    assert result["notes"][-1] == (
        "10 of 20 training images are for validation only: at least 20 are, or half of "
        "fewer than 40"
    )
    result = looked_at(f"folder:{drawings(tmp_path / 'more', 60)}", tmp_path / "b.png")
    assert not any("for validation" in note for note in result["notes"])
