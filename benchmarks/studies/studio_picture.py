"""The picture of the studio in docs/studio.md: `python -m benchmarks.studies.studio_picture`.

Loads two test images of Omniglot, locks three cells of the first, and stops while a region of the
second is being dragged over. Needs Omniglot and a browser (`make studio-browser`).
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.studio import studio
from tests.browsing import chromium, missing

MODEL, IMAGES = "omniglot", ("test:21", "test:5")
LOCKED = (8, 15, 16)
"""Cells of drawing A."""

REGION = (24, 40)
"""First and last cell of the region of drawing B."""

FILE = Path("docs/studio.png")


def load(page: Any, side: str, name: str) -> None:
    """Load a named drawing into "a" or "b"."""
    page.fill(f"#{side}-load input[type=text]", name)
    page.press(f"#{side}-load input[type=text]", "Enter")
    page.wait_for_selector(f"#{side}-load img.source:not([hidden])")
    page.wait_for_function("document.getElementById('image').ariaBusy !== 'true'")


def middle(page: Any, side: str, cell: int) -> tuple[float, float]:
    """Return the middle of a cell of drawing "a" or "b", pixels of the page."""
    box = page.locator(f"#{side} [role=gridcell]").nth(cell).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def main() -> None:
    """Take the picture."""
    if reason := missing():
        sys.exit(reason)
    with studio(MODEL, 2) as url, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        for side, name in zip("ab", IMAGES, strict=True):
            load(page, side, name)
        for cell in LOCKED:
            page.locator("#a [role=gridcell]").nth(cell).focus()
            page.keyboard.press("l")
        page.mouse.move(*middle(page, "b", REGION[0]))
        page.mouse.down()
        page.mouse.move(*middle(page, "b", REGION[1]), steps=5)
        page.screenshot(path=FILE)
    print(FILE)


if __name__ == "__main__":
    main()
