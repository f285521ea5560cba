"""NumPy archives (`npz:FILE`, `NAME.npz`) with uint8 arrays `train` and `test`, from anybody.

Sizes are checked before anything is unpacked, so a small file cannot fill the memory, and object
arrays, which would be unpickled, are refused.
"""

import math
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from npdraw.errors import DataError

_ALWAYS_UNPACKED = 256 << 20  # bytes of an array that is read however well it is compressed
_MAX_COMPRESSION = 100  # above that size; Omniglot at 105x105 reaches 63, zeros reach 1,030
_MAX_NAMES = 8  # arrays that an error lists
_HOW_TO_SAVE = "Save it with np.savez_compressed(FILE, train=..., test=...)."


def read_npz(path: Path, split: str) -> NDArray[np.uint8]:
    """Read the array `split` of a file with uint8 arrays `train` and `test`.

    Returns images [N, H, W] or [N, H, W, 3].

    Raises:
        DataError: the file is missing or damaged, or an array is missing, empty or of another kind.
    """
    if not path.is_file():  # reading a pipe would wait
        problem = f"{path} is not a regular file" if path.exists() else f"there is no file {path}"
        raise DataError(problem, hint="npz:FILE expects a NumPy archive.")
    try:
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path) as archive:
            return _read_array(path, archive, split)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise almost anything for a damaged file
        raise DataError(
            f"{path} is damaged or not an .npz file: {error}", hint=_HOW_TO_SAVE
        ) from error


def has_colour(path: Path) -> bool:
    """Return whether the array `train` of a file is in colour; False if it cannot be read."""
    if not path.is_file():  # reading a pipe would wait
        return False
    with suppress(Exception), zipfile.ZipFile(path) as archive, archive.open("train.npy") as file:
        return len(_read_header(file)[0]) == 4
    return False


def _read_array(path: Path, archive: zipfile.ZipFile, split: str) -> NDArray[np.uint8]:
    names = sorted(archive.namelist())
    if [name for name in names if name in ("test.npy", "train.npy")] != ["test.npy", "train.npy"]:
        listed = [name.removesuffix(".npy") for name in names[:_MAX_NAMES]]
        listed += ["..."] * (len(names) > _MAX_NAMES)
        raise DataError(f"{path} holds the arrays {listed}, not train and test", hint=_HOW_TO_SAVE)
    member = archive.getinfo(f"{split}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # The other methods have no limit on memory.
        raise ValueError("it is compressed by a method that NumPy does not write")

    # The sizes in the archive may be wrong, so they are compared with each other and the header.
    packed = min(member.compress_size, path.stat().st_size)
    if member.file_size > max(_ALWAYS_UNPACKED, _MAX_COMPRESSION * packed):
        raise DataError(
            f"array {split!r} in {path} would unpack {packed:,} bytes to {member.file_size:,}",
            hint="If that is right, save it uncompressed: np.savez(FILE, train=..., test=...).",
        )
    with archive.open(member.filename) as file:
        shape, dtype = _read_header(file)
        colour_or_grey = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        if dtype != np.uint8 or not colour_or_grey or 0 in shape:
            raise DataError(
                f"array {split!r} in {path} is {dtype} {list(shape)}",
                hint="Expected uint8 [N, H, W] or [N, H, W, 3].",
            )
        if math.prod(shape) != member.file_size - file.tell():
            raise ValueError(
                f"array {split!r} does not have the {math.prod(shape):,} bytes that it states"
            )
        file.seek(0)
        images: NDArray[np.uint8] = npy.read_array(file, allow_pickle=False)
        return images


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array that starts at the position of `file`."""
    # Versions after 1.0 differ in the length of the header and in names, which uint8 does not have.
    first = npy.read_magic(file) == (1, 0)
    try:
        read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    except MemoryError as error:  # raised by Python's parser for a damaged header
        raise ValueError("the header of an array is damaged") from error
    return shape, dtype
