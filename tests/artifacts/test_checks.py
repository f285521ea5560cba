"""Tensors, values, counts and inputs that do not match are refused by name."""

from pathlib import Path

import pytest
import torch

from npdraw.artifacts import (
    Artifact,
    Expected,
    check_count,
    check_input,
    check_tensors,
    check_values,
    read_artifact,
)
from npdraw.errors import ArtifactError
from tests.artifacts.contents import FIELDS, refused, write


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


def test_another_input_is_refused_even_if_the_number_of_parts_is_missing(
    tmp_path: Path,
) -> None:
    prior, parse = pair(tmp_path, parts=3)
    prior.header.config["parse"].pop("parts")
    assert "(K=3)" in refused(lambda: check_input(prior, "parse", parse))


def test_an_artifact_without_that_input_is_refused(tmp_path: Path) -> None:
    prior, parse = pair(tmp_path, parts=3)
    message = refused(lambda: check_input(parse, "prior", prior))
    assert message.startswith(f"{parse.path} was trained on no prior, but {prior.path} holds ")
