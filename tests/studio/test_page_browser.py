"""Files, errors, colour and window sizes, in a real browser."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import npdraw
from npdraw.drawings.classify import classes_of_drawing
from npdraw.drawings.strokes import as_json
from tests.browsing import missing
from tests.studio.serving import Served, expected_pictures, served, unpacked, write_colour_model
from tests.studio.visitor import NARROW, WIDE, Visitor, put

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is installed"),
]


def test_pictures_and_drawings_are_saved_and_opened(visitor: Visitor, tmp_path: Path) -> None:
    z = visitor.model.sample(1, 0)
    for name, picture in expected_pictures(visitor.model, z).items():
        assert np.array_equal(unpacked(visitor.saved(name)), picture)
    other = visitor.model.sample(1, 11)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(as_json(other, visitor.model.brush)))
    visitor.page.set_input_files("#a-load input[type=file]", path)
    visitor.says("x.json loaded as drawing A")
    visitor.check(other)
    array = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "x.png")
    visitor.page.set_input_files("#a-load input[type=file]", tmp_path / "x.png")
    visitor.says("x.png loaded as drawing A")
    image = visitor.model.preprocess(array[None])
    visitor.check(visitor.model.encode(image))
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")  # 2.4 MB: the page shrinks it
    visitor.page.set_input_files("#b-load input[type=file]", tmp_path / "large.png")
    visitor.says("large.png loaded as drawing B")
    visitor.page.fill("#a-load input[type=text]", "seed:4")
    visitor.page.keyboard.press("Enter")
    visitor.says("seed:4 loaded as drawing A")
    visitor.check(visitor.model.sample(1, 4))


def test_drawing_with_a_colour_model(browser: Any, tmp_path: Path) -> None:
    write_colour_model(tmp_path / "model.safetensors")
    with served(npdraw.load(tmp_path / "model.safetensors"), tmp_path) as studio:
        visitor = Visitor(studio, browser, WIDE)
        first = visitor.model.sample(1, 0)
        visitor.check(first)
        assert len(visitor.shown("image")) == 3
        for step in range(4):
            part = (int(first.what[0, step]) + 1) % 4
            visitor.drag_part(part, step, 0)
            visitor.says(f"Part {part} placed")
            first = put(first, step, 0, part)
            visitor.check(first)
        visitor.drag_part(part, 3, 0)
        visitor.says(f"Part {part} is already at row 2, column 2")
        visitor.check(first)
        visitor.leave()


def test_errors_are_shown_on_the_page(studio: Served, browser: Any, tmp_path: Path) -> None:
    visitor = Visitor(studio, browser, WIDE)
    visitor.page.fill("#a-load input[type=text]", "seed:x")
    visitor.page.keyboard.press("Enter")
    visitor.says("'x' is not a number")
    (tmp_path / "x.png").write_text("no picture")
    visitor.page.set_input_files("#b-load input[type=file]", tmp_path / "x.png")
    visitor.says("Cannot read the picture: it is not a PNG")
    visitor.check(visitor.model.sample(1, 0))
    # The browser itself logs refused requests.
    assert [text for text in visitor.problems if "status of 400" not in text] == []
    visitor.problems.clear()
    visitor.leave()


@pytest.mark.parametrize("size", [WIDE, (900, 700), NARROW])
@pytest.mark.parametrize(
    ("kind", "scheme"), [("studio", "light"), ("studio", "dark"), ("inked", "light")]
)
def test_the_page_fits_wide_and_narrow_windows(
    kind: str,
    browser: Any,
    size: tuple[int, int],
    scheme: str,
    request: pytest.FixtureRequest,
) -> None:
    studio: Served = request.getfixturevalue(kind)
    visitor = Visitor(studio, browser, size, color_scheme=scheme, has_touch=size == NARROW)
    page = visitor.page
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for control in page.locator("button, input:not([type=file]), .stage, #bank, #inks").all():
        if page.is_visible("#help") or not control.is_visible():
            continue
        box = control.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
    for name in ("#a", "#image", "#bank"):  # all three are visible at once
        box = page.locator(name).bounding_box()
        least = 40 if (kind, size) == ("inked", NARROW) else 100  # the inks take a line
        assert box["y"] + min(box["height"], least) <= size[1]
    unnamed = "element => !(element.ariaLabel || element.textContent.trim() || element.title)"
    buttons = page.locator("button, input:not([type=file]), [role=gridcell], [role=option]")
    assert not any(element.evaluate(unnamed) for element in buttons.all())
    if size == NARROW:
        page.tap("#bank [data-part='3']")
        visitor.says("Part 3 picked up")
        page.touchscreen.tap(*visitor.middle(2, 0))
        cell = "row 2, column 1" if kind == "studio" else "row 2, column 1 (large)"
        visitor.says(f"Part 3 placed at {cell}. Decoded in")
        ink = {} if kind == "studio" else {"ink": int(visitor.chosen("ink")), "contrast": 1}
        visitor.check(put(visitor.model.sample(1, 0), 2, 0, 3, **ink))
    visitor.leave()


def test_a_class_is_chosen_and_its_probability_shown(labelled: Served, browser: Any) -> None:
    visitor = Visitor(labelled, browser, WIDE)
    page, model = visitor.page, visitor.model
    assert page.locator("#classes option").all_text_contents() == ["any", "left", "right"]
    shown = [name for name, _ in chances_shown(page)]
    assert sorted(shown) == ["left", "right"]
    for seed, label in enumerate(("right", "left")):
        page.select_option("#classes select", label)
        page.fill("#a-load input[type=text]", "seed:4")
        page.keyboard.press("Enter")
        visitor.says(f"seed:4 of class {label} loaded as drawing A")
        visitor.check(model.sample(1, 4, label=label))
        chances = classes_of_drawing(model, model.sample(1, 4, label=label)).tolist()
        figures = {name: f"{100 * x:.0f}%" for name, x in zip(model.classes, chances, strict=True)}
        assert dict(chances_shown(page)) == figures
        page.click("#clear")
        visitor.says("All strokes removed")
        page.click("#resample")
        visitor.says(f"Resampled as class {label} with seed {seed}")
        visitor.check(model.sample(1, seed, label=label))  # as nothing is locked
    page.fill("#b-load input[type=text]", "seed:6")
    page.keyboard.press("Enter")
    visitor.says("seed:6 of class left loaded as drawing B")
    expected = expected_pictures(model, model.sample(1, 6, label="left"))["canvas"]
    assert np.array_equal(visitor.shown("b-canvas"), expected)
    page.select_option("#classes select", "any")
    page.click("#b-load .word button")
    visitor.says("seed:6 loaded as drawing B")
    visitor.leave()


def chances_shown(page: Any) -> list[tuple[str, str]]:
    """Return names and figures of the list of classes, from the top."""
    texts = [page.locator(f"#chances {kind}").all_text_contents() for kind in ("span", "output")]
    return list(zip(*texts, strict=True))


def test_without_classes_there_is_nothing_to_choose(visitor: Visitor) -> None:
    assert not visitor.page.locator("#classes").is_visible()
    assert not visitor.page.locator("#chances").is_visible()
