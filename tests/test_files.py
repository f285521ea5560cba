"""A file is written completely or not at all, and leaves nothing behind."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from npdraw.errors import ResourceError, UsageError
from npdraw.files import check_writable, sweep_temporaries, write_atomic


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "glyphs" / "a.png"
    write_atomic(path, [b"one", memoryview(b"two"), b""])
    write_atomic(path, [b"three"])
    assert path.read_bytes() == b"three"
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    write_atomic(tmp_path / "link", [b"x"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_bytes() == b"x"


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, ResourceError),
        (errno.EDQUOT, ResourceError),
        (errno.EFBIG, ResourceError),
        (errno.EACCES, UsageError),
        (errno.EIO, ResourceError),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_no_temporary(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    number: int,
    error: type[UsageError | ResourceError],
) -> None:
    before = file.read_bytes()
    monkeypatch.setattr(os, function, failing(number))
    with pytest.raises(error) as caught:
        write_atomic(file, [b"new"])
    assert str(file) in caught.value.message
    assert os.strerror(number) in caught.value.message
    assert caught.value.hint
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary(file: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        assert len(list(file.parent.iterdir())) == 2  # the temporary is in the same folder
        raise KeyboardInterrupt

    before = file.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_atomic(file, chunks())
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_the_file_is_synced_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_atomic(tmp_path / "a", [b"x"])
    assert done == ["file", "rename", "folder"]


def test_a_folder_that_cannot_be_synced_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_atomic(tmp_path / "a", [b"x"])
    assert (tmp_path / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("folder", "it is a folder"),
        ("pipe", "it is not a regular file"),
        ("file/below", "it would lie below a file"),
        ("file/far/below", "it would lie below a file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    for attempt in (lambda path: write_atomic(path, [b"x"]), check_writable):
        with pytest.raises(UsageError, match=reason) as caught:
            attempt(tmp_path / place)
        assert str(tmp_path / place) in caught.value.message
        assert sorted(tmp_path.iterdir()) == before


def test_checking_a_path_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    for name in ("old", "new"):
        check_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        write_atomic(tmp_path / "a", [b"x"])


def test_temporaries_of_dead_processes_are_swept_and_nothing_else(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    swept = [f".a.png.{pid}-0123abcd.tmp" for pid in (dead.pid, os.getpid(), 10**30)]
    kept = [
        "a.png",
        f".a.png.{os.getppid()}-0123abcd.tmp",  # its process is running
        f".b.png.{dead.pid}-0123abcd.tmp",  # of another output
        f".aXpng.{dead.pid}-0123abcd.tmp",
        f".a.png.{dead.pid}-0123abcd.tmp.png",
        ".a.png.tmp",
        ".a.png.x-0123abcd.tmp",
    ]
    for name in swept + kept:
        (tmp_path / name).write_bytes(b"")
    sweep_temporaries(tmp_path / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    sweep_temporaries(tmp_path / "missing" / "a.png")


def test_the_temporary_of_a_killed_write_is_swept(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from npdraw.files import write_atomic
def chunks():
    yield b"half"
    os._exit(9)
write_atomic(Path({str(tmp_path / "a")!r}), chunks())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    sweep_temporaries(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
