"""Files in the format of MNIST: found by name, checked against their headers, with labels."""

import gzip
import os
import re
import struct

import numpy as np
import pytest

from npdraw.datasets import idx, load, parse_source
from npdraw.datasets.idx import read_native
from npdraw.errors import DataError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def packed(array):
    """Return an array as the content of an idx file."""
    code = CODES[array.dtype.newbyteorder("=").str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def images(count, start=0, *shape):
    numbers = np.arange(start, start + count, dtype=np.uint8)
    shape = shape or (6, 5)
    return numbers.reshape(-1, *[1] * len(shape)) + np.zeros(shape, np.uint8)


def write(folder, files):
    """Write arrays or contents by file name; those that end in .gz are packed."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        whole = content if isinstance(content, bytes) else packed(content)
        (folder / name).write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)
    return folder


def usual(prefix="", ending="", train=12, test=5, kind="ubyte"):
    """Return the four files of a set like MNIST."""
    return {
        f"{prefix}train-images-idx3-{kind}{ending}": images(train),
        f"{prefix}train-labels-idx1-{kind}{ending}": np.arange(train, dtype=np.uint8),
        f"{prefix}t10k-images-idx3-{kind}{ending}": images(test, 50),
        f"{prefix}t10k-labels-idx1-{kind}{ending}": np.arange(test, dtype=np.uint8),
    }


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("prefix", ["", "k49-", "My set "])
def test_a_set_like_mnist_is_read_with_its_labels(tmp_path, prefix, ending):
    folder = write(tmp_path, usual(prefix, ending))
    (folder / "readme.txt").write_text("not an array")
    (folder / "photos.gz").write_bytes(gzip.compress(b"neither"))
    for split, count, start in (("train", 12, 0), ("test", 5, 50)):
        result = read_native(folder, "", split)
        assert np.array_equal(result.images, images(count, start))
        assert result.labels.tolist() == list(range(count)) and result.notes == ()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-images.idx3-ubyte", "t10k-images.idx3-ubyte"),  # as unpacked by some programs
        ("train_images", "test_images"),
        ("Training-Images-IDX3-UByte.gz", "Testing-Images-IDX3-UByte.gz"),
        ("x-train.idx", "x-test.idx"),
    ],
)
def test_other_names_are_known_by_their_content(tmp_path, train, test):
    folder = write(tmp_path, {train: images(4), test: images(3, 7)})
    assert len(read_native(folder, "", "train").images) == 4
    result = read_native(folder, "", "test")
    assert result.images[:, 0, 0].tolist() == [7, 8, 9] and result.labels is None


def test_the_folder_raw_of_torchvision_is_found(tmp_path):
    write(tmp_path / "raw", usual())
    assert len(read_native(tmp_path, "", "test").images) == 5


@pytest.mark.parametrize("kind", CODES)
def test_every_type_is_read_in_the_order_of_this_machine(tmp_path, kind):
    folder = write(tmp_path, {"train": images(4).astype(kind), "test": images(2).astype(kind)})
    result = read_native(folder, "", "train").images
    assert result.dtype == np.dtype(kind) and np.array_equal(result, images(4))


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((6, 6, 3), (6, 6, 3)),
        ((3, 6, 6), (6, 6, 3)),
        ((1, 6, 6), (6, 6)),
        ((36,), (6, 6)),
    ],
)
def test_channels_and_rows(tmp_path, shape, kept):
    folder = write(
        tmp_path,
        {
            f"train-images-idx{1 + len(shape)}-ubyte": images(4, 0, *shape),
            f"t10k-images-idx{1 + len(shape)}-ubyte": images(2, 0, *shape),
        },
    )
    assert read_native(folder, "", "train").images.shape == (4, *kept)


def test_one_file_of_images_is_divided(tmp_path):
    folder = write(
        tmp_path,
        {"images-idx3-ubyte": images(20), "labels-idx1-ubyte": np.arange(20, dtype=np.int32)},
    )
    result = read_native(folder, "", "test")
    assert result.images[:, 0, 0].tolist() == [9, 19] == result.labels.tolist()
    assert result.notes == (f"{folder / 'images-idx3-ubyte'}: every 10th image is a test image",)


def test_of_a_file_and_its_packed_copy_the_packed_one_is_read(tmp_path):
    files = usual()
    folder = write(tmp_path, files | {f"{name}.gz": array for name, array in files.items()})
    name = "train-images-idx3-ubyte"
    (folder / name).write_bytes(packed(images(12))[:-9])  # unpacking was stopped
    assert len(read_native(folder, "", "train").images) == 12
    (folder / f"{name}.gz").unlink()
    with pytest.raises(DataError, match="does not have the 360 bytes that it states"):
        read_native(folder, "", "train")


def test_several_sets_in_a_folder_need_a_key(tmp_path):
    folder = write(tmp_path, usual("emnist-digits-", ".gz") | usual("emnist-letters-", ".gz", 9))
    with pytest.raises(DataError, match="which of the 4 files of images in") as error:
        read_native(folder, "", "train")
    assert "emnist-digits-t10k-images-idx3-ubyte.gz uint8 [5, 6, 5]" in error.value.hint
    assert error.value.hint.endswith("Write idx:FOLDER#emnist-letters for one of the sets.")
    result = read_native(folder, "emnist-letters", "train")
    assert len(result.images) == 9 == len(result.labels)
    with pytest.raises(DataError, match=r"no idx file in .* begins with 'emnist-lettres'") as error:
        read_native(folder, "emnist-lettres", "train")
    assert "It holds emnist-digits-t10k-images" in error.value.hint


def test_emnist_is_turned_upright(tmp_path):
    array = np.arange(4 * 30, dtype=np.uint8).reshape(4, 6, 5)
    folder = write(tmp_path, {"emnist-a-train": array, "emnist-a-test": array})
    result = read_native(folder, "", "train")
    assert np.array_equal(result.images, array.transpose(0, 2, 1))
    assert result.notes == ("EMNIST stores its images transposed: they are turned upright",)


def test_labels_of_several_columns_are_noted(tmp_path):
    files = {"train-images-idx3-ubyte": images(4), "test-images-idx3-ubyte": images(2)}
    files["train-labels-idx2-int"] = np.zeros((4, 8), np.int32)
    result = read_native(write(tmp_path, files), "", "train")
    assert result.labels is None
    assert re.search(r"labels-idx2-int is not used: int32 \[4, 8\] are not classes", *result.notes)


def test_labels_of_another_number_of_images_are_refused(tmp_path):
    files = usual() | {"train-labels-idx1-ubyte": np.zeros(11, np.uint8)}
    with pytest.raises(DataError, match="has 11 labels for the 12 images of train-images-idx3"):
        read_native(write(tmp_path, files), "", "train")


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no folder") as error:
        read_native(tmp_path / "x", "", "train")
    assert "train-images-idx3-ubyte.gz" in error.value.hint
    write(tmp_path, {"notes.txt": b"text"})
    with pytest.raises(DataError, match="there are no idx files in"):
        read_native(tmp_path, "", "train")
    write(tmp_path, {"train-labels-idx1-ubyte": np.zeros(4, np.uint8)})
    with pytest.raises(DataError, match="no idx files of images in") as error:
        read_native(tmp_path, "", "train")
    assert error.value.hint == "It holds train-labels-idx1-ubyte uint8 [4]."
    with pytest.raises(DataError, match="labels-idx1-ubyte is not a folder"):
        read_native(tmp_path / "train-labels-idx1-ubyte", "", "train")
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")  # is not opened: that would wait
    with pytest.raises(DataError, match="no idx files of images in"):
        read_native(tmp_path, "", "train")


@pytest.mark.parametrize(
    ("shape", "words"),
    [((4, 28, 3), r"uint8 \[4, 28, 3\]"), ((4, 30), r"\[4, 30\]"), ((0, 6, 6), r"\[0, 6, 6\]")],
)
def test_other_shapes_are_refused(tmp_path, shape, words):
    array = np.zeros(shape, np.uint8)
    folder = write(tmp_path, {"train-images": array, "test-images": array})
    with pytest.raises(DataError, match=words) as error:
        read_native(folder, "", "train")
    assert error.value.hint


def test_values_that_are_not_finite_are_refused(tmp_path):
    array = images(4).astype(np.float32)
    array[1, 2, 3] = np.inf
    folder = write(tmp_path, {"train": array, "test": array})
    with pytest.raises(DataError, match="has 1 infinite of 120 values"):
        read_native(folder, "", "train")


WHOLE = packed(images(4))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        WHOLE[:3],
        WHOLE[:11],
        WHOLE[:-1],
        WHOLE + b"\0",
        b"\1" + WHOLE[1:],
        b"\0\0\7\3" + WHOLE[4:],
        b"\0\0\x08\0" + WHOLE[4:],
        b"\0\0\x08\x05" + WHOLE[4:],
        WHOLE[:4] + b"\xff" * 12 + WHOLE[16:],
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_that_does_not_keep_its_header_is_damaged(tmp_path, content, ending):
    folder = write(tmp_path, usual(ending=ending) | {f"train-images-idx3-ubyte{ending}": content})
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte[.gz]* (is damaged|would unpack)"):
        read_native(folder, "", "train")


def test_damage_of_a_packed_file_is_noticed(tmp_path):
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, 256, (6, 8, 8), dtype=np.uint8)
    folder = write(tmp_path, {"train-images-idx3-ubyte.gz": pixels, "test": pixels})
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    refused = 0
    for n in range(300):
        broken = bytearray(whole)
        broken[noise.integers(len(whole))] ^= 1 << noise.integers(8)
        path.write_bytes(broken if n % 2 else whole[: noise.integers(len(whole))])
        try:
            assert np.array_equal(read_native(folder, "", "train").images, pixels)
        except DataError:
            refused += 1
    assert refused > 270


def test_a_file_that_unpacks_to_far_more_is_not_read(tmp_path, monkeypatch):
    zeros = np.zeros((200, 32, 32), np.uint8)
    folder = write(tmp_path, {"train.gz": zeros, "test.gz": zeros})
    assert len(read_native(folder, "", "train").images) == 200
    monkeypatch.setattr(idx, "_ALWAYS_UNPACKED", 100_000)
    with pytest.raises(
        DataError, match=r"train\.gz would unpack [0-9,]+ bytes to 204,800"
    ) as error:
        read_native(folder, "", "train")
    assert error.value.hint == "If that is right, unpack it."
    write(tmp_path, {"train": zeros})
    (folder / "train.gz").unlink()
    assert len(read_native(folder, "", "train").images) == 200


def test_a_source_names_the_folder_and_the_set(tmp_path):
    write(tmp_path, usual("a-") | usual("b-"))
    source = parse_source(f"idx:{tmp_path}#b")
    assert (source.path, source.key) == (tmp_path, "b")
    assert str(source) == f"idx:{tmp_path}#b" and parse_source(str(source)) == source
    loaded = load(source, "test", root=tmp_path, image_size=5)
    assert loaded.images.shape == (5, 1, 5, 5)
