"""Studios that answer requests: of a grey model, of a colour model, and of one with ink."""

from collections.abc import Iterator
from typing import Any

import pytest

import npdraw
from tests.browsing import chromium
from tests.drawings.inked import write_ink_model
from tests.studio.serving import Served, served, write_colour_model
from tests.studio.visitor import WIDE, Visitor
from tests.tiny_classes import left_and_right


@pytest.fixture(scope="module")
def studio(trained: Any, stages: Any) -> Iterator[Served]:
    """Serve a grey model; each cell has four placements."""
    with served(npdraw.load(trained.model), stages.npz.parent) as serving:
        yield serving


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a colour model, its canvas half as wide as the image."""
    path = tmp_path_factory.mktemp("coloured") / "model.safetensors"
    write_colour_model(path)
    with served(npdraw.load(path), path.parent) as serving:
        yield serving


@pytest.fixture(scope="module")
def inked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a model whose strokes have ink, on two layers."""
    path = tmp_path_factory.mktemp("inked") / "model.safetensors"
    write_ink_model(path)
    with served(npdraw.load(path), path.parent) as serving:
        yield serving


@pytest.fixture(scope="module")
def labelled(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a grey model with the classes "left" and "right"."""
    folder = tmp_path_factory.mktemp("labelled")
    path = left_and_right(trained.model, folder)
    with served(npdraw.load(path), folder) as serving:
        yield serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Run a headless Chromium."""
    with chromium() as chrome:
        yield chrome


@pytest.fixture
def visitor(studio: Served, browser: Any) -> Iterator[Visitor]:
    """Open the page of the grey model in a wide window."""
    user = Visitor(studio, browser, WIDE)
    yield user
    user.leave()


@pytest.fixture
def painter(inked: Served, browser: Any) -> Iterator[Visitor]:
    """Open the page of the model with ink in a wide window."""
    user = Visitor(inked, browser, WIDE)
    yield user
    user.leave()
