"""The same commands give the same bytes in any environment."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.conftest import Chain

ENVIRONMENTS = [
    {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "0", "TERM": "dumb", "COLUMNS": "80"},
    {"TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1", "NPDRAW_DEBUG": "1"},
    {"TZ": "America/St_Johns", "LANG": "POSIX", "PYTHONHASHSEED": "2", "COLUMNS": "200"},
]
TALK = [(), ("--quiet",), ("--json",)]


def whole_chain(chain: Chain, folder: Path, turn: int) -> dict[str, str]:
    """Run every stage on a folder of pictures; return the digest of each output's bytes."""
    small = ("--config", "tiny.toml")
    for words in (
        ("parse", "--data", "folder:pictures", *small, "--out", "parse"),
        ("train-prior", "parse", *small, "--out", "prior"),
        ("train-decoder", "parse", "prior", *small, "--out", "model"),
        ("sample", "model", "--seeds", "0-3", "--grid", "--out", "sheet.png"),
        ("sample", "model", "--seeds", "0-3", "--out", "samples"),
        ("export", "model", "--out", "export"),
    ):  # not eval-nll, which reports seconds
        chain.run(*words, *TALK[turn], folder=folder, environment=ENVIRONMENTS[turn])
    outputs = [folder / name for name in ("parse", "prior", "model", "sheet.png", "export")]
    outputs += sorted((folder / "samples").iterdir())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in outputs
    }


def test_three_runs_of_the_whole_chain_are_equal(chain: Chain, tmp_path: Path) -> None:
    images = np.load(chain.folder / "bars.npz")["train"]
    digests = []
    for turn in range(3):
        folder = tmp_path / ("a b", "ü", "deep/er")[turn]
        pictures = folder / "pictures"
        pictures.mkdir(parents=True)
        shutil.copy(chain.folder / "tiny.toml", folder)
        order = np.random.default_rng(turn).permutation(len(images))  # of the folder's entries
        for index in order:
            path = pictures / f"{index:03}.png"
            Image.fromarray(images[index]).save(path)
            os.utime(path, (turn * 1e8, turn * 1e8))
        digests.append(whole_chain(chain, folder, turn))
    assert digests[0] == digests[1] == digests[2]
