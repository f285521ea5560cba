"""Stage 4: the likelihood of test images, by importance sampling (docs/model.md, section 7)."""

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
from npdraw.inputs.images import find_source, load_test_images
from npdraw.inputs.models import read_model
from npdraw.model.importance import FIGURES, importance_figures, samples_per_pass
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import all_gather_rows, chunks, on_rank_zero, process_group
from npdraw.runtime.eval_checkpoint import Partial
from npdraw.runtime.group import Group
from npdraw.runtime.noise import uniform
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import begun, clear, locked, read_json, write_json
from npdraw.runtime.settings import Runtime, explain_out_of_memory, send
from npdraw.runtime.signals import Stop


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
    values, chosen = load_test_images(where, root, config.parse, seed, images, progress)
    settings: dict[str, Any] = {
        "model": artifact.header.digest,
        "data": digest(values.numpy()),
        "samples": samples,
        "images": len(values),
        "estimator": estimator,
        "seed": seed,
        "precision": runtime.chosen(device),
    }
    run_key = RunKey(
        {name: settings[name] for name in ("samples", "images", "estimator", "precision")},
        {"digest": settings["data"]},
        {"model": settings["model"]},
        seed,
    )
    with process_group(device) as group, ExitStack() as held:
        stop = Stop(group)
        partial = Partial(len(values), FIGURES, group)
        if out is not None:  # else nothing is kept, and a signal acts at once
            folder = held.enter_context(locked(out, model_path, group=group))
            held.enter_context(stop)
            earlier = on_rank_zero(
                group, lambda: _earlier(out, folder, settings, run_key, runtime.force)
            )
            if earlier is not None:
                return {**earlier, "resumed_from": len(values)}
            partial.resume(out, folder, run_key, force=runtime.force)
        resumed_from = partial.done
        side = samples_per_pass(samples, batch_size)

        def figures_of(part: slice) -> Tensor:
            x = model.in_unit(send(values[part], device))
            index = chosen[part]
            noise = send(uniform("eval", seed, index, (samples, model.layout.steps, 3)), device)
            with torch.no_grad(), runtime.autocast(device):
                found = importance_figures(model, x, noise, estimator, side).cpu()
            if found.isnan().any():  # infinite it may be: of what the model cannot draw
                raise DivergedError(
                    f"the likelihood that {model_path} gives to a test image is NaN",
                    hint="Its weights are of no use: train it again.",
                )
            return found

        chunk = batch_size // side
        with explain_out_of_memory(batch_size):
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

        written: dict[str, Any] = on_rank_zero(group, write)
        return written


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
        partial.add(all_gather_rows(group, figures))
        progress.update(partial.done, nll=float(partial.figures[: partial.done, 0].mean()))
        stop.agree()
        partial.save(now=stop.signal != 0)
        stop.leave(partial.done, images, "image")
    progress.finish()


def _earlier(
    out: Path, folder: Path, settings: dict[str, Any], run_key: RunKey, force: bool
) -> dict[str, Any] | None:
    """Return the result that is there already, if it has these settings."""
    if not out.exists():
        return None
    earlier = read_json(out)
    # A result replaces another one, but nothing that took a training to make.
    if not earlier and _is_artifact(out):
        raise UsageError(f"{out} is an artifact", hint="Choose another --out.")
    if force or begun(folder, run_key):
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
