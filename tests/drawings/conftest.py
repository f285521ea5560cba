"""What the tests of drawings share: a tiny trained model."""

from typing import Any

import pytest

import npdraw
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.runtime.settings import Runtime


@pytest.fixture(scope="module")
def model(trained: Any) -> DrawingModel:
    return npdraw.load(trained.model, precision="fp32")


@pytest.fixture
def command(stages: Any, trained: Any) -> dict[str, Any]:
    """Return the arguments that every command takes."""
    return {"root": stages.npz.parent, "runtime": Runtime(precision="fp32")}
