"""Stage 4: the likelihood of test images, by importance sampling (docs/model.md, section 7)."""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.config import Config
from npdraw.datasets import digest
from npdraw.errors import DivergedError
from npdraw.inputs.classes import check_classes
from npdraw.inputs.images import find_source, load_test_images
from npdraw.inputs.labelled import find_labelled, in_terms_of, load_labelled
from npdraw.inputs.models import read_model, to_device
from npdraw.inputs.other_images import check_images, reading_for
from npdraw.model.importance import FIGURES, importance_figures, samples_per_pass
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import all_gather_rows, chunks, on_rank_zero, process_group
from npdraw.runtime.eval_checkpoint import EvalCheckpoint
from npdraw.runtime.group import Group
from npdraw.runtime.noise import uniform
from npdraw.runtime.progress import Progress
from npdraw.runtime.result_file import read_result, same_result
from npdraw.runtime.run_folder import clear, is_unfinished, locked, write_json
from npdraw.runtime.settings import Runtime, explain_out_of_memory, send
from npdraw.runtime.signals import StopSignal


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
    given_labels: bool = False,
) -> dict[str, Any]:
    """Estimate the negative log-likelihood of test images in nats per image.

    `estimator` "importance" is `-log (1/S) sum_s p(x|z_s) p(z_s) / q(z_s|x)`, an upper bound of
    the true value in expectation for every S (docs/model.md, section 7). "published" replaces `log
    q - log p` by the analytic KL and is not a bound. `images` selects that many test images, evenly
    spaced over the split; None means all. They are binarised once, from `seed`, so that the result
    repeats exactly. It does not depend on `batch_size`, the number of drawings evaluated at once.
    Processes started by torchrun share the images, with the same result. With `out`, an evaluation
    that was stopped or crashed resumes when it is run again, and ends with the same result.

    Eleven parameters, because each is a flag of the command.

    Raises:
        DivergedError: the likelihood that the model gives to an image is NaN.
        StoppedError: a signal came; with `out`, the images evaluated so far are saved.
        UsageError: the images do not fit the model, see `other_images.check_images`; or labels are
            given to a model without classes.
        DataError: the images cannot be read, or have no labels.
        UsageError, BusyError, ArtifactError: see `run_folder.locked` and `run_folder.resumable`.
    """
    # Read the model and the images.
    device = runtime.start()
    model, config, artifact = read_model(model_path)
    to_device(model, device)
    classes = check_classes(artifact.header) if given_labels else ()
    find = find_labelled if given_labels else find_source
    data = find(artifact.header, model_path, source)
    check_images(data, root, artifact.header, model_path, config.parse, progress)
    reading = reading_for(data, root, artifact.header, config.parse, progress)
    values, numbers = load_test_images(
        data, root, config.parse, seed, images, progress, reading=reading
    )
    labels = None
    if given_labels:
        _, known = load_labelled(data, "test", root, config.parse, reading)
        known = in_terms_of(classes, known, data)
        labels = torch.tensor(known.values[numbers]).long()
    settings: dict[str, Any] = {
        "model": artifact.header.digest,
        "data": digest(values.numpy()),
        "samples": samples,
        "images": len(values),
        "estimator": estimator,
        "seed": seed,
        "precision": runtime.precision_name(device),
        **({"labels": known.digest} if given_labels else {}),
    }
    run_key = _run_key(settings)
    with process_group(device) as group, ExitStack() as held:
        # Resume or start. Without `out` nothing is saved, and a signal acts at once.
        stop = StopSignal(group)
        checkpoint = EvalCheckpoint(len(values), FIGURES, group)
        if out is not None:
            folder = held.enter_context(locked(out, model_path, group=group))
            held.enter_context(stop)
            earlier = on_rank_zero(
                group, lambda: _earlier(out, folder, settings, run_key, runtime.force)
            )
            if earlier is not None:
                return {**earlier, "resumed_from": len(values)}
            checkpoint.resume(out, folder, run_key, force=runtime.force)
        resumed_from = checkpoint.done

        # Evaluate.
        side = samples_per_pass(samples, batch_size)

        def figures_of(part: slice) -> Tensor:
            x = model.in_unit(send(values[part], device))
            shape = (samples, model.layout.steps, model.brush.numbers)
            noise = send(uniform("eval", seed, numbers[part], shape), device)
            with torch.no_grad(), runtime.autocast(device):
                y = None if labels is None else send(labels[part], device)
                figures = importance_figures(model, x, noise, estimator, side, y).cpu()
            _check_figures(figures, model_path)
            return figures

        with explain_out_of_memory(batch_size):
            fill(checkpoint, figures_of, batch_size // side, group, stop, progress)

        # Write the result.
        def write() -> dict[str, Any]:
            result = _result(checkpoint.figures, values[0].numel(), config, settings)
            result |= {"seconds": checkpoint.seconds, "resumed_from": resumed_from}
            result["settings"] = settings
            if out is None:
                return result
            write_json(out, result)
            clear(folder)
            return result | {"out": str(out)}

        written: dict[str, Any] = on_rank_zero(group, write)
        return written


def _run_key(settings: Mapping[str, Any]) -> RunKey:
    """Return the key by which an unfinished evaluation is recognised."""
    return RunKey(
        {name: value for name, value in settings.items() if name not in ("model", "data", "seed")},
        {"digest": settings["data"]},
        {"model": settings["model"]},
        settings["seed"],
    )


def _check_figures(figures: Tensor, model_path: Path) -> None:
    """Raise `DivergedError` if a figure is NaN; infinity is valid: an image of probability 0."""
    if figures.isnan().any():
        raise DivergedError(
            f"the likelihood that {model_path} gives to a test image is NaN",
            hint="Its weights are unusable: train it again.",
        )


def fill(
    checkpoint: EvalCheckpoint,
    figures_of: Callable[[slice], Tensor],
    chunk: int,
    group: Group,
    stop: StopSignal,
    progress: Progress,
) -> None:
    """Loop over the images, `chunk` per process: evaluate, report, save, stop if a signal came."""
    images = len(checkpoint.figures)
    progress.start("eval-nll", images, done=checkpoint.done)
    while checkpoint.done < images:
        first = checkpoint.done
        figures = torch.zeros_like(checkpoint.figures[first : first + chunk * group.size])
        for _, part in chunks(group, len(figures), chunk):
            figures[part] = figures_of(slice(first + part.start, first + part.stop))
        checkpoint.add(all_gather_rows(group, figures))
        progress.update(checkpoint.done, nll=float(checkpoint.figures[: checkpoint.done, 0].mean()))
        stop.sync()
        checkpoint.save(now=stop.signal != 0)
        stop.raise_if_stopped(checkpoint.done, images, "image")
    progress.finish()


def _earlier(
    out: Path, folder: Path, settings: dict[str, Any], run_key: RunKey, force: bool
) -> dict[str, Any] | None:
    """Return the existing result if it has these settings, None if there is work to do."""
    earlier = read_result(out)
    if earlier is None or force or is_unfinished(folder, run_key):
        return None
    return same_result(earlier, out, settings, command="eval-nll")


def _result(
    figures: Tensor, dimensions: int, config: Config, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the result of the command from the figures of every image."""
    # Contiguous columns, so that their means always add up in the same order.
    nll, rate, distortion, canvas = figures.T.contiguous()
    binarization = "none, 256 values"
    if config.parse.binarize:
        binarization = f"once, P(1) = value / 255, seed {settings['seed']}"
    importance = settings["estimator"] == "importance"
    return {
        "nll": float(nll.mean()),
        "nll_se": float(nll.std(correction=1) / math.sqrt(len(nll))) if len(nll) > 1 else None,
        "elbo": float((rate + distortion).mean()),
        "rate": float(rate.mean()),
        "distortion": float(distortion.mean()),
        "bits_per_dim": float(nll.mean()) / (dimensions * math.log(2)),
        "label": "given" if "labels" in settings else "none",
        "samples": settings["samples"],
        "images": len(nll),
        "split": "test",
        "binarization": binarization,
        "estimator": "importance" if importance else "published (not a bound)",
        "canvas_mse": float(canvas.mean()),
    }
