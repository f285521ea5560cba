"""Anything in place of an artifact is refused: exit code 3, a line naming the file, no output."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from npdraw.artifacts import read_artifact
from npdraw.errors import ArtifactError
from tests.faults.cases import Cases
from tests.faults.conftest import Chain
from tests.faults.mutants import mutants
from tests.faults.readers import (
    EVALUATION,
    MODEL,
    PARSE,
    PRIOR,
    READERS,
    Reader,
    leave_after_save,
    places,
    try_mutants,
)

MUTANTS = 40
"""Mutants per reader, times the scale; a quarter of it in the short form."""

FLIPS = 134
"""Flipped bits in each of the three artifacts, times the scale."""

SECONDS = 2.0
"""CPU seconds allowed per mutant."""

MEGABYTES = 200.0
"""Growth of peak memory allowed over all mutants."""


def prepare(reader: Reader, chain: Chain, folder: Path) -> Path:
    """Copy what a reader needs, including its checkpoint."""
    chain.copy(folder, *reader.needs)
    if reader.what == "training":
        made = PRIOR if reader.words[0] == "train-prior" else MODEL
        shutil.copytree(chain.folder / f"{made}.run", folder / "out.safetensors.run")
    elif reader.what == "evaluation":
        words = (*reader.words[:4], *EVALUATION, "--device", "cpu")
        ended = chain.cases.run(*words, folder=folder, faults=[(leave_after_save, ())])
        assert ended.code == 9, ended.shown
    return folder


@pytest.fixture(scope="module")
def folder_of(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that makes the folder of a reader, once."""
    folders: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in folders:
            folders[name] = prepare(READERS[name], chain, tmp_path_factory.mktemp("reader"))
        return folders[name]

    return find


def codes(mutant: str, reader: Reader) -> set[int]:
    """Return the exit codes allowed for a reader and a kind of mutant."""
    if reader.words[0] == "info" and mutant in ("_dataset", "_config", "_tensors", "_drawings"):
        return {0, 3}  # info prints the header and checks no more than the digest
    if mutant in ("_training", "_evaluation", "_header", "_config", "_dataset"):
        return {2, 3}  # with a correct digest, other settings belong to another run
    return {3}


def odd(outcome: dict[str, Any], reader: Reader) -> str:
    """Return what is wrong with the way a mutant was refused, or an empty string."""
    code, err = outcome["code"], outcome["err"]
    lines = err.splitlines()
    if code not in codes(outcome["mutant"], reader):
        return f"exit code {code}"
    if code == 0:
        return "" if outcome["out"] and not err else "no result"
    if [line.partition(":")[0] for line in lines] != ["Error", "Hint"] or "Traceback" in err:
        return "not one line of error and one of hint"
    if reader.target.partition(".run/")[0] not in lines[0] or len(lines[0]) > 1000:
        return "the file is not named in a line"
    if outcome["cpu"] > SECONDS or outcome["wall"] > 10 * SECONDS:
        return f"took {outcome['cpu']:.2f} s of {outcome['wall']:.2f} s"
    return f"made {outcome['made']}" if outcome["made"] else ""


@pytest.mark.parametrize("name", READERS)
def test_mutants_are_refused(name: str, folder_of: Any, cases: Cases, scale: int) -> None:
    folder, reader = folder_of(name), READERS[name]
    count = MUTANTS // 4 if scale == 1 else MUTANTS * scale
    short = scale == 1 and name not in ("info parse", "train-prior")
    ended = cases.run(
        "--version",
        folder=folder,
        faults=[(try_mutants, (name, count, "report.json", short))],
        timeout=60 + 6 * count,
    )
    assert ended.code == 0, ended.shown
    outcomes, more_mb = json.loads((folder / "report.json").read_text())
    problems = [(odd(outcome, reader), outcome) for outcome in outcomes]
    wrong = [(problem, outcome) for problem, outcome in problems if problem]
    slowest = max(outcomes, key=lambda outcome: outcome["cpu"])
    print(
        f"{name}: {dict(Counter(o['code'] for o in outcomes))}, {more_mb:.0f} MB, slowest "
        f"{slowest['cpu']:.2f} s ({slowest['mutant']}), all {sum(o['cpu'] for o in outcomes):.1f} s"
    )
    assert not wrong, f"{len(wrong)} of {len(outcomes)}: {wrong[:5]}"
    assert len(outcomes) == count + len(places(reader, short=short))
    assert more_mb < MEGABYTES
    assert ended.more_mb < 2 * MEGABYTES


@pytest.mark.parametrize("name", READERS)
def test_the_same_command_accepts_sound_artifacts(name: str, chain: Chain, tmp_path: Path) -> None:
    reader = READERS[name]
    ended = chain.run(*reader.words, folder=prepare(reader, chain, tmp_path))
    if "--out" in reader.words:
        assert (tmp_path / reader.words[reader.words.index("--out") + 1]).exists()
    assert "Error" not in ended.err


@pytest.mark.parametrize("name", READERS)
def test_a_separate_process_refuses_mutants_alike(
    name: str, folder_of: Any, cases: Cases, scale: int
) -> None:
    folder, reader = folder_of(name), READERS[name]
    target = folder / reader.target
    sound = target.read_bytes()
    for mutant, content in mutants(sound, reader.what, scale):
        target.write_bytes(content)
        ended = cases.run(*reader.words, folder=folder, timeout=30)
        assert ended.code in codes(mutant, reader), f"{mutant}: {ended.shown}"
        assert "Traceback" not in ended.err
        if ended.code:
            assert ended.err.startswith("Error: "), ended.shown
            assert len(ended.err.splitlines()) == 2, ended.shown
    target.write_bytes(sound)


@pytest.mark.parametrize("name", [PARSE, PRIOR, MODEL])
def test_every_flipped_bit_is_detected(name: str, chain: Chain, tmp_path: Path, scale: int) -> None:
    data = (chain.folder / name).read_bytes()
    path, choose = tmp_path / name, random.Random(0)
    path.write_bytes(data)
    read_artifact(path, kind=name.partition(".")[0])
    with path.open("r+b", buffering=0) as file:
        for _ in range(FLIPS * scale):
            at = choose.randrange(len(data))
            file.seek(at)
            file.write(bytes([data[at] ^ 1 << choose.randrange(8)]))
            with pytest.raises(ArtifactError) as caught:
                read_artifact(path, kind=name.partition(".")[0])
            assert str(path) in caught.value.message
            file.seek(at)
            file.write(data[at : at + 1])
    read_artifact(path, kind=name.partition(".")[0])
