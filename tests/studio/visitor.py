"""A user of the studio's page in a real browser."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from npdraw.drawings.strokes import fingerprint, from_json
from npdraw.model.latents import Latents
from tests.studio.serving import Served, expected_pictures, pixels

WIDE, NARROW = (1280, 800), (390, 844)
"""Sizes of a window, in pixels."""


class Visitor:
    """A user of the page; records its console messages and its requests."""

    def __init__(self, studio: Served, browser: Any, size: tuple[int, int], **more: Any) -> None:
        self.studio, self.model = studio, studio.model
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, accept_downloads=True, **more
        )
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console", lambda message: self.problems.append(f"{message.type}: {message.text}")
        )
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("requestfailed", lambda request: self.problems.append(request.url))
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(studio.url)
        self.page.wait_for_selector("html[data-ready]")

    def leave(self) -> None:
        """Close the page, and check that nothing went wrong on it."""
        self.context.close()
        assert self.problems == []
        assert len(self.requests) > 10
        allowed = (f"http://127.0.0.1:{self.studio.port}/", "data:", "blob:")
        assert [url for url in self.requests if not url.startswith(allowed)] == []

    # --- What the user sees ---

    def says(self, text: str) -> None:
        """Wait until the status line contains this."""
        self.page.wait_for_function(
            "text => document.getElementById('status').textContent.includes(text)", arg=text
        )

    def at(self, count: int) -> None:
        """Wait until this number of strokes is selected."""
        self.page.wait_for_function(
            "count => Number(document.getElementById('time').value) === count", arg=count
        )

    def settled(self) -> None:
        """Wait until the last requested picture is shown."""
        self.page.wait_for_selector("#image[aria-busy=false]")

    def shown(self, name: str) -> NDArray[np.uint8]:
        return pixels(self.page.get_attribute(f"#{name}", "src"))

    def chosen(self, name: str) -> str | None:
        """Return the selected part or ink; None if there is none."""
        option = self.page.locator(f".{name}[aria-selected=true]")
        return option.get_attribute(f"data-{name}") if option.count() else None

    def saved(self, name: str) -> bytes:
        with self.page.expect_download() as waiting:
            self.page.click(f"#save-{name}")
        return Path(waiting.value.path()).read_bytes()

    @property
    def drawing(self) -> Latents:
        """The drawing that the page saves."""
        return from_json(json.loads(self.saved("drawing")), self.model.brush)

    def check(self, z: Latents) -> None:
        """Check that the drawing is this one, and that both pictures show it."""
        assert fingerprint(self.drawing) == fingerprint(z)
        for name, picture in expected_pictures(self.model, z).items():
            assert np.array_equal(self.shown(name), picture), name

    # --- What the user does ---

    def point(self, selector: str, row: float, column: float) -> tuple[float, float]:
        """Return where on the page a point of a canvas is; row and column are canvas pixels."""
        box = self.page.locator(f"{selector} .grid").bounding_box()
        layout = self.model.layout
        x = box["x"] + column * box["width"] / layout.width
        return x, box["y"] + row * box["height"] / layout.height

    def middle(self, step: int, where: int) -> tuple[float, float]:
        """Return where on the page the centre of a part at a placement is."""
        row, column = self.model.layout.positions[step, where].tolist()
        half = int(self.model.layout.sides[step]) / 2
        return self.point("#a", row + half, column + half)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end, steps=5)
        mouse.up()

    def drag_part(self, part: int, step: int, where: int) -> None:
        box = self.page.locator(f"#bank [data-part='{part}']").bounding_box()
        start = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.drag(start, self.middle(step, where))


def put(z: Latents, step: int, where: int, part: int, **ink: int) -> Latents:
    """Return a drawing with another part at a step; `ink` may have ink and contrast."""
    changed = z.clone()
    changed.put_stroke(0, step, where=where, what=part, **ink)
    return changed


def without(z: Latents, step: int) -> Latents:
    """Return a drawing without the stroke of a step."""
    return z.only(torch.arange(z.whether.shape[1]) != step)
