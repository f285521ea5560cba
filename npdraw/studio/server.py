"""The stage of `npdraw studio`: serve the page until Ctrl-C, then leave nothing behind."""

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
"""Seconds that requests under way have when the studio is stopped."""

_MOST_AT_ONCE = 64
"""Requests under way; a page sends a few."""


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

    `port` 0 is a free one. `ready` is told the `url`, with a new random token, when the page can
    be opened; with `browser` it is opened, where there is a screen.

    Raises:
        UsageError: the port is taken or forbidden.
        ArtifactError: as `read_model`.
    """
    with _listening(port) as listening:
        model = open_model(model_path, runtime)
        easel, token = Easel(model, root), secrets.token_urlsafe(24)
        easel.render({"drawing": easel.facts["blank"]})  # the first time takes longer
        number = listening.getsockname()[1]
        url = f"http://{HOST}:{number}/{token}/"
        with ThreadPoolExecutor(1, "easel") as worker:
            server = server_of(application(easel, worker, token, number))
            ready({"url": url, "port": number, "model": model.header.digest})
            if browser and _has_screen():
                threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
            # A signal is how it ends; uvicorn closes what is open, then passes the signal on.
            with suppress(KeyboardInterrupt, Terminated):
                server.run(sockets=[listening])


def server_of(app: Guard) -> uvicorn.Server:
    """Return the server of an application: plain HTTP, silent."""
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
    """Hold a socket that listens on a port of this machine's own address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just left
        try:
            found.bind((HOST, port))
            found.listen()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EPERM):
                raise
            reason = "is taken" if error.errno == errno.EADDRINUSE else "is forbidden"
            raise UsageError(
                f"port {port} of {HOST} {reason}", hint="--port 0 takes a free one."
            ) from error
        yield found


def _has_screen() -> bool:
    """Whether a browser can open a window: one in the terminal would take it over."""
    named = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return named or sys.platform in ("darwin", "win32")
