"""Artifacts of different pipelines cannot be combined: the error names both digests."""

import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from npdraw.header import read_header
from tests.faults.cases import Cases
from tests.faults.conftest import Chain
from tests.faults.content import Content
from tests.faults.readers import MODEL, PARSE, PRIOR

KINDS = {"parse": PARSE, "prior": PRIOR, "model": MODEL}
TRAIN_DECODER = ("--config", "tiny.toml", "--steps", "1", "--out", "out.safetensors")


@pytest.fixture(scope="module")
def chains(
    chain: Chain,
    bars: Callable[[int], np.ndarray],
    tiny_settings: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Return folders, each with its own parse and prior: the first, and variants of it."""
    folders = {"first": chain.folder}
    for name in ("seed", "parts", "data"):
        folder = folders[name] = tmp_path_factory.mktemp(name)
        shutil.copy(chain.folder / "bars.npz", folder)
        parts = {"parts": 6} if name == "parts" else {}
        (folder / "tiny.toml").write_text(tiny_settings(parse=parts, prior={"steps": 1}))
        if name == "data":
            images = 255 - bars(84)
            np.savez(folder / "bars.npz", train=images[:60], test=images[60:])
        seed = ("--seed", "1") if name == "seed" else ()
        chain.run(*Chain.STAGES[0], *seed, folder=folder)
        chain.run(*Chain.STAGES[1], folder=folder)
    return folders


def test_a_prior_of_another_parse_is_refused(
    chains: dict[str, Path], cases: Cases, tmp_path: Path
) -> None:
    shutil.copy(chains["first"] / "tiny.toml", tmp_path)
    for one, other in permutations(chains, 2):
        parse, prior = chains[one] / PARSE, chains[other] / PRIOR
        ended = cases.run("train-decoder", parse, prior, *TRAIN_DECODER, folder=tmp_path)
        assert ended.code == 3, f"{one}, {other}: {ended.shown}"
        first, hint = ended.err.splitlines()
        trained_on, given = read_header(prior).inputs["parse"], read_header(parse).digest
        assert trained_on == read_header(chains[other] / PARSE).digest != given
        assert f"was trained on part bank {trained_on[:6]}" in first
        assert f"holds {given[:6]}" in first
        assert str(prior) in first
        assert "npdraw train-prior" in hint
    assert not list(tmp_path.glob("out.safetensors"))


@pytest.mark.parametrize("how", ["named", "replaced"])
def test_images_other_than_those_parsed_are_refused(
    how: str, chain: Chain, chains: dict[str, Path], tmp_path: Path
) -> None:
    folder = chain.copy(tmp_path, PARSE, PRIOR)
    given = ("--data", f"npz:{chains['data'] / 'bars.npz'}")
    if how == "replaced":  # in the place where the parse read them
        config = folder / f"{PARSE}.run/config.json"
        config.write_text(config.read_text().replace(str(chain.folder), str(folder)))
        shutil.copy(chains["data"] / "bars.npz", folder)
        given = ()
    ended = chain.cases.run("train-decoder", PARSE, PRIOR, *given, *TRAIN_DECODER, folder=folder)
    assert ended.code == 4, ended.shown
    for name in ("first", "data"):
        assert read_header(chains[name] / PARSE).dataset["digest"][:6] in ended.err
    assert not (folder / "out.safetensors").exists()


def test_an_artifact_of_another_kind_is_refused(chain: Chain, tmp_path: Path) -> None:
    folder = chain.copy(tmp_path, *KINDS.values())
    readers: list[tuple[str, Callable[[str], tuple[str, ...]]]] = [
        ("parse", lambda file: ("train-prior", file)),
        ("parse", lambda file: ("train-decoder", file, PRIOR)),
        ("prior", lambda file: ("train-decoder", PARSE, file)),
        ("model", lambda file: ("eval-nll", file)),
        ("model", lambda file: ("sample", file, "--grid")),
        ("model", lambda file: ("export", file)),
    ]
    for wanted, words in readers:
        for kind in KINDS.keys() - {wanted}:
            out = "out.png" if "--grid" in words("") else "out.safetensors"
            ended = chain.cases.run(*words(KINDS[kind]), "--out", out, folder=folder)
            assert ended.code == 3, ended.shown
            assert f"{KINDS[kind]} is a {kind}, expected a {wanted}" in ended.err
            assert not (folder / out).exists()


@pytest.mark.parametrize(("schema", "age"), [(0, "an older"), (2, "a newer")])
def test_another_schema_is_refused(schema: int, age: str, chain: Chain, tmp_path: Path) -> None:
    folder = chain.copy(tmp_path, *KINDS.values())
    checkpoint = f"{PRIOR}.run/checkpoint.safetensors"
    (folder / PRIOR).unlink()
    readers = {
        PARSE: ("train-prior", PARSE, "--out", "out.safetensors"),
        MODEL: ("sample", MODEL, "--grid", "--out", "out.png"),
        checkpoint: Chain.STAGES[1],
    }
    for target, words in readers.items():
        sound = (folder / target).read_bytes()
        content = Content.of(sound)
        content.values["schema"] = schema
        (folder / target).write_bytes(content.signed())
        for command in (words, ("info", target)):
            ended = chain.cases.run(*command, folder=folder)
            assert ended.code == 3, ended.shown
            assert f"was written by {age} npdraw: its schema is {schema}" in ended.err
            assert target in ended.err
        (folder / target).write_bytes(sound)


@pytest.mark.parametrize("what", ["part bank", "data set"])
def test_a_prior_that_only_claims_its_parse_is_refused(
    what: str, chain: Chain, chains: dict[str, Path], tmp_path: Path
) -> None:
    folder = chain.copy(tmp_path, PARSE, PRIOR)
    content = Content.of((folder / PRIOR).read_bytes())
    if what == "part bank":
        other = Content.of((chains["seed"] / PRIOR).read_bytes())
        content.tensors["bank"] = other.tensors["bank"]
    else:
        content.values["dataset"]["train"] += 1
    (folder / PRIOR).write_bytes(content.signed())
    ended = chain.cases.run("train-decoder", PARSE, PRIOR, *TRAIN_DECODER, folder=folder)
    assert ended.code == 3, ended.shown
    assert f"{PRIOR} is damaged: its {what} is not that of {PARSE}" in ended.err


def test_a_checkpoint_of_another_parse_is_not_resumed(
    chain: Chain, chains: dict[str, Path], tmp_path: Path
) -> None:
    folder = chain.copy(tmp_path, PARSE)
    shutil.copytree(chain.folder / f"{PRIOR}.run", folder / f"{PRIOR}.run")
    shutil.copy(chains["seed"] / PARSE, folder)
    ended = chain.cases.run(*Chain.STAGES[1], folder=folder)
    assert ended.code == 2, ended.shown
    for name in ("first", "seed"):
        assert read_header(chains[name] / PARSE).digest[:6] in ended.err
    assert not (folder / PRIOR).exists()
