"""NumPy files from anybody: `npz:FILE` and `NAME.npz`, archives or a single `.npy` array.

Sizes are checked before anything is unpacked, so a small file cannot fill the memory, and object
arrays, which would be unpickled, are refused.
"""

import math
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from npdraw.datasets import arrays
from npdraw.datasets.arrays import Arrays
from npdraw.errors import DataError, did_you_mean

_ALWAYS_UNPACKED = 256 << 20  # bytes of an array that is read however well it is compressed
_MAX_COMPRESSION = 100  # above that size; Omniglot at 105x105 reaches 63, zeros reach 1,030
_MAX_NAMES = 8  # arrays that an error lists
_MAX_ARRAYS = 1_000  # arrays of which the headers are read to find the images
_HOW_TO_SAVE = "Save it with np.savez_compressed(FILE, train=..., test=...)."

_SPLIT = re.compile("train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?")
_IMAGES = {"", "x", "images", "image", "imgs", "img", "data", "pixels", "inputs", "set"}
_LABELS = {"y", "labels", "label", "targets", "target", "classes", "class"}


def read_npz(path: Path, split: str) -> NDArray[np.uint8]:
    """Read the array `split` of a file with uint8 arrays `train` and `test`.

    Returns images [N, H, W] or [N, H, W, 3].

    Raises:
        DataError: the file is missing or damaged, or an array is missing, empty or of another kind.
    """
    with _opened(path) as file:
        _plain_shape(file, split)
        images: NDArray[np.uint8] = file.read(split)
        return images


def plain_shape(path: Path, split: str) -> tuple[int, ...]:
    """Return the shape of an array that `read_npz` would read, from its header; raises as it does.

    The end of an archive lists its members, so a truncated file is noticed.
    """
    with _opened(path) as file:
        return _plain_shape(file, split)


def _plain_shape(file: "_File", split: str) -> tuple[int, ...]:
    names = file.names()
    if [name for name in names if name in ("test", "train")] != ["test", "train"]:
        listed = names[:_MAX_NAMES] + ["..."] * (len(names) > _MAX_NAMES)
        raise DataError(
            f"{file.path} holds the arrays {listed}, not train and test", hint=_HOW_TO_SAVE
        )
    shape, dtype = file.header(split)
    colour_or_grey = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
    if dtype != np.uint8 or not colour_or_grey or 0 in shape:
        raise DataError(
            f"array {split!r} in {file.path} is {dtype} {list(shape)}",
            hint="Expected uint8 [N, H, W] or [N, H, W, 3].",
        )
    return shape


def read_native(path: Path, key: str, split: str) -> Arrays:
    """Read a split of a file of arrays, with the values as they were saved.

    `key` is the name of an array, two names "TRAIN,TEST", or empty: then the names and shapes of
    the arrays say which ones to read.

    Raises:
        DataError: the file is missing or damaged, it is not clear which array to read, or that
            array does not hold images; the hint lists the arrays and says what to write.
    """
    with _opened(path) as file:
        names = _chosen(file, key)
        name = names[-1] if split == "test" else names[0]
        shape, dtype = file.header(name)
        if hint := arrays.misfit(shape, dtype):
            raise DataError(f"{file.called(name)} is {dtype} {list(shape)}", hint=hint)
        images = arrays.checked(file.read(name), file.called(name))
        labels, classes, notes = _labels(file, name, len(images))
        if not key:
            unused = [name for name in file.names() if _role(name) == ("val", "images")]
            notes += tuple(
                f"{file.called(name)} is not used" for name in unused if name not in names
            )
        if len(names) == 2:
            train, test = (file.header(name)[0][0] for name in names)
            return Arrays(images, labels, notes, classes).with_splits(train=train, test=test)
        return arrays.divided(Arrays(images, labels, notes, classes), split, file.called(name))


class _File:
    """An open file of arrays: an archive, or a single array with the name of the file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile | None) -> None:
        self.path = path
        self._archive = archive

    def names(self) -> list[str]:
        """Return the names of the arrays, sorted; a name that occurs twice is there twice."""
        if self._archive is None:
            return [self.path.stem]
        members = sorted(self._archive.namelist())
        return [name.removesuffix(".npy") for name in members if name.endswith(".npy")]

    def called(self, name: str) -> str:
        """Return what messages call an array."""
        return str(self.path) if self._archive is None else f"array {name!r} in {self.path}"

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return shape and type of an array."""
        with self._open(name) as (file, _):
            return _read_header(file)

    def read(self, name: str) -> NDArray[Any]:
        """Read an array whose sizes are as its header says, and not too large for its file."""
        with self._open(name) as (file, size):
            shape, dtype = _read_header(file)
            stated = math.prod(shape) * dtype.itemsize
            if stated != size - file.tell():
                raise ValueError(
                    f"array {name!r} does not have the {stated:,} bytes that it states"
                )
            file.seek(0)
            array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
            return array

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """Open an array; also return its bytes."""
        if self._archive is None:
            with self.path.open("rb") as file:
                yield file, self.path.stat().st_size
            return
        member = self._archive.getinfo(f"{name}.npy")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # The other methods have no limit on memory.
            raise ValueError("it is compressed by a method that NumPy does not write")
        # The sizes in the archive may be wrong, so they are compared with each other.
        packed = min(member.compress_size, self.path.stat().st_size)
        if member.file_size > max(_ALWAYS_UNPACKED, _MAX_COMPRESSION * packed):
            raise DataError(
                f"array {name!r} in {self.path} would unpack {packed:,} bytes to "
                f"{member.file_size:,}",
                hint="If that is right, save it uncompressed: np.savez(FILE, train=..., test=...).",
            )
        with self._archive.open(member.filename) as unpacked:
            yield unpacked, member.file_size


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    """Open a file of arrays; `DataError` if it is missing, damaged or of another kind."""
    if path.is_dir():
        raise DataError(
            f"{path} is a folder, not a file",
            hint=f"Write folder:{path} for pictures, or idx:{path} for files like those of MNIST.",
        )
    if not path.is_file():  # reading a pipe would wait
        problem = f"{path} is not a regular file" if path.exists() else f"there is no file {path}"
        raise DataError(problem, hint="npz:FILE expects a NumPy archive or array.")
    single = False
    try:
        with path.open("rb") as file:
            single = file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX
        with warnings.catch_warnings(action="ignore"):
            if single:
                yield _File(path, None)
            else:
                with zipfile.ZipFile(path) as archive:
                    yield _File(path, archive)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise almost anything for a damaged file
        kind = ".npy" if single else ".npz"
        raise DataError(
            f"{path} is damaged or not an {kind} file: {error}", hint=_HOW_TO_SAVE
        ) from error


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array that starts at the position of `file`."""
    # Versions after 1.0 differ in the length of the header and in names, which numbers do not have.
    first = npy.read_magic(file) == (1, 0)
    try:
        read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    except MemoryError as error:  # raised by Python's parser for a damaged header
        raise ValueError("the header of an array is damaged") from error
    return shape, dtype


def _role(name: str) -> tuple[str, str]:
    """Return the split ("train", "test", "val" or "") and kind ("images", "labels" or "")."""
    lower = name.lower()
    match = _SPLIT.search(lower)
    rest = re.sub("[^a-z]", "", lower[: match.start()] + lower[match.end() :] if match else lower)
    kind = "images" if rest in _IMAGES else "labels" if rest in _LABELS else ""
    split = re.match("train|test|val", match[0]) if match else None
    return split[0] if split else "", kind


def _chosen(file: _File, key: str) -> tuple[str, ...]:
    """Return the name of the array to read, or of that with training and that with test images."""
    names = file.names()
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{file.path} has two arrays {twice!r}", hint=_HOW_TO_SAVE)
    if key:
        wanted = (key,) if key in names else tuple(key.split(","))
        for name in wanted:
            if name not in names:
                hint = did_you_mean(name, names) if len(names) <= _MAX_NAMES else ""
                raise DataError(f"there is no array {name!r} in {file.path}", hint=hint)
        if len(wanted) > 2:
            raise DataError(
                f"{len(wanted)} arrays are named for {file.path}",
                hint="Write npz:FILE#NAME, or npz:FILE#TRAIN,TEST.",
            )
        return wanted
    if "train" in names and "test" in names:
        return "train", "test"
    roles = {name: _role(name) for name in names}
    pair = [[name for name in names if roles[name] == (s, "images")] for s in ("train", "test")]
    if len(pair[0]) == len(pair[1]) == 1:
        return pair[0][0], pair[1][0]
    return (_only_images(file, names),)


def _only_images(file: _File, names: list[str]) -> str:
    """Return the name of the only array that holds images."""
    if len(names) > _MAX_ARRAYS:
        raise DataError(
            f"{file.path} holds {len(names):,} arrays",
            hint="Save all images in one array [N, H, W]: np.stack(images).",
        )
    headers = {}
    for name in names:
        with suppress(Exception):  # reading it reports what is wrong with it
            headers[name] = file.header(name)
    able = [name for name, header in headers.items() if not arrays.misfit(*header)]
    if len(able) == 1:
        return able[0]
    near = [n for n in headers if len(headers[n][0]) > 1 and _role(n)[1] != "labels"]
    if not able and (len(near) == 1 or len(names) == 1):
        return (near or names)[0]  # the error about its shape says more

    listed = [
        f"{name} {headers[name][1]} {list(headers[name][0])}" if name in headers else name
        for name in (able + [name for name in names if name not in able])[:_MAX_NAMES]
    ]
    listed += [f"and {len(names) - _MAX_NAMES} more"] * (len(names) > _MAX_NAMES)
    has = f"It holds {', '.join(listed)}." if listed else "It holds no arrays."
    if able:
        train = next((name for name in able if _role(name)[0] == "train"), able[0])
        test = next((n for n in able if n != train and _role(n)[0] == "test"), None)
        test = test or next(name for name in able if name != train)
        raise DataError(
            f"it is not clear which of the {len(able)} arrays of images in {file.path} to read",
            hint=f"{has} Write npz:FILE#{train} for one of them, or npz:FILE#{train},{test} for "
            "training and test images.",
        )
    alone = [header for header in headers.values() if len(header[0]) == 2]
    how = "Save all images in one array: np.stack(images)." if len(alone) > 1 else arrays.EXPECTED
    raise DataError(f"{file.path} holds no array of images", hint=f"{has} {how}")


def _labels(
    file: _File, images: str, count: int
) -> tuple[NDArray[np.int16] | None, tuple[str, ...], tuple[str, ...]]:
    """Read the labels that belong to an array of images: labels or None, their names, and notes."""
    split = _role(images)[0]
    names = [name for name in file.names() if _role(name) == (split, "labels")]
    if not names and images == "arr_0" and file.names() == ["arr_0", "arr_1"]:
        names = ["arr_1"]
    if len(names) != 1:
        return None, (), ()
    shape, dtype = file.header(names[0])
    usable = len(shape) in (1, 2) and shape[0] == count and dtype.kind != "O"
    read = arrays.checked_labels(file.read(names[0]), count) if usable else None
    if read is None:
        described = f"{dtype} {list(shape)}"
        return None, (), (f"{file.called(names[0])} is not used: {described} are not classes",)
    return *read, ()
