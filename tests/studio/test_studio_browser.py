"""The page of the studio in a real browser: what a person does, and what the picture does then.

After each action the pictures that are shown are compared with those that the Python API makes of
the drawing that the page saves, to the last pixel.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import npdraw
from npdraw.drawings.edit import composed
from npdraw.drawings.frames import prefixes
from npdraw.drawings.strokes import as_json, fingerprint, from_json
from npdraw.model.latents import Latents
from tests.browsing import chromium, missing
from tests.studio.serving import (
    Served,
    expected_pictures,
    pixels,
    served,
    unpacked,
    write_colour_model,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is there"),
]

WIDE, NARROW = (1280, 800), (390, 844)


@pytest.fixture(scope="module")
def studio(trained: Any, stages: Any) -> Iterator[Served]:
    """A grey model of 2 x 2 cells, each with four placements."""
    with served(npdraw.load(trained.model), stages.npz.parent) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


class Visitor:
    """Somebody at the page; hears its console, and sees every request."""

    def __init__(self, studio: Served, browser: Any, size: tuple[int, int], **more: Any) -> None:
        self.studio, self.model = studio, studio.model
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, accept_downloads=True, **more
        )
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda told: self.problems.append(f"{told.type}: {told.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("requestfailed", lambda request: self.problems.append(request.url))
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(studio.url)
        self.page.wait_for_selector("html[data-ready]")

    def leave(self) -> None:
        """Go, and complain of anything that was not in order."""
        self.context.close()
        assert self.problems == []
        assert len(self.requests) > 10
        allowed = (f"http://127.0.0.1:{self.studio.port}/", "data:", "blob:")
        assert [url for url in self.requests if not url.startswith(allowed)] == []

    # --- What is seen ---

    def told(self, text: str) -> None:
        """Wait for the status line to tell this."""
        self.page.wait_for_function(
            "text => document.getElementById('status').textContent.includes(text)", arg=text
        )

    def at(self, count: int) -> None:
        """Wait until so many strokes are to be shown."""
        self.page.wait_for_function(
            "count => Number(document.getElementById('time').value) === count", arg=count
        )

    def settled(self) -> None:
        """Wait until the last picture asked for is shown."""
        self.page.wait_for_selector("#image[aria-busy=false]")

    def shown(self, name: str) -> NDArray[np.uint8]:
        return pixels(self.page.get_attribute(f"#{name}", "src"))

    def saved(self, name: str) -> bytes:
        with self.page.expect_download() as waiting:
            self.page.click(f"#save-{name}")
        return Path(waiting.value.path()).read_bytes()

    @property
    def drawing(self) -> Latents:
        """The drawing, as it is saved."""
        return from_json(json.loads(self.saved("drawing")), self.model.bank, self.model.layout)

    def check(self, z: Latents) -> None:
        """The drawing is this one, and both pictures are those of it."""
        assert fingerprint(self.drawing) == fingerprint(z)
        for name, picture in expected_pictures(self.model, z).items():
            assert np.array_equal(self.shown(name), picture), name

    # --- What is done ---

    def point(self, selector: str, row: float, column: float) -> tuple[float, float]:
        """Return where on the page a point of a canvas is, in pixels of the canvas."""
        box = self.page.locator(f"{selector} .grid").bounding_box()
        layout = self.model.layout
        x = box["x"] + column * box["width"] / layout.width
        return x, box["y"] + row * box["height"] / layout.height

    def middle(self, step: int, where: int) -> tuple[float, float]:
        """Return where on the page the middle of a part at a placement is."""
        row, column = self.model.layout.positions[step, where].tolist()
        half = self.model.layout.part_size / 2
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


@pytest.fixture
def visitor(studio: Served, browser: Any) -> Iterator[Visitor]:
    found = Visitor(studio, browser, WIDE)
    yield found
    found.leave()


def put(z: Latents, step: int, where: int, part: int) -> Latents:
    changed = z.clone()
    changed.put_stroke(0, step, where, part)
    return changed


def without(z: Latents, step: int) -> Latents:
    return z.only(torch.arange(z.whether.shape[1]) != step)


def test_parts_are_dragged_moved_and_removed_and_all_is_undone(visitor: Visitor) -> None:
    first = visitor.model.sample(1, 0)
    visitor.check(first)
    visitor.drag_part(5, 3, 2)
    visitor.told("Part 5 placed at row 2, column 2. Decoded in")
    placed = put(first, 3, 2, 5)
    visitor.check(placed)
    visitor.drag(visitor.middle(3, 2), visitor.middle(0, 1))
    visitor.told("Part 5 moved to row 1, column 1. Decoded in")
    moved = put(without(placed, 3), 0, 1, 5)
    visitor.check(moved)
    visitor.drag(visitor.middle(0, 1), visitor.point("#a", 4, -9))
    visitor.told("Part 5 removed. Decoded in")
    removed = without(moved, 0)
    visitor.check(removed)
    images = [expected_pictures(visitor.model, z)["image"] for z in (first, placed, moved, removed)]
    assert all(not np.array_equal(a, b) for a, b in pairwise(images))
    for z in (moved, placed, first):
        visitor.page.keyboard.press("Control+z")
        visitor.told("Undone")
        visitor.settled()
        visitor.check(z)
    assert visitor.page.is_disabled("#undo")
    for z in (placed, moved):
        visitor.page.click("#redo")
        visitor.told("Done again")
        visitor.settled()
        visitor.check(z)
    visitor.drag_part(7, 2, 0)  # what was undone is gone once something else is done
    visitor.told("Part 7 placed")
    assert visitor.page.is_disabled("#redo")


def test_a_region_of_b_is_painted_onto_a(visitor: Visitor) -> None:
    a, b = visitor.model.sample(1, 0), visitor.model.sample(1, 1)
    assert np.array_equal(visitor.shown("b-canvas"), expected_pictures(visitor.model, b)["canvas"])
    visitor.drag(visitor.point("#b", 1, 1), visitor.point("#b", 2, 7))  # the upper two cells
    visitor.told("2 cells of B painted onto A")
    mixed = composed(a, b, torch.tensor([True, True, False, False]))
    visitor.check(mixed)
    visitor.page.mouse.click(*visitor.point("#b", 6, 6))
    visitor.told("1 cell of B painted onto A")
    mixed = composed(mixed, b, torch.tensor([False, False, False, True]))
    visitor.check(mixed)
    visitor.page.focus("#b [aria-current]")
    visitor.page.keyboard.press("Home")  # of the row of cells where the pointer was
    visitor.page.keyboard.press("Shift+ArrowRight")
    visitor.page.keyboard.press("Enter")
    visitor.told("2 cells of B painted onto A")
    visitor.check(b)


def test_what_is_locked_stays_when_resampled(visitor: Visitor) -> None:
    first = put(visitor.model.sample(1, 0), 1, 0, 4)
    visitor.drag_part(4, 1, 0)
    visitor.told("Part 4 placed")
    assert visitor.page.text_content("#lock") == "Lock"
    visitor.page.click("#lock")
    visitor.told("Locked row 1, column 2")
    z, changed = first, 0
    for seed in range(4):
        visitor.page.click("#resample")
        visitor.told(f"Resampled with seed {seed}, 1 cell kept")
        before, z = z, visitor.model.complete(z, torch.tensor([False, True, False, False]), 1, seed)
        visitor.check(z)
        assert (int(z.where[0, 1]), int(z.what[0, 1])) == (0, 4)
        changed += fingerprint(z) != fingerprint(before)
    assert changed > 1
    visitor.page.click("#lock-all")
    visitor.page.focus("#a [aria-current]")
    visitor.page.keyboard.press("r")
    visitor.told("Resampled with seed 4")
    kept = visitor.drawing
    for name in ("whether", "where", "what"):
        old, new = getattr(z, name), getattr(kept, name)
        assert torch.equal(old[z.whether], new[z.whether])


def test_time_goes_stroke_by_stroke(visitor: Visitor) -> None:
    z = visitor.model.sample(1, 0)
    steps, count = prefixes(z)[0], int(z.whether.sum())
    assert count > 1
    for shown in range(count - 1, -1, -1):
        visitor.page.click("#earlier")
        visitor.at(shown)
        visitor.settled()
        expected = expected_pictures(visitor.model, steps[shown : shown + 1])
        for name, picture in expected.items():
            assert np.array_equal(visitor.shown(name), picture)
        assert visitor.page.text_content("#strokes") == f"{shown} of {count}"
    visitor.page.click("#play")
    visitor.at(count)
    visitor.settled()
    visitor.check(z)


def test_pictures_and_drawings_are_saved_and_opened(visitor: Visitor, tmp_path: Path) -> None:
    z = visitor.model.sample(1, 0)
    for name, picture in expected_pictures(visitor.model, z).items():
        assert np.array_equal(unpacked(visitor.saved(name)), picture)
    other = visitor.model.sample(1, 11)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(as_json(other, visitor.model.bank, visitor.model.layout)))
    visitor.page.set_input_files("#a-load input[type=file]", path)
    visitor.told("x.json is drawing A")
    visitor.check(other)
    array = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "x.png")
    visitor.page.set_input_files("#a-load input[type=file]", tmp_path / "x.png")
    visitor.told("x.png is drawing A")
    image = visitor.model.preprocess(array[None])
    visitor.check(visitor.model.encode(image))
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")  # 2.4 MB: the page makes it smaller
    visitor.page.set_input_files("#b-load input[type=file]", tmp_path / "large.png")
    visitor.told("large.png is drawing B")
    visitor.page.fill("#a-load input[type=text]", "seed:4")
    visitor.page.keyboard.press("Enter")
    visitor.told("seed:4 is drawing A")
    visitor.check(visitor.model.sample(1, 4))


def test_all_of_it_works_with_the_keyboard(visitor: Visitor) -> None:
    press = visitor.page.keyboard.press
    visitor.page.focus("#bank [data-part='0']")
    press("ArrowRight")
    press("ArrowRight")
    press("Enter")
    visitor.told("Part 2 in hand")
    assert visitor.page.evaluate("document.activeElement.dataset.step") == "0"
    press("ArrowRight")
    press("ArrowDown")
    press("Enter")
    visitor.told("Part 2 placed at row 2, column 2")
    drawing = visitor.drawing
    assert int(drawing.what[0, 3]) == 2
    press("Escape")
    visitor.told("Nothing is in hand")
    visitor.page.focus("#a [aria-current]")
    press("Enter")
    visitor.told("Stroke in hand")
    press("ArrowUp")
    press("Enter")
    visitor.told("Part 2 moved to row 1, column 2")
    moved = put(without(drawing, 3), 1, int(drawing.where[0, 3]), 2)
    visitor.check(moved)
    visitor.page.focus("#a [aria-current]")
    press("l")
    visitor.told("Locked row 1, column 2")
    press("Delete")
    visitor.told("Part 2 removed")
    visitor.check(without(moved, 1))
    press("Control+z")
    visitor.told("Undone: part 2 removed")
    visitor.settled()
    visitor.check(moved)
    label = visitor.page.get_attribute("#a [data-step='1']", "aria-label")
    assert label == "row 1, column 2: part 2, locked"
    press("?")
    assert visitor.page.is_visible("#help")
    press("Escape")
    assert visitor.page.is_hidden("#help")


def test_a_colour_model_is_drawn_with(browser: Any, tmp_path: Path) -> None:
    write_colour_model(tmp_path / "model.safetensors")
    with served(npdraw.load(tmp_path / "model.safetensors"), tmp_path) as studio:
        visitor = Visitor(studio, browser, WIDE)
        first = visitor.model.sample(1, 0)
        visitor.check(first)
        assert len(visitor.shown("image")) == 3
        for step in range(4):
            part = (int(first.what[0, step]) + 1) % 4
            visitor.drag_part(part, step, 0)
            visitor.told(f"Part {part} placed")
            first = put(first, step, 0, part)
            visitor.check(first)
        visitor.drag_part(part, 3, 0)
        visitor.told(f"Part {part} is at row 2, column 2 already")
        visitor.check(first)
        visitor.leave()


def test_what_goes_wrong_is_told_on_the_page(studio: Served, browser: Any, tmp_path: Path) -> None:
    visitor = Visitor(studio, browser, WIDE)
    visitor.page.fill("#a-load input[type=text]", "seed:x")
    visitor.page.keyboard.press("Enter")
    visitor.told("'x' is no number")
    (tmp_path / "x.png").write_text("no picture")
    visitor.page.set_input_files("#b-load input[type=file]", tmp_path / "x.png")
    visitor.told("Cannot read the picture: it is none of PNG")
    visitor.check(visitor.model.sample(1, 0))
    # The browser itself notes answers that refuse.
    assert [text for text in visitor.problems if "status of 400" not in text] == []
    visitor.problems.clear()
    visitor.leave()


@pytest.mark.parametrize("size", [WIDE, (900, 700), NARROW])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_wide_and_narrow(
    studio: Served, browser: Any, size: tuple[int, int], scheme: str
) -> None:
    visitor = Visitor(studio, browser, size, color_scheme=scheme, has_touch=size == NARROW)
    page = visitor.page
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for control in page.locator("button, input:not([type=file]), .stage, #bank").all():
        if page.is_visible("#help") or not control.is_visible():
            continue
        box = control.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
    for name in ("#a", "#image", "#bank"):  # the hand and the eye are in one window
        box = page.locator(name).bounding_box()
        assert box["y"] + min(box["height"], 100) <= size[1]
    unnamed = "element => !(element.ariaLabel || element.textContent.trim() || element.title)"
    buttons = page.locator("button, input:not([type=file]), [role=gridcell], [role=option]")
    assert not any(element.evaluate(unnamed) for element in buttons.all())
    if size == NARROW:
        page.tap("#bank [data-part='3']")
        visitor.told("Part 3 in hand")
        page.touchscreen.tap(*visitor.middle(2, 0))
        visitor.told("Part 3 placed at row 2, column 1. Decoded in")
        visitor.check(put(visitor.model.sample(1, 0), 2, 0, 3))
    visitor.leave()
