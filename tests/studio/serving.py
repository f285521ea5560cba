"""Serves the studio of a model from this process, and sends raw requests to it."""

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
import torch
from numpy.typing import NDArray
from PIL import Image

from npdraw.config import Config, ParseConfig, PriorConfig
from npdraw.decoder_config import DecoderConfig
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.strokes import as_json
from npdraw.model.latents import Latents
from npdraw.pictures.sheet import canvas_images, to_uint8
from npdraw.studio.app import application
from npdraw.studio.easel import Easel
from npdraw.studio.guard import HOST
from npdraw.studio.server import server_of
from tests.random_models import write_random_model

TOKEN = "a-token-of-tests"


@dataclass(frozen=True)
class Reply:
    """A response of the studio."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        message: str = self.json["error"]["message"]
        return message


@dataclass(frozen=True)
class Served:
    """A studio that listens on a port."""

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
        """Send a request to `path`, below the token unless it starts with a slash."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        target = path if path.startswith("/") else f"/{TOKEN}/{path}"
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        reply = Reply(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return reply

    def ask(self, name: str, **asked: Any) -> Reply:
        """Send one request to the easel."""
        return self.ask_text(name, json.dumps(asked).encode())

    def ask_text(self, name: str, body: bytes) -> Reply:
        return self.send("POST", f"api/{name}", body, {"Content-Type": "application/json"})

    def json_of(self, z: Latents) -> dict[str, Any]:
        return as_json(z, self.model.brush)


@contextmanager
def served(model: DrawingModel, root: Path) -> Iterator[Served]:
    """Serve a model from another thread until the block ends."""
    with socket.create_server((HOST, 0)) as listening, ThreadPoolExecutor(1) as worker:
        port = listening.getsockname()[1]
        server = server_of(application(Easel(model, root), worker, TOKEN))
        thread = threading.Thread(target=server.run, args=[[listening]])
        thread.start()
        try:
            yield Served(model, port)
        finally:
            server.should_exit = True
            thread.join()


def pixels(url: str) -> NDArray[np.uint8]:
    """Decode a data: URL of a PNG to uint8 [C, H, W]."""
    kind, _, text = url.partition(",")
    assert kind == "data:image/png;base64"
    return unpacked(base64.b64decode(text))


def unpacked(content: bytes) -> NDArray[np.uint8]:
    """Decode a PNG to uint8 [C, H, W]."""
    array = np.asarray(Image.open(io.BytesIO(content), formats=["PNG"]))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def expected_pictures(model: DrawingModel, z: Latents) -> dict[str, NDArray[np.uint8]]:
    """Return canvas and decoded image of one drawing, uint8 [C, H, W], from the Python API."""
    canvas = model.paint(z)
    image = model.decode(canvas)
    return {"canvas": canvas_images(canvas)[0].numpy(), "image": to_uint8(image)[0].numpy()}


def write_colour_model(path: Path) -> None:
    """Write a tiny colour model of random weights, its canvas half as wide as the image."""
    config = Config(
        parse=ParseConfig(
            image_size=16,
            channels=3,
            binarize=False,
            canvas_size=8,
            part_size=4,
            stride=4,
            parts=4,
            compositing="over",
        ),
        prior=PriorConfig(width=8, depth=1, heads=1, head_width=8, mlp_width=8),
        decoder=DecoderConfig(
            encoder_channels=4, encoder_depth=1, decoder_channels=(4,), decoder_depth=1
        ),
    )
    torch.manual_seed(0)
    write_random_model(path, config, {"bank": torch.rand(4, 3, 4, 4)}, 0)
