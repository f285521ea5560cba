"""The pictures of the studio in docs/studio.md: `python -m benchmarks.studies.studio_picture`.

In each, two test images are loaded, some cells of the first are locked, and a region of the second
is being dragged over. Needs Omniglot, CIFAR-10 and a browser (`make studio-browser`).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.studio import studio
from tests.browsing import chromium, missing


@dataclass(frozen=True)
class Scene:
    """What a picture shows."""

    model: str
    images: tuple[str, str]
    """Drawings A and B, as the page's field takes them."""
    locked: tuple[int, ...]
    """Cells of drawing A."""
    region: tuple[int, int]
    """First and last cell of the region of drawing B."""
    file: Path


SCENES = (
    Scene("omniglot", ("test:21", "test:5"), (8, 15, 16), (24, 40), Path("docs/studio.png")),
    Scene("cifar10", ("test:1", "test:8"), (), (8, 15), Path("docs/studio-colour.png")),
)


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


def take(browser: Any, scene: Scene) -> None:
    """Take one picture."""
    with studio(scene.model, 2) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        for side, name in zip("ab", scene.images, strict=True):
            load(page, side, name)
        for cell in scene.locked:
            page.locator("#a [role=gridcell]").nth(cell).focus()
            page.keyboard.press("l")
        page.mouse.move(*middle(page, "b", scene.region[0]))
        page.mouse.down()
        page.mouse.move(*middle(page, "b", scene.region[1]), steps=5)
        page.screenshot(path=scene.file)
        page.close()
    print(scene.file)


def main() -> None:
    """Take all pictures."""
    if reason := missing():
        sys.exit(reason)
    with chromium() as browser:
        for scene in SCENES:
            take(browser, scene)


if __name__ == "__main__":
    main()
