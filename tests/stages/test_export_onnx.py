"""Encoder and decoder as ONNX files: they compute what the Python API computes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.errors import ArtifactError, UsageError
from npdraw.model.latents import Latents
from npdraw.model.portable import ImageToDrawing
from npdraw.stages import export_onnx as stage
from npdraw.version import __version__
from tests.drawings.inked import write_ink_model
from tests.model.tiny_models import random_drawings
from tests.tiny_stages import Recorder, tiny_runtime

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """A model and its files."""

    path: Path
    folder: Path
    result: dict[str, Any]

    def model(self) -> DrawingModel:
        return open_model(self.path, tiny_runtime({}))

    def session(self, name: str) -> Any:
        path = self.folder / f"{name}.onnx"
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def exported(path: Path, out: Path, *, force: bool = False) -> dict[str, Any]:
    return stage.export_onnx(path, out=out, force=force, progress=Recorder())


@pytest.fixture(scope="module")
def parts(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model of grey images: parts of a bank, in cells that overlap."""
    out = tmp_path_factory.mktemp("parts") / "there/onnx"
    return Exported(trained.model, out, exported(trained.model, out))


@pytest.fixture(scope="module")
def inked(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model of colour images: strokes with ink on two layers, pixels in slices."""
    folder = tmp_path_factory.mktemp("inked")
    write_ink_model(folder / "model")
    return Exported(folder / "model", folder, exported(folder / "model", folder))


@pytest.fixture(params=["parts", "inked"])
def files(request: pytest.FixtureRequest) -> Exported:
    found: Exported = request.getfixturevalue(request.param)
    return found


def drawings_and_images(model: DrawingModel, count: int) -> tuple[Latents, Tensor]:
    z = random_drawings(model.layout.steps, model.brush.sizes, count)
    images = model.decode(model.paint(z))
    return z, images.round() if model.config.parse.binarize else images.clamp(0, 1)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_they_compute_what_python_computes(files: Exported, count: int) -> None:
    model = files.model()
    z, images = drawings_and_images(model, count)
    names = list(z.tensors())

    decoder, encoder = files.session("decoder"), files.session("encoder")
    feeds = {name: x.numpy() for name, x in z.tensors().items()}
    canvas, image = decoder.run(["canvas", "image"], feeds)
    assert np.abs(canvas - model.paint(z).numpy()).max() < TOLERANCE
    assert np.abs(image - model.decode(model.paint(z)).numpy()).max() < TOLERANCE

    # What the encoder returns, the decoder takes.
    found = dict(zip(names, encoder.run(names, {"image": images.numpy()}), strict=True))
    for name, x in model.encode(images).tensors().items():
        assert np.array_equal(found[name], x.numpy()), name
    assert decoder.run(["image"], found)[0].shape == images.shape


def test_probabilities_are_those_of_the_posterior(files: Exported) -> None:
    model = files.model()
    _, images = drawings_and_images(model, 5)
    network = ImageToDrawing(model.network)
    with torch.no_grad():
        q, z = network.posterior(images)
    names = list(z.tensors())
    found = files.session("encoder").run([f"p_{name}" for name in names], {"image": images.numpy()})
    p = dict(zip(names, map(torch.from_numpy, found), strict=True))
    assert torch.allclose(p["whether"], torch.sigmoid(q.whether), atol=TOLERANCE)
    for name, size in model.brush.sizes.items():
        assert p[name].shape == (5, model.layout.steps, size)
        assert torch.allclose(p[name].sum(2), torch.ones(()), atol=1e-5)
        chosen = p[name].gather(2, z.tensors()[name][..., None]).squeeze(2)
        log_prob = q.log_prob(z)[name].exp()
        assert torch.allclose(chosen[z.whether], log_prob[z.whether], atol=TOLERANCE)


def test_files_say_what_they_are(files: Exported) -> None:
    model = files.model()
    parse, inks = model.config.parse, model.brush.inked
    steps = model.layout.steps
    drawn = ["whether", "where", "what", *(["ink", "contrast"] if inks else [])]
    for name in ("encoder", "decoder"):
        session = files.session(name)
        text = session.get_modelmeta().custom_metadata_map
        assert text["npdraw_version"] == __version__
        assert text["model_digest"] == model.header.digest
        assert text["data_set"] == ("cifar10" if inks else "npz")
        assert text.get("data_licence") == ("none stated" if inks else None)
        assert len(json.loads(text["cells"])) == steps
        # The metadata describe the inputs and outputs that exist.
        for ports, values in (
            ("inputs", session.get_inputs()),
            ("outputs", session.get_outputs()),
        ):
            described = json.loads(text[ports])
            assert [port["name"] for port in described] == [value.name for value in values]
            assert [port["shape"] for port in described] == [value.shape for value in values]
            types = [f"tensor({port['dtype'].replace('float32', 'float')})" for port in described]
            assert types == [value.type for value in values]
        proto = onnx.load(files.folder / f"{name}.onnx")
        assert all(value.doc_string for value in (*proto.graph.input, *proto.graph.output))
        # Nothing about the machine that made it.
        content = proto.SerializeToString()
        assert b".py" not in content
        assert str(Path(stage.__file__).parents[1]).encode() not in content

    encoder, decoder = files.session("encoder"), files.session("decoder")
    assert [value.name for value in decoder.get_inputs()] == drawn
    assert [value.name for value in encoder.get_outputs()] == [*drawn, *(f"p_{n}" for n in drawn)]
    channels, side = parse.channels, parse.image_size
    assert encoder.get_inputs()[0].shape == ["N", channels, side, side]
    assert decoder.get_outputs()[0].shape == ["N", channels + 1, side, side]


def test_cells_are_where_parts_are_painted(files: Exported) -> None:
    model = files.model()
    text = files.session("decoder").get_modelmeta().custom_metadata_map
    jitter, layers = int(text["jitter"]), model.layout.spans
    for step, (layer, row, column, side) in enumerate(json.loads(text["cells"])):
        assert layers[layer].start <= step < layers[layer].stop
        for place, (top, left) in enumerate(model.layout.positions[step].tolist()):
            assert (top, left) == (row + place // jitter, column + place % jitter)
        assert side == model.layout.sides[step]


def test_the_result_has_the_figures_of_the_check(files: Exported) -> None:
    result = files.result
    assert 0 < result["image_difference"] < TOLERANCE
    assert 0 < result["probability_difference"] < TOLERANCE
    sizes = [(files.folder / f"{name}.onnx").stat().st_size for name in ("encoder", "decoder")]
    assert result["bytes"] == sum(sizes)
    assert (result["dtype"], result["ties"]) == ("fp32", 0)
    assert result["digest"] == files.model().header.digest
    assert result["out"] == str(files.folder)


@pytest.fixture
def copied(parts: Exported, tmp_path: Path) -> Path:
    """A copy of the files."""
    for name in ("encoder.onnx", "decoder.onnx"):
        (tmp_path / name).write_bytes((parts.folder / name).read_bytes())
    return tmp_path


@pytest.fixture
def unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert nothing."""

    def convert(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(stage, "convert", convert)


def test_a_repeated_export_is_compared_and_up_to_date(
    parts: Exported, copied: Path, unused: None
) -> None:
    assert exported(parts.path, copied) == {
        **parts.result,
        "out": str(copied),
        "up_to_date": True,
    }


def test_files_of_another_model_need_force(
    made: Any, parts: Exported, copied: Path, unused: None
) -> None:
    before = (copied / "encoder.onnx").read_bytes()
    with pytest.raises(UsageError, match="exists with other settings: model_digest") as raised:
        exported(made.model, copied)
    assert "--force" in raised.value.hint
    assert (copied / "encoder.onnx").read_bytes() == before


@pytest.mark.parametrize("content", [b"a letter", b"", b"\x00" * 1000])
def test_other_files_need_force(
    content: bytes, parts: Exported, copied: Path, unused: None
) -> None:
    (copied / "decoder.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="is not a file of npdraw export") as raised:
        exported(parts.path, copied)
    assert raised.value.hint == "--force replaces it."
    assert (copied / "decoder.onnx").read_bytes() == content


def test_damaged_files_are_noticed(parts: Exported, copied: Path, unused: None) -> None:
    content = bytearray((copied / "decoder.onnx").read_bytes())
    proto = onnx.load_model_from_string(bytes(content))
    disturb(proto)
    (copied / "decoder.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ArtifactError, match="pixels differ by") as raised:
        exported(parts.path, copied)
    assert raised.value.hint == "--force replaces it."


def test_inputs_are_not_overwritten(parts: Exported, tmp_path: Path, unused: None) -> None:
    model = tmp_path / "encoder.onnx"
    model.write_bytes(parts.path.read_bytes())
    with pytest.raises(UsageError, match="is an input of this command"):
        exported(model, tmp_path, force=True)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="it would lie below a file"):
        exported(parts.path, tmp_path / "file")


def disturb(proto: onnx.ModelProto) -> None:
    """Add to the weights of a graph."""
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            changed = values + np.float32(0.1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_files_that_compute_something_else_are_not_written(
    name: str, parts: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def converted(which: str, *_: Any) -> onnx.ModelProto:
        proto = onnx.load(parts.folder / f"{which}.onnx")
        if which == name:
            disturb(proto)
        return proto

    monkeypatch.setattr(stage, "convert", converted)
    problem = rf"{name}\.onnx does not compute what the model computes: "
    with pytest.raises(ArtifactError, match=problem) as raised:
        exported(parts.path, tmp_path / "x")
    assert "Nothing was written" in raised.value.hint
    assert not list(tmp_path.rglob("*.onnx"))


def test_what_torch_cannot_convert_is_one_error(
    parts: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        try:
            raise NotImplementedError("no operator for\naten.sorcery")
        except NotImplementedError as error:
            raise torch.onnx.OnnxExporterError("step 3 of 3 failed") from error

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(UsageError, match="cannot convert the encoder to ONNX") as raised:
        exported(parts.path, tmp_path / "x")
    assert raised.value.message.endswith("ONNX: no operator for aten.sorcery")
    assert not list(tmp_path.rglob("*.onnx"))
