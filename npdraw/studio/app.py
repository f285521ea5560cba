"""The routes of the studio: the files of the page, the model's facts, and requests to the easel."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from npdraw.errors import NpdrawError, ResourceError, is_out_of_memory
from npdraw.studio.easel import ANSWERS, Easel, read_json
from npdraw.studio.guard import Guard, refused

PAGE = Path(__file__).with_name("page")

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

_JSON, _PNG = "application/json", "image/png"

_OURS = ("resources", "diverged")
"""Codes of errors that are not the fault of the request."""

A = TypeVar("A")

Endpoint = Callable[[Request], Awaitable[Response]]


def application(easel: Easel, worker: Executor, token: str) -> Guard:
    """Return the studio as an ASGI application below `/token/`.

    `worker` has one thread, so that the model handles one request at a time.
    """
    files = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in PAGE.iterdir()}

    async def file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:  # a lookup, not a file access: no path leads outside the folder
            raise HTTPException(404)
        content, kind = files[name]
        return Response(content, media_type=kind)

    async def facts(_: Request) -> Response:
        return JSONResponse(easel.facts)

    async def bank(request: Request) -> Response:
        work = partial(easel.bank, request.query_params)
        # Not the worker: parts should be visible while the model draws.
        return await _answer(None, work, lambda content: Response(content, media_type=_PNG))

    async def upload(request: Request) -> Response:
        return await _answer(worker, partial(easel.upload, await request.body()))

    def endpoint(name: str) -> Endpoint:
        async def answer(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != _JSON:
                return refused(415, f"expected a body of type {_JSON}, got {kind or 'none'}")
            body = await request.body()
            return await _answer(worker, lambda: ANSWERS[name](easel, read_json(body)))

        return answer

    routes = [
        Route("/", file),
        Route("/api/model", facts),
        Route("/api/bank.png", bank),
        Route("/api/upload", upload, methods=["POST"]),
        *(Route(f"/api/{name}", endpoint(name), methods=["POST"]) for name in ANSWERS),
        Route("/{name}", file),
    ]
    # Only the URL without its final slash redirects, to the page.
    below = Mount(f"/{token}", app=Router(routes, redirect_slashes=False))
    app = Starlette(routes=[below], exception_handlers={HTTPException: _unroutable})
    return Guard(app, token)


async def _unroutable(request: Request, error: Exception) -> Response:
    """Refuse a path or a method that does not exist."""
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow", "")
    if error.status_code == 405:
        message = f"{request.method} is not allowed at this URL"
    else:
        message = "there is nothing at this URL"
    return refused(error.status_code, message, allow=[allowed] if allowed else [])


async def _answer(
    worker: Executor | None,
    work: Callable[[], A],
    response: Callable[[A], Response] = JSONResponse,
) -> Response:
    """Let the worker answer; any error becomes a response, and the studio keeps running.

    Without a worker, another thread answers.
    """
    try:
        return response(await asyncio.get_running_loop().run_in_executor(worker, work))
    except Exception as raised:
        error = raised
    if is_out_of_memory(error):
        error = ResourceError("out of memory")
    if isinstance(error, NpdrawError):
        status = 500 if error.code in _OURS else 400
        return refused(status, error.message, code=error.code, hint=error.hint)
    message = f"this is a bug in npdraw: {type(error).__name__}: {error}"
    return refused(500, message, code="bug", hint="Please report it.")
