"""NumPy archives: arrays come back as saved; whatever else is in a file is refused or harmless."""

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from npdraw.datasets import npz
from npdraw.datasets.npz import read_npz
from npdraw.errors import DataError
from tests.datasets.archives import GOOD, IMAGES, npy, pack, ramp


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
    (tmp_path / "x.txt").write_text("no array")
    with pytest.raises(DataError, match=r"not an \.npz file") as error:
        read_npz(tmp_path / "x.txt", "train")
    assert "np.savez_compressed" in error.value.hint
    for name, make, said in [
        ("pipe.npz", os.mkfifo, "is not a regular file"),
        ("folder.npz", Path.mkdir, "is a folder, not a file"),
    ]:
        make(tmp_path / name)
        with pytest.raises(DataError, match=f"{name} {said}"):
            read_npz(tmp_path / name, "train")


TEST = ("test.npy", GOOD)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (npy(IMAGES, (10**6, 1000, 1000)), "does not have the 1,000,000,000,000 bytes"),
        (npy(IMAGES, (10**30, 8, 8)), "bytes that it states"),
        (npy(IMAGES, (4, 8, 7)), "does not have the 224 bytes"),
        (npy(IMAGES, (-4, -8, 8)), "damaged"),
        (npy(IMAGES, descr="|O"), "is object"),
        (npy(IMAGES, descr="<f8"), "is float64"),
        (b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"-" * 9000, "the header of an array is"),
        (b"\x93NUMPY\1\0" + struct.pack("<H", 60000) + b" " * 60000, "damaged"),
        (b"\x93NUMPY\7\0" + GOOD[8:], "damaged"),
        (b"", "damaged"),
    ],
)
def test_the_header_of_an_array_is_not_trusted(tmp_path, train, words):
    path = pack(tmp_path / "x.npz", ("train.npy", train), TEST)
    with pytest.raises(DataError, match=words):
        read_npz(path, "train")


def test_an_npz_with_a_later_header_is_read(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asfortranarray(IMAGES), version=(2, 0))
    path = pack(tmp_path / "x.npz", ("train.npy", file.getvalue()), TEST, ("more.npy", b""))
    assert np.array_equal(read_npz(path, "train"), IMAGES)


def test_an_array_that_unpacks_to_far_more_is_not_read(tmp_path, monkeypatch):
    zeros = np.zeros((200, 32, 32), np.uint8)
    path = pack(tmp_path / "x.npz", ("train.npy", npy(zeros)), TEST)
    assert np.array_equal(read_npz(path, "train"), zeros)  # small, however dense
    monkeypatch.setattr(npz, "_ALWAYS_UNPACKED", 100_000)
    with pytest.raises(DataError, match=r"would unpack [0-9,]+ bytes to 204,928") as error:
        read_npz(path, "train")
    assert "np.savez(" in error.value.hint
    pack(path, ("train.npy", npy(zeros)), TEST, method=zipfile.ZIP_STORED)
    assert np.array_equal(read_npz(path, "train"), zeros)
    noise = np.random.default_rng(0).integers(0, 256, zeros.shape, dtype=np.uint8)
    pack(path, ("train.npy", npy(noise)), TEST)
    assert np.array_equal(read_npz(path, "train"), noise)


def test_an_npz_may_lie_about_its_packed_size(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_ALWAYS_UNPACKED", 100_000)
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
def test_an_npz_compressed_by_another_method_is_refused(tmp_path, method):
    path = pack(tmp_path / "x.npz", ("train.npy", GOOD), TEST, method=method)
    with pytest.raises(DataError, match="a method that NumPy does not write"):
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
