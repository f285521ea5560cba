"""Download files and unpack archives of drawings, completely or not at all.

A file or folder is complete whenever it has its name: until then it has a temporary one, which ends
in `.tmp`. What a killed download leaves is removed by the next one.
"""

import hashlib
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from npdraw.errors import BusyError, DataError, NpdrawError, UsageError
from npdraw.files import disk_error, file_lock, sweep_temporaries, write_atomic

TIMEOUT = 30.0
"""Seconds without a byte from the server after which a download fails."""

MAX_BYTES = 256 << 20
"""Limit on the bytes of a file, packed or unpacked: the largest published archive has 170 MB."""

LOCK = ".npdraw.lock"

_BLOCK = 1 << 16  # bytes per read


@contextmanager
def download_lock(folder: Path) -> Iterator[None]:
    """Create `folder` and lock it, so that no other process downloads into it meanwhile.

    Raises:
        BusyError: another process downloads into it; this one does not wait.
        DataError, ResourceError: the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(folder / LOCK))
        except BlockingIOError as error:
            raise BusyError(
                f"another npdraw is downloading to {folder}", hint="Wait for it to finish."
            ) from error
        except OSError as error:
            raise _cannot_write(folder, error) from error
        yield


def sweep(path: Path) -> None:
    """Remove temporary files that killed downloads of `path` left; needs the `download_lock`."""
    sweep_temporaries(path)
    for temporary in _temporary_names(path.with_suffix("")):
        _remove(temporary)


def fetch(url: str, path: Path, algorithm: str, checksum: str) -> None:
    """Download `url` to `path` if the content has this checksum; otherwise change nothing.

    `algorithm` is a name that `hashlib` knows; `checksum` is in hexadecimal digits.

    Raises:
        DataError: the server cannot be reached, refuses, times out or sends other content.
        ResourceError: the disk is full.
    """

    def failed(reason: object) -> DataError:
        return DataError(
            f"cannot download {url} to {path}: {reason}",
            hint=f"Check the network, or copy the file to {path} yourself.",
        )

    def received() -> Iterator[bytes]:
        digest, size = hashlib.new(algorithm, usedforsecurity=False), 0
        try:
            request = Request(url, headers={"User-Agent": "npdraw"})
            with urlopen(request, timeout=TIMEOUT) as response:
                stated = response.headers["Content-Length"]
                while block := response.read(_BLOCK):
                    size += len(block)
                    if size > MAX_BYTES:
                        raise failed(f"it has more than {MAX_BYTES:,} bytes")
                    digest.update(block)
                    yield block
        except (OSError, HTTPException, ValueError) as error:  # ValueError: bad redirects
            raise failed(error) from error
        if digest.hexdigest() != checksum:
            of = f" of {stated}" if stated else ""
            raise failed(f"received {size}{of} bytes, and their {algorithm} is not {checksum}")

    try:
        write_atomic(path, received())
    except UsageError as error:  # its hint is about --out
        raise failed(error.message) from error


def unpacked(archive: Path, folder: Path) -> bool:
    """Return whether `folder` holds every drawing of its archive, with the right CRC-32."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return all(
                (folder / name).is_file() and zlib.crc32((folder / name).read_bytes()) == member.CRC
                for name, member in _drawings(opened, folder.name).items()
            )
    except (OSError, zipfile.BadZipFile):
        return False


def unpack(archive: Path, folder: Path) -> None:
    """Replace `folder` by the drawings of an archive; needs the `download_lock`.

    The members are FOLDER/ALPHABET/CHARACTER/DRAWING.png. The old folder stays until all of them
    are unpacked; while the two are exchanged, neither exists for a moment.

    Raises:
        DataError: the archive is damaged, too large, or has other members.
        ResourceError: the disk is full.
    """
    target = Path(os.path.realpath(folder))  # a link stays a link
    new, old = _temporary_names(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            drawings = _drawings(opened, folder.name)
            new.mkdir()
            for name, member in drawings.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(opened.read(member))
        os.sync()  # otherwise a power cut could leave the folder with empty files
        if os.path.lexists(target):
            target.rename(old)
        new.rename(target)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    except (NpdrawError, MemoryError):
        raise
    except Exception as error:  # zipfile and zlib raise almost anything for a damaged file
        raise _unusable(archive, error) from error
    finally:
        _remove(new)
        _remove(old)


def _drawings(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """Return the drawings by their path below `name`; BadZipFile if there are other members.

    Folders and what the macOS Finder adds to archives are ignored.
    """
    part = r"[^/\\.]+"  # excludes `..`
    drawing = re.compile(rf"{re.escape(name)}/({part}/{part}/{part}\.png)")
    ignored = re.compile(rf"{re.escape(name)}/({part}/){{0,2}}|__MACOSX/.*|(.*/)?\.DS_Store")
    drawings: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        match = drawing.fullmatch(member.filename)
        if match and not stat.S_ISLNK(member.external_attr >> 16) and match[1] not in drawings:
            drawings[match[1]] = member
        elif match or not ignored.fullmatch(member.filename):
            raise zipfile.BadZipFile(f"{member.filename!r} is not a drawing, or appears twice")
    if sum(member.file_size for member in drawings.values()) > MAX_BYTES:
        raise zipfile.BadZipFile(f"it unpacks to more than {MAX_BYTES:,} bytes")
    return drawings


def _temporary_names(folder: Path) -> tuple[Path, Path]:
    """Return the names of the new and the old `folder` while they are exchanged."""
    target = Path(os.path.realpath(folder))
    return target.with_name(f".{target.name}.new.tmp"), target.with_name(f".{target.name}.old.tmp")


def _unusable(archive: Path, problem: Exception) -> DataError:
    return DataError(
        f"cannot unpack {archive}: {problem}", hint=f"Delete {archive} and download it again."
    )


def _cannot_write(path: Path, error: OSError) -> NpdrawError:
    return disk_error(path, error) or DataError(
        f"cannot write {path}: {error.strerror or error}",
        hint="Choose another folder with --data-root.",
    )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
