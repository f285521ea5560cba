"""The page itself: sections, style and script in one file that asks for nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from npdraw import __version__
from npdraw.report import tables
from npdraw.report.amount import Amount, spread
from npdraw.report.curves import curves, notes, without
from npdraw.report.drawn import Drawn
from npdraw.report.markup import Html, data_uri, element, joined, picture
from npdraw.report.provenance import provenance
from npdraw.report.runs import KINDS, Run, read_sheet
from npdraw.report.stepper import stepper

NAME = "npdraw-digest"
"""The meta element with the digest of the page, in which it counts as zeros."""


def compose(runs: Sequence[Run], drawn: Sequence[Drawn], amount: Amount) -> bytes:
    """Return the page of runs and what their models draw."""
    folder = Path(__file__).parent
    style, script = (
        Html((folder / f"page.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    title = " and ".join(run.name for run in runs) if len(runs) < 3 else f"{len(runs)} runs"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=Html(policy)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"npdraw {__version__}"),
        element("meta", name=NAME, content="0" * 64),
        element("title", f"{title} · npdraw report"),
        element("link", rel="icon", href="data:,"),
        element("style", style),
    )
    sections = [
        (
            "drawing",
            "Stroke by stroke",
            element("div", stepper(runs, drawn, amount), class_="split"),
        ),
        ("figures", "Figures", _figures(runs, drawn)),
        ("curves", "Training curves", _curves(runs, amount)),
        ("samples", "Samples", _samples(runs, drawn, amount)),
        ("reconstructions", "Reconstructions", _reconstructions(runs, drawn, amount)),
        ("parts", "Part bank", _banks(runs, drawn, amount)),
        ("progress", "While training", _sheets(runs, amount)),
        ("settings", "Settings", _settings(runs)),
        ("provenance", "Provenance", _each(runs, [provenance(run) for run in runs])),
    ]
    links = [element("li", element("a", name, href=f"#{key}")) for key, name, _ in sections]
    body = element(
        "body",
        element("a", "Skip to the contents", href="#contents", class_="skip"),
        _header(runs, drawn, title),
        element("nav", element("ul", links), aria_label="Sections"),
        element(
            "main",
            [
                element("section", element("h2", name), content, id=key, aria_label=name)
                for key, name, content in sections
            ],
            id="contents",
        ),
        element("footer", element("p", f"Made by npdraw {__version__}, from these runs alone.")),
        element("script", script),
    )
    whole = f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
    return whole.replace("0" * 64, digest(whole), 1).encode()


def digest(whole: str) -> str:
    """Return the SHA-256 of a page whose digest is zeros."""
    return hashlib.sha256(whole.encode()).hexdigest()


def is_ours(content: bytes) -> bool:
    """Whether a file is a page of npdraw's that nobody has changed."""
    text = content.decode("utf-8", "replace")
    _, mark, rest = text[:4096].partition(f'name="{NAME}" content="')
    return bool(mark) and digest(text.replace(rest[:64], "0" * 64, 1)) == rest[:64]


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _header(runs: Sequence[Run], drawn: Sequence[Drawn], title: str) -> Html:
    record = runs[0].dataset
    told = [element("p", "npdraw report", class_="kicker"), element("h1", title)]
    if len(runs) > 1:
        told.append(
            element("ul", [_key(n, run.name) for n, run in enumerate(runs)], class_="legend")
        )
        return element("header", told)
    shape = record.get("image_shape")
    if isinstance(shape, list) and len(shape) == 3:
        colours = "colour" if shape[0] == 3 else "binary" if record.get("binarized") else "grey"
        counts = f"{record.get('train', 0):,} training images"
        sides = f"{shape[1]} x {shape[2]} pixels"
        told.append(element("p", f"{record.get('name')}: {counts}, {sides}, {colours}"))
    tiles = [
        element("div", element("dt", name), element("dd", value))
        for name, value in _tiles(runs[0], drawn[0])
        if value != tables.ABSENT
    ]
    return element("header", told, element("dl", tiles, class_="tiles") if tiles else None)


def _tiles(run: Run, drawn: Drawn) -> list[tuple[str, str]]:
    """Return the figures that people look for first."""
    stage, split = ("evaluation", "test") if run.evaluation else ("model", "validation")
    nll, error = tables.figure_of(run, stage, "nll"), run.evaluation.get("nll_se")
    canvas = tables.figure_of(run, stage, "canvas_mse")
    painted = tables.figure_of(run, "parse", "parts_painted_mean")
    return [
        (f"NLL, {split}", tables.shown("nll", tables.NATS, nll, error)),
        (f"Canvas error, {split}", tables.shown("canvas_mse", "", canvas)),
        ("Parts painted an image", tables.shown("parts_painted_mean", "", painted)),
        ("Parameters", f"{drawn.parameters:,}" if drawn.parameters else tables.ABSENT),
    ]


def _key(number: int, name: str) -> Html:
    return element("li", element("span", class_=f"swatch c{number}"), name)


def _each(runs: Sequence[Run], contents: Sequence[object]) -> Html:
    """Return contents side by side, each below the name of its run if they are several."""
    if len(runs) == 1:
        return joined(contents[0])
    columns = [
        element(
            "div", element("h3", element("span", class_=f"swatch c{n}"), f" {run.name}"), content
        )
        for n, (run, content) in enumerate(zip(runs, contents, strict=True))
    ]
    return element("div", columns, class_="columns")


def _missing(*sentences: str) -> Html:
    return notes(sentences)


def _no_model(drawn: Drawn) -> Html:
    return _missing(f"No model to draw with: {drawn.problems['model']}.")


def _figures(runs: Sequence[Run], drawn: Sequence[Drawn]) -> Html:
    return joined(notes(tables.comparable(runs)), tables.figures(runs, drawn))


def _curves(runs: Sequence[Run], amount: Amount) -> Html:
    found = curves(runs, amount.points)
    told = element(
        "p",
        "Judged on images held out of training, but for the loss. Point at a dot for its value.",
        class_="note",
    )
    plots = (
        element("div", found, class_=f"plots{' few' if len(runs) == 1 else ''}")
        if found
        else _missing("No curves.")
    )
    return joined(told if found else None, plots, notes(without(runs)))


def _samples(runs: Sequence[Run], drawn: Sequence[Drawn], amount: Amount) -> Html:
    def shown(found: Drawn) -> Html:
        if not found.samples:
            return _no_model(found)
        pictures = [
            picture(pair, f"Sample {n}: canvas, then image")
            for n, pair in enumerate(found.samples[: amount.samples])
        ]
        return element("div", pictures, class_="pictures pairs")

    note = "Left of each pair the canvas, as painted part by part; right the decoded image."
    told = element("p", f"Drawn from the prior, seeds from 0. {note}", class_="note")
    return joined(told, _each(runs, [shown(found) for found in drawn]))


def _reconstructions(runs: Sequence[Run], drawn: Sequence[Drawn], amount: Amount) -> Html:
    def shown(found: Drawn) -> Html:
        if "model" in found.problems:
            return _no_model(found)
        if not found.reconstructions:
            return _missing(
                f"No reconstructions: {found.problems.get('images', 'no test images')}."
            )
        figures = []
        for one in found.reconstructions[: amount.images]:
            told = f"{one.parts} parts, canvas error {one.error:.4f}"
            alt = f"Test image {one.number}, its parse, the canvas of its drawing, decoded image"
            figures.append(element("figure", picture(one.pixels, alt), element("figcaption", told)))
        return element("div", figures, class_="pictures strips")

    told = (
        "Test image, canvas of the parse, canvas of the encoder's likeliest drawing, decoded image."
    )
    return joined(element("p", told, class_="note"), _each(runs, [shown(found) for found in drawn]))


def _banks(runs: Sequence[Run], drawn: Sequence[Drawn], amount: Amount) -> Html:
    def shown(found: Drawn) -> Html:
        bank, usage = found.bank, found.usage
        if bank is None or usage is None:
            return _missing(f"No part bank: {found.problems.get('bank', 'missing')}.")
        total, most = max(1, int(usage.sum())), max(1, int(usage.max()))
        order = sorted(range(len(bank)), key=lambda part: (-int(usage[part]), part))
        items = []
        for part in order[: amount.parts]:
            count = int(usage[part])
            share = f"{100 * count / total:.2f} %"
            bar = element("rect", width=f"{100 * count / most:.1f}", height=6)
            drawing = element(
                "svg", bar, viewBox="0 0 100 6", preserveAspectRatio="none", aria_hidden="true"
            )
            told = f"Part {part}, painted {count:,} times: {share}"
            label = element("small", share if count else "never", class_="" if count else "never")
            items.append(element("li", picture(bank[part], told), drawing, label, title=told))
        left = len(bank) - len(items)
        told = f"{len(bank)} parts, the most used first; counted in {total:,} strokes of "
        told += f"{found.used_in}."
        never = int((usage == 0).sum())
        told += f" Never used: {never}." if never else ""
        told += f" The {left} least used are not shown." if left else ""
        return joined(element("p", told, class_="note"), element("ol", items, class_="bank"))

    return _each(runs, [shown(found) for found in drawn])


def _sheets(runs: Sequence[Run], amount: Amount) -> Html:
    def shown(run: Run) -> Html:
        strips = []
        for kind in KINDS[1:]:
            sheets = run.pieces[kind].sheets
            figures = []
            for step in spread(list(sheets), amount.sheets):
                content = read_sheet(sheets[step], 2 * amount.strip)
                told = f"step {step:,}"
                shot = _missing("This sheet is damaged or too large.")
                if content is not None:
                    alt = f"Samples of the {kind} at {told}"
                    shot = element("img", src=data_uri(content), alt=alt)
                figures.append(element("figure", shot, element("figcaption", told)))
            title = "Prior: canvases" if kind == "prior" else "Model: decoded images"
            strips.append(element("h3" if len(runs) == 1 else "h4", title, class_="kind"))
            strip = element(
                "div", figures, class_="strip", tabindex=0, role="region", aria_label=title
            )
            strips.append(strip if figures else _missing(f"No sheets of the {kind}."))
        return joined(strips)

    return _each(runs, [shown(run) for run in runs])


def _settings(runs: Sequence[Run]) -> Html:
    table = tables.settings(runs)
    if len(runs) == 1:
        return table
    count = tables.differing(runs)
    box = element("input", type="checkbox", id="only")
    label = element("label", box, f" only the {count} that differ") if count else None
    told = None if count else element("p", "The runs have the same settings.", class_="note")
    return element("div", label, told, table, class_="filtered")
