"""Folders of pictures: what is read, in what order, and what is skipped or refused."""

import os

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets.folder import read_folder, read_picture
from npdraw.datasets.prepare import from_arrays
from npdraw.errors import DataError
from npdraw.reading import Reading

GREY = {"image_size": 8, "channels": 1, "strict": False}
LAST, EVERY_10TH = "the last picture is the test picture", "every 10th picture is a test picture"


def ramp(*shape):
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def save(folder, name, value=100, size=(8, 8), mode="L", **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


def fit(images, image_size, channels):
    return from_arrays(images, Reading(), image_size, channels)


def values(folder, split="train", **changes):
    images, notes, *_ = read_folder(folder, split, **(GREY | changes))
    assert images.dtype == np.uint8
    others = tuple(note for note in notes if note not in (LAST, EVERY_10TH))
    assert len(notes) == len(others) + 1
    return images[:, :, 4, 4].squeeze(1).tolist(), others


def test_images_of_the_right_size_keep_every_pixel():
    grey, colour = ramp(3, 8, 8), ramp(3, 8, 8, 3)
    assert np.array_equal(fit(grey, 8, 1), grey[:, None])
    assert np.array_equal(fit(colour, 8, 3), colour.transpose(0, 3, 1, 2))


def test_colour_becomes_grey_by_its_weights_and_grey_becomes_colour():
    red = np.zeros((1, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert np.unique(fit(red, 8, 1)).tolist() == [76]  # 0.299 * 255
    grey = ramp(1, 8, 8)
    assert np.array_equal(fit(grey, 8, 3), np.repeat(grey[:, None], 3, axis=1))


def test_smaller_images_are_averages_of_the_centre():
    image = np.zeros((1, 8, 16), np.uint8)
    image[:, :, :4] = 255  # cropped: the centre is columns 4..11
    image[:, :, 4:8] = 200
    small = fit(image, 2, 1)[0, 0]
    assert small.shape == (2, 2)
    assert (small[:, 0] > small[:, 1]).all() and small.max() <= 200
    checks = np.zeros((1, 64, 64), np.uint8)
    checks[:, ::2] = 200
    assert np.abs(fit(checks, 4, 1).astype(int) - 100).max() <= 13  # not a choice of single pixels


def test_a_folder_is_read_in_the_order_of_relative_paths_whatever_the_suffix_case(tmp_path):
    for value, name in enumerate(["b/a.PNG", "a.bmp", "b/b.gif", "c.Tiff", "a/z.tif"]):
        save(tmp_path, name, 10 * value)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    # a.bmp, a/z.tif, b/a.PNG, b/b.gif | c.Tiff
    assert values(tmp_path)[0] == [10, 40, 0, 20]
    assert values(tmp_path, "test")[0] == [30]


def test_every_10th_readable_picture_is_in_the_test_split(tmp_path):
    for value in range(21):
        save(tmp_path, f"{value:02}.png", value)
    (tmp_path / "05.png").write_bytes(b"broken")
    test, _ = values(tmp_path, "test")
    train, _ = values(tmp_path)
    assert test == [10, 20]
    assert train == [value for value in range(21) if value not in (5, 10, 20)]


@pytest.mark.parametrize("name", ["x.jpg", "x.jpeg", "x.webp"])
def test_compressed_formats_are_read(tmp_path, name):
    for value, other in enumerate("abc"):
        save(tmp_path, f"{other}.png", value)
    save(tmp_path, name, 200)
    (value,), _ = values(tmp_path, "test")
    assert abs(value - 200) <= 3


def test_unreadable_files_are_counted_and_named(tmp_path):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    whole = save(tmp_path, "whole.png", size=(64, 64)).read_bytes()
    (tmp_path / "whole.png").write_bytes(whole[: len(whole) // 2])
    for name in ("x1.jpg", "x2.jpg", "x3.jpg"):
        (tmp_path / name).write_bytes(b"")
    seen, notes = values(tmp_path)
    assert seen == [0, 1, 2]
    assert notes == (
        "skipped 4 of 8 files that cannot be read: 'whole.png', 'x1.jpg', 'x2.jpg', ...",
    )
    with pytest.raises(DataError, match=r"cannot read .*whole\.png"):
        values(tmp_path, strict=True)


def test_a_picture_of_enormous_size_is_skipped(tmp_path, monkeypatch):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    save(tmp_path, "bomb.png", size=(200, 200))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    assert "'bomb.png'" in values(tmp_path)[1][0]


def test_a_webp_is_skipped_at_half_the_size_of_others(tmp_path, monkeypatch):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    for name in ("x.webp", "y.png"):
        save(tmp_path, name, 4, size=(200, 200))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 79_999)
    assert values(tmp_path)[1] == ("skipped 1 of 6 files that cannot be read: 'x.webp'",)
    with pytest.raises(DataError, match="more than 39,999 pixels"):
        values(tmp_path, strict=True)


def test_a_jpeg_with_endless_scans_is_skipped(tmp_path):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    content = save(tmp_path, "x.jpg", 4, progressive=True).read_bytes()
    at = content.rindex(b"\xff\xda")
    endless = content[:at] + content[at:-2] * 200 + content[-2:]
    (tmp_path / "x.jpg").write_bytes(content + np.random.default_rng(0).bytes(20_000_000))
    assert values(tmp_path)[1] == ()
    (tmp_path / "x.jpg").write_bytes(endless)
    with pytest.raises(DataError, match="more than 100 progressive scans"):
        values(tmp_path, strict=True)


def test_pipes_and_broken_links_are_skipped_and_named(tmp_path):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert values(tmp_path) == (
        [0, 1, 2],
        ("skipped 3 of 7 files that cannot be read: 'gone.png', 'pipe.png', 'self.png'",),
    )


def test_a_folder_that_cannot_be_listed_is_counted_and_named(tmp_path, monkeypatch):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    save(tmp_path, "closed/x.png")
    usual = os.scandir

    def scandir(path):
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert values(tmp_path)[1] == ("skipped 1 of 5 files that cannot be read: 'closed'",)
    with pytest.raises(DataError, match=r"cannot read .*closed: .* cannot be listed"):
        values(tmp_path, strict=True)


def test_a_picture_of_another_format_is_skipped_whatever_its_name(tmp_path):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", "TGA")  # as is EPS, read by Ghostscript
    assert "'x.png'" in values(tmp_path)[1][0]


def test_too_few_pictures_and_a_missing_folder_are_named(tmp_path):
    for value in range(3):
        save(tmp_path, f"{value}.png", value)
    (tmp_path / "z.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"only 3 pictures in .*, and 1 cannot be read; at least 4"):
        values(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        values(tmp_path / "absent")


def last(tmp_path, **changes):
    """Read one picture as the test split of a folder with three others."""
    for value, other in enumerate("abc"):
        save(tmp_path, f"{other}.png", value)
    images, notes, *_ = read_folder(tmp_path, "test", **(GREY | changes))
    assert notes == (LAST,)
    return images[0]


def test_transparent_pixels_are_black(tmp_path):
    half = Image.new("RGBA", (8, 8), (200, 200, 200, 255))
    half.paste((255, 255, 255, 0), (0, 0, 4, 8))
    half.save(tmp_path / "x.png")
    assert last(tmp_path)[0, 0].tolist() == [0] * 4 + [200] * 4


def test_palettes_and_their_transparency_are_resolved(tmp_path):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([255, 255, 255, 60, 60, 60])
    picture.paste(0, (0, 0, 4, 8))
    picture.save(tmp_path / "x.png", transparency=0)
    assert last(tmp_path)[0, 0].tolist() == [0] * 4 + [60] * 4


def test_16_bits_are_scaled_to_8(tmp_path):
    deep = np.full((8, 8), 257 * 90, np.uint16)
    deep[0, 0] = 65535
    Image.fromarray(deep).save(tmp_path / "x.png")
    image = last(tmp_path)[0]
    assert image[0, 0] == 255 and image[1, 1] == 90


def test_every_depth_is_scaled_rounded_and_cut(tmp_path):
    every = np.arange(65536).reshape(256, 256)
    for kind, deep in [("png", every.astype(np.uint16)), ("tif", (every - 99).astype(np.int32))]:
        Image.fromarray(deep).save(tmp_path / f"x.{kind}")
        image = last(tmp_path, image_size=256)[0]
        assert np.array_equal(image, (deep.astype(int).clip(0) + 128) // 257)


def test_floating_point_pixels_are_read_and_refused_if_they_are_not_finite(tmp_path):
    Image.new("F", (8, 8), 0.5).save(tmp_path / "x.tif")
    assert np.unique(last(tmp_path, reading=Reading(white=1.0))).tolist() == [128]
    Image.new("F", (8, 8), float("nan")).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match="not finite"):
        values(tmp_path, strict=True)


def test_pictures_are_turned_upright(tmp_path):
    picture = Image.fromarray(ramp(8, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    picture.save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(last(tmp_path)[0], ramp(8, 8)[::-1, ::-1])


def test_colour_is_kept_for_three_channels(tmp_path):
    save(tmp_path, "x.png", (10, 20, 30), mode="RGB")
    assert last(tmp_path, channels=3)[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_picture_is_read_from_its_file_or_its_bytes_alike(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    path = tmp_path / "x"
    Image.fromarray(pixels).save(path, kind)
    for channels in (1, 3):
        read = read_picture(path, 8, channels)
        assert read.shape == (channels, 8, 8)
        assert len(np.unique(read)) > 8
        assert np.array_equal(read, read_picture(path.read_bytes(), 8, channels))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_bytes_that_are_not_a_picture_are_refused(content):
    with pytest.raises(DataError, match=r"cannot read the picture: [^<>]*$"):
        read_picture(content, 8, 1)
