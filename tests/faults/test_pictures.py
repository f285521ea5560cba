"""Damaged and hostile pictures: skipped with a count, or one clear error, in little memory."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.faults.conftest import Chain
from tests.faults.pictures import (
    chunk,
    good,
    moving,
    mutated,
    parsed,
    refused,
    seeds,
    skipped,
    zeros_png,
)

A_FOLDER = 40
"""Mutants per folder."""


def test_the_undamaged_pictures_can_be_read(chain: Chain, tmp_path: Path) -> None:
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
    assert 0.3 * total < count < 0.95 * total  # some are harmless, and some fail late
    print(f"{count} of {total} skipped")


def test_of_a_folder_of_oddities_bad_files_are_skipped(chain: Chain, tmp_path: Path) -> None:
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
        os.removedirs(deep)  # the cleanup after tests would recurse too


def test_a_pipe_is_not_waited_for(chain: Chain, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    refused(parsed(chain, tmp_path, source="npz:x.npz"), "x.npz is not a regular file")
    os.mkfifo(tmp_path / "pictures")
    refused(parsed(chain, tmp_path), "there is no folder pictures")
