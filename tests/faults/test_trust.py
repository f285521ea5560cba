"""The suite can be trusted: it fails if a safeguard is removed, and it passes in any order.

Each case copies the package and the tests, removes one safeguard and runs the tests that guard it:
at least one must fail.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import SCALE

ROOT = Path(__file__).parents[2]

WITHOUT = {
    "sync of the file": (
        "npdraw/files.py",
        "                os.fsync(file.fileno())\n",
        "",
        "tests/faults/test_saves.py",
    ),
    "sync of the folder": (
        "npdraw/files.py",
        "        _sync_folder(target.parent)\n",
        "",
        "tests/faults/test_saves.py",
    ),
    "rename": (
        "npdraw/files.py",
        "os.replace(temporary, target)",
        "target.write_bytes(temporary.read_bytes()); temporary.unlink()",
        "tests/faults/test_saves.py",
    ),
    "digest": (
        "npdraw/header.py",
        'if unsigned.pop("digest") != digest_of(unsigned, entries, read):',
        'if unsigned.pop("digest") == "":',
        "tests/faults/test_malformed.py",
    ),
    "generator state": (
        "npdraw/runtime/noise.py",
        "    return torch.Generator(device).manual_seed(int(state) % 2**63)\n",
        "    random = torch.Generator(device)\n    random.seed()\n    return random\n",
        "tests/faults/test_trainings.py",
    ),
    "lock": (
        "npdraw/files.py",
        "        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        "tests/faults/test_trainings.py",
    ),
    "finiteness": (
        "npdraw/training/state.py",
        "    if not math.isfinite(value):\n",
        "    if False:\n",
        "tests/faults/test_numbers.py",
    ),
    "cut of the log": (
        "npdraw/runtime/metrics_log.py",
        '                if record["step"] > step:\n                    break\n',
        "",
        "tests/faults/test_trainings.py",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT)
def test_without_a_safeguard_a_test_fails(name: str, tmp_path: Path) -> None:
    file, line, other, guarding = WITHOUT[name]
    for folder in ("npdraw", "tests"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    source = (tmp_path / file).read_text(encoding="utf-8")
    assert source.count(line) == 1, f"{file} has changed: update the line in this table"
    (tmp_path / file).write_text(source.replace(line, other), encoding="utf-8")
    done = _pytest(tmp_path, guarding)
    assert done.returncode == 1, done.stdout[-2000:]


ORDERS = 20 if SCALE > 1 else 2


@pytest.mark.slow
def test_the_suite_passes_in_any_order() -> None:
    for _ in range(ORDERS):
        order = str(random.randrange(2**32))
        done = _pytest(ROOT, "tests/faults", NPDRAW_ORDER=order)
        assert done.returncode == 0, f"NPDRAW_ORDER={order}: {done.stdout[-4000:]}"


def _pytest(folder: Path, tests: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run tests of the package in `folder`."""
    short = {"NPDRAW_FAULTS": "1", "PYTHONPATH": os.fspath(folder)}
    own = {**os.environ, **short, **environment}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", tests]
    return subprocess.run(words, cwd=folder, env=own, check=False, capture_output=True, text=True)
