"""A header that npdraw does not write is refused: layout, fields, limits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from npdraw import header as header_module
from npdraw.artifacts import (
    read_artifact,
)
from npdraw.header import read_header
from tests.artifacts.contents import forge, join, refused, split, write


def swapped_offsets(head: dict[str, Any]) -> None:
    first, second = head["bank.parts"], head["adam.step"]
    first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]


def overlapping(head: dict[str, Any]) -> None:
    head["generator"]["data_offsets"][0] -= 1


def reordered(head: dict[str, Any]) -> None:
    head["weights"] = head.pop("weights")


def wider(head: dict[str, Any]) -> None:
    head["generator"]["shape"] = [6]


def negative(head: dict[str, Any]) -> None:
    head["generator"]["shape"] = [-5]


def twice_negative(head: dict[str, Any]) -> None:
    head["where"]["shape"] = [-1, -2]


def boolean(head: dict[str, Any]) -> None:
    head["where"]["shape"] = [True, 2]


def fractional(head: dict[str, Any]) -> None:
    head["generator"]["shape"] = [5.0]


def huge(head: dict[str, Any]) -> None:
    head["nothing"]["shape"] = [0, 2**62, 2**62]


def too_many_axes(head: dict[str, Any]) -> None:
    head["nothing"]["shape"] = [0] + 8 * [1]


def too_large_sides(head: dict[str, Any]) -> None:
    head["nothing"]["shape"] = [0] + 7 * [10**4000]


def other_dtype(head: dict[str, Any]) -> None:
    head["where"]["dtype"] = "U64"


def unknown_field(head: dict[str, Any]) -> None:
    head["where"]["unit"] = "pixels"


def second_metadata(head: dict[str, Any]) -> None:
    head["__metadata__"]["format"] = "pt"


def blanks(head: dict[str, Any]) -> None:
    head["__metadata__"]["npdraw"] = head["__metadata__"]["npdraw"].replace(":", ": ", 1)


@pytest.mark.parametrize(
    "change",
    [
        swapped_offsets,
        overlapping,
        reordered,
        wider,
        negative,
        twice_negative,
        boolean,
        fractional,
        huge,
        too_many_axes,
        too_large_sides,
        other_dtype,
        unknown_field,
        second_metadata,
        blanks,
    ],
)
def test_a_header_that_npdraw_would_not_write_is_refused(
    file: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    head, body = split(file.read_bytes())
    file.write_bytes(join(head, body))
    assert read_header(file, verify=True)  # splitting and joining changes nothing
    change(head)
    file.write_bytes(join(head, body))
    assert f"{file} is damaged: " in refused(lambda: read_header(file))


@pytest.mark.parametrize("text", ["[]," * (1 << 16) + "[]", '{"a":' * (1 + (1 << 16))])
def test_a_header_with_too_many_entries_is_not_parsed(
    file: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(header_module.json, "loads")
    file.write_bytes(join(text, b""))
    assert "has too many entries" in refused(lambda: read_header(file))


def test_the_seeds_of_a_million_samples_fit_in_a_header(file: Path) -> None:
    write(file, kind="drawings", config={"sample": {"seeds": list(range(1_000_000))}})
    assert read_header(file).config["sample"]["seeds"][-1] == 999_999


def test_padding_that_npdraw_would_not_write_is_refused(file: Path) -> None:
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little") + 8
    file.write_bytes(length.to_bytes(8, "little") + data[8:length] + b" " * 8 + data[length:])
    assert "not in canonical form" in refused(lambda: read_header(file))


@pytest.mark.parametrize("where", ["tensors", "metadata"])
def test_a_duplicate_name_is_refused(file: Path, where: str) -> None:
    head, body = split(file.read_bytes())
    if where == "metadata":
        text = head["__metadata__"]["npdraw"]
        head["__metadata__"]["npdraw"] = '{"seed":3,' + text[1:]
        raw: dict[str, Any] | str = head
    else:
        entry = json.dumps({"where": head["where"]}, separators=(",", ":"))
        raw = entry[:-1] + "," + json.dumps(head, separators=(",", ":"))[1:]
    file.write_bytes(join(raw, body))
    assert "has a duplicate name" in refused(lambda: read_header(file))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "3"},
        {"seed": True},
        {"seed": None},  # None: the field is missing
        {"metrics": {"nats": "low"}},
        {"metrics": []},
        {"config": []},
        {"dataset": "glyphs"},
        {"inputs": {"parse": 5}},
        {"digest": "A" * 64},
        {"host": "laptop"},
        {"kind": "painting"},
        {"kind": ["prior"]},
        {"schema": True},
        {"schema": 1 << 16},
        {"schema": -1},
        {"kind": "x" * 9999},
        {"seed": -1},
        {"seed": 2**63},
        {"metrics": {"nats": 2**63}},
        {"config": {"rate": -(2**63) - 1}},
        {"config": {"two\nlines": 1}},
        {"config": {"name": "\x1b[31m"}},
        {"dataset": {"name": "x" * 257}},
        {"config": {"a": [[[[[]]]]]}},
    ],
)
def test_fields_of_another_type_are_refused(file: Path, changes: dict[str, Any]) -> None:
    file.write_bytes(forge(file.read_bytes(), **changes))
    message = refused(lambda: read_header(file))
    assert f"{file} is damaged: " in message
    assert len(message) < 300
    assert message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "7",
        '{"__metadata__":{}}',
        '{"__metadata__":{"npdraw":"7"}}',
        '{"__metadata__":{"npdraw":"{\\"seed\\":1e999}"}}',
        '{"__metadata__":{"npdraw":"{\\"seed\\":NaN}"}}',
        "[" * 50_000,
        '{"näme":0}',
        "9" * 5_000,
    ],
)
def test_json_that_is_not_a_header_of_npdraw_is_refused(file: Path, text: str) -> None:
    file.write_bytes(join(text, b""))
    assert refused(lambda: read_header(file)) == f"{file} is damaged: its header is not npdraw's"


def test_a_safetensors_file_of_another_program_is_refused(file: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(2)}, file)
    assert "its header is not npdraw's" in refused(lambda: read_artifact(file, kind="prior"))


def forge_tensors(monkeypatch: pytest.MonkeyPatch, path: Path, tensors: Any) -> None:
    """Write what `write_artifact` refuses, with a correct digest."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "isfinite", lambda tensor: torch.ones(1, dtype=torch.bool))
        write(path, tensors=tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_that_is_not_finite_is_not_read(
    monkeypatch: pytest.MonkeyPatch, file: Path, dtype: torch.dtype
) -> None:
    forge_tensors(monkeypatch, file, {"bad": torch.tensor([0, float("nan")], dtype=dtype)})
    assert refused(lambda: read_artifact(file, kind="prior")) == (
        f"{file} is damaged: its tensor bad is not finite"
    )


def test_a_bool_is_0_or_1(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    odd = torch.tensor([0, 1, 2], dtype=torch.uint8).view(torch.bool)
    forge_tensors(monkeypatch, file, {"odd": odd})
    assert "tensor odd has values other than 0 and 1" in refused(
        lambda: read_artifact(file, kind="prior")
    )
