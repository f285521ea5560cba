"""Imports go one way, `npdraw --help` stays quick, files stay small, nothing unpickles."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import npdraw

PACKAGE = Path(npdraw.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"torch", "torchvision", "numpy", "safetensors", "onnx", "onnxruntime", "tensorboard"}
HEAVY |= {"huggingface_hub", "httpx2"}
LONGEST = 320  # lines

# What each layer may import. A folder is one layer, free inside; so is a module beside the folders.
GROUND = {
    "presets",
    "overrides",
    "config",
    "class_config",
    "decoder_config",
    "errors",
    "files",
    "reading",
}
FILES_OF_OURS = GROUND | {"tensor_layout", "header", "run_key", "artifacts"}
RUN = FILES_OF_OURS | {"runtime"}
WORK = RUN | {"hub", "model", "datasets", "inputs", "pictures"}
LAYERS = {
    # npdraw/__init__.py: `load` and `fit`, the doors for Python. Nothing inside imports it.
    "npdraw": {"version", "drawings", "runtime", "inputs", "reading", "stages"},
    "version": set(),
    "errors": set(),
    "ranges": {"errors"},
    "reading": {"errors"},
    "class_config": {"ranges"},
    "decoder_config": {"ranges"},
    "config": {"class_config", "decoder_config", "errors", "ranges"},
    "overrides": {"config", "errors"},
    "presets": {"config", "decoder_config", "overrides", "errors"},
    "files": {"errors"},
    "extras": {"errors"},
    "tensor_layout": set(),
    "header": {"errors", "files", "tensor_layout"},
    "run_key": {"header"},
    "artifacts": GROUND | {"tensor_layout", "header", "run_key"},
    "model": {"config", "errors"},  # knows no paths
    "quality": {"errors"},
    "datasets": GROUND,
    "runtime": FILES_OF_OURS,
    "hub": RUN | {"version", "extras"},
    "pictures": RUN | {"model"},
    "inputs": RUN | {"hub", "model", "datasets", "quality"},
    "training": RUN | {"model", "datasets", "inputs", "quality"},
    "drawings": WORK,
    "stages": WORK | {"version", "training", "quality"},
    "report": WORK | {"version", "drawings"},
    "studio": WORK | {"drawings"},
    "cli": WORK | {"version", "extras", "drawings", "stages", "report", "studio"},
    "__main__": {"cli", "errors"},
}

LIGHT_NAMES = [
    "__init__",
    "__main__",
    "version",
    "ranges",
    "reading",
    "class_config",
    "decoder_config",
    "config",
    "errors",
    "extras",
    "files",
    "overrides",
    "presets",
    "tensor_layout",
    "header",
    "artifacts",
]
LIGHT_NAMES += ["runtime/__init__", "runtime/group", "runtime/lock"]
LIGHT_NAMES += ["runtime/progress", "runtime/reporting", "runtime/text"]
LIGHT_NAMES += ["inputs/__init__", "inputs/settings", "inputs/shipped", "inputs/sources"]
LIGHT_NAMES += ["stages/__init__", "studio/__init__"]
LIGHT = [PACKAGE / f"{name}.py" for name in LIGHT_NAMES]
LIGHT += [path for folder in ("cli", "hub") for path in sorted((PACKAGE / folder).rglob("*.py"))]


def layer(path: Path) -> str:
    """Return the layer a file of the package belongs to."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "npdraw" if first == "__init__" else first


def imported(node: ast.AST) -> list[str]:
    """Return the full names a statement imports; `from a import b` gives `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: a relative import hides its layer"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def layers_used(tree: ast.AST) -> set[str]:
    """Return the layers of npdraw that a file imports, inside functions too."""
    names = [name.split(".") for node in ast.walk(tree) for name in imported(node)]
    return {
        name[1] if len(name) > 1 and name[1] in LAYERS else "npdraw"
        for name in names
        if name[0] == "npdraw"
    }


def run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk over what runs when the module is imported: not functions, not imports for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from run_at_import(node)


def heavy_at_import(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for node in run_at_import(tree) for name in imported(node)} & HEAVY


def forbidden(tree: ast.AST) -> list[str]:
    """Return every construct with which a file could execute what it reads."""
    constructs: list[str] = []
    for node in ast.walk(tree):
        names = {name.split(".")[0] for name in imported(node)}
        constructs += names & {
            "pickle",
            "cloudpickle",
            "dill",
            "joblib",
            "marshal",
            "shelve",
            "yaml",
        }
        constructs += {"torch.load", "torch.save"} & set(imported(node))
        if isinstance(node, ast.Attribute):
            constructs += {ast.unparse(node)} & {"torch.load", "torch.save"}
        if isinstance(node, ast.Call):
            constructs += {ast.unparse(node.func)} & {"eval", "exec", "compile", "__import__"}
            constructs += [
                "allow_pickle"
                for keyword in node.keywords
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
            ]
    return constructs


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_never_up_never_sideways(path: Path) -> None:
    assert layers_used(parse(path)) <= LAYERS[layer(path)] | {layer(path)}


@pytest.mark.parametrize(
    ("layer_name", "statement"),
    [
        ("model", "from npdraw.stages import parse"),
        ("model", "from npdraw import artifacts"),
        ("datasets", "def f():\n    import npdraw.model.bank"),
        ("artifacts", "from npdraw.datasets import load"),
        ("config", "from npdraw.artifacts import read_header"),
        ("stages", "from npdraw.cli.console import print"),
        ("stages", "from npdraw.drawings import edit"),
        ("drawings", "from npdraw.stages import sample"),
        ("model", "from npdraw import header"),
        ("report", "from npdraw import load"),
    ],
)
def test_the_rule_sees_every_spelling(layer_name: str, statement: str) -> None:
    assert not layers_used(ast.parse(statement)) <= LAYERS[layer_name] | {layer_name}


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_heavy_is_imported_with_the_command_line(path: Path) -> None:
    assert heavy_at_import(parse(path)) == set()


def test_heavy_imports_are_detected_unless_for_types_or_later() -> None:
    assert heavy_at_import(ast.parse("try:\n    import torch.nn\nexcept ImportError: pass"))
    assert heavy_at_import(ast.parse("class A:\n    from numpy import zeros"))
    assert not heavy_at_import(ast.parse("def f():\n    import torch"))
    assert not heavy_at_import(ast.parse("if TYPE_CHECKING:\n    import torch"))


COMMANDS = ["parse", "train-prior", "train-decoder", "eval-nll", "sample", "run"]
COMMANDS += ["animate", "reconstruct", "complete", "edit", "decode", "interpolate", "studio"]
COMMANDS += ["eval-samples", "train-features", "report", "export", "push", "info", "data"]
GROUPED = [["data", name] for name in ("ls", "look", "download", "doctor")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *([*words, "--help"] for words in [*([c] for c in COMMANDS), *GROUPED]),
    ],
)
def test_help_and_version_do_not_import_torch(arguments: list[str]) -> None:
    code = f"""
import os, sys
from npdraw.__main__ import main
leave = os._exit
def report_and_leave(code):
    print("HEAVY", sorted({HEAVY!r} & sys.modules.keys()), flush=True)
    leave(code)
os._exit = report_and_leave
sys.argv = ["npdraw", *{arguments!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *shown, last = done.stdout.splitlines()
    assert shown, "nothing was printed"
    assert last == "HEAVY []"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_holds_one_idea(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    assert path.name != "utils.py"


PRETRAINED = PACKAGE / "quality/pretrained.py"
"""Reads weights in the format in which others publish them, by one call that accepts tensors only.
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_executes_what_it_reads(path: Path) -> None:
    assert forbidden(parse(path)) == (["torch.load"] if path == PRETRAINED else [])


def test_the_one_call_that_unpickles_accepts_tensors_only() -> None:
    calls = [node for node in ast.walk(parse(PRETRAINED)) if isinstance(node, ast.Call)]
    (call,) = (node for node in calls if ast.unparse(node.func) == "torch.load")
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert given["weights_only"] == "True"


@pytest.mark.parametrize(
    "statement",
    [
        "import pickle",
        "from yaml import safe_load",
        "torch.load(path)",
        "load = torch.load",
        "from torch import load",
        "eval('1')",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_every_way_to_execute_what_is_read_is_detected(statement: str) -> None:
    assert forbidden(ast.parse(statement))


def test_evaluation_mode_is_allowed() -> None:
    assert forbidden(ast.parse("model.eval()\nnp.load(path, allow_pickle=False)")) == []
