"""Export encoder and decoder as ONNX files, for programs without torch (docs/export.md)."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from npdraw.errors import ArtifactError, UsageError, is_out_of_memory
from npdraw.files import check_writable, sweep_temporaries, write_atomic
from npdraw.inputs.models import read_model
from npdraw.model.portable import DrawingToImage, ImageToDrawing, Network
from npdraw.runtime.lock import check_output
from npdraw.runtime.progress import Progress
from npdraw.stages.onnx_check import check
from npdraw.stages.onnx_ports import metadata, ports
from npdraw.version import __version__

OPSET = 18
"""Version of ONNX's operators: the first that scatters with a maximum, as painting does."""

EXAMPLES = 3
"""Images that the networks are traced with; the files take any number."""


def export_onnx(model_path: Path, *, out: Path, force: bool, progress: Progress) -> dict[str, Any]:
    """Write `encoder.onnx` and `decoder.onnx` into the folder `out`, with weights in fp32.

    Both are compared with the model before they are written (`onnx_check.check`); so are existing
    ones, which are up to date if they agree. Returns the result of `npdraw export --onnx --json`.

    Raises:
        UsageError: files exist that were made from another model or by another npdraw, without
            `force`; or torch cannot convert a network.
        ArtifactError: `model_path` is damaged or not a model; files exist that npdraw did not make
            or that do not agree with the model, without `force`; or the new ones do not.
    """
    paths = {name: out / f"{name}.onnx" for name in ("encoder", "decoder")}
    for path in paths.values():
        check_output(path, (model_path,))
        sweep_temporaries(path)
        check_writable(path)
    model, _, artifact = read_model(model_path)
    encoder, decoder = ImageToDrawing(model), DrawingToImage(model)
    networks: dict[str, Network] = {"encoder": encoder, "decoder": decoder}
    texts = {name: metadata(network, artifact.header) for name, network in networks.items()}
    result = {"dtype": "fp32", "bytes": 0, "digest": artifact.header.digest}

    # Check what exists.
    existing = [name for name, path in paths.items() if path.exists() and not force]
    for name in existing:
        _check_same(paths[name], texts[name])
    if existing == list(paths):
        contents = {name: path.read_bytes() for name, path in paths.items()}
        try:
            figures = check(encoder, decoder, contents)
        except ArtifactError as error:
            raise ArtifactError(f"{out}: {error.message}", hint="--force replaces it.") from error
        result["bytes"] = sum(map(len, contents.values()))
        return result | figures | {"out": str(out), "up_to_date": True}

    # Convert, compare, and only then write.
    with torch.no_grad():
        images = torch.zeros(EXAMPLES, *artifact.header.dataset["image_shape"])
        drawings = tuple(encoder.posterior(images)[1].tensors().values())
    examples = {"encoder": (images,), "decoder": drawings}
    contents = {}
    progress.start("export", len(networks), unit="files")
    for number, (name, network) in enumerate(networks.items(), 1):
        converted = convert(name, network, examples[name])
        contents[name] = _described(converted, name, network, texts[name]).SerializeToString()
        progress.update(number)
    progress.finish()
    figures = check(encoder, decoder, contents)
    for name, path in paths.items():
        write_atomic(path, [contents[name]])
    result["bytes"] = sum(map(len, contents.values()))
    return result | figures | {"out": str(out)}


def _check_same(path: Path, text: Mapping[str, str]) -> None:
    """Raise an error unless a file was made from the same model by this npdraw."""
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
        found = {prop.key: prop.value for prop in proto.metadata_props}
    except (MemoryError, OSError):
        raise
    except Exception:  # protobuf raises almost anything for a damaged file
        found = {}
    if "npdraw_version" not in found:
        raise ArtifactError(f"{path} is not a file of npdraw export", hint="--force replaces it.")
    others = [
        name for name in sorted(found.keys() | text.keys()) if found.get(name) != text.get(name)
    ]
    if others:
        raise UsageError(
            f"{path} exists with other settings: {', '.join(others)}",
            hint="Use --force to replace it, or --out to write elsewhere.",
        )


@torch.no_grad()
def convert(name: str, network: Network, example: tuple[Tensor, ...]) -> onnx.ModelProto:
    """Return a network as ONNX; it is traced with `example` and takes any number of images.

    Raises:
        UsageError: torch cannot convert it.
    """
    network(*example)  # fills the caches of the layout, where tracing must leave no tensor
    many = {0: torch.export.Dim.DYNAMIC}
    # `forward` of a decoder has one parameter, the tuple of its inputs.
    shapes = (tuple(many for _ in example),) if isinstance(network, DrawingToImage) else (many,)
    try:
        with warnings.catch_warnings():
            # torch 2.11 warns of what it does itself.
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            traced = torch.export.export(network, example, dynamic_shapes=shapes, strict=False)
            program = torch.onnx.export(traced, dynamo=True, opset_version=OPSET, verbose=False)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        first: BaseException = error  # the later ones say in which step of the conversion it was
        while first.__cause__ is not None:
            first = first.__cause__
        reason = " ".join(str(first).split())[:300]
        raise UsageError(
            f"torch {torch.__version__} cannot convert the {name} to ONNX: {reason}",
            hint="Other versions may work: this was tested with torch 2.11 to 2.14.",
        ) from error
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


def _described(
    proto: onnx.ModelProto, name: str, network: Network, text: Mapping[str, str]
) -> onnx.ModelProto:
    """Say in a file what it is; remove what torch says of it, which includes paths of files."""
    graph = proto.graph
    del graph.value_info[:]
    for item in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        item.ClearField("metadata_props")
    _rename(graph, network)
    inputs, outputs = ports(network)
    for port, value in zip((*inputs, *outputs), (*graph.input, *graph.output), strict=True):
        value.doc_string = port.text
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    graph.name, graph.doc_string = name, (network.__doc__ or "").partition("\n")[0]
    proto.producer_name, proto.producer_version = "npdraw", __version__
    onnx.helper.set_model_props(proto, dict(text))
    return proto


def _rename(graph: onnx.GraphProto, network: Network) -> None:
    """Give inputs and outputs their names, and other values others.

    torch calls values after its operators, one of which is "where": it would use that name twice.
    """
    theirs = [value.name for value in (*graph.input, *graph.output)]
    names = dict(zip(theirs, (*network.inputs, *network.outputs), strict=True))
    inner = {name for node in graph.node for name in node.output} - names.keys()
    names |= {name: f"inner_{name}" for name in inner}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
