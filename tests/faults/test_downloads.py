"""Whatever a server, the disk or a kill does, a downloaded file is correct or absent."""

import hashlib
import io
import os
import resource
import signal
import socket
import struct
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from npdraw.datasets import downloads
from npdraw.datasets import mnist as mnist_data
from npdraw.datasets import omniglot as omniglot_data
from tests.faults.cases import Cases, Ended
from tests.faults.site import (
    CONTENT,
    DRAWINGS,
    Answer,
    Get,
    Site,
    begin,
    send,
    serving,
    set_to,
    use_site,
)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def small_disk(most: int) -> None:
    """Limit the size of every file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def killed_after(cls: type, method: str, calls: int) -> None:
    """Kill the process at the end of a given call of a method."""
    usual, made = getattr(cls, method), []

    def call(*given: Any) -> Any:
        result = usual(*given)
        made.append(given)
        if len(made) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(cls, method, call)


@pytest.fixture
def mnist(cases: Cases, site: Site, tmp_path: Path) -> Get:
    site.files = {f"/{key.replace(' ', '-')}": CONTENT for key in mnist_data.FILES}
    known = dict.fromkeys(mnist_data.FILES, hashlib.sha256(CONTENT).hexdigest())
    return Get(cases, tmp_path, "mnist", (use_site, (site.url, "mnist", known)))


def packed(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def omniglot_with(cases: Cases, site: Site, root: Path, more: dict[str, bytes]) -> Get:
    """Serve the two archives of Omniglot, with extra members in the first."""
    known = {}
    for part in omniglot_data.FILES:
        members = {k: v for k, v in DRAWINGS.items() if k.startswith(f"images_{part}/")}
        archive = packed({f"images_{part}/": b""} | members | more)
        site.files[f"/{part}"] = archive
        known[part] = hashlib.md5(archive).hexdigest()
        more = {}
    return Get(cases, root, "omniglot", (use_site, (site.url, "omniglot", known)))


@pytest.fixture
def omniglot(cases: Cases, site: Site, tmp_path: Path) -> Get:
    return omniglot_with(
        cases, site, tmp_path, {"__MACOSX/x": b"x", "images_background/.DS_Store": b""}
    )


def refused(ended: Ended, code: int, words: str) -> None:
    """Check that it ended with one line that contains `words`, and a hint."""
    assert ended.code == code, ended.shown
    error, hint = ended.err.splitlines()
    assert error.startswith("Error: ") and hint.startswith("Hint: "), ended.shown
    assert words in error and not ended.out, ended.shown


def other_bytes(request: BaseHTTPRequestHandler, content: bytes) -> None:
    begin(request, content)
    send(request, content[:-1] + b"!")


def too_short(request: BaseHTTPRequestHandler, content: bytes) -> None:
    begin(request, content)
    send(request, content[:1000])


def cut(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Reset the connection after half of the content, whose length was not announced."""
    begin(request, None)
    send(request, content[: len(content) // 2])
    time.sleep(0.05)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(request.connection.detach())


def endless(request: BaseHTTPRequestHandler, content: bytes) -> None:
    begin(request, None)
    while True:
        send(request, content)


def silent(request: BaseHTTPRequestHandler, _: bytes) -> None:
    time.sleep(2)


FAILURES: dict[str, tuple[Answer, str]] = {
    "wrong bytes": (other_bytes, "received 300000 of 300000 bytes, and their sha256 is not"),
    "short body": (too_short, "received 1000 of 300000 bytes"),
    "forbidden": (lambda request, _: request.send_error(403), "HTTP Error 403"),
    "not found": (lambda request, _: request.send_error(404), "HTTP Error 404"),
    "stall": (silent, "timed out"),
    "connection cut": (cut, "reset by peer"),
    "endless": (endless, "it has more than 1,000,000 bytes"),
    "no HTTP": (lambda request, _: send(request, b"hello\r\n"), "hello"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_server_leaves_no_file(failure: str, mnist: Get, site: Site) -> None:
    site.answer, words = FAILURES[failure]
    ended = mnist.run((set_to, ("TIMEOUT", 1.0)), (set_to, ("MAX_BYTES", 1_000_000)))
    refused(ended, 4, words)
    path = mnist_data.FILES["train"].path
    assert f"cannot download {site.url}/train to {path}: " in ended.err
    assert f"Hint: Check the network, or copy the file to {path} yourself." in ended.err
    assert not (mnist.root / path).exists() and not mnist.leftovers()
    assert ended.seconds < 10


def test_a_damaged_file_stays_until_the_correct_one_has_arrived(mnist: Get, site: Site) -> None:
    path = mnist.root / mnist_data.FILES["train"].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    usual, site.answer = site.answer, other_bytes
    refused(mnist.run(), 4, "sha256 is not")
    assert path.read_bytes() == b"half"
    site.answer = usual
    mnist.again()


def wait_for_data(get: Get) -> None:
    """Wait until part of the file has arrived."""
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size for path in get.leftovers()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_download_is_swept_by_the_next(mnist: Get, site: Site) -> None:
    usual, site.answer = site.answer, site.halfway
    running = mnist.start()
    wait_for_data(mnist)
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    assert mnist.leftovers() and not list(mnist.root.rglob("*.gz"))
    site.answer = usual
    mnist.again()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_download_leaves_nothing(number: int, code: int, mnist: Get, site: Site) -> None:
    site.answer = site.halfway
    running = mnist.start()
    wait_for_data(mnist)
    running.send(number)
    refused(running.wait(10), code, "stopped")
    assert not mnist.leftovers() and not list(mnist.root.rglob("*.gz"))


def test_of_two_downloads_at_once_one_is_refused(mnist: Get, site: Site) -> None:
    site.answer = site.halfway
    first = mnist.start()
    wait_for_data(mnist)
    second = mnist.run()
    refused(second, 7, "another npdraw is downloading to MNIST/raw")
    assert second.seconds < 3
    site.go.set()
    assert first.wait().code == 0
    mnist.again()


def test_a_full_disk_leaves_nothing(mnist: Get) -> None:
    refused(mnist.run((small_disk, (100_000,))), 5, "the disk is full")
    assert not mnist.leftovers() and not list(mnist.root.rglob("*.gz"))


def test_a_disk_that_fills_up_while_unpacking_leaves_only_the_archive(omniglot: Get) -> None:
    refused(omniglot.run((small_disk, (10_000,))), 5, "the disk is full")
    assert not omniglot.leftovers() and not list(omniglot.root.rglob("*.png"))
    assert list(omniglot.root.rglob("*.zip"))
    omniglot.again()


KILLS = [(zipfile.ZipFile, "read", 1), (zipfile.ZipFile, "read", 4)]
KILLS += [(Path, "rename", 1), (Path, "rename", 2)]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill[1]} {kill[2]}")
def test_a_folder_of_drawings_is_whole_or_absent(
    kill: tuple[type, str, int], omniglot: Get
) -> None:
    folder = omniglot.root / "omniglot-py/images_background"
    older = folder / "Greek_(old)/character01/0001_01.png"
    if kill[1] == "rename":
        older.parent.mkdir(parents=True)
        older.write_bytes(b"half")
    ended = omniglot.run((killed_after, kill))
    assert ended.code == -signal.SIGKILL, ended.shown
    assert omniglot.leftovers()
    whole = {k: v for k, v in DRAWINGS.items() if k.startswith("images_background/")}
    drawings = {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.glob("*/*/*.png")
    }
    assert drawings == (whole if kill[1:] == ("rename", 2) else {})
    assert folder.exists() == bool(drawings)
    omniglot.again()


def test_unpacking_can_be_stopped(omniglot: Get) -> None:
    running = omniglot.run((interrupted, ()))
    refused(running, 130, "stopped")
    assert not omniglot.leftovers() and not list(omniglot.root.rglob("*.png"))
    omniglot.again()


def interrupted() -> None:
    """Press Ctrl-C while drawings are unpacked."""
    usual = zipfile.ZipFile.read

    def read(*given: Any) -> bytes:
        signal.raise_signal(signal.SIGINT)
        return usual(*given)

    zipfile.ZipFile.read = read  # type: ignore[method-assign]


def test_an_archive_with_bad_names_is_refused(cases: Cases, site: Site, tmp_path: Path) -> None:
    root = tmp_path / "a/b/c"
    root.mkdir(parents=True)
    get = omniglot_with(cases, site, root, {"../evil.png": b"evil"})
    refused(get.run(), 4, "images_background.zip: '../evil.png' is not a drawing")
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"images_background.zip", downloads.LOCK}
