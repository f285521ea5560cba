"""What the tests of drawings share: a tiny trained model, and one whose strokes have ink."""

from pathlib import Path
from typing import Any

import pytest

import npdraw
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.runtime.settings import Runtime
from tests.drawings.inked import write_ink_model


@pytest.fixture(scope="module")
def model(trained: Any) -> DrawingModel:
    return npdraw.load(trained.model, precision="fp32")


@pytest.fixture
def command(stages: Any, trained: Any) -> dict[str, Any]:
    """Return the arguments that every command takes."""
    return {"root": stages.npz.parent, "runtime": Runtime(precision="fp32")}


@pytest.fixture(scope="session")
def ink_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model with ink and two sizes of parts."""
    path = tmp_path_factory.mktemp("inked") / "model.safetensors"
    write_ink_model(path)
    return path


@pytest.fixture(scope="session")
def inked(ink_path: Path) -> DrawingModel:
    return npdraw.load(ink_path, precision="fp32")
