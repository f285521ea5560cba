"""What is wanted of pictures, and what is stored about how they were read."""

from dataclasses import replace

import pytest

from npdraw.errors import UsageError
from npdraw.reading import Reading, Wanted, colour_name, from_record, rgb

CHOSEN = Reading("#10ff00", True, "pad", white=4095.0, black=-1.0)


@pytest.mark.parametrize("reading", [Reading(), CHOSEN, Reading("white", fit="stretch")])
def test_a_reading_comes_back_from_its_record(reading: Reading) -> None:
    assert from_record(reading.record()) == reading


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("background", value) for value in ("", "red", "#12345", "#1234567", "#12345G", 5, None)],
        *[("invert", value) for value in (0, 1, "yes", None)],
        *[("fit", value) for value in ("", "auto", "fill", 3, [])],
        *[("white", value) for value in (255, "255", float("nan"), float("inf"), -2.0, True)],
        *[("black", value) for value in (0, float("nan"), 5000.0, None)],
        ("surplus", 1),
    ],
)
def test_a_malformed_record_is_not_a_reading(name: str, value: object) -> None:
    assert from_record(CHOSEN.record() | {name: value}) is None


def test_a_record_that_is_missing_or_incomplete_is_not_a_reading() -> None:
    assert from_record(None) is None
    assert from_record([]) is None
    record = CHOSEN.record()
    for name in record:
        assert from_record({key: value for key, value in record.items() if key != name}) is None


def test_colours_have_names() -> None:
    assert rgb("white") == (255, 255, 255)
    assert replace(CHOSEN, background="black").ground == (0, 0, 0)
    for name in ("black", "white", "#10ff00"):
        assert colour_name(*rgb(name)) == name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"background": "red"}, "--background red is not a colour"),
        ({"invert": "true"}, "--invert true is unknown"),
        ({"fit": "padd"}, "--fit padd is unknown"),
        ({"channels": "4"}, "--channels 4 is unknown"),
        ({"pixels": "grey"}, "--pixels grey is unknown"),
        ({"channels": "3", "pixels": "binary"}, "colour is not binary"),
    ],
)
def test_wrong_wishes_name_their_flag(flags: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        Wanted(**flags)
    assert raised.value.hint
