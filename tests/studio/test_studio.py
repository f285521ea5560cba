"""The studio answers as the Python API does, to its own page alone, and outlives all else."""

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import npdraw
from npdraw.drawings.edit import composed
from npdraw.drawings.named import named_drawing
from npdraw.drawings.strokes import fingerprint, from_json
from npdraw.errors import UsageError
from npdraw.model.latents import Latents
from npdraw.runtime.settings import Runtime
from npdraw.studio import easel as easel_module
from npdraw.studio.app import PAGE
from npdraw.studio.guard import HEADERS, HOST, MOST_BYTES
from npdraw.studio.server import studio
from tests.studio.serving import (
    TOKEN,
    Reply,
    Served,
    expected_pictures,
    pixels,
    served,
    unpacked,
    write_colour_model,
)


@pytest.fixture(scope="module")
def page(trained: Any, stages: Any) -> Iterator[Served]:
    """The studio of a grey model; each cell has four placements."""
    with served(npdraw.load(trained.model), stages.npz.parent) as found:
        yield found


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The studio of a colour model, its canvas half as wide as the image."""
    path = tmp_path_factory.mktemp("coloured") / "model.safetensors"
    write_colour_model(path)
    with served(npdraw.load(path), path.parent) as found:
        yield found


def drawing_of(page: Served, reply: Reply) -> Latents:
    assert reply.status == 200, reply.body
    return from_json(reply.json["drawing"], page.model.bank, page.model.layout)


def check_pictures(page: Served, reply: Reply) -> None:
    """The pictures of a reply are those of its drawing, to the last pixel."""
    for name, picture in expected_pictures(page.model, drawing_of(page, reply)).items():
        assert np.array_equal(pixels(reply.json[name]), picture), name


def as_png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


# --- What the page asks ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["page", "coloured"])
def test_the_page_learns_what_the_model_is(kind: str, request: pytest.FixtureRequest) -> None:
    page: Served = request.getfixturevalue(kind)
    model, facts = page.model, page.send("GET", "api/model").json
    assert facts["positions"] == model.layout.positions.tolist()
    assert facts["rows"] * facts["columns"] == model.layout.steps
    assert facts["digest"] == model.header.digest
    assert facts["image"] == list(model.decode(model.paint(model.sample())).shape[2:])
    blank = from_json(facts["blank"], model.bank, model.layout)
    assert not blank.whether.any()
    sheet = unpacked(page.send("GET", "api/bank.png").body)
    parts = (model.bank * 255).round().to(torch.uint8)
    side = facts["part_size"]
    for number, part in enumerate(parts.numpy()):
        assert np.array_equal(sheet[:, side * number : side * (number + 1)], part)


@pytest.mark.parametrize("kind", ["page", "coloured"])
def test_pictures_are_those_of_the_model(kind: str, request: pytest.FixtureRequest) -> None:
    page: Served = request.getfixturevalue(kind)
    seen = set()
    for seed in range(12):
        z = page.model.sample(1, seed)
        reply = page.ask("render", drawing=page.json_of(z))
        assert fingerprint(drawing_of(page, reply)) == fingerprint(z)
        assert reply.json["source"] is None
        check_pictures(page, reply)
        seen.add(reply.json["image"])
    assert len(seen) > 1


def test_samples_and_test_images_are_loaded_by_words(page: Served, stages: Any) -> None:
    reply = page.ask("load", word="seed:7")
    assert fingerprint(drawing_of(page, reply)) == fingerprint(page.model.sample(1, 7))
    check_pictures(page, reply)
    reply = page.ask("load", word="test:3")
    found = named_drawing("test:3", page.model, stages.npz.parent)
    assert fingerprint(drawing_of(page, reply)) == fingerprint(found.drawing)
    assert found.image is not None
    assert np.array_equal(pixels(reply.json["source"]), (found.image[0] * 255).byte().numpy())
    check_pictures(page, reply)


def test_no_word_reads_a_file(page: Served, trained: Any) -> None:
    for word in (str(trained.model), "x.json", "../x.png", "", "seed:", "test:9999", 3, None):
        reply = page.ask("load", word=word)
        assert reply.status == 400
        assert reply.message


@pytest.mark.parametrize("kind", ["page", "coloured"])
def test_pictures_and_drawings_are_uploaded(kind: str, request: pytest.FixtureRequest) -> None:
    page: Served = request.getfixturevalue(kind)
    side, channels = page.model.config.parse.image_size, page.model.config.parse.channels
    array = np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)
    reply = page.send("POST", "api/upload", as_png(array.squeeze()))
    image = page.model.preprocess(array.transpose(2, 0, 1)[None])
    assert fingerprint(drawing_of(page, reply)) == fingerprint(page.model.encode(image))
    assert np.array_equal(pixels(reply.json["source"]), (image[0] * 255).round().byte().numpy())
    check_pictures(page, reply)
    z = page.model.sample(1, 5)
    content = json.dumps(page.json_of(z)).encode()
    for before in (b"", b"\n  ", b"\xef\xbb\xbf"):
        reply = page.send("POST", "api/upload", before + content)
        assert fingerprint(drawing_of(page, reply)) == fingerprint(z)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the picture"),
        (b"no picture", "it is none of PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "cannot read the picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is none of PNG, JPEG"),
        (b'{"npdraw": "drawing"}', "the file is no drawing for this model"),
        (b"{" * 999, "is not JSON"),
    ],
)
def test_files_that_are_none(page: Served, content: bytes, words: str) -> None:
    reply = page.send("POST", "api/upload", content)
    assert reply.status == 400
    assert words in reply.message
    assert "0x" not in reply.message  # no address of an object


def test_a_region_is_painted_onto_another_drawing(page: Served) -> None:
    for seed in range(6):
        a, b = page.model.sample(1, seed), page.model.sample(1, seed + 50)
        cells = [step for step in range(4) if (seed + 1) >> step & 1]
        reply = page.ask("compose", drawing=page.json_of(a), other=page.json_of(b), cells=cells)
        chosen = torch.tensor([step in cells for step in range(4)])
        assert fingerprint(drawing_of(page, reply)) == fingerprint(composed(a, b, chosen))
        check_pictures(page, reply)


def test_what_is_locked_stays_when_the_rest_is_drawn_anew(page: Served) -> None:
    z, moved = page.model.sample(1, 3), 0
    for fixed in ([0], [1, 3], [2], [0, 1, 2, 3]):
        kept = torch.tensor([step in fixed for step in range(4)])
        for seed in range(5):
            reply = page.ask("resample", drawing=page.json_of(z), fixed=fixed, seed=seed)
            found = drawing_of(page, reply)
            assert fingerprint(found) == fingerprint(page.model.complete(z, kept, 1, seed))
            for one, other in ((z.whether, found.whether), (z.what, found.what)):
                assert torch.equal(one[0, kept], other[0, kept])
            check_pictures(page, reply)
            moved += fingerprint(found) != fingerprint(z)
    assert moved > 5
    free = page.ask("resample", drawing=page.json_of(z), fixed=[], seed=9)
    assert fingerprint(drawing_of(page, free)) == fingerprint(page.model.sample(1, 9))


def test_many_at_once_get_their_own_answers(page: Served) -> None:
    drawings = [page.model.sample(1, seed) for seed in range(24)]

    def answered(number: int) -> bool:
        reply = page.ask("render", drawing=page.json_of(drawings[number]))
        return fingerprint(drawing_of(page, reply)) == fingerprint(drawings[number])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(answered, range(24)))


def test_the_page_is_there_and_asks_for_nothing_elsewhere(page: Served) -> None:
    names = {path.name for path in PAGE.iterdir()}
    assert {"index.html", "main.js", "studio.css", "icon.svg"} <= names
    for name in names:
        reply = page.send("GET", name)
        assert (reply.status, reply.body) == (200, (PAGE / name).read_bytes())
        text = reply.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and '"//' not in text, name
    assert page.send("GET", "").body == (PAGE / "index.html").read_bytes()
    assert page.send("GET", "studio.css").headers["content-type"].startswith("text/css")
    assert page.send("GET", "main.js").headers["content-type"].startswith("text/javascript")
    without_slash = page.send("GET", f"/{TOKEN}")
    assert (without_slash.status, without_slash.headers["location"]) == (307, page.url)


# --- What nobody else may ----------------------------------------------------------------------


def ask_anything(page: Served) -> None:
    """The studio lives and answers."""
    assert page.ask("load", word="seed:0").status == 200


def test_only_its_own_page_is_answered(page: Served) -> None:
    own = f"{HOST}:{page.port}"
    for path, headers in (
        ("/", {}),
        ("/api/model", {}),
        (f"/{TOKEN}x/", {}),
        (f"/{TOKEN[:-1]}/", {}),
        (f"//{TOKEN}/", {}),
        ("/%00/", {}),
        ("/t%C3%B6ken/", {}),
        (f"/{TOKEN}/", {"Host": "example.org"}),
        (f"/{TOKEN}/", {"Host": f"localhost:{page.port}"}),
        (f"/{TOKEN}/", {"Host": HOST}),
        (f"/{TOKEN}/", {"Host": f"{HOST}:{page.port + 1}"}),
        (f"/{TOKEN}/", {"Host": f"{own}.example.org"}),
        (f"/{TOKEN}/", {"Origin": "http://example.org"}),
        (f"/{TOKEN}/", {"Origin": "null"}),
        (f"/{TOKEN}/", {"Origin": f"https://{own}"}),
        (f"/{TOKEN}/", {"Origin": ""}),
        (f"/{TOKEN}/api/load", {"Origin": f"http://localhost:{page.port}"}),
    ):
        for method in ("GET", "POST"):
            reply = page.send(method, path, headers=headers)
            assert reply.status == 403, (method, path, headers)
    body = b'{"word": "seed:0"}'
    headers = {"Content-Type": "application/json", "Origin": f"http://{own}"}
    assert page.send("POST", "api/load", body, headers).status == 200


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
def test_other_methods_and_paths(page: Served, method: str, path: str, status: int) -> None:
    reply = page.send(method, path)
    assert reply.status == status
    assert reply.message
    if status == 405:
        assert reply.headers["allow"]
    ask_anything(page)


def test_every_answer_forbids_what_is_elsewhere(page: Served) -> None:
    replies = [page.send("GET", path) for path in ("", "api/model", "nothing", "/", "api/load")]
    replies.append(page.ask("load", word="nothing"))
    assert {reply.status for reply in replies} == {200, 404, 403, 405, 400}
    for reply in replies:
        for name, value in HEADERS.items():
            assert reply.headers[name.lower()] == value
        assert "server" not in reply.headers


def test_large_bodies_are_refused(page: Served) -> None:
    two = 2 << 20
    for path in ("api/render", "api/upload", "", "nothing"):
        for body in (bytes(two), iter([bytes(1 << 16)] * 32)):  # announced, and in pieces
            assert page.send("POST", path, body).status == 413
    assert page.send("POST", "/other/", bytes(two)).status == 403
    assert page.send("POST", "api/upload", bytes(MOST_BYTES)).status == 400
    assert page.send("POST", "api/upload", bytes(MOST_BYTES + 1)).status == 413
    connection = http.client.HTTPConnection(HOST, page.port, timeout=60)
    connection.putrequest("POST", f"/{TOKEN}/api/upload")
    connection.putheader("Content-Length", str(1 << 40))  # never sent, and not waited for
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    ask_anything(page)


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
def test_what_is_no_question(page: Served, text: bytes) -> None:
    for name in ("render", "load", "compose", "resample"):
        reply = page.ask_text(name, text)
        assert reply.status == 400
        assert reply.message and "\n" not in reply.message
    ask_anything(page)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"part": 8}, "part of stroke 0 is 8, not in 0..7"),
        ({"part": -1}, "part of stroke 0 is -1"),
        ({"part": 1.0}, "no whole number"),
        ({"part": True}, "no whole number"),
        ({"step": 4}, "step of stroke 0 is 4, not in 0..3"),
        ({"step": 10**30}, "step of stroke 0"),
        ({"row": 3}, "puts nothing"),
        ({"extra": 1}, "other entries"),
    ],
)
def test_strokes_out_of_range(page: Served, changes: dict[str, Any], words: str) -> None:
    good = page.json_of(page.model.sample(1, 0))
    row, column = page.model.layout.positions[0, 0].tolist()
    stroke = {"step": 0, "row": row, "column": column, "part": 0} | changes
    reply = page.ask("render", drawing=good | {"strokes": [stroke]})
    assert reply.status == 400
    assert words in reply.message
    ask_anything(page)


def test_drawings_of_others_and_impossible_numbers(page: Served) -> None:
    good = page.json_of(page.model.sample(1, 0))
    for changes in ({"bank": "0" * 64}, {"canvas": [28, 28]}, {"schema": 2}, {"strokes": {}}):
        assert page.ask("render", drawing=good | changes).status == 400
    many = [{"step": 0, "row": 0, "column": 0, "part": 0}] * 9000
    assert page.ask("render", drawing=good | {"strokes": many}).status == 400
    for seed in (-1, 2**53, 1.5, "1", None, True):
        assert page.ask("resample", drawing=good, fixed=[], seed=seed).status == 400
    for cells in ([4], [-1], [0.0], [True], "01", {"0": 1}, None):
        assert page.ask("resample", drawing=good, fixed=cells, seed=0).status == 400
        assert page.ask("compose", drawing=good, other=good, cells=cells).status == 400
    ask_anything(page)


def test_garbage_on_the_wire_and_many_connections(page: Served) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"A" * 100_000, b"\r\n" * 99):
        with socket.create_connection((HOST, page.port), timeout=60) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
        assert b" 200 " not in answer
    idle = [socket.create_connection((HOST, page.port)) for _ in range(40)]
    ask_anything(page)
    for connection in idle:
        connection.close()


def test_a_bug_is_told_and_the_studio_lives(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
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
        reply = page.ask("load", word="seed:0")
        assert (reply.status, reply.json["error"]["code"]) == (500, code)
    monkeypatch.undo()
    ask_anything(page)


# --- The command -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_leaves_nothing(
    number: signal.Signals, trained: Any, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "npdraw", "studio", os.fspath(trained.model)]
    process = subprocess.Popen(
        [*command, "--no-browser", "--threads", "1", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(npdraw.__file__).parents[1])},
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["url"].startswith(f"http://{HOST}:{told['port']}/")
        with urllib.request.urlopen(told["url"]) as answer:  # stays open, as a browser's does
            assert b"npdraw studio" in answer.read()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "Ctrl-C ends the studio.\n")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, told["port"]))
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is taken"):
            studio(
                tmp_path / "none",
                port=port,
                browser=False,
                root=tmp_path,
                runtime=Runtime(),
                ready=lambda _: None,
            )


def test_a_browser_is_opened_only_on_a_screen(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    urls: list[str] = []
    for display, browser in (("", True), (":0", False), (":0", True)):
        monkeypatch.setenv("DISPLAY", display)
        studio(
            trained.model,
            port=0,
            browser=browser,
            root=tmp_path,
            runtime=Runtime(),
            ready=lambda told: urls.append(told["url"]),
        )
    assert len(set(urls)) == 3  # a new token each time
    assert opened == urls[2:]
