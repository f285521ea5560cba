"""Drawings to step through, stroke by stroke: their strokes as JSON, their frames as mosaics."""

from collections.abc import Sequence

import torch
from torch import Tensor

from npdraw.pictures.files import png
from npdraw.report.amount import Amount, spread
from npdraw.report.curves import notes
from npdraw.report.drawn import Drawn, Sketch
from npdraw.report.markup import Html, data_uri, element, joined, picture, script_data
from npdraw.report.runs import Run


def stepper(runs: Sequence[Run], drawn: Sequence[Drawn], amount: Amount) -> Html:
    """Return the drawings that can be stepped through, and what the script needs of them."""
    entries, buttons = [], []
    for number, (run, found) in enumerate(zip(runs, drawn, strict=True)):
        # Of each kind some: samples first, then test images.
        for sketch in [
            found.sketches[n] for n in spread(range(len(found.sketches)), amount.sketches)
        ]:
            label = sketch.label if len(runs) == 1 else f"{run.name}: {sketch.label.lower()}"
            entries.append({"label": label, **_frames(sketch, amount.strip)})
            face = picture(sketch.images[-1], "")
            swatch = element("span", class_=f"swatch c{number}") if len(runs) > 1 else None
            buttons.append(
                element(
                    "button",
                    face,
                    element("span", swatch, sketch.label),
                    type="button",
                    aria_pressed="false",
                    aria_label=label,
                    title=label,
                )
            )
    absent = [
        f"{run.name}: no model to draw with: {found.problems['model']}."
        for run, found in zip(runs, drawn, strict=True)
        if "model" in found.problems
    ]
    if not entries:
        return notes(absent)
    controls = [
        element("button", face, type="button", data_go=go, aria_label=told, title=told)
        for face, go, told in (
            (_arrow("M5 4v12 M16 4 8 10l8 6z"), "first", "Empty canvas (Home)"),
            (_arrow("M14 4 6 10l8 6z"), "back", "One stroke back (left arrow)"),
            ("Play", "play", "Play or pause (space)"),
            (_arrow("M6 4l8 6-8 6z"), "on", "Next stroke (right arrow)"),
            (_arrow("M4 4l8 6-8 6z M15 4v12"), "last", "Whole drawing (End)"),
        )
    ]
    stage = element(
        "div",
        element(
            "figure",
            element(
                "div",
                element("canvas", role="img", id="painted"),
                element("i", id="mark"),
                class_="frame",
            ),
            element("figcaption", "canvas"),
        ),
        element(
            "figure",
            element("div", element("canvas", role="img", id="decoded"), class_="frame"),
            element("figcaption", "decoded image"),
        ),
        class_="stage",
    )
    slider = element(
        "input",
        type="range",
        min=0,
        max=1,
        value=0,
        step=1,
        id="time",
        aria_label="Strokes painted",
    )
    choice = element("div", buttons, class_="faces", role="group", aria_label="Drawings")
    return joined(
        element(
            "div",
            stage,
            element("p", id="told", role="status", aria_live="polite"),
            slider,
            element("div", controls, class_="controls"),
            element("p", "Arrow keys step, Home and End jump, space plays.", class_="note"),
            class_="stepper",
            id="stepper",
            tabindex=0,
            role="group",
            aria_label="A drawing, stroke by stroke",
        ),
        choice,
        element("noscript", element("p", "Stepping through needs JavaScript.", class_="note")),
        notes(absent),
        script_data("drawings", entries),
    )


def _arrow(path: str) -> Html:
    drawing = element("path", d=path)
    return element("svg", drawing, viewBox="0 0 20 20", class_="arrow", aria_hidden="true")


def _frames(sketch: Sketch, most: int) -> dict[str, object]:
    """Return a drawing and its frames as the script takes them."""
    return {
        "drawing": sketch.drawing,
        "canvas": _mosaic(sketch.canvases, most),
        "image": _mosaic(sketch.images, most),
    }


def _mosaic(frames: Tensor, most: int) -> dict[str, object]:
    """Lay out frames [S + 1, C, H, W] as one picture, of at most so many bytes.

    `at` says for each of them which of the picture's tiles shows it: the last one before it that
    is there, if not all are.
    """
    every = 1
    while True:
        kept = sorted({*range(0, len(frames), every), len(frames) - 1})
        columns = max(1, round(len(kept) ** 0.5))
        content = png(_tiles_of(frames[kept], columns))
        if len(content) <= most or len(kept) <= 2:
            break
        every *= 2
    at, place = [], 0
    for number in range(len(frames)):
        while place + 1 < len(kept) and kept[place + 1] <= number:
            place += 1
        at.append(place)
    height, width = frames.shape[2:]
    return {
        "src": data_uri(content), "columns": columns, "height": height, "width": width, "at": at
    }  # fmt: skip


def _tiles_of(frames: Tensor, columns: int) -> Tensor:
    """Lay frames [N, C, H, W] out without anything between them: [C, rows * H, columns * W]."""
    count, channels, height, width = frames.shape
    rows = -(-count // columns)
    filled = torch.cat([frames, frames.new_zeros(rows * columns - count, channels, height, width)])
    grid = filled.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, rows * height, columns * width)
