"""The report: its page shows what the files of the runs hold, and nothing escapes from it."""

import base64
import hashlib
import html
import io
import json
import math
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.drawings.drawing_model import open_model
from npdraw.drawings.frames import prefixes, rendered
from npdraw.drawings.strokes import fingerprint, from_json
from npdraw.errors import ArtifactError, UsageError
from npdraw.header import read_header
from npdraw.report import MOST_BYTES, report
from npdraw.report.amount import Amount, amount_of, spread
from npdraw.report.curves import LARGEST, SMALLEST, curves, short
from npdraw.report.drawn import IMAGES, SAMPLED, drawn
from npdraw.report.markup import Html, element, script_data
from npdraw.report.page import compose
from npdraw.report.runs import find_runs, read_log, read_sheet
from npdraw.run_key import RunKey
from npdraw.runtime.settings import Runtime

RUNTIME = Runtime(device="cpu", precision="fp32", threads=1)
ODD = "a<script>alert(1)<!--&amp;\"'> b"
"""A name that ends whatever it is put into, unless it is escaped."""


class Page(HTMLParser):
    """Everything of a page that a test asks for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.content = content
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data
        if ("td" in self.open or "th" in self.open) and "small" not in self.open:
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def row(self, title: str, number: int = 0) -> list[str]:
        """Return the cells of a table's row, without its title."""
        found = [row for row in self.rows if row and row[0].strip() == title]
        return [cell.strip() for cell in found[number][1:]]

    @property
    def meta(self) -> dict[str, str]:
        return {
            str(m.get("name") or m.get("http-equiv")): str(m.get("content"))
            for m in self.named("meta")
        }

    @property
    def missing(self) -> str:
        found = re.findall(r'<p class="missing">(.*?)</p>', self.content.decode())
        return html.unescape(" | ".join(found))

    @property
    def drawings(self) -> list[dict[str, Any]]:
        found = re.search(r'id="drawings">(.*?)</script>', self.content.decode())
        value: list[dict[str, Any]] = json.loads(found[1]) if found else []
        return value


@pytest.fixture(scope="module")
def run(stages: Any, trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run: three artifacts with all that training left, and an evaluation."""
    folder = tmp_path_factory.mktemp("report") / "bars"
    shutil.copytree(trained.folder, folder)
    stages.eval_nll(folder / "model.safetensors", out=folder / "eval.json", images=12)
    return folder


@pytest.fixture
def written(stages: Any, tmp_path: Path) -> Callable[..., Page]:
    """Write the report of runs and return its page."""

    def write(*paths: Path, name: str = "report.html", **more: Any) -> Page:
        out = tmp_path / name
        runtime = Runtime(device="cpu", precision="fp32", threads=1, **more)
        report(paths, root=stages.npz.parent, out=out, runtime=runtime)
        return Page(out.read_bytes())

    return write


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy the run to a folder of its own."""
    return lambda name: Path(shutil.copytree(run, tmp_path / "runs" / name))


def test_figures_are_those_of_the_files(run: Path, written: Callable[..., Page]) -> None:
    page = written(run)
    header = {
        kind: read_header(run / f"{kind}.safetensors") for kind in ("parse", "prior", "model")
    }
    result = json.loads((run / "eval.json").read_text())
    nll = f"{result['nll']:.2f} ± {result['nll_se']:.2f} nats"
    assert page.row("NLL of test images") == [nll]
    assert page.row("Test images") == ["12"]
    assert page.row("Nats of a drawing, validation") == [
        f"{header['prior'].metrics['validation_nats']:.2f} nats"
    ]
    assert page.row("Rate") == [f"{header['model'].metrics['rate']:.2f} nats"]
    assert page.row("Rate", 1) == [f"{result['rate']:.2f} nats"]
    painted = header["parse"].metrics["parts_painted_mean"]
    assert page.row("Parts painted an image") == [short(painted)]
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
    assert f"made from parse {header['parse'].digest[:8]}, as it is here" in text
    assert "as it is here" in text and "but here is" not in text
    assert page.missing == ""


def test_curves_have_the_points_of_the_logs(run: Path) -> None:
    runs = find_runs([run])
    drawing = str(curves(runs, 200)[1])
    records = [json.loads(line) for line in log_of(run, "model").read_text().splitlines()]
    titles = re.findall("<title>(.*?)</title>", drawing)
    expected = [f"step {r['step']:,}: {r['nll']:.6g} nats an image" for r in records]
    assert [t.partition(", 8 samples, ")[2] for t in titles if t.startswith("NLL")] == expected
    # The places of the dots go up with the values, and the step is linear from left to right.
    group = drawing.partition('<g class="line c0">')[2].partition("</g>")[0]
    x, y = (np.array(re.findall(f'{axis}="([0-9.]+)"', group), float) for axis in ("cx", "cy"))
    steps, values = (np.array([r[name] for r in records]) for name in ("step", "nll"))
    assert np.abs(np.interp(steps, steps[[0, -1]], x[[0, -1]]) - x).max() < 0.06
    assert (np.diff(y) * np.diff(values) <= 0).all()
    assert f'points="{x[0]},{y[0]} ' in group
    for name in ("training step", "nats an image", "-ELBO", "rate", "distortion"):
        assert name in drawing


def test_a_long_log_is_thinned_and_odd_values_are_drawn(copy: Callable[[str], Path]) -> None:
    run = copy("long")
    odd = [LARGEST * 2, SMALLEST / 2, -3, 10**400, "x", None, True, {}, math.nan]
    lines = [json.dumps({"step": n, "nll": 50 + n % 7}) for n in range(5000)]
    lines += [f'{{"step": {5000 + n}, "nll": {v}}}' for n, v in enumerate(map(json.dumps, odd))]
    log_of(run, "model").write_text("\n".join(lines))
    drawing = str(curves(find_runs([run]), 200)[1])
    steps = [int(s.replace(",", "")) for s in re.findall("samples, step ([0-9,]+):", drawing)]
    assert (len(steps), steps[0], steps[-1]) == (200, 0, 5002)
    assert "nan" not in drawing and "inf" not in drawing
    for values in ([0, 0], [5, 5], [1e-29, 1e29], [-1e29, 1e29], [-3, -2], [0.1, 1e5]):
        records = [json.dumps({"step": n, "nll": v}) for n, v in enumerate(values)]
        log_of(run, "model").write_text("\n".join(records))
        shown = [str(f) for f in curves(find_runs([run]), 200)]
        assert any("NLL" in f for f in shown) == any(values)
        assert not any(word in f for f in shown for word in ("nan", "inf"))


def log_of(run: Path, kind: str) -> Path:
    return run / f"{kind}.safetensors.run" / "metrics.jsonl"


def test_lines_of_a_log_that_are_none_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_log(path) == ([], 0)
    lines = ['{"step": 2, "nll": 1}', '{"step": 1, "nll": NaN, "a": 2}', "[1]", '{"step": "1"}']
    lines += ['{"step": -1}', '{"step": true}', '{"nll": 1}', "[" * 5000, '{"step": 2, "nll": 3}']
    path.write_text("\n".join([*lines, '{"step": 3, "nl']))
    assert read_log(path) == ([{"step": 1, "a": 2}, {"step": 2, "nll": 3}], 7)


def test_the_stepper_has_the_drawings_and_their_frames(
    run: Path, written: Callable[..., Page]
) -> None:
    page, model = written(run), open_model(run / "model.safetensors", RUNTIME)
    z = model.sample(SAMPLED)
    labels = [entry["label"] for entry in page.drawings]
    assert labels == [*(f"Sample {n}" for n in range(4)), "Test image 0", "Test image 1"]
    for number, entry in enumerate(page.drawings[:4]):
        found = from_json(entry["drawing"], model.bank, model.layout)
        assert fingerprint(found) == fingerprint(z[number : number + 1])
        canvases, images = rendered(model, prefixes(found)[0])
        for name, frames in (("canvas", canvases), ("image", images)):
            mosaic = entry[name]
            assert len(mosaic["at"]) == 1 + len(entry["drawing"]["strokes"])
            for frame, at in zip(frames, mosaic["at"], strict=True):
                assert np.array_equal(tile_of(mosaic, at), frame[0].numpy())


def tile_of(mosaic: dict[str, Any], at: int) -> Any:
    """Cut a frame out of a mosaic, as the script of the page does."""
    content = base64.b64decode(mosaic["src"].partition(",")[2])
    row, column = divmod(at, mosaic["columns"])
    height, width = mosaic["height"], mosaic["width"]
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)[
            row * height : (row + 1) * height, column * width : (column + 1) * width
        ]


def test_pictures_are_what_the_model_draws(stages: Any, run: Path) -> None:
    (read,) = find_runs([run])
    found = drawn(read, stages.npz.parent, RUNTIME)
    model = open_model(run / "model.safetensors", RUNTIME)
    z = model.sample(SAMPLED)
    canvases, images = rendered(model, z[:48])
    assert torch.equal(torch.stack(list(found.samples))[:, :, :, :8], canvases)
    assert torch.equal(torch.stack(list(found.samples))[:, :, :, 9:], images)
    with np.load(stages.npz) as arrays:
        x = model.preprocess(torch.tensor(arrays["test"][:1, None]))
    first = found.reconstructions[0]
    assert len(found.reconstructions) == IMAGES
    assert torch.equal(first.pixels[:, :, :8], (x[0] * 255).to(torch.uint8))
    own = model.encode(x)
    assert torch.equal(first.pixels[:, :, 18:26], rendered(model, own)[0][0])
    assert first.parts == int(own.whether.sum())
    assert first.error == float((model.paint(own)[:, :1] - x).square().mean())
    parse = read_artifact(run / "parse.safetensors", kind="parse")
    assert found.usage is not None and torch.equal(found.usage, parse.tensors["usage"])
    assert found.bank is not None
    assert torch.equal(found.bank, (parse.tensors["bank"] * 255 + 0.5).to(torch.uint8))


def test_the_bank_shows_usage_the_most_used_first(run: Path, written: Callable[..., Page]) -> None:
    usage = read_artifact(run / "parse.safetensors", kind="parse").tensors["usage"].tolist()
    text = written(run).content.decode()
    found = re.findall(r'title="Part (\d+), painted ([\d,]+) times: ([\d.]+) %"', text)
    order = sorted(range(8), key=lambda part: (-usage[part], part))
    assert [int(part) for part, _, _ in found] == order
    assert [int(count.replace(",", "")) for _, count, _ in found] == [usage[k] for k in order]
    for (_, _, share), part in zip(found, order, strict=True):
        assert float(share) == pytest.approx(100 * usage[part] / sum(usage), abs=0.006)


def test_nothing_is_asked_for_and_only_our_style_and_script_count(
    run: Path, written: Callable[..., Page]
) -> None:
    page = written(run)
    text = page.content.decode()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style"
            if name in ("src", "href", "srcset", "action", "data"):
                assert value is not None and value.startswith(("data:", "#"))
    policy = page.meta["Content-Security-Policy"]
    hashes = {
        tag: base64.b64encode(
            hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1].encode()).digest()  # type: ignore[index]
        ).decode()
        for tag in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert page.elements[1][0] == "head" and page.elements[3][1]["http-equiv"]  # before anything
    assert all(image.get("alt") is not None for image in page.named("img"))
    assert len(page.content) < MOST_BYTES


def test_names_and_values_are_escaped(
    copy: Callable[[str], Path], written: Callable[..., Page]
) -> None:
    run, other = copy(ODD), copy("b")
    evaluation = json.loads((run / "eval.json").read_text())
    evaluation |= {"estimator": ODD, "binarization": f"</script>{ODD}"}
    evaluation["settings"] |= {"precision": ODD, "data": ODD, "seed": {"x": ODD}}
    (run / "eval.json").write_text(json.dumps(evaluation))
    log_of(run, "prior").write_text(json.dumps({"step": ODD, ODD: 1}) + '\n{"step":1,"x":"<b>"}')
    (run / "model.safetensors").unlink()
    (run / "model.safetensors.run/config.json").write_text(
        json.dumps({"decoder": {ODD: ODD, "steps": [ODD, [ODD]]}, ODD: ODD, "source": "/secret"})
    )
    more = {"label", "h3", "h4", "thead", "tfoot"}  # of several runs, and of missing pieces
    plain = Page(written(other, name="plain.html").content)
    for page in (written(run), written(run, other)):
        text = page.content.decode()
        assert ODD not in text.replace("&#x27;", "'")  # nowhere as it is
        assert ODD in page.texts["title"][0] or ODD in "".join(page.texts["h1"])
        assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | more
        assert page.row("Estimator")[0] == ODD
        assert page.row(ODD)[0] == ODD
        assert text.count("<script") == 2 - (not page.drawings)
        assert "/secret" not in text
    assert '"a\\u003cscript' in page.content.decode() or ODD not in str(page.drawings)
    labels = [entry["label"] for entry in written(other, copy(f"x{ODD}")).drawings]
    assert f"x{ODD}: sample 0" in labels


def test_markup_escapes_all_that_is_no_markup() -> None:
    assert element("p", "<b>", title="\"'<&") == '<p title="&quot;&#x27;&lt;&amp;">&lt;b&gt;</p>'
    assert element("p", Html("<b>"), None, ["&", 1]) == "<p><b>&amp;1</p>"
    assert element("img", alt=None, hidden=True, open=False, class_="a", data_x=2) == (
        '<img hidden class="a" data-x="2">'
    )
    assert element("p", "a\ud800\x00\u202eb") == "<p>a\\ud800\\x00\\u202eb</p>"
    values = ["</script><!--", "&", "\u2028\ud800", 1.5]
    block = script_data("x", values)
    assert json.loads(block.partition(">")[2].rpartition("<")[0]) == values
    assert block.count("<") == 2 and block.isascii()
    with pytest.raises(ValueError):
        script_data("x", math.nan)


def test_several_runs_stand_side_by_side(
    stages: Any, run: Path, made: Any, written: Callable[..., Page], tmp_path: Path
) -> None:
    page = written(run, made.folder)
    (head,) = [row for row in page.rows if len(row) == 3 and "bars" in row[1]][:1]
    assert [cell.strip() for cell in head[1:]] == ["bars", made.folder.name]
    expected = [
        f"{read_header(path / 'prior.safetensors').metrics['validation_nats']:.2f} nats"
        for path in (run, made.folder)
    ]
    assert page.row("Nats of a drawing, validation") == expected
    assert page.row("NLL of test images")[1] == "-"
    text = page.content.decode()
    for setting, differs in (("part_size", False), ("steps", True), ("learning_rate", True)):
        row = re.search(rf'<tr( class="differs")?><th scope="row">{setting}<', text)
        assert row is not None and bool(row[1]) is differs
    assert "only the 5 that differ" in text  # steps and rates of both, and that of the encoder
    # One plot for each quantity, with a line for each run.
    drawing = str(curves(find_runs([run, made.folder]), 200)[0])
    assert drawing.count("<polyline") == 2 and "Prior: validation" in drawing
    assert f"{made.folder.name} <b>" in drawing
    # The least is marked where both have the same images.
    marked = re.findall(r'Nats of a drawing, validation</th><td class="best">([\d.]+) nats', text)
    assert marked == [expected[0].split()[0]]


def test_runs_have_names_that_differ_and_tell_no_place(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    a, b, c = copy("x/run"), copy("y/run"), copy("z")
    assert [r.name for r in find_runs([a, b, c, a])] == ["x/run", "y/run", "z"]
    assert [r.name for r in find_runs([a / "model.safetensors", c])] == ["run", "z"]
    model = shutil.copy(c / "model.safetensors", tmp_path / "mine.safetensors")
    assert [r.name for r in find_runs([Path(model)])] == ["mine"]
    with pytest.raises(UsageError, match="9 runs side by side; 8 are the most"):
        find_runs([copy(f"n{number}") for number in range(9)])


def test_a_model_alone_and_what_belongs_to_it(
    run: Path,
    stages: Any,
    copy: Callable[[str], Path],
    written: Callable[..., Page],
    tmp_path: Path,
) -> None:
    alone = tmp_path / "alone" / "mine.safetensors"
    alone.parent.mkdir()
    shutil.copy(run / "model.safetensors", alone)
    page = written(alone)
    assert "mine: no log of the training of the prior and the model." in page.missing
    assert "the test images (npz) are not here" in page.missing
    runtime = Runtime(device="cpu", precision="fp32", threads=1)
    told = report([alone], root=tmp_path, out=tmp_path / "told.html", runtime=runtime)
    assert "bank" not in told["missing"]["mine"]  # the model has it
    assert [entry["label"] for entry in page.drawings] == [f"Sample {n}" for n in range(4)]
    assert f"of {SAMPLED} samples" in page.content.decode()
    # Beside its parse, prior and evaluation it is the run; beside those of another it is alone.
    whole = copy("whole")
    assert written(whole / "model.safetensors").content == written(whole).content
    (other,) = find_runs([whole / "model.safetensors"])
    assert other.evaluation and other.pieces["parse"].header
    changed = copy("changed")
    artifact = read_artifact(changed / "parse.safetensors", kind="parse")
    header = artifact.header
    write_artifact(
        changed / "parse.safetensors", "parse", artifact.tensors,
        run_key=RunKey(header.config, header.dataset, {}, header.seed + 1), metrics=header.metrics,
    )  # fmt: skip
    (found,) = find_runs([changed / "model.safetensors"])
    assert found.pieces["parse"].problem == "not with the model"
    assert "but here is" in written(changed).content.decode()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 20])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda r: (r / "prior.safetensors").unlink(), "not finished yet"),
        (lambda r: damage(r / "prior.safetensors"), "prior.safetensors is damaged"),
        (lambda r: damage(r / "model.safetensors"), "model.safetensors is damaged"),
        (lambda r: damage(r / "parse.safetensors"), "parse.safetensors is damaged"),
        (lambda r: (r / "parse.safetensors").unlink(), "missing"),
        (lambda r: (r / "eval.json").unlink(), "not evaluated yet"),
        (lambda r: (r / "eval.json").write_text('{"nll": 3'), "eval.json is damaged"),
        (lambda r: (r / "eval.json").write_text('{"nll": [], "settings": {}}'), "is damaged"),
        (lambda r: log_of(r, "model").unlink(), "no log of the training of the model"),
        (lambda r: damage(log_of(r, "model")), "log of the model that cannot be read: 1"),
        (lambda r: shutil.rmtree(log_of(r, "prior").parent), "No sheets of the prior"),
        (lambda r: damage(sorted(log_of(r, "prior").parent.glob("*.png"))[0]), "sheet is damaged"),
    ],
)
def test_what_is_missing_or_damaged_is_told(
    harm: Callable[[Path], Any], words: str, copy: Callable[[str], Path],
    written: Callable[..., Page], tmp_path: Path,
) -> None:  # fmt: skip
    run = copy("hurt")
    harm(run)
    page = written(run)
    told = page.missing + " ".join(cell for row in page.rows for cell in row)
    assert words in told + page.content.decode()
    assert str(tmp_path) not in page.content.decode()
    assert "</html>" in page.content.decode()


def test_every_piece_of_a_run_may_be_missing(
    copy: Callable[[str], Path], written: Callable[..., Page]
) -> None:
    run = copy("poor")
    for path in sorted(run.iterdir()):
        if path.name != "model.safetensors.run":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = written(run)  # a training that has begun
    assert "No model to draw with: not finished yet." in page.missing
    assert page.drawings == []
    assert "step" in page.texts["figcaption"][-1]
    assert page.row("wake")  # its settings are known
    shutil.rmtree(run / "model.safetensors.run")
    with pytest.raises(ArtifactError) as caught:
        find_runs([run])
    named = "parse.safetensors, prior.safetensors, model.safetensors, eval.json"
    assert caught.value.message == f"{run} is no run: it has none of {named}"
    (run / "eval.json").mkdir()
    assert "eval.json is damaged" in written(run).content.decode()
    for wrong in (run / "none", run / "none.safetensors"):
        with pytest.raises(ArtifactError, match="neither a folder with any of"):
            find_runs([wrong])
    hurt = copy("hurt") / "model.safetensors"
    damage(hurt)
    with pytest.raises(ArtifactError, match="is damaged"):
        find_runs([hurt])
    with pytest.raises(ArtifactError, match="prior"):
        find_runs([hurt.with_name("prior.safetensors")])


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(
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


def test_a_report_is_up_to_date_or_replaced_but_no_other_file_is(
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
    for other in (b"", b"<!doctype html>", content.replace(b"Figures", b"figures"), content + b" "):
        out.write_bytes(other)
        with pytest.raises(UsageError, match="is not a report as npdraw wrote it"):
            make(run, out)
        assert out.read_bytes() == other
    make(run, out, force=True)
    assert out.read_bytes() == content
    for wrong in (tmp_path / "x.png", tmp_path / "deep", run / "model.safetensors"):
        with pytest.raises(UsageError):
            make(run, wrong)


def test_less_is_shown_rather_than_too_much(
    stages: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = find_runs([run])
    found = [drawn(runs[0], stages.npz.parent, RUNTIME)]
    amount, sizes = amount_of(1), []
    while amount != amount.less():
        sizes.append(len(compose(runs, found, amount)))
        amount = amount.less()
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]
    assert all(value > 0 for value in vars(amount).values())
    monkeypatch.setattr("npdraw.report.MOST_BYTES", sizes[1])
    out = tmp_path / "x.html"
    assert report([run], root=stages.npz.parent, out=out, runtime=RUNTIME)["bytes"] < sizes[1]
    assert spread(list(range(20)), 4) == [0, 6, 12, 19]
    assert spread([3, 5], 4) == [3, 5] and spread([3, 5], 1) == [5]


def test_frames_that_take_too_much_are_left_out_but_strokes_never(
    stages: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = find_runs([run])
    found = [drawn(runs[0], stages.npz.parent, RUNTIME)]
    page = Page(compose(runs, found, Amount(strip=1)))
    for entry in page.drawings:
        at = entry["image"]["at"]
        assert len(at) == 1 + len(entry["drawing"]["strokes"])
        assert at == sorted(at) and at[-1] <= 1


def test_sheets_that_are_no_pictures_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "samples-000000.png"
    assert read_sheet(path) is None
    path.write_bytes(b"\x89PNG\r\n\x1a\n<script>")
    assert read_sheet(path) is None
    Image.new("L", (8193, 1)).save(path)
    assert read_sheet(path) is None
    Image.new("L", (64, 64)).save(path)
    assert read_sheet(path) == path.read_bytes()
    assert read_sheet(path, 10) is None


def test_a_report_in_colour(stages: Any, tmp_path: Path, written: Callable[..., Page]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (84, 2, 2, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    settings = {"image_size": 16, "channels": 3, "binarize": False, "canvas_size": 8,
                "jitter": 1, "compositing": "over"}  # fmt: skip
    colour = stages.configured(parse=settings).from_images(
        tmp_path / "colour.npz", images[:60], images[60:]
    )
    colour.run(tmp_path / "colour", samples=2, images=4)
    page, model = (
        written(tmp_path / "colour"),
        open_model(tmp_path / "colour/model.safetensors", RUNTIME),
    )
    assert page.missing == ""
    entry = page.drawings[0]
    assert entry["drawing"]["canvas"] == [8, 8]
    assert (entry["canvas"]["height"], entry["image"]["height"]) == (8, 16)
    found = from_json(entry["drawing"], model.bank, model.layout)
    painted = model.paint(found)[0, :3].permute(1, 2, 0)
    shown = tile_of(entry["canvas"], entry["canvas"]["at"][-1])
    assert np.abs(shown / 255 - painted.numpy()).max() <= 0.5 / 255 + 1e-6
    assert "16 x 16 pixels, colour" in page.content.decode()
