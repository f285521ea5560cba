"""Folders: which files are pictures, sizes, and exact copies."""

import time
from pathlib import Path

import pytest
from PIL import Image, features

from npdraw.datasets.class_names import printable
from npdraw.datasets.decode import decode, header_of
from npdraw.datasets.listing import listed
from npdraw.errors import DataError
from tests.datasets.own_pictures import drawing, drawings, read, surveyed


def contents(images: object) -> set[bytes]:
    return {image.tobytes() for image in images}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        *[("jfif", "JPEG"), ("", "PNG"), ("ppm", "PPM"), ("pgm", "PPM"), ("data", "GIF")],
        *[(ending, "JPEG2000") for ending in ("jp2", "j2k") if features.check("jpg_2000")],
        *[("avif", "AVIF") for _ in range(1) if features.check("avif")],
    ],
)
def test_pictures_are_known_by_their_content(ending: str, kind: str, tmp_path: Path) -> None:
    for number in range(10):
        drawing(number).save(tmp_path / f"{number}.{ending}".rstrip("."), kind)
    (tmp_path / "notes.heic").write_bytes(b"a format that Pillow does not read")
    images, notes = read(tmp_path).images, read(tmp_path).notes
    assert (len(images), notes) == (9, ("every 10th picture is a test picture",))
    assert images.max() > 200
    assert surveyed(tmp_path).left_out == ((".heic", 1),)


def test_other_files_are_counted_by_ending(tmp_path: Path) -> None:
    drawings(tmp_path / "a")
    for name in ("x.txt", "y.TXT", "b.json", "README", ".DS_Store", "._000.png", "c.heic", "P.PDF"):
        (tmp_path / "a" / name).write_bytes(b"P1 text")
    for name in ("thumbs.db", "Desktop.ini", "Icon\r", "ehthumbs.db"):
        (tmp_path / "a" / name).touch()
    for name in (".git", "__MACOSX"):
        drawings(tmp_path / "a" / name)
    seen = surveyed(tmp_path / "a")
    assert seen.pictures == 20
    others = {".txt": 2, "hidden": 6, ".heic": 1, ".json": 1, "without an ending": 1, ".pdf": 1}
    assert dict(seen.left_out) == others
    assert seen.lines()[-1] == (
        "1 picture in another format left out (1 .heic): convert them to PNG or JPEG; 11 files "
        "that are not pictures left out (6 hidden or system, 2 .txt, 1 .json, 1 .pdf, ...)"
    )


@pytest.mark.parametrize("ending", ["txt", "md", "json", "dat", "db", "zip", "npz", "pdf", "heic"])
def test_pictures_with_misleading_endings_are_read(ending: str, tmp_path: Path) -> None:
    for number in range(10):
        drawing(number).save(tmp_path / f"{number}.{ending}", "PNG")
    (tmp_path / f"x.{ending}").write_bytes(b"BM is how this text begins")
    assert len(read(tmp_path).images) == 9
    assert surveyed(tmp_path).left_out == ((f".{ending}", 1),)


def test_raw_pictures_are_left_out_though_they_begin_like_a_tiff(tmp_path: Path) -> None:
    drawings(tmp_path)
    drawing(0).save(tmp_path / "x.dng", "TIFF")
    seen = surveyed(tmp_path)
    assert (seen.pictures, seen.left_out) == (20, ((".dng", 1),))


def test_other_files_are_looked_at_in_no_time(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"{number}.txt").touch()
    began = time.process_time()
    assert listed(tmp_path).left_out == ((".txt", 2_000),)
    assert time.process_time() - began < 1  # 0.05 s on an idle machine


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
def test_sizes_are_those_of_the_upright_picture(kind: str, tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.{kind}"
        Image.new("RGB", (40, 20), (orientation, 200, 99)).save(path, exif=exif)
        assert (
            header_of(path).size == decode(path).size == ((40, 20) if orientation < 5 else (20, 40))
        )


def test_exact_copies_are_in_one_split_and_counted(tmp_path: Path) -> None:
    for number in range(40):
        drawing(number // 4).save(tmp_path / f"{number:02}.png")
    drawing(0, "RGB", 0, (255, 0, 0)).convert("L").save(tmp_path / "z.bmp")
    train, test = read(tmp_path), read(tmp_path, "test")
    assert not contents(train.images) & contents(test.images)
    assert (len(train.images), len(test.images)) == (37, 4)
    assert train.notes == (
        "every 10th picture is a test picture",
        "30 exact copies of pictures are in the same split as the first",
    )


def test_copies_between_folders_of_splits_are_counted(tmp_path: Path) -> None:
    drawings(tmp_path / "train", 20)
    drawings(tmp_path / "test", 3)
    assert read(tmp_path).notes == (
        "3 exact copies of pictures; 3 pictures are in both train and test",
    )


def test_copies_of_one_picture_are_a_data_error(tmp_path: Path) -> None:
    for number in range(40):
        drawing(0).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"all 40 pictures in .* are equal"):
        read(tmp_path)


def test_names_that_cannot_be_stored_are_escaped(tmp_path: Path) -> None:
    drawings(tmp_path / "a\nb")
    drawings(tmp_path / "ünï")
    assert {name for name, _ in surveyed(tmp_path).classes} == {"a\\nb", "ünï"}


@pytest.mark.parametrize(("wide", "said"), [(1, "1 is not square"), (2, "2 are not square")])
def test_one_picture_is_spoken_of_as_one(wide: int, said: str, tmp_path: Path) -> None:
    drawings(tmp_path)
    for number in range(wide):
        drawing(number, size=(30, 28)).save(tmp_path / f"wide{number}.png")
    assert any(said in line for line in surveyed(tmp_path).lines())


def test_only_what_cannot_be_printed_is_escaped_in_a_name() -> None:
    assert printable("Zoë\u00a01\x1b") == "Zoë\\xa01\\x1b"
