"""Damaged and hostile pictures: skipped with a count, or one clear error; in little memory."""

import gzip
import hashlib
import io
import json
import os
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets import mnist, omniglot
from npdraw.datasets.npz import read_npz
from npdraw.errors import DataError
from tests.faults.cases import Cases, Ended
from tests.faults.conftest import Chain

MOST_MB = 1024
"""Megabytes of memory that reading may take above the start."""

MOST_SECONDS = 20.0
"""Of one folder; it takes half a second where nothing else works."""

A_FOLDER = 40
"""Mutants in one folder."""

Generator = np.random.Generator


def seeds() -> dict[str, bytes]:
    """Return small pictures of every format and kind, by the name of a file for them."""
    grey = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    plain = Image.fromarray(grey)
    colour = Image.merge("RGB", [plain, plain.rotate(90), plain.rotate(180)])
    frames = [colour, colour.rotate(90), colour.rotate(180)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"

    def saved(picture: Image.Image, kind: str, moves: bool = False, **options: object) -> bytes:
        file, more = io.BytesIO(), [frame.copy() for frame in frames[1:]]
        if moves:
            options |= {"save_all": True, "append_images": more}
        picture.copy().save(file, kind, **options)  # saving leaves traces in a picture
        return file.getvalue()

    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    return {
        "grey.png": saved(plain, "PNG"),
        "colour.png": saved(colour, "PNG", exif=exif),
        "alpha.png": saved(colour.convert("RGBA"), "PNG"),
        "palette.png": saved(colour.quantize(8), "PNG", transparency=1),
        "bits.png": saved(plain.convert("1"), "PNG"),
        "deep.png": saved(deep, "PNG"),
        "moving.png": saved(colour, "PNG", moves=True),
        "grey.jpg": saved(plain, "JPEG"),
        "slowly.jpg": saved(colour, "JPEG", progressive=True, exif=exif, comment=b"x"),
        "print.jpeg": saved(colour.convert("CMYK"), "JPEG"),
        "many.jpg": saved(colour, "MPO", moves=True),
        "exact.webp": saved(colour, "WEBP", lossless=True, exif=exif),
        "moving.webp": saved(colour.convert("RGBA"), "WEBP", moves=True),
        "moving.gif": saved(colour, "GIF", comment=b"x" * 300, moves=True),
        "grey.bmp": saved(plain, "BMP"),
        "colour.bmp": saved(colour, "BMP"),
        "plain.tif": saved(colour, "TIFF"),
        "lzw.tif": saved(plain, "TIFF", compression="tiff_lzw", exif=exif),
        "jpeg.tiff": saved(colour, "TIFF", compression="jpeg"),
        "deep.tiff": saved(deep, "TIFF", compression="tiff_adobe_deflate"),
        "pages.tiff": saved(colour, "TIFF", moves=True),
        "fax.tif": saved(plain.convert("1"), "TIFF", compression="group4"),
    }


def mutated(content: bytes, generator: Generator) -> bytes:
    """Return a damaged copy: bytes changed, cut off, put in, taken out, repeated or zeroed."""
    size = len(content)
    at, end = sorted(int(n) for n in generator.integers(0, size + 1, 2))
    end = min(end, at + 64)
    kind = generator.integers(7)
    if kind <= 1:
        changed = bytearray(content)
        for place in generator.integers(0, size, generator.integers(1, 9)):
            changed[place] = generator.integers(256)
        return bytes(changed)
    middle = {
        3: generator.bytes(int(generator.integers(1, 64))),
        4: b"",
        5: content[at:end] * int(generator.integers(2, 50)),
        6: bytes(end - at),
    }
    return content[:at] if kind == 2 else content[:at] + middle[int(kind)] + content[end:]


def good(folder: Path, count: int = 16) -> None:
    """Write pictures that nothing is wrong with."""
    for n in range(count):
        pixels = np.random.default_rng(n).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"good{n}.png")


def parsed(chain: Chain, folder: Path, *more: str, source: str = "folder:pictures") -> Ended:
    """Run `npdraw parse` on the pictures below `folder`, within the bounds of every case."""
    words = ("--config", "tiny.toml", "--out", "parse.safetensors", "--force", *more)
    ended = chain.cases.run("parse", "--data", source, *words, folder=chain.copy(folder))
    print(f"{ended.code} {ended.seconds:.1f} s {ended.more_mb:.0f} MB")
    assert ended.more_mb < MOST_MB, ended.shown
    assert ended.seconds < MOST_SECONDS, ended.shown
    return ended


def spoken(ended: Ended) -> list[str]:
    """Return the lines for people but for progress, and for what libtiff says by itself."""
    by_itself = re.compile(r"parse .* images/s .*|(?!Error|Hint)[\w.]+: .*\.")
    return [line for line in ended.err.splitlines() if not by_itself.fullmatch(line)]


def skipped(ended: Ended) -> int:
    """Return how many files it says were skipped; nothing else may be wrong or said."""
    assert ended.code == 0, ended.shown
    other = spoken(ended)
    if not other:
        return 0
    assert len(other) == 1, ended.shown
    note = other[0]
    found = re.fullmatch(r"skipped (\d+) of \d+ files that cannot be read: '.*", note)
    assert found, ended.shown
    return int(found[1])


def refused(ended: Ended, words: str) -> None:
    """It ended with one line that has these words, and a hint."""
    assert ended.code == 4, ended.shown
    error, hint = spoken(ended)
    assert error.startswith("Error: ") and hint.startswith("Hint: "), ended.shown
    assert words in error, ended.shown


def test_what_the_mutants_are_made_of_can_be_read(chain: Chain, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, content in seeds().items():
        (pictures / name).write_bytes(content)
    assert skipped(parsed(chain, tmp_path)) == 0


def test_mutants_of_pictures_are_read_or_skipped(chain: Chain, tmp_path: Path, scale: int) -> None:
    generator, whole = np.random.default_rng(1), list(seeds().items())
    total = count = 0
    for number in range(3 * scale):
        folder = tmp_path / str(number)
        pictures = folder / "pictures"
        pictures.mkdir(parents=True)
        good(pictures)
        for n in range(A_FOLDER):
            name, content = whole[(number * A_FOLDER + n) % len(whole)]
            (pictures / f"{n:02} {name}").write_bytes(mutated(content, generator))
        ended = parsed(chain, folder)
        count += skipped(ended)
        total += A_FOLDER
        if number == 0:
            refused(parsed(chain, folder, "--strict"), "cannot read pictures/")
    assert 0.3 * total < count < 0.95 * total  # neither all harmless nor all at the first look
    print(f"{count} of {total} skipped")


def each(report: Path, mutants: Iterator[Callable[[], object]]) -> None:
    """Read mutants one after the other; whatever is no `DataError` ends the process."""
    refusals, seconds = 0, []
    for read in mutants:
        began = time.monotonic()
        try:
            read()
        except DataError as error:
            assert error.message
            refusals += 1
        seconds.append(time.monotonic() - began)
    report.write_text(json.dumps([len(seconds), refusals, max(seconds)]))


def many(cases: Cases, folder: Path, function: Callable[..., None], count: int) -> int:
    """Let a process of its own read `count` mutants; return how many it refused."""
    report = folder / "report"
    ended = cases.run("--version", folder=folder, faults=[(function, (report, count))])
    assert ended.code == 0, ended.shown
    assert not ended.err, ended.shown
    assert ended.more_mb < MOST_MB
    number, refusals, slowest = json.loads(report.read_text())
    print(f"{refusals} of {number} refused, {slowest:.2f} s, {ended.more_mb:.0f} MB")
    assert number == count and slowest < 5
    return int(refusals)


def damaged_archives(report: Path, count: int) -> None:
    """Read mutants of an npz: of the file, or of an array, packed with the right checksums."""
    generator, path = np.random.default_rng(2), Path("x.npz")
    array, file = io.BytesIO(), io.BytesIO()
    images = generator.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.save(array, images)
    np.savez_compressed(file, train=images, test=images)

    def packed(content: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("train.npy", content)
            archive.writestr("test.npy", array.getvalue())
        return made.getvalue()

    def mutants() -> Iterator[Callable[[], object]]:
        header = len(array.getvalue()) - images.size
        for n in range(count):
            whole = array.getvalue()
            if n % 3 == 0:
                content = mutated(file.getvalue(), generator)
            elif n % 3 == 1:
                content = packed(mutated(whole[:header], generator) + whole[header:])
            else:
                content = packed(mutated(whole, generator))
            path.write_bytes(content)
            yield partial(read_npz, path, "train")

    each(report, mutants())


def damaged_mnist(report: Path, count: int) -> None:
    """Read mutants of an idx file: each has another checksum."""
    generator, root = np.random.default_rng(3), Path()
    images = generator.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    header = np.array([0x803, *images.shape], ">i4").tobytes()
    whole = gzip.compress(header + images.tobytes())
    file = mnist.FILES["train"]
    mnist.FILES["train"] = replace(file, checksum=hashlib.sha256(whole).hexdigest())
    (root / file.path).parent.mkdir(parents=True)

    def mutants() -> Iterator[Callable[[], object]]:
        for _ in range(count):
            content = mutated(whole, generator)
            (root / file.path).write_bytes(content)
            yield partial(mnist.read, root, "train")

    each(report, mutants())


def damaged_omniglot(report: Path, count: int) -> None:
    """Read mutants of a drawing."""
    generator, root, file = np.random.default_rng(4), Path(), io.BytesIO()
    omniglot.CHARACTERS = omniglot.DRAWERS = 1
    omniglot.SPLIT = {"train": 1, "test": 0}
    Image.fromarray(generator.integers(0, 2, (105, 105)) > 0).save(file, "PNG")
    folder = root / "omniglot-py/images_background/a/b"
    folder.mkdir(parents=True)
    (root / "omniglot-py/images_evaluation").mkdir()

    def mutants() -> Iterator[Callable[[], object]]:
        for _ in range(count):
            content = mutated(file.getvalue(), generator)
            (folder / "0001_01.png").write_bytes(content)
            yield partial(omniglot.read, root, "train")

    each(report, mutants())


@pytest.mark.parametrize(
    ("function", "share", "fewest"),
    [(damaged_archives, 50, 0.5), (damaged_mnist, 15, 0.9), (damaged_omniglot, 15, 0.8)],
    ids=["npz", "mnist", "omniglot"],
)
def test_mutants_of_data_sets_are_read_or_refused(
    function: Callable[..., None],
    share: int,
    fewest: float,
    cases: Cases,
    tmp_path: Path,
    scale: int,
) -> None:
    assert many(cases, tmp_path, function, share * scale) >= fewest * share * scale


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def zeros_png(side: int, *before: bytes) -> bytes:
    """Return a PNG of nothing but black, with more chunks in front of its pixels."""
    packer = zlib.compressobj(1)
    rows = bytes(side // 8 + 1) * 100
    pixels = b"".join(packer.compress(rows) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def moving(frames: int, kind: str) -> bytes:
    """Return a picture of many frames."""
    file = io.BytesIO()
    each_frame = [Image.new("L", (8, 8), n % 251) for n in range(frames)]
    each_frame[0].save(file, kind, save_all=True, append_images=each_frame[1:])
    return file.getvalue()


def test_a_folder_of_oddities_is_read_but_for_what_is_counted(chain: Chain, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    good(folder)
    black = zeros_png(800)
    for name in ("new\nline.png", "\x1b[31mred.png", "[bold].png", "dash -x.PNG", "ünï.png"):
        (folder / name).write_bytes(black)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png")).write_bytes(black)
    (folder / "frames.gif").write_bytes(moving(3000, "GIF"))
    (folder / "frames.webp").write_bytes(moving(500, "WEBP"))
    (folder / "frames.png").write_bytes(moving(500, "PNG"))
    (folder / "in a circle").symlink_to(folder)
    (folder / "folder.png").mkdir()
    assert skipped(parsed(chain, tmp_path)) == 0

    bad: dict[str, Callable[[Path], object]] = {
        "fifo.png": os.mkfifo,
        "device.png": lambda path: path.symlink_to("/dev/zero"),
        "gone.png": lambda path: path.symlink_to("nowhere"),
        "itself.png": lambda path: path.symlink_to(path),
        "to a folder.png": lambda path: path.symlink_to(folder),
        "empty.jpg": lambda path: path.write_bytes(b""),
        "zeros.tif": lambda path: path.write_bytes(bytes(1_000_000)),
        "huge.png": lambda path: path.write_bytes(zeros_png(10_000)),
        "text.png": lambda path: path.write_bytes(
            zeros_png(800, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000), 1)))
        ),
        "script.png": lambda path: path.write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"
        ),
        os.fsdecode(b"bad \xff\n.png"): lambda path: path.write_bytes(b"bad"),
    }
    for name, make in bad.items():
        make(folder / name)
    ended = parsed(chain, tmp_path)
    assert skipped(ended) == len(bad)
    assert r"'bad \udcff\n.png', 'device.png', 'empty.jpg', ..." in ended.err
    assert parsed(chain, tmp_path, "--json").json["ok"]
    refused(parsed(chain, tmp_path, "--strict"), r"cannot read pictures/bad \udcff .png: ")
    shown = parsed(chain, tmp_path, "--strict", "--json")
    assert shown.json["error"]["code"] == "data"


def test_folders_may_be_nested_deeper_than_python_may_recurse(chain: Chain, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    good(folder)
    deep = str(folder)
    for _ in range(1100):
        deep += "/d"
        os.mkdir(deep)  # noqa: PTH102
    bad = Path(deep, "bad.png")
    bad.write_bytes(b"")
    try:
        assert skipped(parsed(chain, tmp_path)) == 1
    finally:
        bad.unlink()
        os.removedirs(deep)  # what cleans up after tests recurses too


def test_an_archive_that_unpacks_to_far_too_much_is_not_unpacked(
    chain: Chain, tmp_path: Path
) -> None:
    most = 300 << 20
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (most >> 20, 1024, 1024)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for name in ("train.npy", "test.npy"):
            with made.open(name, "w") as file:
                file.write(header.getvalue())
                for _ in range(most >> 20 if name == "train.npy" else 0):
                    file.write(bytes(1 << 20))
    ended = parsed(chain, tmp_path, source="npz:x.npz")
    refused(ended, "array 'train' in x.npz would unpack ")
    assert f" bytes to {most + len(header.getvalue()):,}\n" in ended.err
    assert ended.more_mb < 150


def test_what_is_no_file_is_not_waited_for(chain: Chain, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    refused(parsed(chain, tmp_path, source="npz:x.npz"), "x.npz is not a regular file")
    os.mkfifo(tmp_path / "pictures")
    refused(parsed(chain, tmp_path), "there is no folder pictures")
