"""Drawing with ink in a real browser: sizes, inks and contrasts, of new strokes and of old ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import npdraw
from npdraw.drawings.regions import Region, cells_in
from npdraw.pictures.ink import ink_colours
from tests.browsing import missing
from tests.drawings.inked import write_ink_model
from tests.studio.serving import expected_pictures, served
from tests.studio.visitor import WIDE, Visitor, put, without

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is installed"),
]


def size(painter: Visitor, name: str) -> None:
    painter.page.click(f"#sizes label:has-text('{name}')")


def ink(painter: Visitor, number: int) -> None:
    painter.page.click(f"#inks [data-ink='{number}']")


def contrast(painter: Visitor, number: int) -> None:
    painter.page.evaluate(
        """number => {
            const slider = document.getElementById("contrast");
            slider.value = number;
            slider.dispatchEvent(new Event("change"));
        }""",
        number,
    )


def chosen(painter: Visitor) -> tuple[str | None, str | None, str]:
    """Return the part, ink and contrast that the page shows as selected."""
    contrast = painter.page.locator("#contrast").input_value()
    return painter.chosen("part"), painter.chosen("ink"), contrast


def test_parts_are_first_shown_in_the_ink_nearest_to_middle_grey(painter: Visitor) -> None:
    for layer, name in enumerate(("large", "small")):
        size(painter, name)
        colours = ink_colours(painter.model.brush, layer).expand(-1, 3).double()
        nearest = (colours - 128).square().sum(1).argmin()
        assert painter.chosen("ink") == str(int(nearest))


def test_parts_are_painted_in_the_chosen_size_ink_and_contrast(painter: Visitor) -> None:
    z = painter.model.sample(1, 0)
    painter.check(z)
    ink(painter, 3)
    contrast(painter, 2)
    painter.drag_part(5, 3, 0)
    painter.says("Part 5 placed at row 2, column 2 (large). Decoded in")
    z = put(z, 3, 0, 5, ink=3, contrast=2)
    painter.check(z)
    size(painter, "small")
    assert chosen(painter) == (None, chosen(painter)[1], "1")  # each size has its own
    ink(painter, 1)
    contrast(painter, 0)
    painter.drag_part(2, 19, 0)
    painter.says("Part 2 placed at row 4, column 4 (small). Decoded in")
    z = put(z, 19, 0, 2, ink=1, contrast=0)
    painter.check(z)
    painter.page.keyboard.press("Escape")
    painter.page.click("#bank [data-part='4']")
    painter.says("Part 4 picked up")
    painter.page.mouse.click(*painter.middle(4, 0))
    painter.says("Part 4 placed at row 1, column 1 (small)")
    z = put(z, 4, 0, 4, ink=1, contrast=0)
    painter.check(z)


def test_a_selected_stroke_is_shown_and_changed(painter: Visitor) -> None:
    z = painter.model.sample(1, 0)
    step = int(z.whether[0, :4].nonzero()[0])
    stroke = z.stroke(0, step)
    painter.page.mouse.click(*painter.middle(step, 0))
    assert chosen(painter) == tuple(str(stroke[name]) for name in ("what", "ink", "contrast"))
    other = (stroke["ink"] + 1) % 4
    ink(painter, other)
    painter.says(f"changed to part {stroke['what']}, ink {other}, contrast {stroke['contrast']}")
    z = put(z, step, 0, stroke["what"], ink=other, contrast=stroke["contrast"])
    painter.check(z)
    strength = (stroke["contrast"] + 1) % 3
    contrast(painter, strength)
    painter.says(f"ink {other}, contrast {strength}")
    z = put(z, step, 0, stroke["what"], ink=other, contrast=strength)
    painter.check(z)
    part = (stroke["what"] + 1) % 6
    painter.page.click(f"#bank [data-part='{part}']")
    painter.says(f"changed to part {part}")
    before, z = z, put(z, step, 0, part, ink=other, contrast=strength)
    painter.check(z)
    painter.page.keyboard.press("Control+z")
    painter.says("Undone")
    painter.settled()
    painter.check(before)
    assert chosen(painter)[0] == str(stroke["what"])  # the palette follows
    painter.page.keyboard.press("Escape")
    assert chosen(painter)[0] is None
    ink(painter, (other + 1) % 4)  # now for new strokes: the drawing stays
    painter.check(before)


def test_strokes_move_within_their_layer(painter: Visitor) -> None:
    z = put(without(painter.model.sample(1, 0), 3), 0, 0, 1, ink=2, contrast=0)
    painter.page.mouse.click(*painter.middle(3, 0))
    painter.page.keyboard.press("Delete")
    ink(painter, 2)
    contrast(painter, 0)
    painter.drag_part(1, 0, 0)
    painter.says("Part 1 placed")
    painter.check(z)
    painter.drag(painter.middle(0, 0), painter.middle(3, 0))
    painter.says("Part 1 moved to row 2, column 2 (large)")
    z = put(without(z, 0), 3, 0, 1, ink=2, contrast=0)
    painter.check(z)
    size(painter, "small")
    step = int(z.whether[0, 4:].nonzero()[0]) + 4
    part = int(z.what[0, step])
    painter.drag(painter.middle(step, 0), painter.point("#a", 4, -9))
    painter.says(f"Part {part} removed")
    painter.check(without(z, step))
    assert painter.page.locator("#a [role=gridcell]:visible").count() == 16


def test_a_region_of_b_takes_the_cells_of_all_sizes_inside(painter: Visitor) -> None:
    a, b = painter.model.sample(1, 0), painter.model.sample(1, 1)
    painter.drag(painter.point("#b", 1, 1), painter.point("#b", 2, 7))  # the upper large cells
    painter.says("10 cells of B painted onto A")
    painted = a.with_cells(cells_in(Region(0, 4, 0, 8), painter.model), b)
    painter.check(painted)
    size(painter, "small")
    painter.drag(painter.point("#b", 5, 1), painter.point("#b", 7, 3))  # one large cell
    painter.says("5 cells of B painted onto A")
    painted = painted.with_cells(cells_in(Region(4, 8, 0, 4), painter.model), b)
    painter.check(painted)


def test_the_keyboard_draws_on_both_layers(painter: Visitor) -> None:
    press = painter.page.keyboard.press
    z = painter.model.sample(1, 0)
    painter.page.focus("#sizes input:checked")
    press("ArrowRight")  # to the small parts
    painter.page.focus("#inks [aria-selected=true]")
    press("End")
    press("Enter")
    number = int(painter.page.locator("#inks .ink").last.get_attribute("data-ink"))
    painter.page.focus("#contrast")
    press("Home")
    painter.page.focus("#bank [data-part='0']")
    press("ArrowRight")
    press("Enter")
    painter.says("Part 1 picked up")
    first = int(painter.page.evaluate("document.activeElement.dataset.step"))
    assert first >= 4
    press("ArrowDown")
    press("Enter")
    painter.says("Part 1 placed")
    step = int(painter.page.evaluate("document.activeElement.dataset.step"))
    assert step == first + 4
    z = put(z, step, 0, 1, ink=number, contrast=0)
    painter.check(z)
    painter.page.focus("#a [aria-current]")
    press("l")
    painter.says("Locked row 3, column 2 (small)")
    label = painter.page.get_attribute(f"#a [data-step='{step}']", "aria-label")
    assert label == f"row 3, column 2 (small): part 1, ink {number}, contrast 0, locked"
    press("r")
    painter.says("Resampled with seed 0, 1 cell kept")
    fixed = torch.arange(20) == step
    painter.check(painter.model.complete(z, fixed, 1, 0))


def test_the_stroke_painted_last_is_marked_on_its_layer(painter: Visitor) -> None:
    z = painter.model.sample(1, 0)
    steps = z.whether[0].nonzero().flatten().tolist()
    painter.page.click("#earlier")
    painter.at(len(steps) - 1)
    painter.settled()
    mark = painter.page.locator("#a .latest:visible")
    assert mark.get_attribute("data-step") == str(steps[-2])
    shown = expected_pictures(painter.model, without(z, steps[-1]))
    assert np.array_equal(painter.shown("canvas"), shown["canvas"])


def test_layers_of_one_size_are_numbered(browser: Any, tmp_path: Path) -> None:
    write_ink_model(tmp_path / "model.safetensors", finer=(2, 2))
    with served(npdraw.load(tmp_path / "model.safetensors"), tmp_path) as studio:
        painter = Visitor(studio, browser, WIDE)
        labels = painter.page.locator("#sizes label").all_inner_texts()
        assert [label.split() for label in labels] == [
            ["Large", "4", "px"],
            ["Small", "1", "2", "px"],
            ["Small", "2", "2", "px"],
        ]
        a, b = painter.model.sample(1, 0), painter.model.sample(1, 1)
        size(painter, "small 2")
        ink(painter, 2)
        contrast(painter, 1)
        painter.drag_part(3, 25, 0)
        painter.says("Part 3 placed at row 2, column 2 (small 2)")
        z = put(a, 25, 0, 3, ink=2, contrast=1)
        painter.check(z)
        painter.page.mouse.click(*painter.point("#b", 1, 1))
        painter.says("2 cells of B painted onto A")  # those of both small layers
        painter.check(z.with_cells(cells_in(Region(0, 2, 0, 2), painter.model), b))
        painter.leave()
