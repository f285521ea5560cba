"""Stage 4: the likelihood of test images, by importance sampling (model.md section 7)."""

import math
import time
from pathlib import Path
from typing import Any

import torch

from npdraw.datasets import binarize, digest, evenly_spaced, load
from npdraw.errors import UsageError
from npdraw.stages.images import find_source
from npdraw.stages.loading import read_model
from npdraw.stages.noise import uniform
from npdraw.stages.output import check_output, read_json, write_json
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime


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
    `batch_size`.
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
    }
    if out is not None and out.exists():
        earlier = read_json(out)
        if earlier.get("settings") == settings:
            return earlier | {"out": str(out), "up_to_date": True}
        if not runtime.force:
            raise UsageError(
                f"{out} is there with other settings or is not a result of eval-nll",
                hint="Choose another --out, or --force to replace it.",
            )
    began = time.perf_counter()
    columns: dict[str, list[torch.Tensor]] = {"nll": [], "rate": [], "distortion": [], "canvas": []}
    progress.start("eval-nll", len(binary))
    for start in range(0, len(binary), batch_size):
        chunk = binary[start : start + batch_size].to(device).float()
        index = [int(i) for i in chosen[start : start + batch_size]]
        noise = uniform("eval", seed, index, (samples, model.layout.steps, 3)).to(device)
        log_weights, rates, distortions = [], [], []
        with torch.no_grad(), runtime.autocast(device):
            q = model.encode(chunk)  # once, not for every sample
            for s in range(samples):
                w = model.weigh(chunk, q, noise[:, s])
                published = -w.distortion - w.analytic_rate
                log_weights.append(w.log_weight if estimator == "importance" else published)
                rates.append(w.rate)
                distortions.append(w.distortion)
                if s == 0:
                    columns["canvas"].append(w.canvas_error.double().cpu())
        columns["nll"].append(-log_mean_exp(torch.stack(log_weights).double()).cpu())
        columns["rate"].append(torch.stack(rates).double().mean(0).cpu())
        columns["distortion"].append(torch.stack(distortions).double().mean(0).cpu())
        progress.update(start + len(chunk), nll=float(torch.cat(columns["nll"]).mean()))
    progress.finish()
    nll, rate, distortion, canvas = (torch.cat(column) for column in columns.values())
    result = {
        "nll": float(nll.mean()),
        "nll_se": float(nll.std(correction=1) / math.sqrt(len(nll))) if len(nll) > 1 else None,
        "elbo": float((rate + distortion).mean()),
        "rate": float(rate.mean()),
        "distortion": float(distortion.mean()),
        "bits_per_dim": float(nll.mean()) / (binary[0].numel() * math.log(2)),
        "samples": samples,
        "images": len(binary),
        "split": "test",
        "binarization": f"once, P(1) = value / 255, seed {seed}",
        "estimator": "importance" if estimator == "importance" else "published (not a bound)",
        "canvas_mse": float(canvas.mean()),
        "seconds": time.perf_counter() - began,
        "settings": settings,
    }
    if out is not None:
        write_json(out, result)
        result["out"] = str(out)
    return result


def log_mean_exp(log_weights: torch.Tensor) -> torch.Tensor:
    """Return log of the mean of exp over the first axis, [S, N] -> [N]."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
