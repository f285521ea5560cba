"""docs/first-model.ipynb: its code runs, and the outputs in it are those of that code."""

import base64
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from PIL import Image

import npdraw
from benchmarks.studies import notebook
from tests.prose import ROOT
from tests.stages.test_fit import CONFIG
from tests.tiny_stages import bars

MOST_BYTES = 300_000
QUICK = "IMAGES, PRIOR_STEPS, DECODER_STEPS, TEST_IMAGES, SAMPLES = 200, 2, 2, 6, 2"
TOLERANCE = 0.25
"""Relative difference of figures that other machines may have: they round otherwise."""


@cache
def stored() -> NotebookNode:
    return notebook.read()


def code_cells(read: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in read.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> set[str]:
    """Return the kinds of output of a cell, without progress."""
    streams = {f"text of {o.name}" for o in cell.outputs if o.output_type == "stream"}
    data = {kind for output in cell.outputs for kind in output.get("data", {})}
    return (streams | data) - {"text of stderr"}


def text(cell: NotebookNode) -> str:
    """Return what a cell printed."""
    return "".join(o.text for o in cell.outputs if o.get("name") == "stdout")


def size(cell: NotebookNode) -> tuple[int, int] | None:
    """Return width and height of the picture of a cell."""
    for output in cell.outputs:
        if content := output.get("data", {}).get("image/png"):
            with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
                return picture.size
    return None


def test_the_stored_outputs_are_of_the_stored_code() -> None:
    read = stored()
    assert read.metadata.npdraw.code == notebook.digest(read), "make notebook"
    cells = code_cells(read)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in kinds(cell) for cell in cells) >= 5
    changed = nbformat.from_dict(read)
    code_cells(changed)[-1].source += "\n"
    assert notebook.digest(changed) != notebook.digest(read)


def test_the_file_is_small_and_says_nothing_about_a_machine() -> None:
    content = notebook.NOTEBOOK.read_text(encoding="utf-8")
    assert len(content.encode()) < MOST_BYTES
    nbformat.validate(stored())
    assert set(stored().metadata) == {"kernelspec", "language_info", "npdraw"}
    assert set(stored().metadata.language_info) == {"name"}
    for cell in stored().cells:
        assert set(cell.metadata) <= {"tags"}
    printed = re.sub(r'"image/png": "[^"]*"', "", content)
    assert not re.search(r"/(?:home|Users|root|tmp|work)\b|file:", printed)
    assert "text/html" not in printed


def test_its_links_exist() -> None:
    for cell in stored().cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", cell.source):
                assert (ROOT / "docs" / target).is_file(), target


def test_it_runs_with_few_images_and_steps() -> None:
    run = notebook.executed(stored(), QUICK)
    for cell, before in zip(code_cells(run), code_cells(stored()), strict=True):
        if notebook.PARAMETERS not in cell.metadata.get("tags", ()):
            assert kinds(cell) - {"text/html"} == kinds(before), cell.id
            assert size(cell) == size(before), cell.id


@pytest.mark.slow
def test_its_figures_are_those_that_are_stored() -> None:
    run = notebook.executed(stored())
    for cell, before in zip(code_cells(run), code_cells(stored()), strict=True):
        assert kinds(cell) - {"text/html"} == kinds(before), cell.id
        pairs = [re.findall(r"\d+\.\d+", text(which)) for which in (cell, before)]
        found, expected = (np.array(numbers, float) for numbers in pairs)
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, err_msg=cell.id)


FITTING = """
import os, signal
import numpy as np
import npdraw
from npdraw.runtime.progress import Silent

class Stop(Silent):
    def update(self, done, **figures):
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

def fit(progress):
    return npdraw.fit(
        np.array({images}, np.uint8), config={config}, steps=4, threads=1, progress=progress
    )
"""
STOPPED = """
before = signal.getsignal(signal.SIGINT)
try:
    fit(Stop())
except KeyboardInterrupt as error:
    print(error)
print(signal.getsignal(signal.SIGINT) is before)
"""
RESUMED = """
model = fit(None)
print(model.header.digest)
model
"""


def test_a_kernel_that_is_interrupted_resumes_and_shows_the_model(tmp_path: Path) -> None:
    images: Any = bars(30, 0)
    new = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(source)
            for source in (
                FITTING.format(images=images.tolist(), config=CONFIG),
                STOPPED,
                STOPPED.replace("fit(Stop())", "fit(Stop())  # in the other training"),
                RESUMED,
            )
        ]
    )
    _, prior, decoder, finished = notebook.executed(new).cells
    again = "Call npdraw.fit again with the same arguments to resume."
    assert text(prior) == text(decoder) == f"stopped at step 3 of 4. {again}\nTrue\n"
    model = npdraw.fit(images, config=CONFIG, steps=4, threads=1, progress=None, out=tmp_path)
    assert text(finished) == f"{model.header.digest}\n"
    assert {"image/png", "text/html", "text/plain"} <= kinds(finished)
