import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets import folder as images
from npdraw.datasets.folder import fit, read_folder, read_npz, read_picture
from npdraw.errors import DataError

GREY = {"image_size": 8, "channels": 1, "strict": False}


def ramp(*shape):
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def save(folder, name, value=100, size=(8, 8), mode="L", **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


def values(folder, split="train", **changes):
    images, notes = read_folder(folder, split, **(GREY | changes))
    assert images.dtype == np.uint8
    return images[:, :, 4, 4].squeeze(1).tolist(), notes


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


def test_smaller_images_are_averages_of_the_middle():
    image = np.zeros((1, 8, 16), np.uint8)
    image[:, :, :4] = 255  # cut away: the middle is columns 4..11
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
    assert values(tmp_path) == ([10, 40, 0, 20], ())
    assert values(tmp_path, "test") == ([30], ())


def test_every_10th_readable_picture_is_for_the_test(tmp_path):
    for value in range(21):
        save(tmp_path, f"{value:02}.png", value)
    (tmp_path / "05.png").write_bytes(b"broken")
    test, _ = values(tmp_path, "test")
    train, _ = values(tmp_path)
    assert test == [10, 20]
    assert train == [value for value in range(21) if value not in (5, 10, 20)]


@pytest.mark.parametrize("name", ["x.jpg", "x.jpeg", "x.webp"])
def test_compressed_formats_are_read(tmp_path, name):
    for other in "abc":
        save(tmp_path, f"{other}.png")
    save(tmp_path, name, 200)
    (value,), _ = values(tmp_path, "test")
    assert abs(value - 200) <= 3


def test_what_cannot_be_read_is_counted_and_named(tmp_path):
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


def test_a_jpeg_that_is_built_up_without_end_is_skipped(tmp_path):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    content = save(tmp_path, "x.jpg", 4, progressive=True).read_bytes()
    at = content.rindex(b"\xff\xda")
    endless = content[:at] + content[at:-2] * 200 + content[-2:]
    (tmp_path / "x.jpg").write_bytes(content + np.random.default_rng(0).bytes(20_000_000))
    assert values(tmp_path)[1] == ()
    (tmp_path / "x.jpg").write_bytes(endless)
    with pytest.raises(DataError, match="more than 100 steps"):
        values(tmp_path, strict=True)


def test_what_is_no_file_is_skipped_and_named(tmp_path):
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
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", "PPM")  # as is EPS, read by Ghostscript
    assert "'x.png'" in values(tmp_path)[1][0]


def test_too_few_pictures_and_no_folder_are_named(tmp_path):
    for value in range(3):
        save(tmp_path, f"{value}.png", value)
    (tmp_path / "z.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"3 readable images in .* \(1 not readable\); at least 4"):
        values(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        values(tmp_path / "absent")


def last(tmp_path, **changes):
    """Read one picture as the test split, beside three others."""
    for other in "abc":
        save(tmp_path, f"{other}.png")
    images, notes = read_folder(tmp_path, "test", **(GREY | changes))
    assert notes == ()
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


def test_floating_point_pixels_are_not_guessed_at(tmp_path):
    for value in range(4):
        save(tmp_path, f"{value}.png", value)
    Image.new("F", (8, 8), 0.5).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match="floating-point"):
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


@pytest.mark.parametrize("shape", [(6, 9, 9), (6, 9, 9, 3)])
def test_an_npz_gives_back_its_arrays(tmp_path, shape):
    train = ramp(*shape)
    np.savez_compressed(tmp_path / "x.npz", train=train, test=train[:2] + 1)
    assert np.array_equal(read_npz(tmp_path / "x.npz", "train"), train)
    assert np.array_equal(read_npz(tmp_path / "x.npz", "test"), train[:2] + 1)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (np.zeros((3, 8, 8)), r"array 'train' in .* is float64 \[3, 8, 8\]"),
        (np.zeros((3, 8), np.uint8), r"uint8 \[3, 8\]"),
        (np.zeros((3, 1, 8, 8), np.uint8), r"uint8 \[3, 1, 8, 8\]"),
        (np.zeros((0, 8, 8), np.uint8), r"uint8 \[0, 8, 8\]"),
        (np.array([{}]), r"object \[1\]"),  # would need pickle
    ],
)
def test_an_npz_with_other_arrays_is_refused(tmp_path, train, words):
    np.savez(tmp_path / "x.npz", train=train, test=ramp(2, 8, 8))
    with pytest.raises(DataError, match=words):
        read_npz(tmp_path / "x.npz", "train")


def test_an_npz_without_its_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", train=ramp(2, 8, 8), images=ramp(2, 8, 8))
    with pytest.raises(DataError, match=r"holds the arrays \['images', 'train'\]"):
        read_npz(tmp_path / "x.npz", "train")


def test_damaged_npz_files_are_refused_or_harmless(tmp_path):
    train = ramp(6, 8, 8)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, train=train, test=train)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for n in range(300):
        broken = bytearray(whole)
        broken[generator.integers(len(whole))] ^= 1 << generator.integers(8)
        path.write_bytes(broken if n % 2 else whole[: generator.integers(len(whole))])
        try:
            assert np.array_equal(read_npz(path, "train"), train)
        except DataError:
            refused += 1
    assert refused > 200


def test_a_missing_npz_and_another_kind_of_file_are_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*x\.npz"):
        read_npz(tmp_path / "x.npz", "train")
    np.save(tmp_path / "x.npy", ramp(2, 8, 8))
    with pytest.raises(DataError, match=r"no \.npz file") as error:
        read_npz(tmp_path / "x.npy", "train")
    assert "np.savez_compressed" in error.value.hint
    for name, make in [("pipe.npz", os.mkfifo), ("folder.npz", Path.mkdir)]:
        make(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name} is no regular file"):
            read_npz(tmp_path / name, "train")


def npy(array, shape=None, **header):
    """Return an array as in a file, with another shape or other entries in its header."""
    file = io.BytesIO()
    stated = {"descr": "|u1", "fortran_order": False, "shape": shape or array.shape} | header
    np.lib.format.write_array_header_1_0(file, stated)
    return file.getvalue() + array.tobytes()


def pack(path, *members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


IMAGES = ramp(4, 8, 8)
GOOD = npy(IMAGES)
TEST = ("test.npy", GOOD)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (npy(IMAGES, (10**6, 1000, 1000)), "other than the 1,000,000,000,000 bytes it states"),
        (npy(IMAGES, (10**30, 8, 8)), "bytes it states"),
        (npy(IMAGES, (4, 8, 7)), "other than the 224 bytes"),
        (npy(IMAGES, (-4, -8, 8)), "damaged"),
        (npy(IMAGES, descr="|O"), "is object"),
        (npy(IMAGES, descr="<f8"), "is float64"),
        (b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"-" * 9000, "the header of an array is"),
        (b"\x93NUMPY\1\0" + struct.pack("<H", 60000) + b" " * 60000, "damaged"),
        (b"\x93NUMPY\7\0" + GOOD[8:], "damaged"),
        (b"", "damaged"),
    ],
)
def test_an_npz_is_not_believed_what_its_header_states(tmp_path, train, words):
    path = pack(tmp_path / "x.npz", ("train.npy", train), TEST)
    with pytest.raises(DataError, match=words):
        read_npz(path, "train")


def test_an_npz_with_a_later_header_is_read(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asfortranarray(IMAGES), version=(2, 0))
    path = pack(tmp_path / "x.npz", ("train.npy", file.getvalue()), TEST, ("more.npy", b""))
    assert np.array_equal(read_npz(path, "train"), IMAGES)


def test_an_npz_that_unpacks_to_far_more_than_it_is_is_not_read(tmp_path, monkeypatch):
    zeros = np.zeros((200, 32, 32), np.uint8)
    path = pack(tmp_path / "x.npz", ("train.npy", npy(zeros)), TEST)
    assert np.array_equal(read_npz(path, "train"), zeros)  # small, however dense
    monkeypatch.setattr(images, "_SMALL", 100_000)
    with pytest.raises(DataError, match=r"would unpack [0-9,]+ bytes to 204,928") as error:
        read_npz(path, "train")
    assert "np.savez(" in error.value.hint
    pack(path, ("train.npy", npy(zeros)), TEST, method=zipfile.ZIP_STORED)
    assert np.array_equal(read_npz(path, "train"), zeros)
    noise = np.random.default_rng(0).integers(0, 256, zeros.shape, dtype=np.uint8)
    pack(path, ("train.npy", npy(noise)), TEST)
    assert np.array_equal(read_npz(path, "train"), noise)


def test_an_npz_may_lie_about_its_packed_size(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_SMALL", 100_000)
    zeros = npy(np.zeros((200, 32, 32), np.uint8))
    path = pack(tmp_path / "x.npz", ("train.npy", zeros), TEST)
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("train.npy").compress_size
    content = path.read_bytes()
    stated = struct.pack("<II", size, len(zeros))
    assert content.count(stated) == 2
    path.write_bytes(content.replace(stated, struct.pack("<II", 10**9, len(zeros))))
    with pytest.raises(DataError, match="would unpack"):
        read_npz(path, "train")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_npz_packed_in_another_way_is_refused(tmp_path, method):
    path = pack(tmp_path / "x.npz", ("train.npy", GOOD), TEST, method=method)
    with pytest.raises(DataError, match="packed in another way"):
        read_npz(path, "train")


def test_an_encrypted_npz_is_refused(tmp_path):
    path = pack(tmp_path / "x.npz", ("train.npy", GOOD), TEST)
    content = bytearray(path.read_bytes())
    for mark, flags in [(b"PK\1\2", 8), (b"PK\3\4", 6)]:
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"'train\.npy' is encrypted"):
        read_npz(path, "train")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "names",
    [["train.npy", "train.npy"], ["a/train.npy"], ["../train.npy"], ["/train.npy"], ["train"]],
)
def test_an_npz_with_other_names_than_its_arrays_is_refused(tmp_path, names):
    path = pack(tmp_path / "x.npz", *[(name, GOOD) for name in names], TEST)
    with pytest.raises(DataError, match=r"holds the arrays \[.*'test'.*\], not train and test"):
        read_npz(path, "train")


def test_many_arrays_are_not_all_named(tmp_path):
    path = pack(tmp_path / "x.npz", *[(f"{n:03}.npy", GOOD) for n in range(200)])
    with pytest.raises(DataError, match=r"'006', '007', '\.\.\.'\], not train"):
        read_npz(path, "train")


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
def test_bytes_that_are_no_picture_are_refused(content):
    with pytest.raises(DataError, match=r"cannot read the picture: [^<>]*$"):
        read_picture(content, 8, 1)
