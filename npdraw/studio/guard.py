"""Protects the studio: only its own page may send requests.

Other pages in the same browser can also send requests to 127.0.0.1, and can point a domain of their
own to it (DNS rebinding). So Host must be a name of this machine, Origin must be the same, and
every path starts with a random token that is only in the URL printed on the terminal. Host may have
any port, because `ssh -L` forwards one of another number. Bodies are limited in size, and read
completely before they are parsed.
"""

import hmac
import json
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"

_HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
"""Values of Host that no other machine's page can have: browsers resolve `localhost` themselves."""

MOST_BYTES = 1 << 20
"""The largest body of a request."""

_MOST_DRAINED = 16 << 20
"""Bytes that are read of a refused body: a client still sending would not read the response."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # the token is in the address
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers of every response: the page loads nothing from elsewhere and cannot be embedded."""


class RefusalError(Exception):
    """A refused request, with the status of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Forwards requests to /TOKEN/... on this machine to `app`, with the complete body."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse one request, or let `app` answer it."""
        assert scope["type"] == "http"  # the server is configured for nothing else

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_RAW_HEADERS]
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check(headers, scope["path"])
            body = await _read(headers, receive)
        except RefusalError as refusal:
            await _drain(headers, receive)
            await refused(refusal.status, str(refusal))(scope, receive, send_guarded)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_whole() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, receive_whole, send_guarded)

    def _check(self, headers: Headers, path: str) -> None:
        host = headers.get("host", "")
        if not _HERE.fullmatch(host):
            raise RefusalError(403, f"the studio is only at {HOST} or localhost")
        origin = headers.get("origin")  # absent if the user opened the URL, or from other programs
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            raise RefusalError(403, "the request comes from another page")
        given = path.split("/")[1] if path.startswith("/") else ""
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise RefusalError(403, "the URL lacks the studio's token")


def refused(
    status: int, message: str, *, code: str = "refused", hint: str = "", allow: Sequence[str] = ()
) -> Response:
    """Return an error response, with the same JSON as on the command line."""
    content = {"ok": False, "error": {"code": code, "message": message, "hint": hint}}
    more = {"Allow": ", ".join(allow)} if allow else None
    return Response(json.dumps(content), status, headers=more, media_type="application/json")


async def _read(headers: Headers, receive: Receive) -> bytes:
    """Return the body of a request."""
    too_large = RefusalError(413, f"the request has more than {MOST_BYTES:,} bytes")
    if _length(headers) > MOST_BYTES:
        raise too_large
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise too_large
        more = message.get("more_body", False)
    return body


async def _drain(headers: Headers, receive: Receive) -> None:
    """Read the rest of a body, unless it is very large."""
    left = _MOST_DRAINED if _length(headers) <= _MOST_DRAINED else 0
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def _length(headers: Headers) -> int:
    """Return the announced length of the body; 0 if absent, or invalid (the server checks that)."""
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) <= 20 else 0


_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
