"""The studio answers only its own studio, refuses malformed requests, and survives all of them."""

import http.client
import socket
from typing import Any

import pytest

from npdraw.studio import easel as easel_module
from npdraw.studio.guard import HEADERS, HOST, MOST_BYTES
from tests.studio.serving import TOKEN, Served


def check_alive(studio: Served) -> None:
    """The studio still answers."""
    assert studio.ask("load", word="seed:0", label=None).status == 200


def test_only_its_own_page_is_answered(studio: Served) -> None:
    own = f"{HOST}:{studio.port}"
    for path, headers in (
        ("/", {}),
        ("/api/model", {}),
        (f"/{TOKEN}x/", {}),
        (f"/{TOKEN[:-1]}/", {}),
        (f"//{TOKEN}/", {}),
        ("/%00/", {}),
        ("/t%C3%B6ken/", {}),
        (f"/{TOKEN}/", {"Host": "example.org"}),
        (f"/{TOKEN}/", {"Host": ""}),
        (f"/{TOKEN}/", {"Host": f"{own}.example.org"}),
        (f"/{TOKEN}/", {"Host": f"localhost.example.org:{studio.port}"}),
        (f"/{TOKEN}/", {"Host": f"example.localhost:{studio.port}"}),
        (f"/{TOKEN}/", {"Host": f"127.0.0.2:{studio.port}"}),
        (f"/{TOKEN}/", {"Host": f"0.0.0.0:{studio.port}"}),
        (f"/{TOKEN}/", {"Host": f"x@{own}"}),
        (f"/{TOKEN}/", {"Host": f"{own}:"}),
        (f"/{TOKEN}/", {"Origin": "http://example.org"}),
        (f"/{TOKEN}/", {"Origin": "null"}),
        (f"/{TOKEN}/", {"Origin": f"https://{own}"}),
        (f"/{TOKEN}/", {"Origin": ""}),
        (f"/{TOKEN}/", {"Origin": f"http://{HOST}:{studio.port + 1}"}),  # another local server
        (f"/{TOKEN}/", {"Host": "localhost:9000", "Origin": f"http://{own}"}),
        (f"/{TOKEN}/api/load", {"Origin": f"http://localhost:{studio.port}"}),
    ):
        for method in ("GET", "POST"):
            reply = studio.send(method, path, headers=headers)
            assert reply.status == 403, (method, path, headers)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_every_name_of_this_machine_is_answered_at_any_port(studio: Served, name: str) -> None:
    # ssh -L 9000:127.0.0.1:PORT forwards a port of another number; port 80 is left out of Host.
    for host in (f"{name}:{studio.port}", f"{name}:9000", name):
        assert studio.send("GET", "", headers={"Host": host}).status == 200
        body = b'{"word": "seed:0", "label": null}'
        headers = {"Content-Type": "application/json", "Host": host}
        assert studio.send("POST", "api/load", body, headers).status == 200
        headers["Origin"] = f"http://{host.lower()}"  # as browsers write it
        assert studio.send("POST", "api/load", body, headers).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "", 405),
        ("PUT", "api/render", 405),
        ("GET", "api/render", 405),
        ("DELETE", "api/upload", 405),
        ("POST", "api/model", 405),
        ("POST", "main.js", 405),
        ("GET", "nothing", 404),
        ("GET", "api/nothing", 404),
        ("GET", "api/", 404),
        ("GET", "../guard.py", 404),
        ("GET", "..%2Fguard.py", 404),
        ("GET", "%2e%2e/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "..%5Cguard.py", 404),
        ("GET", "/etc/passwd", 403),
        ("GET", "page/index.html", 404),
        ("GET", "main.js%00", 404),
        ("POST", "api/load", 415),
    ],
)
def test_other_methods_and_paths(studio: Served, method: str, path: str, status: int) -> None:
    reply = studio.send(method, path)
    assert reply.status == status
    assert reply.message
    if status == 405:
        assert reply.headers["allow"]
    check_alive(studio)


def test_every_response_has_the_security_headers(studio: Served) -> None:
    replies = [studio.send("GET", path) for path in ("", "api/model", "nothing", "/", "api/load")]
    replies.append(studio.ask("load", word="nothing", label=None))
    assert {reply.status for reply in replies} == {200, 404, 403, 405, 400}
    for reply in replies:
        for name, value in HEADERS.items():
            assert reply.headers[name.lower()] == value
        assert "server" not in reply.headers


def test_large_bodies_are_refused(studio: Served) -> None:
    two = 2 << 20
    for path in ("api/render", "api/upload", "", "nothing"):
        for body in (bytes(two), iter([bytes(1 << 16)] * 32)):  # with and without a Content-Length
            assert studio.send("POST", path, body).status == 413
    assert studio.send("POST", "/other/", bytes(two)).status == 403
    assert studio.send("POST", "api/upload", bytes(MOST_BYTES)).status == 400
    assert studio.send("POST", "api/upload", bytes(MOST_BYTES + 1)).status == 413
    connection = http.client.HTTPConnection(HOST, studio.port, timeout=60)
    connection.putrequest("POST", f"/{TOKEN}/api/upload")
    connection.putheader(
        "Content-Length", str(1 << 40)
    )  # never sent: the studio must not wait for it
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    check_alive(studio)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe{",
        b'{"drawing": NaN}',
        b'{"drawing": -Infinity}',
        b'{"drawing": 1e999}',
        b'{"drawing": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"drawing":' * 90_000,
        b'{"drawing": {}, "more": 1}',
        b'{"drawing": {}}',
        b'{"drawing": "\\ud800"}',
    ],
    ids=lambda text: f"{text[:20]!r}",
)
def test_malformed_requests(studio: Served, text: bytes) -> None:
    for name in ("render", "load", "compose", "resample"):
        reply = studio.ask_text(name, text)
        assert reply.status == 400
        assert reply.message and "\n" not in reply.message
    check_alive(studio)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"part": 8}, "part of stroke 0 is 8, not in 0..7"),
        ({"part": -1}, "part of stroke 0 is -1"),
        ({"part": 1.0}, "not a whole number"),
        ({"part": True}, "not a whole number"),
        ({"step": 4}, "step of stroke 0 is 4, not in 0..3"),
        ({"step": 10**30}, "step of stroke 0"),
        ({"row": 3}, "cannot place it"),
        ({"extra": 1}, "unknown entry 'extra'"),
    ],
)
def test_strokes_out_of_range(studio: Served, changes: dict[str, Any], words: str) -> None:
    good = studio.json_of(studio.model.sample(1, 0))
    row, column = studio.model.layout.positions[0, 0].tolist()
    stroke = {"step": 0, "row": row, "column": column, "part": 0} | changes
    reply = studio.ask("render", drawing=good | {"strokes": [stroke]})
    assert reply.status == 400
    assert words in reply.message
    check_alive(studio)


def test_drawings_of_other_models_and_numbers_out_of_range(studio: Served) -> None:
    good = studio.json_of(studio.model.sample(1, 0))
    for changes in ({"bank": "0" * 64}, {"canvas": [28, 28]}, {"schema": 2}, {"strokes": {}}):
        assert studio.ask("render", drawing=good | changes).status == 400
    many = [{"step": 0, "row": 0, "column": 0, "part": 0}] * 9000
    assert studio.ask("render", drawing=good | {"strokes": many}).status == 400
    for seed in (-1, 2**53, 1.5, "1", None, True):
        assert studio.ask("resample", drawing=good, fixed=[], seed=seed, label=None).status == 400
    for cells in ([4], [-1], [0.0], [True], "01", {"0": 1}, None):
        assert studio.ask("resample", drawing=good, fixed=cells, seed=0, label=None).status == 400
        assert studio.ask("compose", drawing=good, other=good, cells=cells).status == 400
    check_alive(studio)


def test_garbage_and_many_connections(studio: Served) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"A" * 100_000, b"\r\n" * 99):
        with socket.create_connection((HOST, studio.port), timeout=60) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
        assert b" 200 " not in answer
    idle = [socket.create_connection((HOST, studio.port)) for _ in range(40)]
    check_alive(studio)
    for connection in idle:
        connection.close()


def test_a_bug_is_reported_and_the_studio_keeps_running(
    studio: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Any:
        def answer(*_: Any) -> None:
            raise error

        return answer

    for error, code in (
        (KeyError("x"), "bug"),
        (MemoryError(), "resources"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "resources"),
    ):
        monkeypatch.setitem(easel_module.ANSWERS, "load", failing(error))  # type: ignore[arg-type]
        reply = studio.ask("load", word="seed:0", label=None)
        assert (reply.status, reply.json["error"]["code"]) == (500, code)
    monkeypatch.undo()
    check_alive(studio)
