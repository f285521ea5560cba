"""Whatever a server, the disk or a kill does: a downloaded file is the right one or absent."""

import hashlib
import io
import os
import resource
import signal
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npdraw.datasets import downloads
from npdraw.datasets import mnist as mnist_data
from npdraw.datasets import omniglot as omniglot_data
from tests.faults.cases import Cases, Ended, Fault, Running

CONTENT = np.random.default_rng(0).bytes(300_000)
"""Of every file of the MNIST of these tests."""

DRAWINGS = {
    f"{part}/Greek_(old)/character0{n}/{n:04}_01.png": b"%d " % n * 9_000
    for part in ("images_background", "images_evaluation")
    for n in range(1, 7)
}
DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class Site:
    """A server; `answer` is how it sends what `files` holds, and `go` lets it end if it waits."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    answer: Answer = lambda request, content: begin(request, content) or send(request, content)
    go: threading.Event = field(default_factory=threading.Event)

    def halfway(self, request: BaseHTTPRequestHandler, content: bytes) -> None:
        begin(request, content)
        send(request, content[: len(content) // 2])
        self.go.wait(60)
        send(request, content[len(content) // 2 :])


class Server(ThreadingHTTPServer):
    site: Site

    def handle_error(self, request: object, client_address: object) -> None:
        """The client was killed, or has seen enough."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.site.answer(self, self.server.site.files[self.path])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def begin(request: BaseHTTPRequestHandler, content: bytes | None) -> None:
    request.send_response(200)
    if content is not None:
        request.send_header("Content-Length", str(len(content)))
    request.end_headers()


def send(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.wfile.write(content)


@pytest.fixture
def site() -> Iterator[Site]:
    server = Server(("127.0.0.1", 0), Handler)
    server.site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.site
    server.site.go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Get:
    """`npdraw data download NAME` below `root`, from a site that has the whole of it."""

    cases: Cases
    root: Path
    name: str
    fault: Fault

    def start(self, *faults: Fault) -> Running:
        words = ("data", "download", self.name, "--data-root", ".")
        every = (self.fault, *faults)
        return self.cases.start(*words, folder=self.root, environment=DIRECT, faults=every)

    def run(self, *faults: Fault) -> Ended:
        return self.start(*faults).wait(20)

    def leftovers(self) -> list[Path]:
        return list(self.root.rglob("*.tmp"))

    def again(self) -> None:
        """What went wrong before does not matter any more."""
        ended = self.run()
        assert ended.code == 0, ended.shown
        assert "ready" in ended.out and not ended.err
        assert not self.leftovers()
        expected = {file.path: CONTENT for file in mnist_data.FILES.values()}
        if self.name == "omniglot":
            expected = {f"omniglot-py/{path}": content for path, content in DRAWINGS.items()}
        for path, content in expected.items():
            assert (self.root / path).read_bytes() == content


def use_site(url: str, name: str, checksums: dict[str, str]) -> None:
    """Fetch from another place, where the files have other checksums."""
    files = {"mnist": mnist_data, "omniglot": omniglot_data}[name].FILES
    for key, file in files.items():
        path = f"{url}/{key.replace(' ', '-')}"
        files[key] = replace(file, url=path, checksum=checksums[key])


def set_to(name: str, value: float) -> None:
    """Change a constant of `downloads`."""
    setattr(downloads, name, value)


def small_disk(most: int) -> None:
    """Let no file become larger than this."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def killed_after(cls: type, method: str, calls: int) -> None:
    """Kill the process at the end of this call of a method."""
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
    """Offer the two archives, with more members in the first."""
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
    """It ended with one line and a hint."""
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
    """Reset the connection after a half of the unstated length."""
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
def test_what_a_server_does_wrong_leaves_nothing(failure: str, mnist: Get, site: Site) -> None:
    site.answer, words = FAILURES[failure]
    ended = mnist.run((set_to, ("TIMEOUT", 1.0)), (set_to, ("MAX_BYTES", 1_000_000)))
    refused(ended, 4, words)
    path = mnist_data.FILES["train"].path
    assert f"cannot download {site.url}/train to {path}: " in ended.err
    assert f"Hint: Check the network, or copy the file to {path} yourself." in ended.err
    assert not (mnist.root / path).exists() and not mnist.leftovers()
    assert ended.seconds < 10


def test_a_damaged_file_stays_until_the_right_one_is_there(mnist: Get, site: Site) -> None:
    path = mnist.root / mnist_data.FILES["train"].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    usual, site.answer = site.answer, other_bytes
    refused(mnist.run(), 4, "sha256 is not")
    assert path.read_bytes() == b"half"
    site.answer = usual
    mnist.again()


def begun(get: Get) -> None:
    """Wait until a part has arrived."""
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size for path in get.leftovers()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_download_is_swept_by_the_next(mnist: Get, site: Site) -> None:
    usual, site.answer = site.answer, site.halfway
    running = mnist.start()
    begun(mnist)
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    assert mnist.leftovers() and not list(mnist.root.rglob("*.gz"))
    site.answer = usual
    mnist.again()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_download_leaves_nothing(number: int, code: int, mnist: Get, site: Site) -> None:
    site.answer = site.halfway
    running = mnist.start()
    begun(mnist)
    running.send(number)
    refused(running.wait(10), code, "stopped")
    assert not mnist.leftovers() and not list(mnist.root.rglob("*.gz"))


def test_of_two_at_once_one_works_and_the_other_says_so(mnist: Get, site: Site) -> None:
    site.answer = site.halfway
    first = mnist.start()
    begun(mnist)
    second = mnist.run()
    refused(second, 7, "another npdraw is downloading to MNIST/raw")
    assert second.seconds < 3
    site.go.set()
    assert first.wait().code == 0
    mnist.again()


def test_a_full_disk_leaves_nothing(mnist: Get) -> None:
    refused(mnist.run((small_disk, (100_000,))), 5, "the disk is full")
    assert not mnist.leftovers() and not list(mnist.root.rglob("*.gz"))


def test_a_disk_full_of_drawings_leaves_the_archive_only(omniglot: Get) -> None:
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
    found = {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.glob("*/*/*.png")
    }
    assert found == (whole if kill[1:] == ("rename", 2) else {})
    assert folder.exists() == bool(found)
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


def test_an_archive_with_evil_names_is_refused(cases: Cases, site: Site, tmp_path: Path) -> None:
    root = tmp_path / "a/b/c"
    root.mkdir(parents=True)
    get = omniglot_with(cases, site, root, {"../evil.png": b"evil"})
    refused(get.run(), 4, "images_background.zip: '../evil.png' is not a drawing")
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"images_background.zip", downloads.LOCK}
