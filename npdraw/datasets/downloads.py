"""Files and archives from elsewhere, whole or not at all; only `published` uses it.

A name stands for a whole file or folder at every moment: what is under way has another name, which
ends in `.tmp`, and the next download removes what a killed one left.
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
from npdraw.files import disk_error, exclusive, sweep_temporaries, write_atomic

SILENCE = 30.0
"""Seconds without a byte after which a server is given up."""

MOST = 256 << 20
"""Bytes; no published file has more, packed or unpacked: the largest archive has 170 MB."""

LOCK = ".npdraw.lock"

_CHUNK = 1 << 16


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only download into `folder`, which is made; nothing waits for another one.

    Raises:
        BusyError: another process downloads into it.
        DataError, ResourceError: it cannot be written.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder / LOCK))
        except BlockingIOError as error:
            raise BusyError(
                f"another npdraw downloads to {folder}", hint="Wait for it to end."
            ) from error
        except OSError as error:
            raise _cannot_write(folder, error) from error
        yield


def sweep(path: Path) -> None:
    """Remove what killed downloads of `path` left; only the one that is `alone` may."""
    sweep_temporaries(path)
    for temporary in _beside(path.with_suffix("")):
        _remove(temporary)


def fetch(url: str, path: Path, algorithm: str, checksum: str) -> None:
    """Write what lies at `url` to `path` if it has this checksum; otherwise leave all as it is.

    Raises:
        DataError: the server cannot be reached, refuses, falls silent or sends something else.
        ResourceError: the disk is full.
    """

    def failed(reason: object) -> DataError:
        return DataError(
            f"cannot download {url} to {path}: {reason}",
            hint=f"check the network, or copy the file to {path} yourself",
        )

    def arriving() -> Iterator[bytes]:
        found, size = hashlib.new(algorithm, usedforsecurity=False), 0
        try:
            request = Request(url, headers={"User-Agent": "npdraw"})
            with urlopen(request, timeout=SILENCE) as response:
                stated = response.headers["Content-Length"]
                while chunk := response.read(_CHUNK):
                    size += len(chunk)
                    if size > MOST:
                        raise failed(f"it has more than {MOST:,} bytes")
                    found.update(chunk)
                    yield chunk
        except (OSError, HTTPException, ValueError) as error:  # values: where it is redirected to
            raise failed(error) from error
        if found.hexdigest() != checksum:
            of = f" of {stated}" if stated else ""
            raise failed(f"{size}{of} bytes came, and their {algorithm} is not {checksum}")

    try:
        write_atomic(path, arriving())
    except UsageError as error:  # its hint speaks of --out
        raise failed(error.message) from error


def unpacked(archive: Path, folder: Path) -> bool:
    """Return whether `folder` holds every drawing of its archive, byte for byte."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return all(
                (folder / below).is_file()
                and zlib.crc32((folder / below).read_bytes()) == member.CRC
                for below, member in _drawings(opened, folder.name).items()
            )
    except (OSError, zipfile.BadZipFile):
        return False


def unpack(archive: Path, folder: Path) -> None:
    """Put the drawings of an archive in place of `folder`; only the one that is `alone` may.

    The members lie below the name of the folder, as FOLDER/ALPHABET/CHARACTER/DRAWING.png. Until
    all are there, what was there stays; for a moment neither is.

    Raises:
        DataError: the archive is damaged, or holds anything else or too much.
        ResourceError: the disk is full.
    """
    target = Path(os.path.realpath(folder))  # a link stays a link
    new, old = _beside(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            drawings = _drawings(opened, folder.name)
            new.mkdir()
            for below, member in drawings.items():
                (new / below).parent.mkdir(parents=True, exist_ok=True)
                (new / below).write_bytes(opened.read(member))
        os.sync()  # or after a power cut the folder could be there and its files empty
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
    """Return the members by their path below `name`, after a look at all of them.

    Folders and what the Finder leaves in archives are passed over.
    """
    word = r"[^/\\.]+"  # so that none is `..`
    drawing = re.compile(rf"{re.escape(name)}/({word}/{word}/{word}\.png)")
    other = re.compile(rf"{re.escape(name)}/({word}/){{0,2}}|__MACOSX/.*|(.*/)?\.DS_Store")
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        match = drawing.fullmatch(member.filename)
        if match and not stat.S_ISLNK(member.external_attr >> 16) and match[1] not in found:
            found[match[1]] = member
        elif match or not other.fullmatch(member.filename):
            raise zipfile.BadZipFile(f"{member.filename!r} is no drawing, or comes twice")
    if sum(member.file_size for member in found.values()) > MOST:
        raise zipfile.BadZipFile(f"it unpacks to more than {MOST:,} bytes")
    return found


def _beside(folder: Path) -> tuple[Path, Path]:
    """Return the names that the next and the last `folder` have for a while."""
    target = Path(os.path.realpath(folder))
    return target.with_name(f".{target.name}.new.tmp"), target.with_name(f".{target.name}.old.tmp")


def _unusable(archive: Path, problem: Exception) -> DataError:
    return DataError(
        f"cannot unpack {archive}: {problem}", hint=f"delete {archive} and download it again"
    )


def _cannot_write(path: Path, error: OSError) -> NpdrawError:
    return disk_error(path, error) or DataError(
        f"cannot write {path}: {error.strerror or error}",
        hint="choose another folder with --data-root",
    )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
