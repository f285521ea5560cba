"""Measure the studio's latency from drop to picture: `python -m benchmarks.studio [MODEL]`.

Starts `npdraw studio`, drags parts onto the drawing in a browser, and prints one JSON line: the
milliseconds from the release of the pointer until the decoded picture is ready, as the page itself
measures them. If there is no browser it says how to install one.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.browsing import chromium, missing

DROPS = 60
LIMIT_MS = 100
"""Target on two cores: the median must stay below it."""


@contextmanager
def studio(model: str, threads: int) -> Iterator[str]:
    """Run the command and yield the URL of its page."""
    words = ["studio", model, "--no-browser", "--json", "--quiet", "--threads", str(threads)]
    command = [sys.executable, "-m", "npdraw", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            started = json.loads(process.stdout.readline())
            if not started["ok"]:
                sys.exit(started["error"]["message"])
            yield started["url"]
        finally:
            process.terminate()


def drop(page: Any, rng: random.Random) -> None:
    """Drag a visible part to a cell, and wait for the picture."""
    parts = page.locator("#bank .part").count()
    part = page.locator("#bank .part").nth(rng.randrange(min(parts, 24))).bounding_box()
    cells = page.locator("#a [role=row]:not(.off) [role=gridcell]")
    cell = cells.nth(rng.randrange(cells.count())).bounding_box()
    page.mouse.move(part["x"] + part["width"] / 2, part["y"] + part["height"] / 2)
    page.mouse.down()
    page.mouse.move(cell["x"] + cell["width"] / 2, cell["y"] + cell["height"] / 2, steps=4)
    page.mouse.up()
    page.wait_for_selector("#image[aria-busy=false]")


def measure(url: str) -> list[float]:
    """Return the latency of every drop, milliseconds."""
    rng = random.Random(0)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        for _ in range(DROPS):
            drop(page, rng)
        durations: list[float] = page.evaluate(
            "performance.getEntriesByName('drop-to-picture').map((entry) => entry.duration)"
        )
    return durations


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(prog="benchmarks.studio", description=__doc__)
    parser.add_argument(
        "model", nargs="?", default="omniglot", help="name of a shipped model, or a file"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, as in npdraw studio")
    given = parser.parse_args()
    if missing():
        sys.exit(missing())
    with studio(given.model, given.threads) as url:
        times = sorted(measure(url))
    result = {
        "name": "studio/drop",
        "model": given.model,
        "drops": len(times),
        "median_ms": round(statistics.median(times), 1),
        "p90_ms": round(times[int(0.9 * len(times))], 1),
        "worst_ms": round(times[-1], 1),
        "below_ms": LIMIT_MS,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
