"""Any single open, write, sync, rename or read may fail, and the disk may fill up at any point."""

import errno
import random
import shutil
from pathlib import Path

import pytest

from npdraw.errors import ArtifactError
from npdraw.header import read_header
from tests.faults.cases import Ended
from tests.faults.conftest import Chain
from tests.faults.operations import Plan, counted, install

POINTS = 3
"""Failing operations per command in the short form, including the first and the last."""

NUMBERS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE)

TINY = ("--config", "tiny.toml", "--save-every", "1")
COMMANDS = {
    "parse": ("parse", "--data", "npz:bars.npz", "--config", "tiny.toml", "--out", "x"),
    "train-prior": ("train-prior", "parse.safetensors", "--steps", "2", *TINY, "--out", "x"),
    "train-decoder": (
        *("train-decoder", "parse.safetensors", "prior.safetensors", "--steps", "2"),
        *(*TINY, "--out", "x"),
    ),
    "eval-nll": ("eval-nll", "model.safetensors", "--samples", "2", "--out", "x"),
    "sample": ("sample", "model.safetensors", "--seeds", "0-3", "--out", "x"),
    "sheet": ("sample", "model.safetensors", "--seeds", "0-3", "--grid", "--out", "x.png"),
    "export": ("export", "model.safetensors", "--out", "x"),
    "info": ("info", "model.safetensors", "--verify"),
}
PERMITTED = (0, 2, 3, 4, 5)
"""Exit codes allowed on a failing file system: never that of a bug."""


def outputs(folder: Path) -> dict[str, bytes]:
    """Return the content of every output, without run folders and without seconds.

    A temporary file whose removal failed stays until the next run.
    """
    contents = {}
    for path in sorted([*folder.glob("x*"), *folder.glob("x/*")]):
        if path.is_file() and path.suffix != ".tmp":
            lines = path.read_bytes().splitlines(keepends=True)
            contents[str(path.relative_to(folder))] = b"".join(
                line for line in lines if b'"seconds"' not in line and b'"resumed' not in line
            )
    return contents


def check(ended: Ended, folder: Path, expected: dict[str, bytes]) -> None:
    """Check that the failure was reported properly and that every existing output is whole."""
    assert ended.code in PERMITTED, ended.shown
    assert "Traceback" not in ended.err, ended.shown
    if ended.code:
        assert ended.err.count("Error: ") == 1, ended.shown
    for name, content in outputs(folder).items():
        assert content == expected[name], f"{name} is damaged; {ended.shown}"
    for checkpoint in folder.rglob("checkpoint.safetensors"):
        try:
            read_header(checkpoint, verify=True)
        except ArtifactError as error:
            raise AssertionError(f"{error.message}; {ended.shown}") from error


@pytest.fixture(scope="module", params=COMMANDS)
def counting(
    request: pytest.FixtureRequest, chain: Chain, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, int, dict[str, bytes]]:
    """Return a command, the number of its operations, and its outputs."""
    folder = chain.copy(tmp_path_factory.mktemp("counting"), *Chain.NAMES)
    tally = folder.parent / f"tally-{request.param}"
    count = (counted, (str(tally), Plan(str(folder))))
    chain.run(*COMMANDS[request.param], folder=folder, faults=[count])
    return request.param, int(tally.read_text()), outputs(folder)


def test_any_operation_may_fail(
    counting: tuple[str, int, dict[str, bytes]], chain: Chain, tmp_path: Path, scale: int
) -> None:
    name, operations, expected = counting
    rng = random.Random(name)
    inner = rng.sample(range(2, operations), min(POINTS * scale, operations) - 2)
    for at in [1, *sorted(inner), operations]:
        folder = chain.copy(tmp_path / "f", *Chain.NAMES)
        plan = Plan(str(folder), at, rng.choice(NUMBERS))
        ended = chain.cases.run(*COMMANDS[name], folder=folder, faults=[(install, (plan,))])
        check(ended, folder, expected)
        chain.run(*COMMANDS[name], folder=folder)
        assert outputs(folder) == expected, f"after operation {at}, error {plan.number}"
        assert not list(folder.rglob("*.tmp"))
        shutil.rmtree(folder)


LEVELS = 2
"""Levels of free space for each training, in the short form."""


@pytest.mark.parametrize("name", ["train-prior", "train-decoder"])
def test_the_disk_fills_up(name: str, chain: Chain, tmp_path: Path, scale: int) -> None:
    command = COMMANDS[name]
    folder = chain.copy(tmp_path / "enough", *Chain.NAMES)
    chain.run(*command, folder=folder)
    expected = outputs(folder)
    needed = sum(path.stat().st_size for path in folder.rglob("*") if "x" in path.parts[-2:][0])
    needed += (folder / "x").stat().st_size
    for level in range(LEVELS * scale):
        folder = chain.copy(tmp_path / "full", *Chain.NAMES)
        room = needed * (level + 1) // (LEVELS * scale + 1)
        plan = Plan(str(folder), room=room)
        ended = chain.cases.run(*command, "--json", folder=folder, faults=[(install, (plan,))])
        check(ended, folder, expected)
        assert ended.code == 5, ended.shown
        assert "Make room" in ended.err or "Free some space" in ended.err
        assert not list(folder.rglob("*.tmp"))
        saved = folder / "x.run/checkpoint.safetensors"
        step = int(read_header(saved).metrics["step"]) if saved.exists() else 0
        again = chain.run(*command, "--json", folder=folder)
        assert again.json["resumed_from"] == step
        assert outputs(folder) == expected
        shutil.rmtree(folder)
