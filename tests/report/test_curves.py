"""Training curves have the points of the logs, and invalid logs do no harm."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from npdraw.report.curves import LARGEST, SMALLEST, curves
from npdraw.report.render import render
from npdraw.report.runs import find_runs, read_log
from tests.report.pages import log_of


def plots(*runs: Path) -> list[str]:
    """Return the plots of the training curves of runs, as HTML."""
    read = find_runs(runs)
    section = render("curves.html", runs=[run.name for run in read], curves=curves(read, 200))
    return re.findall('<figure class="plot">.*?</figure>', section, re.DOTALL)


def test_curves_have_the_points_of_the_logs(run: Path) -> None:
    drawing = plots(run)[1]
    records = [json.loads(line) for line in log_of(run, "model").read_text().splitlines()]
    titles = re.findall("<title>(.*?)</title>", drawing)
    expected = [f"step {r['step']:,}: {r['nll']:.6g} nats per image" for r in records]
    assert [t.partition(", 8 samples, ")[2] for t in titles if t.startswith("NLL")] == expected
    # The places of the dots go up with the values, and the step is linear from left to right.
    group = drawing.partition('<g class="line c0">')[2].partition("</g>")[0]
    x, y = (np.array(re.findall(f'{axis}="([0-9.]+)"', group), float) for axis in ("cx", "cy"))
    steps, values = (np.array([r[name] for r in records]) for name in ("step", "nll"))
    assert np.abs(np.interp(steps, steps[[0, -1]], x[[0, -1]]) - x).max() < 0.06
    assert (np.diff(y) * np.diff(values) <= 0).all()
    assert f'points="{x[0]},{y[0]} ' in group
    for name in ("training step", "nats per image", "-ELBO", "rate", "distortion"):
        assert name in drawing


def test_a_long_log_is_thinned_and_extreme_values_are_drawn(copy: Callable[[str], Path]) -> None:
    run = copy("long")
    odd = [LARGEST * 2, SMALLEST / 2, -3, 10**400, "x", None, True, {}, math.nan]
    lines = [json.dumps({"step": n, "nll": 50 + n % 7}) for n in range(5000)]
    lines += [f'{{"step": {5000 + n}, "nll": {v}}}' for n, v in enumerate(map(json.dumps, odd))]
    log_of(run, "model").write_text("\n".join(lines))
    drawing = plots(run)[1]
    steps = [int(s.replace(",", "")) for s in re.findall("samples, step ([0-9,]+):", drawing)]
    assert (len(steps), steps[0], steps[-1]) == (200, 0, 5002)
    assert "nan" not in drawing and "inf" not in drawing
    for values in ([0, 0], [5, 5], [1e-29, 1e29], [-1e29, 1e29], [-3, -2], [0.1, 1e5]):
        records = [json.dumps({"step": n, "nll": v}) for n, v in enumerate(values)]
        log_of(run, "model").write_text("\n".join(records))
        shown = plots(run)
        assert any("NLL" in f for f in shown) == any(values)
        assert not any(word in f for f in shown for word in ("nan", "inf"))


def test_invalid_lines_of_a_log_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_log(path) == ([], 0)
    lines = ['{"step": 2, "nll": 1}', '{"step": 1, "nll": NaN, "a": 2}', "[1]", '{"step": "1"}']
    lines += ['{"step": -1}', '{"step": true}', '{"nll": 1}', "[" * 5000, '{"step": 2, "nll": 3}']
    path.write_text("\n".join([*lines, '{"step": 3, "nl']))
    assert read_log(path) == ([{"step": 1, "a": 2}, {"step": 2, "nll": 3}], 7)
