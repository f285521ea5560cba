"""Do exported ONNX files compute what the model computes? onnxruntime runs them to find out."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.errors import ArtifactError
from npdraw.model.factors import Factors
from npdraw.model.latents import Latents, concatenate
from npdraw.model.layout import Layout
from npdraw.model.npdraw import NPDraw
from npdraw.model.portable import DrawingToImage, ImageToDrawing, Network, choice_names
from npdraw.runtime.noise import uniform

TOLERANCE = 1e-4
"""Largest difference of a pixel or a probability. Either of two values may be chosen if their
logits differ by less."""

ROUNDING = 1e-6
"""What fp32 may change logits by, relative to their range. It is added to `TOLERANCE` for choices
and probabilities: logits of inks reach tens of thousands."""

SAMPLED, SCRIBBLED = 16, 8
"""Drawings that are compared: samples of the prior, and random ones, in which all parts occur. A
blank one is added."""

BATCHES = slice(None), slice(1)
"""Rows that are computed at once: the number of images must not matter."""


@torch.no_grad()
def check(
    encoder: ImageToDrawing, decoder: DrawingToImage, contents: Mapping[str, bytes]
) -> dict[str, float]:
    """Compare the files "encoder" and "decoder" with the networks that they were made from.

    Drawings are decoded, and the images encoded again. Returns the largest difference of a pixel,
    of images and canvases, and of a probability; and `ties`, the number of steps at which rounding
    decided between two values.

    Raises:
        ArtifactError: onnxruntime cannot run a file, or it computes something else.
    """
    choices = list(_drawings(encoder.model).tensors().values())
    painted = decoder(*choices)
    images = painted[1].clamp(0, 1)
    seen = images.round() if encoder.model.levels == 2 else images
    q, z = encoder.posterior(seen)

    decode, encode = (_Program(name, contents[name]) for name in ("decoder", "encoder"))
    pixels, probabilities, ties = [], [], 0
    for rows in BATCHES:
        found = decode(decoder, [x[rows] for x in choices])
        pixels += [_difference(x[rows], y) for x, y in zip(painted, found, strict=True)]
        difference, decided = compare(encoder, q[rows], z[rows], encode(encoder, [seen[rows]]))
        probabilities.append(difference)
        ties += decided
    return {
        "image_difference": max(pixels),
        "probability_difference": max(probabilities),
        "ties": ties,
    }


def _drawings(model: NPDraw) -> Latents:
    """Return samples, random drawings and a blank one."""
    brush, shape = model.brush, (model.layout.steps, model.brush.numbers)
    sampled = model.prior.sample(uniform("sample", 0, range(SAMPLED), shape), at_once=SAMPLED)
    whether, *others = uniform("scribble", 0, range(SCRIBBLED), shape).unbind(2)
    choices = {
        name: (number * size).long()
        for (name, size), number in zip(brush.sizes.items(), others, strict=True)
    }
    scribbled = Latents(whether < 0.5, **choices).canonical()
    return concatenate([sampled, scribbled, brush.blank(1)])


class _Program:
    """A file as onnxruntime runs it, on the CPU."""

    def __init__(self, name: str, content: bytes) -> None:
        onnxruntime: Any = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.name = name
        try:
            self.session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own classes have no common base
            raise _wrong(name, f"onnxruntime cannot read it: {_line(error)}") from error

    def __call__(self, network: Network, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs of the network for its inputs."""
        feeds = {name: x.numpy() for name, x in zip(network.inputs, tensors, strict=True)}
        try:
            arrays = self.session.run(list(network.outputs), feeds)
        except Exception as error:
            raise _wrong(self.name, f"onnxruntime cannot run it: {_line(error)}") from error
        return [torch.from_numpy(array) for array in arrays]


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference of images; raise `ArtifactError` if it is too large or NaN."""
    same = expected.shape == found.shape
    largest = float((expected - found).abs().max()) if same else torch.inf
    if not largest <= TOLERANCE:
        raise _wrong("decoder", f"pixels differ by {largest:.2g}, expected at most {TOLERANCE:g}")
    return largest


def compare(
    encoder: ImageToDrawing, q: Factors, z: Latents, found: Sequence[Tensor]
) -> tuple[float, int]:
    """Compare the outputs of an encoder with its q(z | x) and the likeliest drawings `z`.

    Returns the largest difference of a probability, and the number of steps at which rounding
    decided: for another value of a choice, or for another candidate among the parts. A layer is
    compared where the layers before it agree, because it depends on them.

    Raises:
        ArtifactError: choices or probabilities differ by more than rounding.
    """
    choices, likely = list(z.tensors().values()), encoder.probabilities(q)
    if [x.shape for x in (*choices, *likely)] != [x.shape for x in found]:
        raise _wrong("encoder", "its outputs have another shape")
    names = choice_names(encoder.model)
    leads, tolerance = _leads(q)

    # Choices. A step that is painted in one drawing only differs in everything else, too.
    differs = torch.stack([x != y for x, y in zip(choices, found, strict=False)])
    untied = leads >= tolerance
    wrong = torch.where(differs[0], untied[0], (differs & untied).any(0))

    # Probabilities.
    pairs = zip(likely, found[len(choices) :], strict=True)
    apart = torch.stack([_apart(x, y) for x, y in pairs])
    swapped = torch.zeros_like(wrong)
    if q.candidates is not None:
        what = names.index("what")
        among, other_parts = _among_candidates(likely[what], found[len(choices) + what])
        swapped = other_parts & (apart[what] > tolerance[what])
        apart[what] = torch.where(swapped, among, apart[what])
    wrong |= ~(apart <= tolerance).all(0)

    compared = _with_same_layers_before(differs.any(0), encoder.model.layout)
    if (wrong & compared).any():
        image, step = (wrong & compared).nonzero()[0].tolist()
        others = [name for name, x in zip(names, differs[:, image, step], strict=True) if x]
        problem = f"probabilities differ by {apart[:, image, step].max():.2g}"
        if others:
            problem = f"it chooses another {', '.join(others)}"
        raise _wrong("encoder", f"at step {step} {problem}")
    decided = (differs.any(0) | swapped) & compared
    return float(apart[:, compared].max()), int(decided.sum())


def _leads(q: Factors) -> tuple[Tensor, Tensor]:
    """Return the lead of the likeliest value of each choice, and what rounding may change.

    Both [choices, N, T], in nats.
    """
    leads, ranges = [q.whether.abs()], []
    for log_prob in (q.where, q.what.squeeze(2), q.ink, q.contrast):
        if log_prob is not None:
            # A choice of one value has no other: its lead is infinite.
            ordered = F.pad(log_prob.sort(2, descending=True).values, (0, 1), value=-torch.inf)
            leads.append(ordered[..., 0] - ordered[..., 1])
            ranges.append(ordered[..., 0] - ordered[..., -2])
    widest = torch.stack(ranges).amax(0)  # whether depends on the gains of all others
    return torch.stack(leads), TOLERANCE + ROUNDING * torch.stack([widest, *ranges])


def _apart(expected: Tensor, found: Tensor) -> Tensor:
    """Return the largest difference of a probability at each step, [N, T]."""
    apart = (expected - found).abs()
    return apart if apart.ndim == 2 else apart.amax(2)


def _among_candidates(expected: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Return `_apart` among the parts that both list, [N, T], and whether they list others, too.

    If two parts fit a cell equally well, rounding may decide which one is the last candidate.
    """
    both = (expected > 0) & (found > 0)
    others = ((expected > found) & ~both).any(2) & ((found > expected) & ~both).any(2)
    shared = torch.stack([expected, found]) * both
    total = shared.sum(3, keepdim=True)
    complete = (found.sum(2) - 1).abs() < TOLERANCE
    return _apart(*(shared / total)), others & complete & (total.amin(0).squeeze(2) > 0.5)


def _with_same_layers_before(differs: Tensor, layout: Layout) -> Tensor:
    """Return the steps, bool [N, T], before whose layer no step differs."""
    compared = torch.ones_like(differs)
    for span in layout.spans:
        compared[:, span] = ~differs[:, : span.start].any(1, keepdim=True)
    return compared


def _wrong(name: str, problem: str) -> ArtifactError:
    return ArtifactError(
        f"{name}.onnx does not compute what the model computes: {problem}",
        hint="Nothing was written. Another version of torch, onnxscript or onnxruntime may help.",
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
