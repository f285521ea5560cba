"""A file that is not the expected artifact is refused by name: kind, schema, type of file."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from npdraw import header as header_module
from npdraw.artifacts import (
    read_artifact,
)
from npdraw.errors import ArtifactError
from npdraw.header import read_header
from tests.artifacts.contents import forge, refused


def test_another_kind_is_named_with_the_one_expected(file: Path) -> None:
    for read in (read_header, read_artifact):
        with pytest.raises(ArtifactError) as caught:
            read(file, kind="parse")
        assert caught.value.message == f"{file} is a prior, expected a parse"
        assert "npdraw parse" in caught.value.hint


@pytest.mark.parametrize(("schema", "age"), [(2, "a newer"), (0, "an older")])
def test_another_schema_is_named_with_the_one_expected(file: Path, schema: int, age: str) -> None:
    # Of another schema, nothing but the kind and the schema is checked.
    file.write_bytes(forge(file.read_bytes(), schema=schema, seed=None, author="x"))
    assert refused(lambda: read_artifact(file, kind="prior")) == (
        f"{file} was written by {age} npdraw: its schema is {schema}, expected 1"
    )


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("parse", "npdraw parse"),
        ("prior", "npdraw train-prior"),
        ("model", "npdraw train-decoder"),
        ("drawings", "npdraw sample"),
        ("checkpoint", "the same command"),
    ],
)
def test_a_missing_file_is_named_with_the_command_that_makes_it(
    tmp_path: Path, kind: str, command: str
) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_header(tmp_path / "x", kind=kind)
    assert caught.value.message == f"there is no file {tmp_path / 'x'}"
    assert caught.value.hint == f"Make it: {command}"
    assert caught.value.exit_code == 3


def test_a_missing_file_of_any_kind_is_named_with_the_commands_that_write_artifacts(
    tmp_path: Path,
) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_header(tmp_path / "x")
    assert caught.value.hint == (
        "Check its path. Artifacts are written by "
        "npdraw parse, npdraw train-prior, npdraw train-decoder, npdraw sample "
        "and npdraw train-features."
    )


@pytest.mark.parametrize(
    ("kind", "name", "again"),
    [
        ("parse", "a b", "again: npdraw parse --out 'a b' --force"),
        ("prior", "x", "again: npdraw train-prior --out x --force"),
        ("model", "y/x", "again: npdraw train-decoder --out y/x --force"),
        ("drawings", "y/drawings.safetensors", "again: npdraw sample --out y --force"),
        ("drawings", "y/x", "again: npdraw sample --force"),  # y may hold other files
        ("checkpoint", "x", "again with the same command and --force."),
        (None, "x", "again with the command that wrote it, and --force."),
    ],
)
def test_a_damaged_file_is_named_with_the_command_that_makes_it_again(
    kind: str | None, name: str, again: str
) -> None:
    error = header_module.damaged_error(Path(name), kind, "it is empty")
    assert error.hint == f"Make it {again}"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "{} is a folder"),
        (os.mkfifo, "{} is not a regular file"),
        (lambda path: path.symlink_to(path), "cannot read {}: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b""), "{} is damaged: it is empty"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "{} is not an artifact"),
        (
            lambda path: path.write_bytes(b"\1\0\0\1" + b"\0" * 20),
            "{} is not an artifact",
        ),
    ],
)
def test_what_is_not_an_artifact_is_refused(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "x"
    make(path)
    for read in (lambda: read_header(path), lambda: read_artifact(path, kind="prior")):
        assert refused(read) == reason.format(path)


def test_each_kind_has_a_schema_and_a_command() -> None:
    assert header_module.SCHEMAS.keys() - {"checkpoint"} == header_module.COMMANDS.keys()


def test_too_many_open_files_is_not_an_artifact_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(header_module.os, "open", full)
    with pytest.raises(OSError, match="Too many open files"):
        read_header(tmp_path / "x.safetensors")
