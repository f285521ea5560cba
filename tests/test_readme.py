"""README.md and the pages of docs/: their commands run, and what they name exists.

Commands in `sh` blocks run in a new folder, README.md first. Trainings are shortened by flags added
at the end (the last of two equal flags counts); nothing else is changed. Commands within the text
are not run, but their names and flags are checked.
"""

import json
import os
import re
import shlex
import shutil
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from npdraw.cli import app, execute
from npdraw.drawings.strokes import bank_digest, from_json, strokes_of
from npdraw.model.brush import PartBrush
from npdraw.model.layout import Layout
from npdraw.overrides import override
from npdraw.presets import preset

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = {
    "parse": ["--limit", "600"],
    "train-prior": ["--steps", "2"],
    "train-decoder": ["--steps", "2"],
    "eval-nll": ["--samples", "2", "--images", "20"],
    "eval-samples": ["--samples", "20", "--images", "20"],
    "train-features": ["--steps", "2"],
    "train-classes": ["--steps", "2"],
    "run": ["--steps", "2", "--samples", "2", "--images", "2"],
}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IGNORED_BY_GIT = ("data/MNIST", "runs/")


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(language: str, *pages: Path) -> list[str]:
    """Return the fenced blocks of a language, of all pages if none is named."""
    found = [FENCED.findall(text_of(page)) for page in pages or PAGES]
    return [content for page in found for name, content in page if name == language]


def spans(page: Path) -> list[str]:
    """Return the code within the text of a page."""
    prose = FENCED.sub("", text_of(page))
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def lines() -> list[list[str]]:
    """Return the words of each command line in an `sh` block, each line once."""
    shown = [line for block in blocks("sh") for line in block.splitlines()]
    split = (tuple(shlex.split(line, comments=True)) for line in shown)
    return [list(words) for words in dict.fromkeys(split) if words]


def commands() -> list[list[str]]:
    """Return the lines to run, without `npdraw`."""
    # The studio serves until Ctrl-C: tests/studio/test_server.py starts and stops it. Models on the
    # hub need one: tests/hub/test_commands.py runs the commands of docs/sharing.md.
    shared = [shlex.split(line, comments=True) for line in sharing().splitlines()]
    named = [words for words in lines() if words[0] == "npdraw" and words not in shared]
    return [words[1:] for words in named if words[1] != "studio"]


def sharing() -> str:
    """Return the command lines of docs/sharing.md."""
    return "\n".join(blocks("sh", ROOT / "docs/sharing.md"))


def quick(words: list[str]) -> list[str]:
    quiet = ["--quiet"] if words[0] in (*QUICK, "sample") else []  # the others print little
    return [*words, *QUICK.get(words[0], []), *quiet]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = execute(quick(words))
    assert code == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"


def write_pictures(folder: Path) -> None:
    """Write the pictures that the pages train on."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(40):
        pixels = rng.integers(0, 256, (10 + index % 3, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def test_commands_on_the_embedded_data_and_on_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NPDRAW_DATA", raising=False)
    write_pictures(tmp_path / "my-pictures")
    own = [words for words in commands() if "mnist" not in words]
    assert {words[0] for words in own} >= {*QUICK, "sample", "export", "data", "info", "report"}
    for words in own:
        run(words, capsys)
    assert (tmp_path / "runs/glyphs/samples.png").is_file()
    assert (tmp_path / "runs/mine/model.safetensors").is_file()
    assert (tmp_path / "runs/both.html").is_file()


def test_commands_on_mnist(
    npdraw_data: Path,
    shipped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NPDRAW_DATA", os.fspath(npdraw_data.absolute()))
    teach = ["train-classes", "mnist", *QUICK["train-classes"], "--quiet", "--json"]
    assert execute([*teach, "--out", "taught.safetensors"]) == 0
    shutil.copy("taught.safetensors", shipped / "mnist.safetensors")  # the real one has classes
    stages = [words for words in commands() if "mnist" in words and words[0] != "data"]
    expected = {*QUICK, "animate", "complete", "edit", "classify"} - {"run", "train-classes"}
    assert {words[0] for words in stages} >= expected
    for words in stages:
        run(words, capsys)


def options_of(words: list[str]) -> tuple[list[str], set[str]]:
    """Return the words of a command line after the name of the command, and the command's flags."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest and rest[0] in command.commands, f"no such command: npdraw {shlex.join(words)}"
        command = command.commands[rest.pop(0)]
    flags = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
    return rest, flags | {"--help"}


def test_commands_within_the_text_have_the_flags_they_name() -> None:
    names = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    checked = 0
    named = [span.split() for page in PAGES for span in spans(page)]
    named += [w[w.index("-m") + 1 :] for w in lines() if w[0].endswith("torchrun")]
    for words in named:
        # `npdraw data ls / download` and the like are more than one command.
        if words[:1] != ["npdraw"] or len(words) < 2 or words[1] not in names or "/" in words:
            continue
        if words[1:] == ["data"]:
            continue
        rest, flags = options_of(words[1:])
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0] in flags, " ".join(words)
        checked += 1
    assert checked > 30


def test_runs_of_torchrun_on_one_machine_do_not_collide() -> None:
    shown = lines() + [span.split() for page in PAGES for span in spans(page)]
    started = [w for w in shown if any(word.startswith("--nproc-per-node") for word in w)]
    started = [w for w in started if any(word.endswith("torchrun") for word in w)]
    assert len(started) >= 2
    for words in started:
        assert "--standalone" in words, shlex.join(words)


def test_make_targets_and_benchmarks_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    said = [" ".join(words) for words in lines()] + [s for page in PAGES for s in spans(page)]
    targets = {m[1] for s in said if (m := re.match(r"make ([a-z-]+)", s))}
    assert targets >= {"demo", "test", "bench", "scaling"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    modules = {m[1] for s in said if (m := re.search(r"python -m (benchmarks[\w.]*)", s))}
    assert modules >= {"benchmarks.million"}
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_the_python_of_the_pages_runs(shipped: Path, workdir: Path) -> None:
    write_pictures(workdir / "my-pictures")
    assert execute(["train-classes", "glyphs", *QUICK["train-classes"], "--quiet"]) == 0
    assert execute(["export", "mnist", "--onnx", "--quiet"]) == 0  # docs/export.md reads its files
    for page in PAGES:
        for code in blocks("python", page):
            scope: dict[str, Any] = {}
            # The shipped models of tests draw images of 8 x 8, and trainings are shortened.
            quick = code.replace("28", "8").replace('out="', 'steps=2, progress=None, out="')
            exec(compile(quick, str(page), "exec"), scope)
            if "variants" in scope:
                for name, count in (("drawings", 9), ("images", 9), ("nats", 9), ("variants", 4)):
                    assert len(scope[name]) == count
    assert (workdir / "runs/mine/model.safetensors").is_file()


def test_drawings_in_json_are_drawings() -> None:
    shown = [json.loads(text) for text in blocks("json")]
    drawings = [value for value in shown if value.get("npdraw") == "drawing"]
    assert drawings
    layout = Layout(28, 28, part_size=4, stride=4)
    brush = PartBrush(layout, torch.zeros(50, 1, 4, 4))
    for drawing in drawings:
        known = {**drawing, "bank": bank_digest(brush)}
        assert strokes_of(from_json(known, brush), layout) == drawing["strokes"]


def test_settings_of_the_pages_are_settings() -> None:
    assert blocks("toml")
    for block in blocks("toml"):
        assert override(preset("glyphs"), tomllib.loads(block), source="docs")


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "LOG.md"], ids=lambda page: page.name)
def test_links_and_named_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", FENCED.sub("", text_of(page))):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target
    if page.name == "LOG.md":  # its files are those of the day
        return
    for span in spans(page):
        if re.fullmatch(r"(npdraw|benchmarks|tests|docs|data)/[\w./-]+", span):
            assert span.startswith(IGNORED_BY_GIT) or (ROOT / span).exists(), span


def tree() -> set[str]:
    """Return the paths of README's tree; a folder ends in a slash."""
    (shown,) = blocks("text", README)
    paths, parents = set(), [""]
    for line in shown.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth + 1 :] = [parents[depth] + name]
        paths.add(parents[depth] + name)
    return paths


def test_the_tree_of_the_readme_is_the_repository() -> None:
    shown = tree()
    for path in shown:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
    rooms = {f"npdraw/{path.parent.name}/" for path in (ROOT / "npdraw").glob("*/__init__.py")}
    assert rooms <= shown
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.ipynb")]
    assert {f"docs/{page.name}" for page in pages} <= shown


def test_the_log_is_newest_first_and_its_beliefs_have_evidence() -> None:
    log = text_of(ROOT / "LOG.md")
    _, *parts = re.split(r"^# ", log, flags=re.MULTILINE)[1:]
    assert len(parts) == 2
    titles: list[str] = []
    for part in parts:
        entries = re.findall(r"^## (\d{4}-\d\d-\d\d: .+)$", part, re.MULTILINE)
        dates = [entry[:10] for entry in entries]
        assert dates == sorted(dates, reverse=True)
        titles += entries
    table = log.partition("| belief |")[2].partition("\n\n")[0]
    cited = [row.split(" | ")[1] for row in table.splitlines()[2:]]
    assert len(cited) > 10
    for evidence in cited:
        date = ""
        for entry in evidence.split("; "):
            dated = re.fullmatch(r"(\d{4}-\d\d-\d\d), (.+)", entry)
            date, words = dated.groups() if dated else (date, entry)
            assert any(title.startswith(f"{date}: {words}") for title in titles), entry
