"""The report shows what the files of the runs hold, and is written safely."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npdraw.drawings.drawing_model import open_model
from npdraw.errors import UsageError
from npdraw.header import read_header
from npdraw.report import report
from npdraw.report.curves import short
from npdraw.report.limits import limits_for, spread
from npdraw.report.outputs import outputs_of
from npdraw.report.page import compose
from npdraw.report.runs import find_runs
from npdraw.runtime.settings import Runtime
from tests.report.pages import RUNTIME, Page


def test_metrics_are_those_of_the_files(run: Path, written: Callable[..., Page]) -> None:
    page = written(run)
    header = {
        kind: read_header(run / f"{kind}.safetensors") for kind in ("parse", "prior", "model")
    }
    result = json.loads((run / "eval.json").read_text())
    nll = f"{result['nll']:.2f} ± {result['nll_se']:.2f} nats"
    assert page.row("NLL of test images") == [nll]
    assert page.row("Test images") == ["12"]
    assert page.row("Nats per drawing, validation") == [
        f"{header['prior'].metrics['validation_nats']:.2f} nats"
    ]
    assert page.row("Rate") == [f"{header['model'].metrics['rate']:.2f} nats"]
    assert page.row("Rate", 1) == [f"{result['rate']:.2f} nats"]
    painted = header["parse"].metrics["parts_painted_mean"]
    assert page.row("Parts painted per image") == [short(painted)]
    weights = sum(
        x.numel() for x in open_model(run / "model.safetensors", RUNTIME).network.parameters()
    )
    assert page.row("Parameters") == [f"{weights:,}"]
    assert nll in page.texts["dd"]
    for setting, value in header["model"].config["decoder"].items():
        if setting == "wake":  # of names that two sections have, either will do here
            assert page.row(setting) == [str(value)]
    text = page.content.decode()
    for one in header.values():
        assert one.digest in text
    assert header["model"].dataset["digest"] in text
    assert f"made from parse {header['parse'].digest[:8]}, the one in this run" in text
    assert "the one in this run" in text and "but this run has" not in text
    assert page.missing == ""


def test_several_runs_are_shown_side_by_side(
    stages: Any, run: Path, made: Any, written: Callable[..., Page], tmp_path: Path
) -> None:
    page = written(run, made.folder)
    (head,) = [row for row in page.rows if len(row) == 3 and "bars" in row[1]][:1]
    assert [cell.strip() for cell in head[1:]] == ["bars", made.folder.name]
    expected = [
        f"{read_header(path / 'prior.safetensors').metrics['validation_nats']:.2f} nats"
        for path in (run, made.folder)
    ]
    assert page.row("Nats per drawing, validation") == expected
    assert page.row("NLL of test images")[1] == "-"
    text = page.content.decode()
    for setting, differs in (("part_size", False), ("steps", True), ("learning_rate", True)):
        row = re.search(rf'<tr( class="differs")?><th scope="row">{setting}<', text)
        assert row is not None and bool(row[1]) is differs
    assert (
        "Show only the 5 settings that differ" in text
    )  # steps and rates of both, and that of the encoder
    # One plot for each quantity, with a line for each run.
    drawing = re.findall('<figure class="plot">.*?</figure>', text, re.DOTALL)[0]
    assert drawing.count("<polyline") == 2 and "Prior: validation" in drawing
    assert f"{made.folder.name} <b>" in drawing
    # The least is marked where both have the same images.
    marked = re.findall(r'Nats per drawing, validation</th><td class="best">([\d.]+) nats', text)
    assert marked == [expected[0].split()[0]]


def test_run_names_are_unique_and_contain_no_full_path(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    a, b, c = copy("x/run"), copy("y/run"), copy("z")
    assert [r.name for r in find_runs([a, b, c, a])] == ["x/run", "y/run", "z"]
    assert [r.name for r in find_runs([a / "model.safetensors", c])] == ["run", "z"]
    model = shutil.copy(c / "model.safetensors", tmp_path / "mine.safetensors")
    assert [r.name for r in find_runs([Path(model)])] == ["mine"]
    with pytest.raises(UsageError, match="cannot show 9 runs side by side; the maximum is 8"):
        find_runs([copy(f"n{number}") for number in range(9)])


def test_the_same_runs_give_the_same_bytes_in_any_folder(
    stages: Any, run: Path, copy: Callable[[str], Path], tmp_path: Path, monkeypatch: Any
) -> None:
    first, second = copy("one/bars"), copy("two/bars")
    outs = [tmp_path / "a.html", tmp_path / "b.html"]
    root = stages.npz.parent
    report([first], root=root, out=outs[0], runtime=RUNTIME)
    monkeypatch.chdir(second.parent)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    report([Path("bars")], root=root, out=outs[1], runtime=RUNTIME)
    content = outs[0].read_bytes()
    assert content == outs[1].read_bytes()
    for word in (str(tmp_path), str(root), "/root", "/home"):
        assert word not in content.decode()


def test_a_report_is_kept_or_replaced_but_other_files_are_not_overwritten(
    stages: Any, run: Path, made: Any, tmp_path: Path
) -> None:
    def make(path: Path, out: Path, **more: Any) -> dict[str, Any]:
        runtime = Runtime(device="cpu", precision="fp32", threads=1, **more)
        return report([path], root=stages.npz.parent, out=out, runtime=runtime)

    out = tmp_path / "deep/x.html"
    result = make(run, out)
    content = out.read_bytes()
    assert result == {
        "runs": ["bars"],
        "bytes": len(content),
        "missing": {"bars": {}},
        "out": str(out),
    }
    assert make(run, out)["up_to_date"] is True
    assert "up_to_date" not in make(made.folder, out)
    assert out.read_bytes() != content
    make(run, out)
    assert out.read_bytes() == content
    for other in (b"", b"<!doctype html>", content.replace(b"Metrics", b"metrics"), content + b" "):
        out.write_bytes(other)
        with pytest.raises(UsageError, match="exists and is not an unedited npdraw report"):
            make(run, out)
        assert out.read_bytes() == other
    make(run, out, force=True)
    assert out.read_bytes() == content
    for wrong in (tmp_path / "x.png", tmp_path / "deep", run / "model.safetensors"):
        with pytest.raises(UsageError):
            make(run, wrong)


def test_less_is_shown_to_stay_below_the_size_limit(
    stages: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = find_runs([run])
    outputs = [outputs_of(runs[0], stages.npz.parent, RUNTIME)]
    limits, sizes = limits_for(1), []
    while limits != limits.halved():
        sizes.append(len(compose(runs, outputs, limits)))
        limits = limits.halved()
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]
    assert all(value > 0 for value in vars(limits).values())
    monkeypatch.setattr("npdraw.report.MOST_BYTES", sizes[1])
    out = tmp_path / "x.html"
    assert report([run], root=stages.npz.parent, out=out, runtime=RUNTIME)["bytes"] < sizes[1]
    assert spread(list(range(20)), 4) == [0, 6, 12, 19]
    assert spread([3, 5], 4) == [3, 5] and spread([3, 5], 1) == [5]
