"""The grid of cells, its frame, placements and neighbours."""

from dataclasses import replace
from math import ceil, floor

import pytest
import torch

from npdraw.model.layout import Layout, neighbours, reverse_neighbours

LAYOUTS = [
    Layout(28, 28, 5, 5),  # the published grid
    Layout(28, 28, 5, 5, 3),
    Layout(4, 4, 2, 2),
    Layout(7, 5, 4, 2),
    Layout(9, 8, 3, 3, 2),
    Layout(3, 10, 4, 3),  # one row
    Layout(3, 3, 4, 3),  # one cell
    Layout(5, 6, 2, 2, 3),
    Layout(6, 7, 1, 1),
]


@pytest.fixture(params=LAYOUTS, ids=lambda x: f"{x.height}x{x.width} {x.part_size}/{x.stride}")
def layout(request):
    return request.param


def slow_positions(layout):
    """docs/model.md, section 1, word by word."""
    anchors = []
    for side in (layout.height, layout.width):
        n = ceil(side / layout.stride)
        span = (n - 1) * layout.stride + layout.part_size + layout.jitter - 1
        first = -floor((span - side) / 2)
        anchors.append([first + i * layout.stride for i in range(n)])
    return torch.tensor(
        [
            [[y + dy, x + dx] for dy in range(layout.jitter) for dx in range(layout.jitter)]
            for y in anchors[0]
            for x in anchors[1]
        ]
    )


def pixels_of(layout, step, place):
    """The pixels (row, column) of a placement, inside the image or not, in raster order."""
    top, left = slow_positions(layout)[step, place].tolist()
    side = range(layout.part_size)
    return [(top + dy, left + dx) for dy in side for dx in side]


def test_the_published_grid():
    layout = LAYOUTS[0]
    assert (layout.steps, layout.placements, layout.frame) == (36, 1, (30, 30))
    assert layout.positions[:7, 0].tolist() == [[-1, x] for x in range(-1, 28, 5)] + [[4, -1]]


def test_positions_are_those_of_the_definition(layout):
    expected = slow_positions(layout)
    assert torch.equal(layout.positions, expected)
    assert (layout.steps, layout.placements) == expected.shape[:2]


def test_every_pixel_of_the_image_can_be_painted(layout):
    reached = {
        pixel
        for step in range(layout.steps)
        for place in range(layout.placements)
        for pixel in pixels_of(layout, step, place)
    }
    assert reached >= {(y, x) for y in range(layout.height) for x in range(layout.width)}
    rows, columns = zip(*reached, strict=True)
    extent = max(rows) - min(rows) + 1, max(columns) - min(columns) + 1
    assert layout.frame == extent  # the frame holds all placements and nothing more
    assert layout.origin == (-min(rows), -min(columns))


def test_patches_are_the_pixels_under_the_placements(layout):
    images = torch.rand(2, 3, layout.height, layout.width)
    patches = layout.patches(images)
    for step in range(0, layout.steps, max(1, layout.steps // 7)):
        for place in range(layout.placements):
            within = torch.tensor(
                [
                    0 <= y < layout.height and 0 <= x < layout.width
                    for y, x in pixels_of(layout, step, place)
                ]
            )
            expected = torch.zeros(2, 3, len(within))
            for i, (y, x) in enumerate(pixels_of(layout, step, place)):
                if within[i]:
                    expected[:, :, i] = images[:, :, y, x]
            assert torch.equal(patches[:, step, place], expected.flatten(1))
            assert torch.equal(layout.inside[step, place], within.float())


def test_the_frame_keeps_the_image_and_adds_zeros(layout):
    images = torch.rand(2, 1, layout.height, layout.width)
    framed = layout.to_frame(images)
    assert framed.shape[2:] == layout.frame
    assert torch.equal(layout.crop(framed), images)
    layout.crop(framed).zero_()
    assert not framed.any()


def test_overlapping_says_whether_two_steps_can_share_a_pixel(layout):
    reach = [
        {pixel for place in range(layout.placements) for pixel in pixels_of(layout, step, place)}
        for step in range(layout.steps)
    ]
    share = any(reach[i] & reach[j] for i in range(layout.steps) for j in range(i))
    # A single cell overlaps nothing, but its window may be wider than the stride.
    assert layout.overlapping == share or layout.steps == 1


def test_a_device_keeps_its_copy(layout):
    device = torch.device("cpu")
    assert torch.equal(layout.pixels_on(device), layout.pixels)
    assert torch.equal(layout.inside_on(device), layout.inside)
    assert replace(layout).pixels_on(device) is layout.pixels_on(device)  # an equal layout's


@pytest.mark.parametrize(
    "layout", [Layout(6, 8, 2, 2), Layout(2, 8, 2, 2), Layout(8, 2, 2, 2)], ids=repr
)
def test_neighbours_are_the_four_cells_drawn_before_around_a_cell(layout):
    source = neighbours(layout)
    for t in range(layout.steps):
        row, column = divmod(t, layout.columns)
        expected = [t - 1 if t else None]  # left, or the end of the row above
        for above in (column, column - 1, column + 1):
            inside = row > 0 and 0 <= above < layout.columns
            expected.append((row - 1) * layout.columns + above if inside else None)
        assert source[t].tolist() == [0 if step is None else step + 1 for step in expected]
    reverse = reverse_neighbours(source)
    for t in range(layout.steps):
        for side in range(4):
            seen = [u for u in range(layout.steps) if source[u, side] == t + 1]
            assert [int(reverse[t, side])] == (seen or [-1])


@pytest.mark.parametrize(
    "layout", [Layout(8, 8, 4, 4, finer=(2,)), Layout(5, 6, 4, 4, finer=(3, 2))], ids=repr
)
def test_the_steps_of_further_grids_follow(layout):
    grids = [Layout(layout.height, layout.width, side, side) for side in (4, *layout.finer)]
    assert list(layout.grids) == grids
    assert layout.steps == sum(grid.steps for grid in grids)
    assert torch.equal(layout.positions, torch.cat([slow_positions(grid) for grid in grids]))
    source, first = neighbours(layout), 0
    for number, (grid, span) in enumerate(zip(grids, layout.spans, strict=True)):
        assert (span.start, span.stop) == (first, first + grid.steps)
        assert (layout.layer_of[span] == number).all()
        assert (layout.sides[span] == grid.part_size).all()
        inner = neighbours(grid)  # of the same grid, 0 for none
        assert torch.equal(source[span], torch.where(inner > 0, inner + first, 0))
        first = span.stop
    reverse = reverse_neighbours(source)
    for t, side in (source > 0).nonzero().tolist():
        assert reverse[source[t, side] - 1, side] == t
    assert replace(layout, finer=()).grids == (grids[0],)
