"""The report, opened as a file in a browser: no errors, no requests, and the stepper works."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from npdraw.report import report
from tests.browsing import chromium, missing
from tests.report.pages import ODD, RUNTIME

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Run a headless Chromium."""
    with chromium() as chrome:
        yield chrome


@pytest.fixture(scope="module")
def written(
    stages: Any, trained: Any, made: Any, inked: Path, tmp_path_factory: Any
) -> dict[str, Path]:
    """Write reports: of a run with an odd name, of this run and another, of two with ink."""
    folder = tmp_path_factory.mktemp("browser")
    run = Path(shutil.copytree(trained.folder, folder / ODD))
    outs = {"one": folder / "one.html", "two": folder / "two & more #1.html"}
    outs["ink"] = folder / "ink.html"
    report([inked, made.folder], root=stages.npz.parent, out=outs["ink"], runtime=RUNTIME)
    report([run], root=stages.npz.parent, out=outs["one"], runtime=RUNTIME)
    report([run, made.folder], root=stages.npz.parent, out=outs["two"], runtime=RUNTIME)
    return outs


@pytest.fixture
def opened(browser: Any, written: dict[str, Path]) -> Iterator[Any]:
    """Open a report; at the end, check that there were no errors and no other requests."""
    with ExitStack() as stack:
        messages: list[str] = []
        requests: list[str] = []

        def open_page(name: str, width: int = 1280, scheme: str = "light") -> Any:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            stack.callback(context.close)
            page = context.new_page()
            page.on("console", lambda message: messages.append(message.text))
            page.on("pageerror", lambda error: messages.append(str(error)))
            page.on("dialog", lambda dialog: messages.append(dialog.message))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(written[name].as_uri())
            page.wait_for_selector("#stepper[data-drawing]")
            return page

        yield open_page
        assert messages == []
        files = [path.as_uri() for path in written.values()]
        assert all(url.startswith("data:image/png") or url in files for url in requests)


PIXELS = """name => {
  const canvas = document.getElementById(name);
  return canvas.toDataURL();
}"""


def pictures(page: Any) -> tuple[str, str]:
    return page.evaluate(PIXELS, "painted"), page.evaluate(PIXELS, "decoded")


def test_the_stepper_follows_keys_buttons_and_slider(opened: Any) -> None:
    page = opened("one")
    entry = page.evaluate("JSON.parse(document.getElementById('drawings').textContent)[0]")
    strokes = entry["drawing"]["strokes"]
    assert len(strokes) > 1

    def count() -> int:
        return int(page.get_attribute("#stepper", "data-count"))

    assert count() == len(strokes)
    whole = pictures(page)
    page.focus("#stepper")
    page.keyboard.press("Home")
    assert count() == 0 and "the empty canvas" in page.inner_text("#position")
    assert page.is_hidden("#mark")
    seen = [pictures(page)]
    for number, stroke in enumerate(strokes, 1):
        page.keyboard.press("ArrowRight")
        assert count() == number
        where = f"part {stroke['part']} at row {stroke['row']}, column {stroke['column']}"
        assert page.inner_text("#position") == f"Stroke {number} of {len(strokes)}: {where}"
        assert page.is_visible("#mark")
        seen.append(pictures(page))
        # The outline surrounds the visible area of the part.
        frame, mark = (page.locator(at).bounding_box() for at in (".frame:has(#mark)", "#mark"))
        left = max(0, stroke["column"]) / 8 * frame["width"]
        assert mark["x"] - frame["x"] == pytest.approx(left, abs=1)
        right = min(8, stroke["column"] + entry["drawing"]["part_size"]) / 8 * frame["width"]
        assert mark["x"] - frame["x"] + mark["width"] == pytest.approx(right, abs=1)
    assert seen[-1] == whole
    assert len({canvas for canvas, _ in seen}) == len(seen)
    page.keyboard.press("ArrowRight")
    assert count() == len(strokes)  # this was the last stroke
    page.keyboard.press("ArrowLeft")
    assert count() == len(strokes) - 1 and pictures(page) == seen[-2]
    page.click('[data-go="first"]')
    assert pictures(page) == seen[0]
    page.click('[data-go="on"]')
    assert pictures(page) == seen[1]
    page.locator("#time").fill(str(len(strokes)))
    assert count() == len(strokes) and pictures(page) == whole
    box = page.locator("#time").bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    assert count() == 0
    page.focus("#time")
    page.keyboard.press("ArrowRight")
    assert count() == 1
    page.click('[data-go="play"]')
    page.wait_for_selector(f'#stepper[data-count="{len(strokes)}"]')
    page.wait_for_selector('[data-go="play"]:has-text("Play")')


def test_strokes_with_ink_are_marked_in_the_size_of_their_layer(opened: Any) -> None:
    page = opened("ink")
    entry = page.evaluate("JSON.parse(document.getElementById('drawings').textContent)[0]")
    strokes, sides = entry["drawing"]["strokes"], entry["drawing"]["part_size"]
    page.focus("#stepper")
    page.keyboard.press("Home")
    seen = set()
    for number, stroke in enumerate(strokes, 1):
        page.keyboard.press("ArrowRight")
        where = f"row {stroke['row']}, column {stroke['column']}"
        look = f"part {stroke['part']} in ink {stroke['ink']}, contrast {stroke['contrast']}"
        expected = f"Stroke {number} of {len(strokes)}: {look}, at {where}"
        assert page.inner_text("#position") == expected
        frame, mark = (page.locator(at).bounding_box() for at in (".frame:has(#mark)", "#mark"))
        side = sides[0] if stroke["step"] < 4 else sides[1]
        assert mark["width"] == pytest.approx(side / 8 * frame["width"], abs=1)
        assert mark["x"] - frame["x"] == pytest.approx(stroke["column"] / 8 * frame["width"], abs=1)
        seen.add(side)
    assert seen == {4, 2}


def test_another_drawing_can_be_chosen(opened: Any) -> None:
    page = opened("two")
    faces = page.locator(".faces button")
    first = pictures(page)
    assert faces.count() == 12
    last = faces.nth(11)
    assert last.get_attribute("aria-pressed") == "false"
    last.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector('#stepper[data-drawing="11"]')
    assert last.get_attribute("aria-pressed") == "true"
    assert pictures(page) != first


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_is_legible(opened: Any, width: int, scheme: str) -> None:
    for name in ("one", "two", "ink"):
        page = opened(name, width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        contrast = page.evaluate(CONTRAST)
        assert min(contrast.values()) >= 4.5, contrast
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth)")
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => h.tagName)")
        assert levels[0] == "H1" and levels.count("H1") == 1
        for below, above in zip(levels[1:], levels, strict=False):
            assert int(below[1]) - int(above[1]) <= 1


CONTRAST = """() => {
  const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((value) => {
      const x = value / 255;
      return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = numbers(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const result = {};
  for (const at of ["h1", ".kicker", "nav a", "section h2", ".note", "tbody th", "tbody td",
    "caption", ".problem", ".missing", "figcaption", ".legend", ".chain p", "code", "th small",
    ".best", ".differs th", '[data-go="play"]', ".faces button", "summary"]) {
    const element = document.querySelector(at);
    if (!element) continue;
    const [a, b] = [numbers(getComputedStyle(element).color), behind(element)].map(light);
    result[at] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return result;
}"""


def test_only_settings_that_differ_can_be_shown(opened: Any) -> None:
    page = opened("two")
    rows = page.locator("#settings tbody tr:visible")
    before = rows.count()
    page.check("#only")
    assert 0 < rows.count() < before
    assert page.locator("#settings tr.differs:visible").count() == 5
    page.uncheck("#only")
    assert rows.count() == before


def test_without_javascript_the_page_says_so(browser: Any, written: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written["one"].as_uri())
    assert page.locator("noscript").inner_text() == "Stepping through drawings requires JavaScript."
    context.close()
