"""Fitting and printing in the benchmarks; the numbers they measure are not tested."""

import json

import numpy as np
import pytest

from benchmarks import axes, timing
from benchmarks.fit import Fit, fit
from benchmarks.scaling import table
from benchmarks.studies import canvas_curve

SIZES = (16, 36, 64, 144)


def test_a_power_law_is_recovered() -> None:
    law = fit(SIZES, [0.02 * x**1.7 for x in SIZES])
    assert (law.constant, law.factor, law.exponent) == pytest.approx((0, 0.02, 1.7))
    assert law.residual < 1e-9
    assert law(100) == pytest.approx(0.02 * 100**1.7)
    assert str(law) == "0.02 x^1.70"


def test_an_affine_law_is_recovered() -> None:
    law = fit(SIZES, [150 + 2.5 * x for x in SIZES])
    assert (law.constant, law.factor, law.exponent) == pytest.approx((150, 2.5, 1))
    assert law.residual < 1e-9
    assert law(100) == pytest.approx(400)
    assert str(law) == "150 + 2.5 x"


def test_a_constant_and_a_square_are_recovered() -> None:
    law = fit((24, 48, 72, 96), [0.4 + 1e-3 * x**2 for x in (24, 48, 72, 96)])
    assert (law.constant, law.factor, law.exponent) == pytest.approx((0.4, 1e-3, 2))
    assert law.residual < 1e-9
    assert str(law) == "0.4 + 0.001 x^2"


def test_an_affine_law_never_has_a_negative_constant() -> None:
    assert fit((1, 2, 3), (0.5, 2.5, 4.5)).constant >= 0  # exactly -1.5 + 2 x


def test_the_residual_is_the_largest_relative_one() -> None:
    law = fit((1, 10, 100), (1, 10 * 1.1, 100))
    fitted = [law(x) for x in (1, 10, 100)]
    errors = [abs(y / f - 1) for y, f in zip((1, 11, 100), fitted, strict=True)]
    assert law.residual == pytest.approx(max(errors))


def test_a_cost_that_does_not_grow_has_no_law() -> None:
    assert str(fit(SIZES, (7, 7, 7, 7))) == "none"
    assert str(Fit(0.0, 7.0, 0.01, 0.0)) == "none"


@pytest.mark.parametrize(("sizes", "costs"), [((1, 2), (1, 2)), ((1, 2, 3), (0, 1, 2))])
def test_too_few_sizes_and_zero_costs_are_refused(sizes: list[int], costs: list[int]) -> None:
    with pytest.raises(ValueError, match="three or more, above 0"):
        fit(sizes, costs)


def test_a_line_of_the_speed_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "seconds", lambda work: 0.5)
    timing.measure("nothing", 100, lambda: None, ceiling=10.0, reference=("less", 50.0))
    assert json.loads(capsys.readouterr().out) == {
        "name": "nothing",
        "value": 200.0,
        "unit": "images/s",
        "share": None,
        "ratio": 4.0,
        "reference": "less",
    }


def test_every_axis_has_settings_and_three_sizes() -> None:
    for axis in axes.AXES:
        assert len(axis.sizes) >= 3
        configs = [axes.config_at(axis.name, size) for size in axis.sizes]
        if axis.name not in ("N", "S"):
            assert len(set(map(str, configs))) == len(axis.sizes), axis.name
        if axis.name == "T":
            steps = [(-(-c.parse.image_size // c.parse.stride)) ** 2 for c in configs]
            assert steps == list(axis.sizes)


def test_a_table_shows_figures_laws_and_shares() -> None:
    axis = axes.Axis("S", "samples", (10, 20, 40), ("eval_nll",))
    lines = [
        {
            "axis": "S",
            "size": size,
            "stage": "eval_nll",
            "seconds": size / 1000,
            "per": "image",
            "memory_mb": 150.0,
            "flops": size * 10**6,
        }
        for size in axis.sizes
    ]
    shown = table(axis, lines, {"fp32_gflops": 1.0, "low_gflops": 2.0}).splitlines()
    assert shown[0] == "| stage |  | S = 10 | S = 20 | S = 40 | growth | off by |"
    assert shown[2] == "| eval_nll | ms per image | 10 | 20 | 40 | 1 x^1.00 | 0% |"
    assert shown[5] == "| eval_nll | share of ceiling | 0.50 | 0.50 | 0.50 |  |  |"


def test_ticks_are_multiples_around_the_values() -> None:
    assert canvas_curve.ticks([0.026, 0.0291], 0.005) == pytest.approx([0.025, 0.03])
    assert canvas_curve.ticks([81.2, 82.4], 0.5) == [81.0, 81.5, 82.0, 82.5]


def test_the_curve_has_a_dot_at_each_point() -> None:
    points = [("0", 0.03, 81.0), ("2", 0.025, 82.0)]
    picture = canvas_curve.draw(points)
    red = np.argwhere((np.asarray(picture) == canvas_curve.DOT).all(2))
    (top, left), (bottom, right) = red.min(0), red.max(0)
    assert picture.getpixel((left + 5, top + 5)) == canvas_curve.DOT  # 2: faithful, 82 nats
    assert picture.getpixel((right - 5, bottom - 5)) == canvas_curve.DOT  # 0
    assert picture.getpixel((right - 5, top + 5)) != canvas_curve.DOT
