"""Pictures of every format, damaged copies of them, and how a folder of them is parsed."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.cases import Ended
from tests.faults.conftest import Chain

MOST_MB = 1024
"""Megabytes of memory that reading may use."""

MOST_SECONDS = 20.0
"""Seconds allowed per folder; on an idle machine it takes half a second."""

Generator = np.random.Generator


def seeds() -> dict[str, bytes]:
    """Return small pictures of every format and kind: file name -> content."""
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
    """Return a damaged copy: bytes changed, cut off, inserted, deleted, repeated or zeroed."""
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
    """Write sound pictures."""
    for n in range(count):
        pixels = np.random.default_rng(n).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"good{n}.png")


def parsed(chain: Chain, folder: Path, *more: str, source: str = "folder:pictures") -> Ended:
    """Run `npdraw parse` on the pictures in `folder`, within the limits for every case."""
    words = ("--config", "tiny.toml", "--out", "parse.safetensors", "--force", *more)
    ended = chain.cases.run("parse", "--data", source, *words, folder=chain.copy(folder))
    print(f"{ended.code} {ended.seconds:.1f} s {ended.more_mb:.0f} MB")
    assert ended.more_mb < MOST_MB, ended.shown
    assert ended.seconds < MOST_SECONDS, ended.shown
    return ended


def messages(ended: Ended) -> list[str]:
    """Return the lines on stderr, except progress, what was seen, and the messages of libtiff."""
    seen = r"\d+ pictures, .*|.* have transparent pixels.*|values from .*|.* not square: .*"
    seen += r"|.* exact copies .*|.* classes \(.*|.* left out \(.*"
    seen += r"|(every 10th|the last) picture is .*"
    seen += r"|\d+ of \d+ training images are for validation only: .*"
    seen += r"|\d+ ha(s|ve) more than one frame or page: .*"
    seen += r"|(shrunk|enlarged) (from|or) .*|\d+ of \d+ images (is|are) empty: .*"
    ignored = re.compile(rf"parse .* images/s .*|{seen}|(?!Error|Hint)[\w.]+: .*\.")
    return [line for line in ended.err.splitlines() if not ignored.fullmatch(line)]


def skipped(ended: Ended) -> int:
    """Return the number of files reported as skipped; nothing else may be reported."""
    assert ended.code == 0, ended.shown
    other = messages(ended)
    if not other:
        return 0
    assert len(other) == 1, ended.shown
    note = other[0]
    match = re.fullmatch(r"skipped (\d+) of \d+ files that cannot be read: '.*", note)
    assert match, ended.shown
    return int(match[1])


def refused(ended: Ended, words: str) -> None:
    """Check that it ended with one line that contains `words`, and a hint."""
    assert ended.code == 4, ended.shown
    error, hint = messages(ended)
    assert error.startswith("Error: ") and hint.startswith("Hint: "), ended.shown
    assert words in error, ended.shown


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def zeros_png(side: int, *before: bytes) -> bytes:
    """Return a black PNG with more chunks before its pixels."""
    packer = zlib.compressobj(1)
    rows = bytes(side // 8 + 1) * 100
    pixels = b"".join(packer.compress(rows) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def moving(frames: int, kind: str) -> bytes:
    """Return a picture with many frames."""
    file = io.BytesIO()
    each_frame = [Image.new("L", (8, 8), n % 251) for n in range(frames)]
    each_frame[0].save(file, kind, save_all=True, append_images=each_frame[1:])
    return file.getvalue()
