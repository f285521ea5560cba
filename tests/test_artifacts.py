"""Artifacts: what is read is what was written, or an error that says what is wrong."""

import errno
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from npdraw import header as header_module
from npdraw.artifacts import (
    Artifact,
    Expected,
    check_count,
    check_input,
    check_tensors,
    check_values,
    read_artifact,
    write_artifact,
)
from npdraw.errors import ArtifactError, ResourceError, UsageError
from npdraw.files import check_place, sweep_temporaries, write_atomic
from npdraw.header import canonical, read_header
from npdraw.run_key import RunKey

TENSORS = {
    "bank.parts": torch.linspace(-1, 1, 18).reshape(2, 3, 3),
    "adam.step": torch.tensor(7.0),
    "weights": torch.linspace(-3, 3, 5).bfloat16(),
    "where": torch.tensor([[-1, 2**40]]),
    "shorts": torch.tensor([-300, 300], dtype=torch.int16),
    "generator": torch.arange(5, dtype=torch.uint8),
    "whether": torch.tensor([True, False, True]),
    "nothing": torch.zeros(0, 4),
    "no steps": torch.zeros(3, 0, dtype=torch.int64),
}
FIELDS: dict[str, Any] = {
    "config": {"preset": "glyphs", "parse": {"parts": 2, "channels": (8, 16)}},
    "dataset": {"name": 'a "näme"', "train": 90, "digest": "ab"},
    "inputs": {"parse": "3f9a1c" + "0" * 58},
    "seed": 3,
    "metrics": {"nats": 1.25, "images": 90},
}


def write(path: Path, **changes: Any) -> str:
    """Write a prior that holds every dtype; `changes` replaces arguments."""
    kind, tensors = changes.pop("kind", "prior"), changes.pop("tensors", TENSORS)
    fields = FIELDS | changes
    metrics = fields.pop("metrics")
    return write_artifact(path, kind, tensors, run_key=RunKey(**fields), metrics=metrics)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prior.safetensors"
    write(path)
    return path


def refused(read: Callable[[], object]) -> str:
    """Return the message with which a read is refused: one line, with a hint."""
    with pytest.raises(ArtifactError) as caught:
        read()
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON header of a file and the bytes of its tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def join(head: dict[str, Any] | str, body: bytes) -> bytes:
    text = head if isinstance(head, str) else json.dumps(head, separators=(",", ":"))
    raw = text.encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + body


def forge(data: bytes, **changes: Any) -> bytes:
    """Return a file whose metadata has other fields, in canonical form but with the old digest."""
    head, body = split(data)
    values = json.loads(head["__metadata__"]["npdraw"]) | changes
    head["__metadata__"]["npdraw"] = canonical(
        {name: value for name, value in values.items() if value is not None}
    )
    return join(head, body)


# Round trip


def test_what_is_read_is_what_was_written(file: Path) -> None:
    artifact = read_artifact(file, kind="prior")
    check_tensors(
        artifact,
        {
            name: Expected(value.shape, [str(value.dtype).removeprefix("torch.")])
            for name, value in TENSORS.items()
        },
    )
    assert artifact.path == file
    assert artifact.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        got = artifact.tensors[name]
        assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(got, tensor), name
        assert got.is_contiguous()
    header = artifact.header
    assert (header.kind, header.schema, header.seed) == ("prior", 1, 3)
    assert header.config == {"preset": "glyphs", "parse": {"parts": 2, "channels": [8, 16]}}
    assert (header.dataset, header.inputs) == (FIELDS["dataset"], FIELDS["inputs"])
    assert header.metrics == FIELDS["metrics"]
    assert header == read_header(file) == read_header(file, kind="prior", verify=True)


def test_the_digest_is_returned_and_depends_on_everything(tmp_path: Path) -> None:
    digest = write(tmp_path / "a")
    assert digest == read_header(tmp_path / "a").digest == write(tmp_path / "b")
    others = [
        {"kind": "model"},
        {"seed": 4},
        {"config": {}},
        {"dataset": {}},
        {"inputs": {}},
        {"metrics": {}},
        {"tensors": {name: TENSORS[name] for name in sorted(TENSORS)[1:]}},
        {"tensors": TENSORS | {"adam.step": torch.tensor(8.0)}},
        {"tensors": TENSORS | {"adam.step": torch.tensor([7.0])}},
        {"tensors": TENSORS | {"whether": TENSORS["whether"].to(torch.uint8)}},
        {"tensors": {name.replace("bank", "tank"): TENSORS[name] for name in TENSORS}},
    ]
    digests = {write(tmp_path / "c", **other) for other in others}
    assert len(digests | {digest}) == len(others) + 1


def test_the_bytes_are_those_of_safetensors(file: Path) -> None:
    with safetensors.safe_open(file, "pt") as reader:
        metadata = reader.metadata()
    assert metadata.keys() == {"npdraw"}
    assert file.read_bytes() == safetensors.torch.save(TENSORS, metadata)


def test_equal_content_gives_equal_bytes_in_any_order(file: Path, tmp_path: Path) -> None:
    def backwards(values: Any) -> Any:
        if isinstance(values, dict):
            return {key: backwards(values[key]) for key in reversed(values)}
        return values

    write(
        tmp_path / "other", tensors=backwards(TENSORS), **{k: backwards(FIELDS[k]) for k in FIELDS}
    )
    assert (tmp_path / "other").read_bytes() == file.read_bytes()


def test_views_parameters_and_shared_memory_are_written_as_values(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "row": base[1],
        "turned": base.t(),
        "wide": torch.ones(1).expand(5),
        "weight": torch.nn.Parameter(base),
    }
    write(tmp_path / "a", tensors=tensors)
    got = read_artifact(tmp_path / "a", kind="prior").tensors
    assert all(torch.equal(got[name], tensor) for name, tensor in tensors.items())


def test_an_artifact_may_hold_no_tensors(tmp_path: Path) -> None:
    write(tmp_path / "a", tensors={})
    assert read_artifact(tmp_path / "a", kind="prior").tensors == {}


def test_tensors_survive_what_happens_to_the_file(file: Path) -> None:
    artifact = read_artifact(file, kind="prior")
    with file.open("r+b") as stream:
        stream.write(b"\xff" * file.stat().st_size)
        stream.truncate(1)
    assert all(torch.equal(artifact.tensors[name], TENSORS[name]) for name in TENSORS)
    artifact.tensors["whether"].zero_()  # and can be changed


def test_the_header_is_read_without_torch_or_numpy(file: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from npdraw.header import read_header
print(read_header(Path({str(file)!r}), kind="prior", verify=True).metrics)
print(sorted({{"torch", "numpy", "safetensors"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{'images': 90, 'nats': 1.25}", "[]"]


# What cannot be written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["prior", "checkpoint"])
def test_a_tensor_that_is_not_finite_is_not_written(
    tmp_path: Path, kind: str, dtype: torch.dtype, value: float
) -> None:
    tensors = TENSORS | {"bad": torch.tensor([0, value], dtype=dtype)}
    message = refused(lambda: write(tmp_path / "a", kind=kind, tensors=tensors))
    assert message == f"cannot write {tmp_path / 'a'}: its tensor bad is not finite"
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    message = refused(lambda: write(tmp_path / "a", metrics={"nats": float("nan")}))
    assert message == f"cannot write {tmp_path / 'a'}: its metric nats is nan"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tensors": {"a": torch.zeros(1, dtype=torch.float64)}},
        {"tensors": {"": torch.zeros(1)}},
        {"tensors": {"__metadata__": torch.zeros(1)}},
        {"tensors": {"line\n": torch.zeros(1)}},
        {"tensors": {"x" * 257: torch.zeros(1)}},
        {"inputs": {"parse": "short"}},
        {"seed": 1.5},
        {"metrics": {"flag": True}},
        {"config": {"rate": float("inf")}},
    ],
)
def test_what_could_not_be_read_again_is_a_bug_of_the_caller(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        write(tmp_path / "a", **changes)
    assert list(tmp_path.iterdir()) == []


# Damage


@pytest.mark.parametrize("read", [read_header, lambda p: read_artifact(p, kind="prior")])
def test_a_truncated_file_is_refused(file: Path, read: Callable[[Path], object]) -> None:
    data = file.read_bytes()
    lengths = [*range(0, len(data), 64), 1, 7, 8, 9, len(data) - 1]
    for length in lengths:
        file.write_bytes(data[:length])
        assert str(file) in refused(lambda: read(file))


def test_the_place_where_a_file_ends_too_early_is_named(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:100])
    assert refused(lambda: read_header(file)) == (
        f"{file} is damaged: it ends inside its header, after 100 bytes"
    )
    file.write_bytes(data[:-1])
    assert refused(lambda: read_header(file)) == (
        f"{file} is damaged: it has {len(data) - 1} bytes, expected {len(data)}"
    )


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 64])
def test_bytes_at_the_end_are_refused(file: Path, extra: bytes) -> None:
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + extra)
    assert refused(lambda: read_header(file)) == (
        f"{file} is damaged: it has {size + len(extra)} bytes, expected {size}"
    )


def damaged_copies(data: bytes, count: int) -> Iterator[bytes]:
    """Flip one bit, or overwrite one byte, at any place of the file, header and tensors alike."""
    choose = random.Random(0)
    for index in range(count):
        copy = bytearray(data)
        place = choose.randrange(len(data))
        copy[place] ^= 1 << choose.randrange(8) if index % 2 else choose.randrange(1, 256)
        yield bytes(copy)


def test_every_changed_byte_is_refused(file: Path) -> None:
    for copy in damaged_copies(file.read_bytes(), 500):
        file.write_bytes(copy)
        assert str(file) in refused(lambda: read_header(file, verify=True))
        assert str(file) in refused(lambda: read_artifact(file, kind="prior"))


@pytest.mark.slow
def test_ten_thousand_damaged_files_give_no_wrong_load(file: Path) -> None:
    for copy in damaged_copies(file.read_bytes(), 10_000):
        file.write_bytes(copy)
        refused(lambda: read_artifact(file, kind="prior"))


def test_changed_numbers_do_not_match_the_digest(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # the last bool
    file.write_bytes(data)
    expected = f"{file} is damaged: its bytes do not match its digest"
    assert read_header(file).kind == "prior"  # only asked what it is
    assert refused(lambda: read_header(file, verify=True)) == expected
    assert refused(lambda: read_artifact(file, kind="prior")) == expected


def test_changed_metadata_do_not_match_the_digest(file: Path) -> None:
    file.write_bytes(forge(file.read_bytes(), seed=4))
    assert "do not match its digest" in refused(lambda: read_artifact(file, kind="prior"))


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
def test_a_header_that_we_would_not_write_is_refused(
    file: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    head, body = split(file.read_bytes())
    file.write_bytes(join(head, body))
    assert read_header(file, verify=True)  # joining again changes nothing
    change(head)
    file.write_bytes(join(head, body))
    assert f"{file} is damaged: " in refused(lambda: read_header(file))


@pytest.mark.parametrize("text", ["[]," * (1 << 16) + "[]", '{"a":' * (1 + (1 << 16))])
def test_a_header_of_very_many_entries_is_not_taken_apart(
    file: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(header_module.json, "loads")
    file.write_bytes(join(text, b""))
    assert "has too many entries" in refused(lambda: read_header(file))


def test_the_seeds_of_a_million_samples_fit_into_a_header(file: Path) -> None:
    write(file, kind="drawings", config={"sample": {"seeds": list(range(1_000_000))}})
    assert read_header(file).config["sample"]["seeds"][-1] == 999_999


def test_padding_that_we_would_not_write_is_refused(file: Path) -> None:
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little") + 8
    file.write_bytes(length.to_bytes(8, "little") + data[8:length] + b" " * 8 + data[length:])
    assert "not in canonical form" in refused(lambda: read_header(file))


@pytest.mark.parametrize("where", ["tensors", "metadata"])
def test_a_name_given_twice_is_refused(file: Path, where: str) -> None:
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
def test_json_that_is_not_our_header_is_refused(file: Path, text: str) -> None:
    file.write_bytes(join(text, b""))
    assert refused(lambda: read_header(file)) == f"{file} is damaged: its header is not npdraw's"


def test_a_safetensors_file_of_another_program_is_refused(file: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(2)}, file)
    assert "its header is not npdraw's" in refused(lambda: read_artifact(file, kind="prior"))


def forge_tensors(monkeypatch: pytest.MonkeyPatch, path: Path, tensors: Any) -> None:
    """Write what `write_artifact` refuses, with a digest that is right."""
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
    assert "tensor odd has values other than 0 and 1" in refused(lambda: read_artifact(file, kind="prior"))


# The wrong file


def test_another_kind_is_named_with_the_one_expected(file: Path) -> None:
    for read in (read_header, read_artifact):
        with pytest.raises(ArtifactError) as caught:
            read(file, kind="parse")
        assert caught.value.message == f"{file} is a prior, expected a parse"
        assert "npdraw parse" in caught.value.hint


@pytest.mark.parametrize(("schema", "age"), [(2, "a newer"), (0, "an older")])
def test_another_schema_is_named_with_the_one_expected(file: Path, schema: int, age: str) -> None:
    # Its other fields are its own business: nothing but the kind and the schema is looked at.
    file.write_bytes(forge(file.read_bytes(), schema=schema, seed=None, author="x"))
    assert refused(lambda: read_artifact(file, kind="prior")) == (
        f"{file} was written by {age} npdraw: its schema is {schema}, expected 1"
    )


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("parse", "npdraw parse"),
        ("prior", "npdraw train-prior"),
        ("model", "npdraw train-decoder"),
        ("drawings", "npdraw sample"),
        ("checkpoint", "the same command"),
        (None, "npdraw parse, npdraw train-prior, npdraw train-decoder or npdraw sample"),
    ],
)
def test_a_missing_file_is_named_with_the_command_that_makes_it(
    tmp_path: Path, kind: str | None, command: str
) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_header(tmp_path / "x", kind=kind)
    assert caught.value.message == f"there is no file {tmp_path / 'x'}"
    assert caught.value.hint == f"Make it: {command}"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "{} is a folder"),
        (os.mkfifo, "{} is not a regular file"),
        (lambda path: path.symlink_to(path), "cannot read {}: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b""), "{} is damaged: it is empty"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "{} is not an artifact"),
        (
            lambda path: path.write_bytes(b"\1\0\0\1" + b"\0" * 20),
            "{} is not an artifact",
        ),
    ],
)
def test_what_is_no_artifact_is_refused(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "x"
    make(path)
    for read in (lambda: read_header(path), lambda: read_artifact(path, kind="prior")):
        assert refused(read) == reason.format(path)


# Shapes and inputs


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        ({"a": (2, 3)}, "it has a tensor b of shape [4], expected none"),
        ({"a": (2, 3), "b": (4,), "c": (1,)}, "it has no tensor c, expected one of shape [1]"),
        ({"a": (3, 2), "b": (4,)}, "its tensor a has shape [2, 3], expected [3, 2]"),
        ({"a": (2, 3), "b": ()}, "its tensor b has shape [4], expected []"),
    ],
)
def test_tensors_that_do_not_fit_are_named_with_both_shapes(
    file: Path, shapes: dict[str, tuple[int, ...]], problem: str
) -> None:
    write(file, tensors={"a": torch.zeros(2, 3), "b": torch.zeros(4)})
    expected = {name: Expected(shape) for name, shape in shapes.items()}
    message = refused(lambda: check_tensors(read_artifact(file, kind="prior"), expected))
    assert message == f"{file} does not fit its settings: {problem}"


def test_a_tensor_of_another_type_is_named_with_both(file: Path) -> None:
    write(file, tensors={"a": torch.zeros(2, dtype=torch.int64)})
    artifact = read_artifact(file, kind="prior")
    check_tensors(artifact, {"a": Expected([2], ["bool", "int64"])})
    problem = "its tensor a is int64, expected float32 or bfloat16"
    expected = {"a": Expected([2], ["float32", "bfloat16"])}
    assert refused(lambda: check_tensors(artifact, expected)).endswith(f"settings: {problem}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int16, torch.int64])
def test_values_out_of_range_are_named_with_it(file: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.tensor([[3, 0], [5, -2]], dtype=dtype), "b": torch.zeros(0, dtype=dtype)}
    write(file, tensors=tensors)
    artifact = read_artifact(file, kind="prior")
    check_values(artifact, "a", -2, 5)
    check_values(artifact, "b", 1, 2)
    for low, high in ((-1, 5), (-2, 4)):
        message = refused(lambda: check_values(artifact, "a", low, high))  # noqa: B023
        assert message.endswith(f"its tensor a has values in -2..5, expected {low}..{high}")


@pytest.mark.parametrize("value", [None, -1, 8, 3.0, 2**62])
def test_a_count_is_an_integer_in_its_range(file: Path, value: float | None) -> None:
    write(file, metrics={"low": 0, "high": 7})
    artifact = read_artifact(file, kind="prior")
    assert [check_count(artifact, name, 7) for name in ("low", "high")] == [0, 7]
    write(file, metrics={} if value is None else {"low": value})
    message = refused(lambda: check_count(read_artifact(file, kind="prior"), "low", 7))
    shown = "missing" if value is None else value
    assert message.endswith(f"its metric low is {shown}, expected an integer in 0..7")


def pair(folder: Path, *, parts: int) -> tuple[Artifact, Artifact]:
    """Return a prior with K = 2 and a parse with K = `parts`, the first made from K = 2."""
    made, given = folder / "made", folder / "parse.safetensors"
    digest = write(made, kind="parse", inputs={})
    write(given, kind="parse", inputs={}, config={"parse": {"parts": parts, "channels": (8, 16)}})
    prior = folder / "prior.safetensors"
    write(prior, inputs={"parse": digest})
    return read_artifact(prior, kind="prior"), read_artifact(given, kind="parse")


def test_the_input_it_was_made_from_is_accepted(tmp_path: Path) -> None:
    prior, _ = pair(tmp_path, parts=3)
    check_input(prior, "parse", read_artifact(tmp_path / "made", kind="parse"))


def test_another_input_is_refused_naming_both(tmp_path: Path) -> None:
    prior, parse = pair(tmp_path, parts=3)
    with pytest.raises(ArtifactError) as caught:
        check_input(prior, "parse", parse)
    was, given = prior.header.inputs["parse"][:6], parse.header.digest[:6]
    assert was != given
    assert caught.value.message == (
        f"{prior.path} was trained on part bank {was} (K=2), but {parse.path} holds {given} (K=3)"
    )
    assert caught.value.hint == (
        f"Pass the parse it was trained on, or rerun: npdraw train-prior {parse.path}"
    )


@pytest.mark.parametrize("what", ["part bank", "data set"])
def test_an_artifact_that_is_not_what_its_input_says_is_refused(tmp_path: Path, what: str) -> None:
    bank, other = torch.zeros(2, 3), torch.ones(2, 3)
    digest = write(tmp_path / "parse", kind="parse", inputs={}, tensors={"bank": bank})
    parse = read_artifact(tmp_path / "parse", kind="parse")
    inputs, dataset = {"parse": digest}, FIELDS["dataset"]
    write(tmp_path / "prior", inputs=inputs, tensors={"bank": bank})
    check_input(read_artifact(tmp_path / "prior", kind="prior"), "parse", parse)
    if what == "part bank":
        bank = other
    else:
        dataset = dataset | {"train": 91}
    write(tmp_path / "prior", inputs=inputs, tensors={"bank": bank}, dataset=dataset)
    prior = read_artifact(tmp_path / "prior", kind="prior")
    assert refused(lambda: check_input(prior, "parse", parse)) == (
        f"{tmp_path / 'prior'} is damaged: its {what} is not that of {tmp_path / 'parse'}"
    )


def test_an_artifact_that_does_not_say_how_many_parts_is_refused_all_the_same(
    tmp_path: Path,
) -> None:
    prior, parse = pair(tmp_path, parts=3)
    prior.header.config["parse"].pop("parts")
    assert "(K=3)" in refused(lambda: check_input(prior, "parse", parse))


def test_an_artifact_without_that_input_is_refused(tmp_path: Path) -> None:
    prior, parse = pair(tmp_path, parts=3)
    message = refused(lambda: check_input(parse, "prior", prior))
    assert message.startswith(f"{parse.path} was trained on no prior, but {prior.path} holds ")


# Files


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_the_mode_is_the_usual_one(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "glyphs" / "a.png"
    write_atomic(path, [b"one", memoryview(b"two"), b""])
    write_atomic(path, [b"three"])
    assert path.read_bytes() == b"three"
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    write_atomic(tmp_path / "link", [b"x"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_bytes() == b"x"


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, ResourceError),
        (errno.EDQUOT, ResourceError),
        (errno.EFBIG, ResourceError),
        (errno.EACCES, UsageError),
        (errno.EIO, ResourceError),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_no_temporary(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    number: int,
    error: type[UsageError | ResourceError],
) -> None:
    before = file.read_bytes()
    monkeypatch.setattr(os, function, failing(number))
    with pytest.raises(error) as caught:
        write(file, seed=99)
    assert str(file) in caught.value.message
    assert os.strerror(number) in caught.value.message
    assert caught.value.hint
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary(file: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        assert len(list(file.parent.iterdir())) == 2  # the temporary is in the same folder
        raise KeyboardInterrupt

    before = file.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_atomic(file, chunks())
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_file_and_folder_reach_the_disk_around_the_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_atomic(tmp_path / "a", [b"x"])
    assert done == ["file", "rename", "folder"]


def test_a_folder_that_cannot_be_synced_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_atomic(tmp_path / "a", [b"x"])
    assert (tmp_path / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("folder", "it is a folder"),
        ("pipe", "it is not a regular file"),
        ("file/below", "it would lie below a file"),
        ("file/far/below", "it would lie below a file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    for attempt in (lambda path: write_atomic(path, [b"x"]), check_place):
        with pytest.raises(UsageError, match=reason) as caught:
            attempt(tmp_path / place)
        assert str(tmp_path / place) in caught.value.message
        assert sorted(tmp_path.iterdir()) == before


def test_a_place_is_checked_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    for name in ("old", "new"):
        check_place(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        write_atomic(tmp_path / "a", [b"x"])


def test_temporaries_of_dead_processes_are_swept_and_nothing_else(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    swept = [f".a.png.{pid}-0123abcd.tmp" for pid in (dead.pid, os.getpid(), 10**30)]
    kept = [
        "a.png",
        f".a.png.{os.getppid()}-0123abcd.tmp",  # its process is running
        f".b.png.{dead.pid}-0123abcd.tmp",  # of another output
        f".aXpng.{dead.pid}-0123abcd.tmp",
        f".a.png.{dead.pid}-0123abcd.tmp.png",
        ".a.png.tmp",
        ".a.png.x-0123abcd.tmp",
    ]
    for name in swept + kept:
        (tmp_path / name).write_bytes(b"")
    sweep_temporaries(tmp_path / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    sweep_temporaries(tmp_path / "missing" / "a.png")


def test_what_a_write_leaves_when_killed_is_swept(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from npdraw.artifacts import write_atomic
def chunks():
    yield b"half"
    os._exit(9)
write_atomic(Path({str(tmp_path / "a")!r}), chunks())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    sweep_temporaries(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_each_kind_has_a_schema_and_a_command() -> None:
    assert header_module.SCHEMAS.keys() - {"checkpoint"} == header_module.COMMANDS.keys()


def test_a_machine_that_runs_out_of_files_is_no_fault_of_the_artifact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(header_module.os, "open", full)
    with pytest.raises(OSError, match="Too many open files"):
        read_header(tmp_path / "x.safetensors")
