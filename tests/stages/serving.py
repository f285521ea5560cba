"""The studio of a model in this process, and requests to it as anybody could send them."""

import base64
import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from npdraw.model.latents import Latents
from npdraw.stages.drawing_model import DrawingModel
from npdraw.stages.sheet import to_uint8
from npdraw.stages.strokes import as_json
from npdraw.stages.studio.app import application
from npdraw.stages.studio.easel import Easel
from npdraw.stages.studio.guard import HOST
from npdraw.stages.studio.server import server_of

TOKEN = "a-token-of-tests"


@dataclass(frozen=True)
class Reply:
    """What the studio answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        told: str = self.json["error"]["message"]
        return told


@dataclass(frozen=True)
class Served:
    """A studio that answers on a port."""

    model: DrawingModel
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/{TOKEN}/"

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request to `path`, below the token if it does not begin with a slash."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        target = path if path.startswith("/") else f"/{TOKEN}/{path}"
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        found = Reply(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return found

    def ask(self, name: str, **asked: Any) -> Reply:
        """Ask the easel one question."""
        return self.ask_text(name, json.dumps(asked).encode())

    def ask_text(self, name: str, body: bytes) -> Reply:
        return self.send("POST", f"api/{name}", body, {"Content-Type": "application/json"})

    def json_of(self, z: Latents) -> dict[str, Any]:
        return as_json(z, self.model.bank, self.model.layout)


@contextmanager
def served(model: DrawingModel, root: Path) -> Iterator[Served]:
    """Serve a model from another thread until the block ends."""
    with socket.create_server((HOST, 0)) as listening, ThreadPoolExecutor(1) as worker:
        port = listening.getsockname()[1]
        server = server_of(application(Easel(model, root), worker, TOKEN, port))
        thread = threading.Thread(target=server.run, args=[[listening]])
        thread.start()
        try:
            yield Served(model, port)
        finally:
            server.should_exit = True
            thread.join()


def pixels(url: str) -> NDArray[np.uint8]:
    """Return a picture, a data: URL of a PNG, as uint8 [C, H, W]."""
    kind, _, text = url.partition(",")
    assert kind == "data:image/png;base64"
    return unpacked(base64.b64decode(text))


def unpacked(content: bytes) -> NDArray[np.uint8]:
    """Return a PNG as uint8 [C, H, W]."""
    array = np.asarray(Image.open(io.BytesIO(content), formats=["PNG"]))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def expected_pictures(model: DrawingModel, z: Latents) -> dict[str, NDArray[np.uint8]]:
    """Return canvas and decoded image of one drawing, uint8 [C, H, W], from the Python API."""
    canvas = model.paint(z)
    image = model.decode(canvas)
    return {"canvas": to_uint8(canvas[:, :-1])[0].numpy(), "image": to_uint8(image)[0].numpy()}
