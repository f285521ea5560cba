"""Names of drawings: seeds, test images, pictures, drawings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.named import named_drawing
from npdraw.drawings.strokes import fingerprint
from npdraw.errors import ArtifactError, DataError, UsageError


def test_drawings_and_images_are_found_by_name(
    model: DrawingModel, command: dict[str, Any], tmp_path: Path
) -> None:
    root = command["root"]
    assert fingerprint(named_drawing("seed:4", model, root).drawing) == fingerprint(
        model.sample(1, 4)
    )
    found = named_drawing("test:3", model, root)
    assert found.image is not None
    assert fingerprint(found.drawing) == fingerprint(model.encode(found.image))
    pixels = (found.image[0, 0] * 255).to(torch.uint8).numpy()
    Image.fromarray(pixels).save(tmp_path / "x.png")
    again = named_drawing(str(tmp_path / "x.png"), model, root)
    assert torch.equal(again.image, found.image)  # type: ignore[arg-type]
    for name, error in (
        ("seed:x", UsageError),
        ("test:24", DataError),
        ("none.png", DataError),
        ("none.json", ArtifactError),
    ):
        with pytest.raises(error):
            named_drawing(name, model, root)
