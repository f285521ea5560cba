"""The study of agreement between prior and encoder: its arithmetic, on small examples."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.studies import agreement
from benchmarks.studies.agreement import compare, total_variation
from npdraw.model.latents import Latents, concatenate
from npdraw.model.layout import Layout

LAYOUT = Layout(height=8, width=12, part_size=4, stride=4)  # two rows of three cells


def drawing(cells: dict[int, int]) -> Latents:
    """Return a drawing with these parts in these cells."""
    whether, what = torch.zeros(1, 6, dtype=torch.bool), torch.zeros(1, 6, dtype=torch.int64)
    for cell, part in cells.items():
        whether[0, cell], what[0, cell] = True, part
    return Latents(whether, torch.zeros_like(what), what)


SAMPLED = concatenate([drawing({0: 1, 4: 2}), drawing({0: 1})])
ENCODED = concatenate(
    [drawing({0: 1, 5: 3}), drawing({5: 1}), drawing({0: 3, 5: 3}), drawing({0: 1})]
)


def test_rates_and_parts_of_a_small_example() -> None:
    result = compare(SAMPLED, ENCODED, 4, LAYOUT)
    # Rates: 1, 0, 0, 0, 1/2, 0 against 3/4, 0, 0, 0, 0, 3/4. Parts: 1 1 2 against 1 1 1 3 3 3.
    assert result["drawings"] == {"prior": 2, "encoder": 4}
    assert result["rate_difference_mean"] == pytest.approx((0.25 + 0.5 + 0.75) / 6)
    assert result["rate_difference_largest"] == pytest.approx(
        {"value": 0.75, "row": 1, "column": 2, "prior": 0.0, "encoder": 0.75}
    )
    assert result["part_usage_total_variation"] == pytest.approx(0.5)
    assert result["dead_parts"] == {"prior": 2, "encoder": 2}
    assert result["parts_painted_mean"] == pytest.approx({"prior": 1.5, "encoder": 1.5})


def test_a_part_that_is_not_painted_does_not_count() -> None:
    z = drawing({0: 1})
    what = torch.where(z.whether, z.what, 2)
    other = Latents(z.whether, z.where, what)
    assert compare(other, z, 4, LAYOUT)["part_usage_total_variation"] == 0


def test_the_difference_by_chance_is_that_of_two_draws_from_one_distribution() -> None:
    def draw(count: int) -> Latents:
        whether = torch.rand(count, 6) < torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 0.5])
        zeros = torch.zeros(count, 6, dtype=torch.int64)
        return Latents(whether, zeros, zeros)

    results = [compare(draw(400), draw(900), 1, LAYOUT) for _ in range(200)]
    mean = torch.tensor([r["rate_difference_mean"] for r in results])
    chance = torch.tensor([r["rate_difference_by_chance"] for r in results])
    error = float(mean.std()) / math.sqrt(len(results))
    assert abs(float(mean.mean() - chance.mean())) < 4 * error


def test_total_variation() -> None:
    counts = torch.tensor([3, 0, 1])
    assert total_variation(counts, 5 * counts) == pytest.approx(0)
    assert total_variation(counts, torch.tensor([0, 7, 0])) == pytest.approx(1)
    assert total_variation(counts, torch.zeros(3)) is None


def test_a_missing_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["agreement", str(tmp_path / "none.safetensors")])
    with pytest.raises(SystemExit, match=r"none\.safetensors"):
        agreement.main()
    assert capsys.readouterr().out == ""


def test_drawings_of_a_shipped_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["agreement", "glyphs", "--samples", "40"])
    agreement.main()
    result = json.loads(capsys.readouterr().out)
    assert result["drawings"] == {"prior": 40, "encoder": 2_000}
    by_chance = result["rate_difference_by_chance"]
    assert 0 < result["rate_difference_mean"] < 3 * by_chance
    assert result["rate_difference_mean"] <= result["rate_difference_largest"]["value"] <= 1
