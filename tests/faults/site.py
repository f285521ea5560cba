"""A web site that misbehaves on request, and a download from it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from npdraw.datasets import downloads
from npdraw.datasets import mnist as mnist_data
from npdraw.datasets import omniglot as omniglot_data
from tests.faults.cases import Cases, Ended, Fault, Running

CONTENT = np.random.default_rng(0).bytes(300_000)
"""Content of every file of MNIST in these tests."""

DRAWINGS = {
    f"{part}/Greek_(old)/character0{n}/{n:04}_01.png": b"%d " % n * 9_000
    for part in ("images_background", "images_evaluation")
    for n in range(1, 7)
}
DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class Site:
    """A web site: `answer` sends the content in `files`; `go` lets a waiting answer finish."""

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
        """Ignore it: the client was killed or has closed the connection."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.site.answer(self, self.server.site.files[self.path])

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def begin(request: BaseHTTPRequestHandler, content: bytes | None) -> None:
    request.send_response(200)
    if content is not None:
        request.send_header("Content-Length", str(len(content)))
    request.end_headers()


def send(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.wfile.write(content)


@contextmanager
def serving() -> Iterator[Site]:
    """Serve a site on a free local port."""
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
    """`npdraw data download NAME` to `root`, from a site that has all of its files."""

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
        """Check that downloading again succeeds, whatever went wrong before."""
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
    """Download from another address, where the files have other checksums."""
    files = {"mnist": mnist_data, "omniglot": omniglot_data}[name].FILES
    for key, file in files.items():
        path = f"{url}/{key.replace(' ', '-')}"
        files[key] = replace(file, url=path, checksum=checksums[key])


def set_to(name: str, value: float) -> None:
    """Change a constant of `downloads`."""
    setattr(downloads, name, value)
