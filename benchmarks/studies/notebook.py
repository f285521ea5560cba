"""Run docs/first-model.ipynb and store its outputs in it: `python -m benchmarks.studies.notebook`.

Needs the packages of the extra dev. The notebook runs in a new folder, with this Python and this
checkout, whatever kernels and settings of Jupyter are installed.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from npdraw.files import write_atomic

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs/first-model.ipynb"

PARAMETERS = "parameters"
"""Tag of the cell that sets how much is computed."""

SECONDS = 600
"""Most seconds of a cell."""

_KERNEL = "npdraw"


def read(path: Path = NOTEBOOK) -> NotebookNode:
    """Return a notebook."""
    return nbformat.read(path, as_version=4)


def code_of(notebook: NotebookNode) -> list[str]:
    """Return the content of the code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of the code. It is stored with outputs, which are those of this code."""
    return hashlib.sha256(json.dumps(code_of(notebook)).encode()).hexdigest()


def kernel_in(folder: Path) -> AsyncKernelManager:
    """Return the manager of a kernel of this Python and this checkout, with its files in `folder`.

    Nothing of the user's Jupyter or IPython is read or written.
    """
    kernel = folder / "kernels" / _KERNEL
    kernel.mkdir(parents=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    described = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "env": {"PYTHONPATH": path, "IPYTHONDIR": str(folder / "ipython")},
    }
    (kernel / "kernel.json").write_text(json.dumps(described))
    specs = KernelSpecManager(kernel_dirs=[str(kernel.parent)], ensure_native_kernel=False)
    return AsyncKernelManager(
        kernel_name=_KERNEL,
        kernel_spec_manager=specs,
        connection_file=str(folder / "connection.json"),
        transport="ipc",  # sockets in the folder; nobody else can connect
    )


def executed(notebook: NotebookNode, parameters: str | None = None) -> NotebookNode:
    """Run a copy of a notebook and return it with outputs; `parameters` replaces that cell.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; the message has its traceback.
    """
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if parameters is not None and PARAMETERS in cell.metadata.get("tags", ()):
            cell.source = parameters
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        NotebookClient(
            copy,
            km=kernel_in(folder),
            kernel_name=_KERNEL,
            timeout=SECONDS,
            record_timing=False,
            resources={"metadata": {"path": str(folder / "work")}},
        ).execute(cleanup_kc=True)  # also of a manager that it did not make
    return copy


def stamped(notebook: NotebookNode) -> NotebookNode:
    """Return an executed notebook as it is stored.

    Pictures are stored once, as PNG, which every page that shows notebooks shows, and nothing is
    stored about this machine.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data.pop("text/html", None)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "npdraw": {"code": digest(notebook)},
        }
    )
    return notebook


def main() -> None:
    """Run the notebook and replace it."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.notebook", description=__doc__)
    parser.add_argument("--out", type=Path, default=NOTEBOOK, help="file to write to")
    given = parser.parse_args()
    text = nbformat.writes(stamped(executed(read())))
    write_atomic(given.out, [text.encode() + b"\n"])


if __name__ == "__main__":
    main()
