"""Damaged and hostile data files: read or refused, in little time and memory."""

import gzip
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets import idx, mnist, npz, omniglot
from npdraw.errors import DataError
from tests.faults.cases import Cases
from tests.faults.conftest import Chain
from tests.faults.pictures import (
    MOST_MB,
    mutated,
    parsed,
    refused,
)


def each(report: Path, mutants: Iterator[Callable[[], object]]) -> None:
    """Read mutants one after another; any error but `DataError` ends the process."""
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
    """Let a separate process read `count` mutants; return how many it refused."""
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
    """Read mutants of an npz: of the file, or of an array packed with correct checksums."""
    generator, path = np.random.default_rng(2), Path("x.npz")
    array, file = io.BytesIO(), io.BytesIO()
    images = generator.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.save(array, images)
    np.savez_compressed(file, train=images, test=images)

    def natively(path: Path, split: str) -> object:
        return npz.read_native(path, "", split)

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
            yield partial(npz.read_npz if n % 2 else natively, path, "train")

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


def damaged_arrays(report: Path, count: int) -> None:
    """Read mutants of a bare array."""
    generator, path, file = np.random.default_rng(5), Path("x.npy"), io.BytesIO()
    np.save(file, generator.normal(size=(12, 8, 8)).astype(np.float32))

    def mutants() -> Iterator[Callable[[], object]]:
        for _ in range(count):
            path.write_bytes(mutated(file.getvalue(), generator))
            yield partial(npz.read_native, path, "", "train")

    each(report, mutants())


def damaged_idx(report: Path, count: int) -> None:
    """Read mutants of a file of images and of a file of labels, packed and not."""
    generator, root = np.random.default_rng(6), Path()
    images = generator.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    contents = {
        "images-idx3-ubyte": np.array([0x803, *images.shape], ">i4").tobytes() + images.tobytes(),
        "labels-idx1-ubyte": np.array([0x801, 5], ">i4").tobytes() + bytes(5),
    }

    def mutants() -> Iterator[Callable[[], object]]:
        for n in range(count):
            for name, content in contents.items():
                damaged = content
                if (n % 4 == 0) == name.startswith("labels"):
                    damaged = mutated(content, generator)
                (root / f"{name}.gz").unlink(missing_ok=True)
                (root / name).write_bytes(damaged)
                if n % 2:
                    (root / f"{name}.gz").write_bytes(gzip.compress(damaged))
            yield partial(idx.read_native, root, "", "train")

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
    [
        (damaged_archives, 50, 0.5),
        (damaged_arrays, 30, 0.2),
        (damaged_idx, 30, 0.3),
        (damaged_mnist, 15, 0.9),
        (damaged_omniglot, 15, 0.8),
    ],
    ids=["npz", "npy", "idx", "mnist", "omniglot"],
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


def test_an_archive_that_would_unpack_to_too_much_is_refused(chain: Chain, tmp_path: Path) -> None:
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


def test_an_idx_file_that_would_unpack_to_too_much_is_refused(chain: Chain, tmp_path: Path) -> None:
    most = 300 << 20
    (tmp_path / "set").mkdir()
    with gzip.open(tmp_path / "set/train-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(np.array([0x803, most >> 20, 1024, 1024], ">i4").tobytes())
        for _ in range(most >> 20):
            file.write(bytes(1 << 20))
    ended = parsed(chain, tmp_path, source="idx:set")
    refused(ended, "set/train-images-idx3-ubyte.gz would unpack ")
    assert f" bytes to {most:,}\n" in ended.err
    assert ended.more_mb < 150
