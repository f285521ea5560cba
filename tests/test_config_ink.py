"""Settings of strokes with ink that do not go together are refused."""

from typing import Any

import pytest

from npdraw.config import Config, ParseConfig
from npdraw.decoder_config import DecoderConfig
from npdraw.errors import UsageError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"binarize": True}, "binary pixels with inks"),
        ({"jitter": 2}, "inks with overlapping placements"),
        ({"stride": 3}, "inks with overlapping placements"),
        ({"finer": (2, 5)}, "parse.finer has 5, must be at most parse.part_size, 4"),
        ({"inks": 0}, "parse.finer without parse.inks"),
        ({"finer": (1,)}, "inks with parts of one pixel"),
    ],
)
def test_strokes_with_ink_lie_side_by_side_on_images_of_256_values(
    changes: dict[str, Any], message: str
) -> None:
    inked = {"binarize": False, "part_size": 4, "stride": 4, "inks": 8, "finer": (4, 2)}
    assert ParseConfig(**inked).levels == 256  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="impossible settings") as caught:
        ParseConfig(**inked | changes)
    assert message in caught.value.message


@pytest.mark.parametrize("patch", [1, 3])
def test_decoders_of_ink_need_an_even_patch(patch: int) -> None:
    parse, decoder = ParseConfig(binarize=False, inks=8), DecoderConfig(decoder_patch=patch)
    assert Config(decoder=decoder).decoder_patch == patch
    with pytest.raises(UsageError, match=f"decoder_patch is {patch}, must be even"):
        Config(parse=parse, decoder=decoder)
