"""Fixtures for every test."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw import header
from npdraw.artifacts import write_artifact
from npdraw.config import Config, ParseConfig, PriorConfig, as_dict
from npdraw.decoder_config import DecoderConfig
from npdraw.inputs import shipped as shipped_models
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.models import new_model, weights_of
from npdraw.run_key import RunKey

pytest_plugins = ["tests.tiny_pipeline"]

WriteModel = Callable[[Path, str], None]
TinySettings = Callable[..., str]


CLEARED = re.compile(
    # How wide and how colourful Rich and Typer print, and whether they believe in a terminal.
    "COLUMNS|LINES|TERM|TERMINAL_WIDTH|NO_COLOR|FORCE_COLOR|CLICOLOR.*|PY_COLORS|GITHUB_ACTIONS"
    # The language of the system's error messages, encodings and the time zone.
    "|LANG|LANGUAGE|LC_.*|TZ"
    # Warnings, encodings, hashing and buffering of the Python processes that tests start.
    "|PYTHON.*"
    # The login and cache of the Hugging Face hub; proxies, which would get what is for localhost.
    "|HF_.*|HUGGING.*|.*_PROXY|.*_proxy"
    # Settings of npdraw itself, and the variables of torchrun.
    "|_?NPDRAW_.*|RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE"
)
"""Variables that change what npdraw prints or does."""

KEPT = re.compile(
    # Where this interpreter finds its packages: those that tests start must find the same ones.
    "PYTHONPATH|PYTHONHOME|PYTHONUSERBASE|PYTHONNOUSERSITE"
    # Where compiled files go. The checkout may be read-only, and no result depends on them.
    "|PYTHONDONTWRITEBYTECODE|PYTHONPYCACHEPREFIX"
    # How the caller configures the tests themselves: the folder of real data sets (tests that need
    # one are skipped without it), and the number and order of the random faults.
    "|NPDRAW_DATA|NPDRAW_FAULTS|NPDRAW_ORDER"
)
"""Variables among them that are the caller's to set."""


@pytest.fixture(autouse=True, scope="session")
def known_environment() -> Iterator[None]:
    """Clear what the caller's environment would change, here and in every process that tests start.

    It runs before the first test and before any other fixture, in each worker of pytest-xdist too.
    Rich, Typer and npdraw read these variables when they print, not when they are imported. What
    Python itself read when pytest started, such as the encoding of file names, stays.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if CLEARED.fullmatch(name) and not KEPT.fullmatch(name):
                patch.delenv(name)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True, scope="session")
def signals_heard() -> None:
    """Handle signals as on a terminal: a background shell ignores INT, and nohup ignores HUP."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start each test from the same random numbers, with one thread.

    Tiny shapes gain nothing from more threads, and lose much when the cores are busy.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder of its own, where default paths then lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def bars() -> Callable[[int], np.ndarray]:
    """Make grey images, uint8 [N, 8, 8], of a vertical and a horizontal bar."""

    def draw(count: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        images = np.zeros((count, 8, 8), np.uint8)
        for image in images:
            top, left = rng.integers(0, 5, 2)
            image[top : top + 4, left : left + 2] = rng.integers(120, 256)
            image[left : left + 2, top : top + 4] = rng.integers(120, 256)
        return images

    return draw


@pytest.fixture(scope="session")
def tiny_settings() -> TinySettings:
    """Write the TOML of a tiny model of `bars`, with changes such as prior={"steps": 3}."""

    def write(**changes: dict[str, Any]) -> str:
        sections: dict[str, dict[str, Any]] = {
            "parse": {"image_size": 8, "part_size": 4, "stride": 4, "parts": 8},
            "prior": {
                "width": 16,
                "depth": 1,
                "heads": 2,
                "head_width": 8,
                "mlp_width": 32,
                "batch_size": 8,
            },
            "decoder": {
                "encoder_channels": 8,
                "encoder_depth": 1,
                "decoder_channels": [8, 16],
                "decoder_depth": 1,
                "batch_size": 8,
            },
        }
        lines = []
        for section, settings in sections.items():
            lines.append(f"[{section}]")
            values = settings | changes.get(section, {})
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        return "\n".join(lines)

    return write


@pytest.fixture
def npdraw_data() -> Path:
    """Return the folder of real data sets; without it, tests that need one are skipped."""
    folder = os.environ.get("NPDRAW_DATA")
    if not folder:
        pytest.skip("NPDRAW_DATA does not name a folder of data sets")
    if not Path(folder).is_dir():
        pytest.skip(f"NPDRAW_DATA names {folder}, which is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def write_model() -> WriteModel:
    """Write an untrained tiny model of 8x8 images of a named data set."""
    config = Config(
        parse=ParseConfig(image_size=8, part_size=4, stride=4, parts=4),
        prior=PriorConfig(width=8, depth=1, heads=1, head_width=8, mlp_width=8),
        decoder=DecoderConfig(
            encoder_channels=4, encoder_depth=1, decoder_channels=(4,), decoder_depth=1
        ),
    )

    def write(path: Path, data: str) -> None:
        torch.manual_seed(0)
        brush = brush_of(config.parse, {"bank": torch.rand(4, 1, 4, 4)})
        dataset = {
            "name": data,
            "train": 40,
            "validation": 20,
            "image_shape": [1, 8, 8],
            "binarized": True,
            "digest": "0" * 64,
        }
        write_artifact(
            path,
            "model",
            weights_of(new_model(config, brush), brush),
            run_key=RunKey(as_dict(config), dataset, {}, 0),
            metrics={"elbo": 42.5},
        )

    return write


@pytest.fixture
def shipped(write_model: WriteModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the shipped models by tiny ones; return their folder."""
    folder = tmp_path / "lib/shipped"
    for name in ("glyphs", "mnist", "omniglot"):
        write_model(folder / f"{name}.safetensors", name)
        (folder / f"{name}.md").write_text("A card.")
    monkeypatch.setattr(shipped_models, "SHIPPED", (folder,))
    monkeypatch.setattr(header, "SHIPPED", (folder,))
    return folder


@pytest.fixture
def flip() -> Callable[[Path, int], None]:
    """Return a function that flips one bit of a file, in the byte at an index."""

    def damage(path: Path, at: int) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    return damage
