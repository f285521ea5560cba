"""A real browser without a window, for the tests and the benchmark of the studio."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def missing() -> str:
    """Return why there is no browser to drive, in words; empty if there is one."""
    try:
        import playwright  # noqa: F401, PLC0415
    except ImportError:
        return "playwright is not installed: make studio-browser"
    return "" if _executable() else "there is no Chromium: make studio-browser"


def _executable() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """Run Chromium, playwright's `Browser`, until the block ends."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    # Its sandbox does not work for root.
    more = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as drivers:
        browser = drivers.chromium.launch(executable_path=_executable(), args=more)
        try:
            yield browser
        finally:
            browser.close()
