"""What a training shows in TensorBoard, as its own reader returns it."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from npdraw.runtime.board import Board
from tests.boards import pixels, seconds_apart, shown


def test_files_hold_what_a_call_adds_when_it_returns(tmp_path: Path) -> None:
    sheet = torch.randint(256, (3, 12, 20), dtype=torch.uint8)
    with closing(Board(tmp_path / "there", step=0)) as board:
        board.curves(0, {"nats": 1.5, "seconds": 0.1})
        assert shown(tmp_path / "there").curves() == [
            {"step": 0, "nats": 1.5, "seconds": float(np.float32(0.1))}
        ]
        board.samples(4, sheet, [[1, 0, 2]])
        found = shown(tmp_path / "there")
        ((step, content),) = found.sheets()
        assert step == 4
        assert (pixels(content) == sheet.permute(1, 2, 0).numpy()).all()


def test_parts_have_a_bucket_each(tmp_path: Path) -> None:
    sheet = torch.zeros(1, 8, 8, dtype=torch.uint8)
    with closing(Board(tmp_path, step=0)) as board:
        board.samples(0, sheet, [[3, 0, 0, 5, 0]])
        board.samples(1, sheet, [[0, 0, 0, 0, 0]])
        board.samples(2, sheet, [[1, 2], [0, 7]])
    found = shown(tmp_path)
    assert found.usage() == [(0, [3, 0, 0, 5, 0]), (1, [0] * 5)]
    assert found.usage("parts_0") == [(2, [1, 2])]
    assert found.usage("parts_1") == [(2, [0, 7])]
    first = found.events.Histograms("parts")[0].histogram_value
    assert list(first.bucket_limit) == [1, 2, 3, 4, 5]
    assert (first.min, first.max, first.num, first.sum, first.sum_squares) == (0, 5, 8, 15, 45)


def test_a_board_that_is_opened_again_forgets_later_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds_apart(monkeypatch)

    def steps() -> list[float]:
        return [record["step"] for record in shown(tmp_path).curves()]

    with closing(Board(tmp_path, step=0)) as board:
        for step in (0, 10, 20, 30):
            board.curves(step, {"nats": 1.0})
    with closing(Board(tmp_path, step=20)) as board:
        assert steps() == [0, 10, 20]
        board.curves(30, {"nats": 2.0})
    assert steps() == [0, 10, 20, 30]
    with closing(Board(tmp_path, step=25)):
        assert steps() == [0, 10, 20]
    with closing(Board(tmp_path, step=0)) as board:  # step 0 is shown again
        assert steps() == []
        board.curves(0, {"nats": 3.0})
    assert shown(tmp_path).curves() == [{"step": 0, "nats": 3.0}]
