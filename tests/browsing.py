"""A headless browser for the tests and the benchmark of the studio."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def missing() -> str:
    """Return why no browser is available; empty if one is."""
    try:
        import playwright  # noqa: F401, PLC0415
    except ImportError:
        return "playwright is not installed: make studio-browser"
    return "" if _executable() else "Chromium is not installed: make studio-browser"


def _executable() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """Run Chromium as a playwright `Browser` until the block ends."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    # The sandbox of Chromium does not work for root.
    more = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as drivers:
        browser = drivers.chromium.launch(executable_path=_executable(), args=more)
        try:
            yield browser
        finally:
            browser.close()
