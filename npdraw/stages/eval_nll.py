"""Stage 4: the likelihood of test images, by importance sampling (model.md section 7)."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import check_place
from npdraw.datasets import binarize, digest, evenly_spaced, load
from npdraw.errors import UsageError
from npdraw.model.npdraw import NPDraw
from npdraw.stages.distributed import by_first, chunks, filled, joined
from npdraw.stages.images import find_source
from npdraw.stages.loading import read_model
from npdraw.stages.noise import uniform
from npdraw.stages.output import check_output, read_json, write_json
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime, send


def eval_nll(
    model_path: Path,
    *,
    source: str | None,
    root: Path,
    samples: int,
    images: int | None,
    estimator: str,
    seed: int,
    batch_size: int,
    out: Path | None,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Estimate the negative log-likelihood of test images in nats per image.

    `estimator` "importance" is `-log (1/S) sum_s p(x|z_s) p(z_s) / q(z_s|x)`, an upper bound of
    the true value in expectation for every S. "published" puts the analytic KL in place of
    `log q - log p` and is no bound. All test images, or `images` of them evenly spaced over the
    split, binarised once from `seed`; the result repeats exactly and does not depend on
    `batch_size`. Processes started by torchrun share the batches, with the same result.
    """
    if out is not None:
        check_output(out, (model_path,))
    device = runtime.start()
    model, config, artifact = read_model(model_path)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    where = find_source(artifact.header, model_path, source)
    loaded = load(
        where,
        "test",
        root=root,
        image_size=config.parse.image_size,
        channels=config.parse.channels,
    )
    for note in loaded.notes:
        progress.note(note)
    chosen = evenly_spaced(len(loaded.images), images or len(loaded.images))
    binary = torch.from_numpy(binarize(loaded.images, seed)[chosen])
    settings = {
        "model": artifact.header.digest,
        "data": digest(binary.numpy()),
        "samples": samples,
        "images": len(binary),
        "estimator": estimator,
        "seed": seed,
        "precision": runtime.chosen(device),
    }
    with joined(device) as group:
        earlier: dict[str, Any] | None = by_first(
            group, lambda: _earlier(out, settings, force=runtime.force)
        )
        if earlier is not None:
            return earlier
        began = time.perf_counter()
        figures = torch.zeros(len(binary), 4, dtype=torch.float64)
        nll = torch.zeros(0)  # of what this process has done
        progress.start("eval-nll", len(binary))
        for _, part in chunks(group, len(binary), batch_size):
            x = send(binary[part], device).float()
            index = [int(i) for i in chosen[part]]
            noise = send(uniform("eval", seed, index, (samples, model.layout.steps, 3)), device)
            with torch.no_grad(), runtime.autocast(device):
                figures[part] = weigh(model, x, noise, estimator).cpu()
            nll = torch.cat([nll, figures[part, 0]])
            done = min(group.size * len(nll), len(binary))  # the others are about as far
            progress.update(done, nll=float(nll.mean()))
        progress.finish()
        figures = filled(group, figures)
        seconds = time.perf_counter() - began
        result = _result(figures, binary[0].numel(), settings) | {"seconds": seconds}
        result["settings"] = settings

        def write() -> dict[str, Any]:
            if out is None:
                return result
            write_json(out, result)
            return result | {"out": str(out)}

        written: dict[str, Any] = by_first(group, write)
        return written


def weigh(model: NPDraw, images: Tensor, noise: Tensor, estimator: str) -> Tensor:
    """Return nll, rate, distortion and canvas error of each image, float64 [N, 4].

    Images [N, C, H, W] in {0, 1}; `noise` [N, S, T, 3] in [0, 1), a row for each sample. Rate and
    distortion are means over the samples, the canvas error is that of the first one.
    """
    q = model.encode(images)  # once, not for every sample
    weighted = [model.weigh(images, q, noise[:, s]) for s in range(noise.shape[1])]
    log_weights = [
        w.log_weight if estimator == "importance" else -w.distortion - w.analytic_rate
        for w in weighted
    ]
    return torch.stack(
        [
            -log_mean_exp(torch.stack(log_weights).double()),
            torch.stack([w.rate for w in weighted]).double().mean(0),
            torch.stack([w.distortion for w in weighted]).double().mean(0),
            weighted[0].canvas_error.double(),
        ],
        1,
    )


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Return log of the mean of exp over the first axis, [S, N] -> [N]."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def _earlier(out: Path | None, settings: dict[str, Any], *, force: bool) -> dict[str, Any] | None:
    """Return the result that is there already, if it has these settings."""
    if out is None:
        return None
    if out.exists():
        earlier = read_json(out)
        if earlier.get("settings") == settings:
            return earlier | {"out": str(out), "up_to_date": True}
        if not force:
            raise UsageError(
                f"{out} is there with other settings or is not a result of eval-nll",
                hint="Choose another --out, or --force to replace it.",
            )
    check_place(out)
    return None


def _result(figures: Tensor, dimensions: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what the command tells, from the figures of every image."""
    # Columns side by side in memory, so that their means are added up in one order always.
    nll, rate, distortion, canvas = figures.T.contiguous()
    importance = settings["estimator"] == "importance"
    return {
        "nll": float(nll.mean()),
        "nll_se": float(nll.std(correction=1) / math.sqrt(len(nll))) if len(nll) > 1 else None,
        "elbo": float((rate + distortion).mean()),
        "rate": float(rate.mean()),
        "distortion": float(distortion.mean()),
        "bits_per_dim": float(nll.mean()) / (dimensions * math.log(2)),
        "samples": settings["samples"],
        "images": len(nll),
        "split": "test",
        "binarization": f"once, P(1) = value / 255, seed {settings['seed']}",
        "estimator": "importance" if importance else "published (not a bound)",
        "canvas_mse": float(canvas.mean()),
    }
