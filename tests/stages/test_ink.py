"""The whole pipeline with strokes of pattern, ink and contrast, in two sizes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from npdraw.artifacts import read_artifact
from npdraw.errors import ArtifactError, StoppedError
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.models import drawings_of, new_model, read_model, read_parse, read_prior
from npdraw.model.encoder import SLOW
from npdraw.stages.export import export
from tests.inputs.test_invalid_models import rewrite
from tests.stages.weights import tensors
from tests.tiny_stages import INK, squares

TABLES = ["patterns_0", "patterns_1", "inks", "contrasts", "ground"]


@pytest.fixture(scope="session")
def inked(stages: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stages with colour images and ink."""
    path = tmp_path_factory.mktemp("squares") / "squares.npz"
    return stages.configured(parse=INK).from_images(path, squares(60, 1), squares(24, 2))


@pytest.fixture(scope="session")
def files(inked: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A parse, a prior and a model of a few training steps."""
    folder = tmp_path_factory.mktemp("inked")
    paths = {kind: folder / f"{kind}.safetensors" for kind in ("parse", "prior", "model")}
    inked.parse(paths["parse"])
    inked.train_prior(paths["parse"], paths["prior"])
    inked.train_decoder(paths["parse"], paths["prior"], paths["model"])
    return paths


def test_a_parse_holds_the_tables_and_the_drawings_of_its_brush(
    inked: Any, files: dict[str, Path]
) -> None:
    artifact = read_parse(files["parse"])
    config, z = inked.config.parse, drawings_of(artifact)
    assert z.whether.shape == (60, 2 * 2 + 4 * 4)
    assert [tuple(artifact.tensors[name].shape) for name in TABLES] == [
        (8, 3, 4, 4),
        (8, 3, 2, 2),
        (2, 4, 3),
        (2, 2),
        (3,),
    ]
    brush = brush_of(config, artifact.tensors)
    images = torch.from_numpy(squares(60, 1)).permute(0, 3, 1, 2).float() / 255
    assert not brush.parse(images).differs(z).any()
    error = float((brush.paint(z)[:, :3] - images).square().mean())
    assert artifact.header.metrics["canvas_mse"] == pytest.approx(error, rel=1e-5)
    # The parts of the second layer are counted after those of the first.
    number = (brush.layout.layer_of * 8 + z.what)[z.whether]
    assert torch.equal(artifact.tensors["usage"], torch.bincount(number, minlength=16))
    assert brush.layout.layer_of.expand(60, -1)[z.whether].unique().tolist() == [0, 1]


def test_from_images_to_samples(inked: Any, tmp_path: Path) -> None:
    more = inked.configured(
        prior={"steps": 20},
        decoder={"steps": 60, "wake": 0.2, "learning_rate": 1e-2, "ema": 0.8},
    )
    parse, prior, model = (tmp_path / f"{kind}.safetensors" for kind in ("parse", "prior", "model"))
    more.parse(parse)
    more.train_prior(parse, prior)
    trained = more.train_decoder(parse, prior, model)
    assert trained["elbo"] == pytest.approx(trained["rate"] + trained["distortion"])
    bits = 3 * 8 * 8 * math.log(2)
    result = more.eval_nll(model, samples=3)
    assert result["bits_per_dim"] == pytest.approx(result["nll"] / bits)
    assert result["bits_per_dim"] < 6.5  # 8 is a uniform guess
    more.sample(model, tmp_path / "drawn", seeds=[0, 1, 2], canvas=True)
    drawn = drawings_of(read_artifact(tmp_path / "drawn" / "drawings.safetensors", kind="drawings"))
    loaded = read_model(model)[0]
    assert drawn.ink is not None and drawn.whether.shape == (3, 20)
    with torch.no_grad():
        images = loaded.decode(loaded.paint(drawn))
    assert images.shape == (3, 3, 8, 8) and images.isfinite().all()


def test_a_flat_canvas_is_decoded_flat_from_the_first_step(
    inked: Any, files: dict[str, Path]
) -> None:
    artifact = read_parse(files["parse"])
    error = float(artifact.header.metrics["canvas_mse"])
    model = new_model(inked.config, brush_of(inked.config.parse, artifact.tensors), error)
    canvas = model.paint(drawings_of(artifact)[:9])
    canvas[:2, :3] = torch.tensor([[0.4, 0.5, 0.6], [0.5, 0.3, 0.5]])[..., None, None]  # flat
    with torch.no_grad():
        decoded = model.decode(canvas)
    assert torch.allclose(decoded[:2], canvas[:2, :3], atol=0.1 * error**0.5)
    assert torch.allclose(decoded[:2], decoded[:2, :, :1, :1].expand_as(decoded[:2]), atol=1e-6)
    assert torch.allclose(decoded, canvas[:, :3].clamp(0, 1), atol=error**0.5)


@pytest.mark.parametrize("kind", ["prior", "model"])
def test_a_stopped_training_resumes_with_the_same_bytes(
    kind: str, inked: Any, files: dict[str, Path], interrupt: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "halves"

    def train(**more: Any) -> Any:
        if kind == "prior":
            return inked.train_prior(files["parse"], out, **more)
        return inked.train_decoder(files["parse"], files["prior"], out, **more)

    with pytest.raises(StoppedError, match="stopped at step 2 of 4"):
        train(progress=interrupt(2), save_every=100)
    assert train()["resumed_from"] == 2
    assert out.read_bytes() == files[kind].read_bytes()


def test_stages_pass_the_tables_on(inked: Any, files: dict[str, Path]) -> None:
    stored = {kind: tensors(path) for kind, path in files.items()}
    for name in TABLES:
        assert torch.equal(stored["parse"][name], stored["prior"][name])
        assert torch.equal(stored["parse"][name], stored["model"][name])
    model, prior = read_model(files["model"])[0], read_prior(files["prior"])[0]
    for brush in (model.brush, prior.brush):
        assert all(torch.equal(x, stored["parse"][name]) for name, x in brush.tables().items())
    for module, kind in ((model, "model"), (prior, "prior")):
        state = module.state_dict()
        assert stored[kind].keys() - state.keys() == set(TABLES)
        assert all(torch.equal(x, stored[kind][name]) for name, x in state.items())


READERS: dict[str, Callable[[Path], Any]] = {
    "parse": read_parse,
    "prior": read_prior,
    "model": read_model,
}


def changed(name: str, value: float) -> Callable[[dict[str, Tensor]], None]:
    """Return a function that writes a value at the start of a tensor."""

    def change(found: dict[str, Tensor]) -> None:
        found[name].view(-1)[0] = value

    return change


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("name", TABLES)
def test_missing_misshapen_and_wrong_tables_are_refused(
    kind: str, name: str, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "x"
    wrong = {"contrasts": -0.1, "ground": -0.1}.get(name, 1.1)
    for change in (
        lambda found: found.pop(name),
        lambda found: found.update({name: found[name][:-1].clone()}),
        changed(name, wrong),
    ):
        rewrite(files[kind], out, change)
        with pytest.raises(ArtifactError) as caught:
            READERS[kind](out)
        assert name in caught.value.message


@pytest.mark.parametrize(("name", "value"), [("ink", 4), ("contrast", 2), ("what", 8), ("ink", -1)])
def test_drawings_of_other_sizes_are_refused(
    name: str, value: int, files: dict[str, Path], tmp_path: Path
) -> None:
    rewrite(files["parse"], tmp_path / "x", changed(name, value))
    with pytest.raises(ArtifactError) as caught:
        read_parse(tmp_path / "x")
    assert name in caught.value.message


def test_drawings_with_ink_take_their_ink(files: dict[str, Path], tmp_path: Path) -> None:
    for name in ("ink", "contrast"):
        rewrite(files["parse"], tmp_path / "x", lambda found, name=name: found.pop(name))  # type: ignore[misc]
        with pytest.raises(ArtifactError, match=name):
            read_parse(tmp_path / "x")


def test_without_a_gain_the_encoder_starts_with_that_of_the_canvas_error(
    inked: Any, files: dict[str, Path]
) -> None:
    brush = brush_of(inked.config.parse, read_parse(files["parse"]).tensors)
    for gain, error, expected in ((0.0, 0.002, 250.0), (0.0, 0.0, 50_000.0), (7.0, 0.002, 7.0)):
        config = inked.configured(decoder={"encoder_gain": gain}).config
        scales = (SLOW * new_model(config, brush, error).encoder.log_scales).exp()
        assert torch.allclose(scales, torch.full_like(scales, expected), rtol=1e-4)


def test_an_export_keeps_tables_and_scales_of_gains_exactly(
    files: dict[str, Path], tmp_path: Path
) -> None:
    export(files["model"], dtype="bf16", out=tmp_path / "small.safetensors", force=False)
    before, after = tensors(files["model"]), tensors(tmp_path / "small.safetensors")
    for name in (*TABLES, "encoder.log_scales"):
        assert after[name].dtype == torch.float32
        assert torch.equal(after[name], before[name])
    assert after["encoder.heads.0.weight"].dtype == torch.bfloat16
