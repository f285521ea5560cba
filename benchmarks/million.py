"""Estimate the cost of a million 64 x 64 colour images on eight GPUs, from counted operations.

Operations, parameters and bytes are counted; the constants below are assumed; nothing is timed. The
models have their full size but run on a few images.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.fit import number
from benchmarks.timing import operations
from benchmarks.workloads import (
    Bench,
    Work,
    decoder_step,
    evaluate_work,
    parse_work,
    prior_step,
    sample_work,
)
from npdraw.config import Config, ParseConfig, PriorConfig
from npdraw.decoder_config import DecoderConfig
from npdraw.inputs.brushes import brush_of, layout_of
from npdraw.runtime.settings import Runtime

IMAGES, SIDE, CHANNELS, GPUS = 1_000_000, 64, 3, 8

BATCH = 256
"""Images per step on each GPU."""

EPOCHS = {"train_prior": 10, "train_decoder": 30}
"""Epochs; the preset mnist has 2 and 9, larger and more varied images get more."""

PEAK = 989e12
"""Published peak of an H100 SXM, dense bf16, operations per second."""

SHARES = (0.25, 0.05)
"""Assumed share of the peak: optimistic, and if small layers and memory traffic dominate."""

START = 10e-6
"""Seconds to launch an operation on a GPU from Python."""

NVLINK = 225e9
"""Bytes per second in one direction: half of the published figure for an H100."""

TEST_IMAGES, SAMPLES = 10_000, 50
"""Images and importance samples of eval-nll; as many images are sampled."""

PATCHES_PER_CELL = 1.0
"""Share of the patches that are not blank: in photographs, nearly all."""


@dataclass(frozen=True)
class Plan:
    """A way to handle 64 x 64 images; the canvas may be smaller."""

    name: str
    canvas: int
    """Side of the canvas, pixels."""


PLANS = (Plan("64 x 64, T = 256", 64), Plan("canvas 32 x 32, T = 64", 32))


@dataclass(frozen=True)
class Step:
    """Cost of a training step."""

    image: float
    """Operations per image."""
    weights: float
    """Operations on the weights, independent of the batch (Muon)."""
    saved: float
    """Bytes per image kept for the backward pass, in fp32."""
    calls: int
    """Number of operations of any kind that are launched."""


def config_of(plan: Plan) -> Config:
    """Return settings for a plan: 512 parts, networks about twice as wide as those of mnist."""
    return Config(
        parse=ParseConfig(image_size=plan.canvas, part_size=4, stride=4, parts=512),
        prior=PriorConfig(width=256, depth=6, heads=8, mlp_width=1024, dropout=0.0),
        decoder=DecoderConfig(encoder_channels=192, decoder_channels=(96, 192, 384)),
    )


def bench_of(config: Config, batch: int) -> Bench:
    """Return random images and a random bank: counts depend on shapes alone."""
    config = replace(
        config,
        prior=replace(config.prior, batch_size=batch),
        decoder=replace(config.decoder, batch_size=batch),
    )
    parse, side = config.parse, config.parse.image_size
    torch.manual_seed(0)
    values = torch.randint(0, 256, (8, CHANNELS, side, side), dtype=torch.uint8)
    bank = torch.rand(parse.parts, CHANNELS, parse.part_size, parse.part_size)
    binary = (values > 127).float()
    # In fp32: the operations are the same, and CPUs without bf16 would take minutes.
    runtime = Runtime(device="cpu", precision="fp32")
    brush = brush_of(parse, {"bank": bank})
    return Bench(config, runtime.start(), runtime, values, binary, brush)


class Calls(TorchDispatchMode):
    """Count operations of any kind: on a GPU, launching each of them takes CPU time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count the operation and run it."""
        self.count += 1
        return function(*args, **(kwargs or {}))


def training(config: Config, stage: str) -> Step:
    """Count a training step with 2 and with 4 images: the difference is the cost of 2 images."""
    flops, saved, calls = [], [], Calls()
    for batch in (2, 4):
        bench = bench_of(config, batch)
        prior = stage == "train_prior"
        step = prior_step(bench, bench.drawings(8)) if prior else decoder_step(bench)
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            flops.append(operations(partial(step, bench.runtime)))
        saved.append(sum(kept.values()))
    with calls:
        step(bench.runtime)
    image = (flops[1] - flops[0]) / 2
    return Step(image, flops[0] - 2 * image, (saved[1] - saved[0]) / 2, calls.count)


def upscale(bench: Bench) -> float:
    """Return the extra operations of a decoder whose output is 64 x 64, not canvas-sized."""
    if bench.config.parse.image_size == SIDE:
        return 0.0
    decoder = bench.model().decoder

    def forward(side: int) -> Work:
        canvas = torch.zeros(1, CHANNELS + 1, side, side)
        return lambda: decoder(canvas)

    small = operations(forward(bench.config.parse.image_size))
    return float(operations(forward(SIDE)) - small)


def parameters(module: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in module.parameters())


def counted(plan: Plan) -> dict[str, float]:
    """Return the costs of a plan by name: operations per image unless the name says otherwise."""
    config = config_of(plan)
    bench, steps = bench_of(config, 2), layout_of(config.parse).steps
    more, model = upscale(bench), bench.model()
    pixels = CHANNELS * config.parse.part_size**2
    prior, decoder = training(config, "train_prior"), training(config, "train_decoder")
    return {
        "T": steps,
        "million parameters": parameters(model) / 1e6,
        "bank, one Lloyd iteration": 2 * PATCHES_PER_CELL * steps * config.parse.parts * pixels,
        "parse": operations(parse_work(bench.images, bench.brush)) / 8,
        "train_prior": prior.image,
        "train_decoder": decoder.image + 3 * more,  # forward, and twice as much backward
        "sample": operations(sample_work(bench, 128)) / 128 + more,
        "eval_nll, per sample": operations(evaluate_work(bench, 4, 4)) / 16 + more,
        "train_prior, weights per step": prior.weights,
        "train_decoder, weights per step": decoder.weights,
        "prior saved": prior.saved,
        "decoder saved": decoder.saved,
        "prior parameters": parameters(model.prior),
        "parameters": parameters(model),
        "train_prior, calls": prior.calls,
        "train_decoder, calls": decoder.calls,
        "patch bytes": PATCHES_PER_CELL * steps * pixels * 4,
        "noise bytes": BATCH * GPUS * steps * model.noise_size() * 4,
    }


def minutes(counts: dict[str, float], share: float) -> dict[str, float]:
    """Return the minutes of each stage on all GPUs, at a share of their peak.

    A training step takes at least the time the CPU needs to launch its operations.
    """
    rate = PEAK * share
    taken = {"parse": IMAGES * counts["parse"] / GPUS / rate}
    for stage, epochs in EPOCHS.items():
        on_weights = counts[f"{stage}, weights per step"]  # done by each GPU
        step = BATCH * counts[stage] + on_weights
        longest = max(step / rate, counts[f"{stage}, calls"] * START)
        taken[stage] = epochs * IMAGES / (BATCH * GPUS) * longest
    taken["sample"] = TEST_IMAGES * counts["sample"] / GPUS / rate
    taken["eval_nll"] = TEST_IMAGES * SAMPLES * counts["eval_nll, per sample"] / GPUS / rate
    return {stage: seconds / 60 for stage, seconds in taken.items()}


def report() -> str:
    """Return the tables of docs/scaling.md."""
    counts = [counted(plan) for plan in PLANS]
    head = ["", *(plan.name for plan in PLANS)]

    def tabled(rows: list[list[str]]) -> str:
        return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * 3, *rows[1:]])

    work = [["counted, GFLOP per image", *head[1:]]]
    for name in list(counts[0])[2:10]:
        shown = name.replace("weights per step", "for the weights, per step")
        work.append([shown, *(number(f[name] / 1e9) for f in counts)])
    volume = 2 * (GPUS - 1) / GPUS * 4
    size = [
        ["counted, memory and traffic", *head[1:]],
        ["parameters, million", *(number(f["million parameters"]) for f in counts)],
    ]
    for stage, key in (("train_prior", "prior"), ("train_decoder", "decoder")):
        name = "prior parameters" if key == "prior" else "parameters"
        size += [
            [
                f"{stage}: kept for the backward pass, GB for {BATCH} images in fp32",
                *(number(f[f"{key} saved"] * BATCH / 1e9) for f in counts),
            ],
            [
                f"{stage}: gradients sent by each GPU per step, MB (ms at half of NVLink)",
                *(
                    f"{number(f[name] * volume / 1e6)} ({f[name] * volume / NVLINK * 1e3:.2g})"
                    for f in counts
                ),
            ],
            [
                f"{stage}: operations launched per step (ms at 10 us each)",
                *(
                    f"{f[f'{stage}, calls']:,} ({f[f'{stage}, calls'] * START * 1e3:.0f})"
                    for f in counts
                ),
            ],
        ]
    for name, scale, shown in (
        (
            "noise bytes",
            1e9,
            f"train_decoder: noise of a step of {BATCH * GPUS} images, GB on each GPU",
        ),
        ("patch bytes", IMAGES / 1e9, "bank: all patches as float32, GB"),
        ("T", 5 * IMAGES / 1e9, "parse on disk: 5 bytes per cell, GB"),
        ("T", 17 * IMAGES / 1e9, "parse in memory: 17 bytes per cell, GB"),
    ):
        factor = 1 / scale if name == "noise bytes" else scale
        size.append([shown, *(number(f[name] * factor) for f in counts)])
    taken = [[f"minutes on {GPUS} GPUs, at {SHARES[0]:.0%} (at {SHARES[1]:.0%})", *head[1:]]]
    by_share = [[minutes(f, share) for share in SHARES] for f in counts]
    for stage in by_share[0][0]:
        taken.append([stage, *(f"{_short(a[stage])} ({_short(b[stage])})" for a, b in by_share)])
    sums = [[sum(x.values()) for x in pair] for pair in by_share]
    taken.append(["all", *(f"{_short(a)} ({_short(b)})" for a, b in sums)])
    return "\n\n".join(tabled(rows) for rows in (work, size, taken))


def _short(taken: float) -> str:
    return "under 0.1" if taken < 0.1 else f"{taken:.1f}"


if __name__ == "__main__":
    print(report())
