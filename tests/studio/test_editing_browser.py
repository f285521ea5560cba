"""Editing in a real browser: what a user does, and which pictures the page then shows.

After each action the pictures on the page are compared, to the last pixel, with those that the
Python API makes of the drawing that the page saves.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch

from npdraw.drawings.frames import prefixes
from npdraw.drawings.strokes import fingerprint
from tests.browsing import missing
from tests.studio.serving import expected_pictures
from tests.studio.visitor import Visitor, put, without

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is installed"),
]


def test_parts_are_placed_moved_and_removed_and_everything_is_undone(visitor: Visitor) -> None:
    first = visitor.model.sample(1, 0)
    visitor.check(first)
    visitor.drag_part(5, 3, 2)
    visitor.says("Part 5 placed at row 2, column 2. Decoded in")
    placed = put(first, 3, 2, 5)
    visitor.check(placed)
    visitor.drag(visitor.middle(3, 2), visitor.middle(0, 1))
    visitor.says("Part 5 moved to row 1, column 1. Decoded in")
    moved = put(without(placed, 3), 0, 1, 5)
    visitor.check(moved)
    visitor.drag(visitor.middle(0, 1), visitor.point("#a", 4, -9))
    visitor.says("Part 5 removed. Decoded in")
    removed = without(moved, 0)
    visitor.check(removed)
    images = [expected_pictures(visitor.model, z)["image"] for z in (first, placed, moved, removed)]
    assert all(not np.array_equal(a, b) for a, b in pairwise(images))
    for z in (moved, placed, first):
        visitor.page.keyboard.press("Control+z")
        visitor.says("Undone")
        visitor.settled()
        visitor.check(z)
    assert visitor.page.is_disabled("#undo")
    for z in (placed, moved):
        visitor.page.click("#redo")
        visitor.says("Redone")
        visitor.settled()
        visitor.check(z)
    visitor.drag_part(7, 2, 0)  # a new edit discards what was undone
    visitor.says("Part 7 placed")
    assert visitor.page.is_disabled("#redo")


def test_a_region_of_b_is_painted_onto_a(visitor: Visitor) -> None:
    a, b = visitor.model.sample(1, 0), visitor.model.sample(1, 1)
    assert np.array_equal(visitor.shown("b-canvas"), expected_pictures(visitor.model, b)["canvas"])
    visitor.drag(visitor.point("#b", 1, 1), visitor.point("#b", 2, 7))  # the upper two cells
    visitor.says("2 cells of B painted onto A")
    painted = a.with_cells(torch.tensor([True, True, False, False]), b)
    visitor.check(painted)
    visitor.page.mouse.click(*visitor.point("#b", 6, 6))
    visitor.says("1 cell of B painted onto A")
    painted = painted.with_cells(torch.tensor([False, False, False, True]), b)
    visitor.check(painted)
    visitor.page.focus("#b [aria-current]")
    visitor.page.keyboard.press("Home")  # to the start of the row where the pointer was
    visitor.page.keyboard.press("Shift+ArrowRight")
    visitor.page.keyboard.press("Enter")
    visitor.says("2 cells of B painted onto A")
    visitor.check(b)


def test_locked_cells_are_kept_when_resampling(visitor: Visitor) -> None:
    first = put(visitor.model.sample(1, 0), 1, 0, 4)
    visitor.drag_part(4, 1, 0)
    visitor.says("Part 4 placed")
    assert visitor.page.text_content("#lock") == "Lock"
    visitor.page.click("#lock")
    visitor.says("Locked row 1, column 2")
    z, changed = first, 0
    for seed in range(4):
        visitor.page.click("#resample")
        visitor.says(f"Resampled with seed {seed}, 1 cell kept")
        before, z = z, visitor.model.complete(z, torch.tensor([False, True, False, False]), 1, seed)
        visitor.check(z)
        assert (int(z.where[0, 1]), int(z.what[0, 1])) == (0, 4)
        changed += fingerprint(z) != fingerprint(before)
    assert changed > 1
    visitor.page.click("#lock-all")
    visitor.page.focus("#a [aria-current]")
    visitor.page.keyboard.press("r")
    visitor.says("Resampled with seed 4")
    kept = visitor.drawing
    for name in ("whether", "where", "what"):
        old, new = getattr(z, name), getattr(kept, name)
        assert torch.equal(old[z.whether], new[z.whether])


def test_stepping_and_playing_stroke_by_stroke(visitor: Visitor) -> None:
    z = visitor.model.sample(1, 0)
    steps, count = prefixes(z)[0], int(z.whether.sum())
    assert count > 1
    for shown in range(count - 1, -1, -1):
        visitor.page.click("#earlier")
        visitor.at(shown)
        visitor.settled()
        expected = expected_pictures(visitor.model, steps[shown : shown + 1])
        for name, picture in expected.items():
            assert np.array_equal(visitor.shown(name), picture)
        assert visitor.page.text_content("#strokes") == f"{shown} of {count}"
    visitor.page.click("#play")
    visitor.at(count)
    visitor.settled()
    visitor.check(z)


def test_everything_works_with_the_keyboard(visitor: Visitor) -> None:
    press = visitor.page.keyboard.press
    visitor.page.focus("#bank [data-part='0']")
    press("ArrowRight")
    press("ArrowRight")
    press("Enter")
    visitor.says("Part 2 picked up")
    assert visitor.page.evaluate("document.activeElement.dataset.step") == "0"
    press("ArrowRight")
    press("ArrowDown")
    press("Enter")
    visitor.says("Part 2 placed at row 2, column 2")
    drawing = visitor.drawing
    assert int(drawing.what[0, 3]) == 2
    press("Escape")
    visitor.says("Part put down")
    visitor.page.focus("#a [aria-current]")
    press("Enter")
    visitor.says("Stroke picked up")
    press("ArrowUp")
    press("Enter")
    visitor.says("Part 2 moved to row 1, column 2")
    moved = put(without(drawing, 3), 1, int(drawing.where[0, 3]), 2)
    visitor.check(moved)
    visitor.page.focus("#a [aria-current]")
    press("l")
    visitor.says("Locked row 1, column 2")
    press("Delete")
    visitor.says("Part 2 removed")
    visitor.check(without(moved, 1))
    press("Control+z")
    visitor.says("Undone: part 2 removed")
    visitor.settled()
    visitor.check(moved)
    label = visitor.page.get_attribute("#a [data-step='1']", "aria-label")
    assert label == "row 1, column 2: part 2, locked"
    press("?")
    assert visitor.page.is_visible("#help")
    press("Escape")
    assert visitor.page.is_hidden("#help")
