"""Stage 4: the likelihood of test images, by importance sampling (model.md section 7)."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.datasets import digest
from npdraw.errors import ArtifactError, DivergedError, UsageError
from npdraw.header import read_header
from npdraw.inputs.images import find_source, observed_test_images
from npdraw.inputs.models import read_model
from npdraw.model.latents import Factors
from npdraw.model.npdraw import NPDraw
from npdraw.runtime.distributed import by_first, chunks, filled, joined
from npdraw.runtime.eval_checkpoint import Partial
from npdraw.runtime.group import Group
from npdraw.runtime.noise import uniform
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import Identity, begun, clear, locked, read_json, write_json
from npdraw.runtime.settings import Runtime, batches, send
from npdraw.runtime.signals import Stop

FIGURES = 4
"""Of an image: nll, rate, distortion, canvas error."""

PASSES = 25
"""Passes through the model, of a batch each, from one chance to stop to the next (about 2 s)."""


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
    `batch_size`: how many drawings are weighed at once, of as many images or of fewer. Processes
    started by torchrun share the images, with the same result. With `out` a stop or a crash
    loses little: the same call goes on, to the result that it would have had.

    Raises:
        DivergedError: the model computes what is no number.
        StoppedError: a signal came; with `out` what was done is saved.
        UsageError, BusyError, ArtifactError: see `output.locked` and `output.resumable`.
    """
    device = runtime.start()
    model, config, artifact = read_model(model_path)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    where = find_source(artifact.header, model_path, source)
    values, chosen = observed_test_images(where, root, config.parse, seed, images, progress)
    settings: dict[str, Any] = {
        "model": artifact.header.digest,
        "data": digest(values.numpy()),
        "samples": samples,
        "images": len(values),
        "estimator": estimator,
        "seed": seed,
        "precision": runtime.chosen(device),
    }
    identity = Identity(
        {name: settings[name] for name in ("samples", "images", "estimator", "precision")},
        {"digest": settings["data"]},
        {"model": settings["model"]},
        seed,
    )
    with joined(device) as group, ExitStack() as held:
        stop = Stop(group)
        partial = Partial(len(values), FIGURES, group)
        if out is not None:  # else nothing is kept, and a signal acts at once
            folder = held.enter_context(locked(out, model_path, group=group))
            held.enter_context(stop)
            earlier = by_first(
                group, lambda: _earlier(out, folder, settings, identity, runtime.force)
            )
            if earlier is not None:
                return {**earlier, "resumed_from": len(values)}
            partial.resume(out, folder, identity, force=runtime.force)
        resumed_from = partial.done

        def figures_of(part: slice) -> Tensor:
            x = model.in_unit(send(values[part], device))
            index = chosen[part]
            noise = send(uniform("eval", seed, index, (samples, model.layout.steps, 3)), device)
            with torch.no_grad(), runtime.autocast(device):
                found = weigh(model, x, noise, estimator, side_by_side(samples, batch_size)).cpu()
            if found.isnan().any():  # infinite it may be: of what the model cannot draw
                raise DivergedError(
                    f"the likelihood that {model_path} gives to a test image is NaN",
                    hint="Its weights are of no use: train it again.",
                )
            return found

        chunk = batch_size // side_by_side(samples, batch_size)
        with batches(batch_size):
            fill(partial, figures_of, chunk, group, stop, progress)

        def write() -> dict[str, Any]:
            binarization = "none, 256 values"
            if config.parse.binarize:
                binarization = f"once, P(1) = value / 255, seed {seed}"
            result = _result(partial.figures, values[0].numel(), binarization, settings)
            result |= {"seconds": partial.seconds, "resumed_from": resumed_from}
            result["settings"] = settings
            if out is None:
                return result
            write_json(out, result)
            clear(folder)
            return result | {"out": str(out)}

        written: dict[str, Any] = by_first(group, write)
        return written


def side_by_side(samples: int, batch_size: int) -> int:
    """Return how many samples of an image are weighed at once.

    Few images with many samples each make the same batch as many images, at the same speed, and
    are done sooner, so that one can stop.
    """
    return min(batch_size, -(-samples // PASSES))


def fill(
    partial: Partial,
    figures_of: Callable[[slice], Tensor],
    chunk: int,
    group: Group,
    stop: Stop,
    progress: Progress,
) -> None:
    """The loop over the images: `chunk` for each process, tell, save, stop if asked to."""
    images = len(partial.figures)
    progress.start("eval-nll", images, done=partial.done)
    while partial.done < images:
        begin = partial.done
        figures = torch.zeros_like(partial.figures[begin : begin + chunk * group.size])
        for _, part in chunks(group, len(figures), chunk):
            figures[part] = figures_of(slice(begin + part.start, begin + part.stop))
        partial.add(filled(group, figures))
        progress.update(partial.done, nll=float(partial.figures[: partial.done, 0].mean()))
        stop.agree()
        partial.save(now=stop.signal != 0)
        stop.leave(partial.done, images, "image")
    progress.finish()


def weigh(model: NPDraw, images: Tensor, noise: Tensor, estimator: str, side: int = 1) -> Tensor:
    """Return nll, rate, distortion and canvas error of each image, float64 [N, FIGURES].

    Images [N, C, H, W] in {0, 1}; `noise` [N, S, T, 3] in [0, 1), a row for each sample, of which
    `side` go through the model at once. Rate and distortion are means over the samples, the canvas
    error is that of the first one.
    """
    q = model.encode(images)  # once, not for every sample
    weighted = []
    for some in noise.transpose(0, 1).split(side):  # [S, N, T, 3] -> [side, N, T, 3]
        rows = Factors(*(torch.cat([x] * len(some)) for x in (q.whether, q.where, q.what)))
        w = model.weigh(torch.cat([images] * len(some)), rows, some.flatten(0, 1))
        gap = w.rate if estimator == "importance" else w.analytic_rate
        terms = torch.stack([-w.distortion - gap, w.rate, w.distortion, w.canvas_error])
        weighted.append(terms.unflatten(1, (len(some), len(images))))
    log_weights, rate, distortion, canvas_error = torch.cat(weighted, 1).double()  # [S, N]
    return torch.stack(
        [-log_mean_exp(log_weights), rate.mean(0), distortion.mean(0), canvas_error[0]], 1
    )


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Return log of the mean of exp over the first axis, [S, N] -> [N]."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def _earlier(
    out: Path, folder: Path, settings: dict[str, Any], identity: Identity, force: bool
) -> dict[str, Any] | None:
    """Return the result that is there already, if it has these settings."""
    if not out.exists():
        return None
    earlier = read_json(out)
    # A result replaces another one, but nothing that took a training to make.
    if not earlier and _is_artifact(out):
        raise UsageError(f"{out} is an artifact", hint="Choose another --out.")
    if force or begun(folder, identity):
        return None
    if earlier.get("settings") == settings:
        return earlier | {"out": str(out), "up_to_date": True}
    raise UsageError(
        f"{out} is there with other settings or is not a result of eval-nll",
        hint="Choose another --out, or --force to replace it.",
    )


def _is_artifact(path: Path) -> bool:
    try:
        read_header(path)
    except ArtifactError:
        return False
    return True


def _result(
    figures: Tensor, dimensions: int, binarization: str, settings: dict[str, Any]
) -> dict[str, Any]:
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
        "binarization": binarization,
        "estimator": "importance" if importance else "published (not a bound)",
        "canvas_mse": float(canvas.mean()),
    }
