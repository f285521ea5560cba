"""A damaged file is refused: truncated, longer, or with any byte changed."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from npdraw.artifacts import (
    read_artifact,
)
from npdraw.header import read_header
from tests.artifacts.contents import forge, refused


@pytest.mark.parametrize("read", [read_header, lambda p: read_artifact(p, kind="prior")])
def test_a_truncated_file_is_refused(file: Path, read: Callable[[Path], object]) -> None:
    data = file.read_bytes()
    lengths = [*range(0, len(data), 64), 1, 7, 8, 9, len(data) - 1]
    for length in lengths:
        file.write_bytes(data[:length])
        assert str(file) in refused(lambda: read(file))


def test_a_truncated_file_is_reported_with_its_size(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:100])
    assert refused(lambda: read_header(file)) == (
        f"{file} is damaged: it ends inside its header, after 100 bytes"
    )
    file.write_bytes(data[:-1])
    assert refused(lambda: read_header(file)) == (
        f"{file} is damaged: it has {len(data) - 1} bytes, expected {len(data)}"
    )


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 64])
def test_extra_bytes_at_the_end_are_refused(file: Path, extra: bytes) -> None:
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + extra)
    assert refused(lambda: read_header(file)) == (
        f"{file} is damaged: it has {size + len(extra)} bytes, expected {size}"
    )


def damaged_copies(data: bytes, count: int) -> Iterator[bytes]:
    """Yield copies with one bit flipped or one byte overwritten, anywhere in the file."""
    choose = random.Random(0)
    for index in range(count):
        copy = bytearray(data)
        place = choose.randrange(len(data))
        copy[place] ^= 1 << choose.randrange(8) if index % 2 else choose.randrange(1, 256)
        yield bytes(copy)


def test_every_changed_byte_is_refused(file: Path) -> None:
    for copy in damaged_copies(file.read_bytes(), 500):
        file.write_bytes(copy)
        assert str(file) in refused(lambda: read_header(file, verify=True))
        assert str(file) in refused(lambda: read_artifact(file, kind="prior"))


@pytest.mark.slow
def test_ten_thousand_damaged_files_are_refused(file: Path) -> None:
    for copy in damaged_copies(file.read_bytes(), 10_000):
        file.write_bytes(copy)
        refused(lambda: read_artifact(file, kind="prior"))


def test_changed_values_do_not_match_the_digest(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # the last bool
    file.write_bytes(data)
    expected = f"{file} is damaged: its bytes do not match its digest"
    assert read_header(file).kind == "prior"  # reads the header only
    assert refused(lambda: read_header(file, verify=True)) == expected
    assert refused(lambda: read_artifact(file, kind="prior")) == expected


def test_changed_metadata_does_not_match_the_digest(file: Path) -> None:
    file.write_bytes(forge(file.read_bytes(), seed=4))
    assert "do not match its digest" in refused(lambda: read_artifact(file, kind="prior"))
