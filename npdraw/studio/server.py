"""Runs the studio: serves the page until Ctrl-C and leaves nothing behind."""

import errno
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from npdraw.drawings.drawing_model import open_model
from npdraw.errors import Terminated, UsageError
from npdraw.runtime.settings import Runtime
from npdraw.studio.app import application
from npdraw.studio.easel import Easel
from npdraw.studio.guard import HOST, Guard

_GRACE = 2
"""Seconds that open requests have to finish when the studio is stopped."""

_MOST_AT_ONCE = 64
"""Simultaneous requests; a page sends only a few."""


def studio(
    model_path: Path,
    *,
    port: int,
    browser: bool,
    root: Path,
    runtime: Runtime,
    ready: Callable[[Mapping[str, Any]], None],
) -> None:
    """Serve the page of a model on 127.0.0.1 until a signal stops it.

    Port 0 stands for any free port. When the page can be opened, `ready` is called with its `url`,
    which contains a new random token. With `browser`, it is opened if there is a screen.

    Raises:
        UsageError: the port is in use or not permitted.
        ArtifactError: see `read_model`.
    """
    with _listening(port) as listening:
        model = open_model(model_path, runtime)
        easel, token = Easel(model, root), secrets.token_urlsafe(24)
        easel.render({"drawing": easel.facts["blank"]})  # warm up: the first call takes longer
        number = listening.getsockname()[1]
        url = f"http://{HOST}:{number}/{token}/"
        with ThreadPoolExecutor(1, "easel") as worker:
            server = server_of(application(easel, worker, token))
            ready({"url": url, "port": number, "model": model.header.digest})
            if browser and _has_screen():
                threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
            # A signal ends the studio: uvicorn closes its connections, then re-raises the signal.
            with suppress(KeyboardInterrupt, Terminated):
                server.run(sockets=[listening])


def server_of(app: Guard) -> uvicorn.Server:
    """Return a server for an application: plain HTTP, without logs."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_AT_ONCE,
            timeout_graceful_shutdown=_GRACE,
        )
    )


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """Open a listening socket on 127.0.0.1 until the block ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # the port may just have been closed
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EPERM):
                raise
            reason = "is in use" if error.errno == errno.EADDRINUSE else "is not permitted"
            raise UsageError(
                f"port {port} of {HOST} {reason}",
                hint="Use another --port, or leave it out for any free one.",
            ) from error
        yield listening


def _has_screen() -> bool:
    """Return whether a browser can open a window; a browser in the terminal would take it over."""
    display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return display or sys.platform in ("darwin", "win32")
