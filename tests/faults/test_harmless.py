"""Artifacts never run code; writes stay in OUT, OUT.run and the cache; nothing goes online."""

import ast
import os
import pickle
import socket
import subprocess
from pathlib import Path

import pytest

import npdraw
from tests.faults.conftest import Chain
from tests.faults.watching import events, watch

PACKAGE = Path(npdraw.__file__).parent
NEVER = {"pickle", "cPickle", "dill", "marshal", "shelve", "yaml", "joblib", "cloudpickle"}
CALLS = {"eval", "exec", "compile", "__import__"}

PIPELINE = [
    *Chain.STAGES,
    ("eval-nll", "model.safetensors", "--samples", "2", "--out", "eval.json"),
    ("sample", "model.safetensors", "--seeds", "0-3", "--grid", "--out", "sheet.png"),
    ("sample", "model.safetensors", "--seeds", "0-3", "--canvas", "--out", "samples"),
    ("export", "model.safetensors", "--out", "export.safetensors"),
    ("info", "model.safetensors", "--verify"),
    ("info", "samples/drawings.safetensors", "--verify"),
    ("data", "ls", "--data-root", "."),
]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_source_unpickles_or_runs_text(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = getattr(node, "module", None) or ""
            assert not NEVER & {name.partition(".")[0] for name in [*names, module]}
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                assert called.id not in CALLS, f"line {node.lineno}"
            if isinstance(called, ast.Attribute):
                owner = ast.unparse(called.value)
                if f"{owner}.{called.attr}" == "torch.load":
                    # Weights that others trained, and tensors only.
                    assert path == PACKAGE / "quality" / "pretrained.py", f"line {node.lineno}"
                    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    assert given["weights_only"] == "True", f"line {node.lineno}"
                if f"{owner}.{called.attr}" in ("np.load", "numpy.load"):
                    kept = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    assert kept.get("allow_pickle") == "False", f"line {node.lineno}"


def test_a_whole_pipeline_is_harmless(chain: Chain, tmp_path: Path) -> None:
    folder, report = chain.copy(tmp_path / "work"), tmp_path / "report"
    report.touch()
    for words in PIPELINE:
        chain.run(*words, folder=folder, faults=[(watch, (os.fspath(report),))])
        seen = events(report)
        code = [event for event in seen if event["kind"] == "code" and not _of_a_library(event)]
        assert code == [], words
        assert [event for event in seen if event["kind"] in ("network", "process")] == [], words
        out = words[words.index("--out") + 1] if "--out" in words else None
        for event in seen:
            if event["event"] == "os.mkdir" and Path(event["paths"][0]).is_dir():
                event["paths"] = [path for path in event["paths"] if Path(path) != folder]
            for path in event.get("paths", []):
                assert _allowed(Path(path), folder, out), (words, event)
        report.write_text("")
    assert {path.name for path in tmp_path.iterdir()} == {"work", "report"}


def _of_a_library(event: dict[str, str]) -> bool:
    """Return whether code comes from a library, as the generated methods of dataclasses do.

    NumPy parses, but never runs, the header of an array of images as a literal.
    """
    text = event["text"]
    if event["event"] == "compile" and "'descr'" in text and "'<unknown>'" in text:
        return True
    if event["event"] == "exec":
        return "<string>" in text or "/site-packages/" in text or "/lib/python" in text
    return "'<string>'" in text or "/lib/python" in text or "site-packages" in text


def _allowed(path: Path, folder: Path, out: str | None) -> bool:
    if path == Path(os.devnull) or "__pycache__" in path.parts:
        return True
    if out is None:
        return False
    target = folder / out
    beside = folder / f"{out}.run"
    temporary = path.parent == folder and path.name.startswith(f".{out}.")
    return target in (path, *path.parents) or beside in (path, *path.parents) or temporary


def test_the_hook_sees_every_kind_of_event(chain: Chain, tmp_path: Path) -> None:
    report = tmp_path / "report"
    faults = [(watch, (os.fspath(report),)), (_misbehave, (os.fspath(tmp_path / "stray"),))]
    chain.run("--version", folder=tmp_path, faults=faults)
    kinds = [event["kind"] for event in events(report)]
    assert {"code", "write", "network", "process"} <= set(kinds)


def _misbehave(path: str) -> None:
    exec(compile("1 + 1", "artifact", "exec"))
    pickle.loads(pickle.dumps(Path("x")))
    Path(path).write_text("x")
    with socket.socket() as connection:
        connection.connect_ex(("127.0.0.1", 9))
    subprocess.run(["true"], check=True)
