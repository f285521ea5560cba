"""`--log tensorboard`: the figures of the log, the sheets and the use of parts, without effect."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from npdraw.errors import StoppedError
from tests.boards import as_fp32, pixels, seconds_apart, shown
from tests.tiny_stages import INK, Recorder, squares

LONGER = {"steps": 24}


def trained(stages: Any, made: Any, kind: str, out: Path, **named: Any) -> dict[str, Any]:
    """Train a prior or a model."""
    if kind == "prior":
        result = stages.train_prior(made.parse, out, **named)
    else:
        result = stages.train_decoder(made.parse, made.prior, out, **named)
    return dict(result)


def logged(out: Path) -> list[dict[str, float]]:
    lines = out.with_name(f"{out.name}.run").joinpath("metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def board(out: Path) -> Path:
    return out.with_name(f"{out.name}.run") / "tensorboard"


@pytest.mark.parametrize("kind", ["prior", "model"])
def test_a_board_shows_the_log_the_sheets_and_the_parts(
    kind: str, stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    result = trained(stages, made, kind, out, tensorboard=True)
    found = shown(board(out))
    assert found.curves() == as_fp32(logged(out))
    assert len(found.curves()) > 1
    assert "nll" in found.tags or "what_nats" in found.tags
    sheets = sorted(out.with_name("x.run").glob("samples-*.png"))
    assert [step for step, _ in found.sheets()] == [int(p.stem.split("-")[1]) for p in sheets]
    for (_, content), path in zip(found.sheets(), sheets, strict=True):
        assert (pixels(content) == pixels(path)).all()
    assert [step for step, _ in found.usage()] == [step for step, _ in found.sheets()]
    figures = {name for record in logged(out) for name in record}
    assert found.tags == (figures - {"step"}) | {"samples", "parts"}

    # It changes nothing.
    without = tmp_path / "y"
    again = trained(stages, made, kind, without)
    assert without.read_bytes() == out.read_bytes()
    assert not board(without).exists()
    for name in ("seconds", "out"):
        del result[name], again[name]
    assert result == again
    for path in sheets:
        assert path.read_bytes() == (tmp_path / "y.run" / path.name).read_bytes()


@pytest.mark.parametrize("kind", ["prior", "model"])
def test_a_resumed_training_continues_its_curves(
    kind: str,
    stages: Any,
    made: Any,
    interrupt: Any,
    crash: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds_apart(monkeypatch)
    longer = stages.configured(prior=LONGER, decoder=LONGER)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    trained(longer, made, kind, whole, tensorboard=True)
    every = 10  # steps between validations
    # It crashes after a validation that is newer than the checkpoint, and is stopped at another.
    with pytest.raises(GeneratorExit):
        trained(longer, made, kind, torn, tensorboard=True, save_every=7, progress=crash(every + 2))
    assert [record["step"] for record in shown(board(torn)).curves()] == [0, every]
    with pytest.raises(StoppedError):
        trained(longer, made, kind, torn, tensorboard=True, progress=interrupt(2 * every))
    trained(longer, made, kind, torn, tensorboard=True)

    found = shown(board(torn))
    assert len(list(board(torn).iterdir())) == 3
    assert found.curves() == as_fp32(logged(torn))
    expected = shown(board(whole))
    assert found.sheets() == expected.sheets()
    assert found.usage() == expected.usage()
    assert torn.read_bytes() == whole.read_bytes()


def test_a_training_that_starts_again_has_new_curves(
    stages: Any, made: Any, interrupt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds_apart(monkeypatch)
    out = tmp_path / "x"
    with pytest.raises(StoppedError):  # at step 0, which is shown again
        stages.train_prior(made.parse, out, tensorboard=True, progress=interrupt(0))
    stages.train_prior(made.parse, out, tensorboard=True)
    assert shown(board(out)).curves() == as_fp32(logged(out))
    stages.train_prior(made.parse, out, tensorboard=True, force=True)
    assert len(list(board(out).iterdir())) == 1
    assert shown(board(out)).curves() == as_fp32(logged(out))


def test_parts_are_counted_by_layer(stages: Any, tmp_path: Path) -> None:
    inked = stages.from_images(tmp_path / "squares.npz", squares(60, 1), squares(24, 2))
    inked = inked.configured(parse=INK)
    inked.parse(tmp_path / "parse")
    inked.train_prior(tmp_path / "parse", tmp_path / "x", tensorboard=True)
    found = shown(board(tmp_path / "x"))
    assert {"parts_0", "parts_1"} <= found.tags
    assert "parts" not in found.tags


@pytest.mark.parametrize("kind", ["prior", "model"])
def test_without_it_nothing_is_imported(
    kind: str, stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    trained(stages, made, kind, tmp_path / "x")
    with pytest.raises(ImportError):
        trained(stages, made, kind, tmp_path / "y", tensorboard=True)


def test_a_finished_training_without_a_board_says_so(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    stages.train_prior(made.parse, out)
    said = [Recorder(), Recorder()]
    stages.train_prior(made.parse, out, progress=said[0])
    stages.train_prior(made.parse, out, tensorboard=True, progress=said[1])
    assert said[0].notes == []
    assert said[1].notes == ["x was finished without a board; --force trains it again"]
    assert not board(out).exists()
