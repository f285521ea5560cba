"""Every help page shows its text, has two examples, and imports nothing heavy."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from npdraw import cli
from npdraw.cli import (
    class_options,
    declare,
    execute,
    export_options,
    hub_options,
    options,
    quality_options,
    reading_options,
    training_options,
)
from npdraw.run_key import RunKey
from npdraw.version import __version__

MOST_OPTIONS = 28
PANELS = {"Input", "Model", "Run", "Output"}
FLAGS = (
    options,
    class_options,
    export_options,
    hub_options,
    quality_options,
    reading_options,
    training_options,
)
HEAVY = {"torch", "torchvision", "numpy", "safetensors", "PIL"}
HEAVY |= {"huggingface_hub", "httpx2", "onnx", "onnxruntime", "tensorboard"}


def pages() -> dict[str, Any]:
    """Return every command and group, by what is typed in front of --help."""
    named = {"": typer.main.get_command(cli.app)}
    for child, command in named[""].commands.items():
        named[child] = command
        for grandchild, below in getattr(command, "commands", {}).items():
            named[f"{child} {grandchild}"] = below
    return named


PAGES = pages()
COMMANDS = {name: page for name, page in PAGES.items() if not hasattr(page, "commands")}


def shown(page: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert execute([*page.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def examples(text: str) -> list[str]:
    """Return the lines that are commands."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("npdraw ")]


def test_every_command_of_the_design_is_there() -> None:
    assert set(PAGES) == {
        *("", "parse", "train-prior", "train-decoder", "eval-nll", "sample", "run"),
        *("animate", "reconstruct", "complete", "edit", "decode", "interpolate", "studio"),
        *("train-classes", "classify"),
        *("eval-samples", "train-features", "report", "export", "push", "info"),
        *("data", "data ls", "data look", "data download", "data doctor"),
    }


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_a_sentence_and_two_examples_and_fits(
    page: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = shown(page, capsys)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= columns
    assert len(examples(text)) == 2
    assert examples(text) == examples(PAGES[page].help)  # none is broken into two lines
    sentence = inspect.cleandoc(PAGES[page].help).split("\n\n")[0]
    assert sentence.endswith(".")
    assert " ".join(sentence.split()) in " ".join(text.split())


@pytest.mark.parametrize("page", COMMANDS)
def test_options_are_few_in_panels_and_complete(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    text = shown(page, capsys)
    params = COMMANDS[page].params
    assert len(params) <= MOST_OPTIONS
    for param in params:
        assert param.param_type_name == "argument" or param.rich_help_panel in PANELS
        assert max(param.opts, key=len) in text or param.metavar in text
        # Nothing of the text was taken for markup.
        assert param.help.replace("\\[", "[") in text


def test_every_flag_is_spelled_in_options_and_used() -> None:
    aliases = {
        name: alias.__metadata__[0]
        for module in FLAGS
        for name, alias in vars(module).items()
        if hasattr(alias, "__metadata__")
    }
    written = {info.help for info in aliases.values()}
    assert all(param.help in written for page in COMMANDS.values() for param in page.params)
    used = {
        node.attr
        for file in Path(cli.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {module.__name__.rpartition(".")[2] for module in FLAGS}
    }
    assert aliases.keys() <= used


def test_brackets_are_shown_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(rich_markup_mode="rich")
    text = "Take [remote|local], [/data], [a b] and [3]."

    def command(*, x: bool = typer.Option(False, "--x", help=declare.escape_markup(text))) -> None:
        pass

    app.command(help=declare.escape_markup(text))(command)
    app(["--help"], standalone_mode=False)
    assert " ".join(capsys.readouterr().out.split()).count(text) == 1


def test_defaults_shown_are_those_of_the_stages() -> None:
    parts = next(p for p in COMMANDS["parse"].params if p.name == "parts")
    assert parts.help == (
        r"parts in the bank; with ink, patterns in each layer (K) "
        r"\[default: 50 for glyphs; between 1 and 4,096]"
    )


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


COUNTING = f"""
import sys
from npdraw.cli import execute
for arguments in sys.argv[1:]:
    code = execute(arguments.split())
    heavy = {HEAVY} & set(sys.modules)
    print("RESULT", arguments, code, *sorted(heavy))
"""


def test_help_version_and_info_import_nothing_heavy() -> None:
    asked = ["--version", *(f"{page} --help".strip() for page in PAGES), "info missing"]
    done = run_python(COUNTING, *asked)
    results = re.findall("^RESULT (.*)$", done.stdout, re.MULTILINE)
    assert results == [f"{arguments} {3 if 'missing' in arguments else 0}" for arguments in asked]


def test_info_of_an_artifact_imports_nothing_heavy(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from npdraw.artifacts import write_artifact  # noqa: PLC0415

    path = tmp_path / "x.safetensors"
    tensors = {"bank": torch.zeros(2, 1, 3, 3)}
    write_artifact(path, "parse", tensors, run_key=RunKey({}, {}, {}, 0), metrics={"a": 1.0})
    asked = [f"info {path}", f"info {path} --verify --json"]
    done = run_python(COUNTING, *asked)
    results = re.findall("^RESULT (.*)$", done.stdout, re.MULTILINE)
    assert results == [f"{arguments} 0" for arguments in asked]


def test_completion_knows_commands_and_presets_and_imports_nothing_heavy() -> None:
    code = f"""
import sys
from npdraw.cli import execute
assert execute([]) == 0
assert not {HEAVY} & set(sys.modules)
"""
    for typed, expected in (
        ("npdraw train-", ["train-prior", "train-decoder", "train-classes", "train-features"]),
        (
            "npdraw parse --preset mnist",
            ["mnist", "mnist-best", "mnist-static", "mnist-static-best", "mnist-paper"],
        ),
        ("npdraw parse --snap m", ["mean", "medoid"]),
        ("npdraw parse --data m", ["mnist", "mnist-static"]),
        ("npdraw run --data n", ["npz:"]),
    ):
        done = run_python(
            code,
            _NPDRAW_COMPLETE="complete_bash",
            COMP_WORDS=typed,
            COMP_CWORD=str(len(typed.split()) - 1),
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split() == expected


def test_help_does_not_load_pydantic() -> None:
    # Typer reads values with it; it costs as much as the rest of a help page.
    code = """
import sys
from npdraw.cli import execute
for arguments in sys.argv[1:]:
    assert execute(arguments.split()) == 0
    assert "pydantic" not in sys.modules, arguments
"""
    done = run_python(code, "--version", *(f"{page} --help".strip() for page in PAGES))
    assert (done.returncode, done.stderr) == (0, "")


def test_version_and_python_m(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "npdraw", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"npdraw {__version__}\n", "")


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([]) == 0
    assert "train-decoder" in capsys.readouterr().out
