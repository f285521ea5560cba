"""The artifact that most tests read."""

from pathlib import Path

import pytest

from tests.artifacts.contents import write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prior.safetensors"
    write(path)
    return path
