"""The log of a training: cut back on resume, and robust to torn lines."""

import json
from pathlib import Path

from npdraw.runtime.metrics_log import MetricsLog


def test_resuming_drops_later_records(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, step=0)
    for step in (0, 10, 20, 30):
        log.append(step, nats=step / 2)
    lines = path.read_text().splitlines(keepends=True)
    assert [json.loads(line)["step"] for line in lines] == [0, 10, 20, 30]
    assert json.loads(lines[2])["nats"] == 10.0

    for step, left in ((25, 3), (20, 3), (19, 2), (1, 1), (0, 0), (30, 4)):
        path.write_text("".join(lines))
        MetricsLog(path, step=step).append(99, nats=1.0)
        kept = path.read_text().splitlines(keepends=True)
        assert kept[:-1] == lines[:left]
        assert json.loads(kept[-1])["step"] == 99


def test_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = ['{"step": 0, "seconds": 1.0}\n', '{"step": 5, "seconds": 7.5}\n']
    path.write_text("".join(whole) + '{"step": 6, "sec')
    log = MetricsLog(path, step=10)
    assert path.read_text() == "".join(whole)
    assert 7.5 <= log.seconds < 8.5  # the time of the earlier process counts
    log.append(7)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 5, 7]
    assert json.loads(path.read_text().splitlines()[-1])["seconds"] >= 7.5


def test_a_new_log_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, step=0)
    assert path.read_text() == ""
    assert 0 <= log.seconds < 1
