"""How much samples look like test images, by distances between features (docs/quality.md)."""

import math
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.config import ParseConfig
from npdraw.datasets import SPLITS, Source, digest, load
from npdraw.datasets.splits import evenly_spaced
from npdraw.errors import UsageError
from npdraw.header import Header
from npdraw.inputs.features import chosen_features
from npdraw.inputs.images import find_source, to_levels
from npdraw.inputs.models import read_model, to_device
from npdraw.inputs.other_images import check_images, reading_for
from npdraw.model.npdraw import NPDraw
from npdraw.pictures.sheet import draw_pixels
from npdraw.quality.distances import BLOCK, LEAST, compare
from npdraw.quality.features import Extractor, features_of
from npdraw.runtime.noise import generator
from npdraw.runtime.progress import Progress
from npdraw.runtime.result_file import read_result, same_result
from npdraw.runtime.run_folder import locked, write_json
from npdraw.runtime.settings import Runtime
from npdraw.training.classify import APART_STEPS, BATCH, two_sample_accuracy


@dataclass(frozen=True)
class _Images:
    """What samples are compared with, uint8 [M, C, H, W] of 0 to 255."""

    test: Tensor
    training: Tensor


@dataclass(frozen=True)
class _Work:
    """A model, the network that describes images, and how to run both."""

    model: NPDraw
    extractor: Extractor
    seed: int
    device: torch.device
    runtime: Runtime
    progress: Progress


def eval_samples(
    model_path: Path,
    *,
    source: str | None,
    root: Path,
    samples: int,
    images: int | None,
    features: str,
    two_sample: bool,
    seed: int,
    out: Path | None,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Compare samples of a model with test images, and training images with the same ones.

    The second comparison is the floor: what a model that had learned everything would reach. It
    uses as many training images as there are samples, if there are enough. `images` selects that
    many test images, evenly spaced over the split; None means all. `features` is `own`, `imagenet`,
    `inception` or a file of `npdraw train-features`. With `two_sample` a classifier also tries to
    tell samples from test images. Pixels of samples are drawn from the decoder's distribution;
    where the model has binary pixels, images are binarised once, from `seed`. Returns the result of
    `npdraw eval-samples --json`. Eleven parameters, because each is a flag of the command; the body
    is long because it lists all that defines the figures.

    Raises:
        UsageError: there are too few samples or images, or none of the features fit; the images do
            not fit the model, see `other_images.check_images`.
        UsageError, BusyError: see `run_folder.locked` and `result_file`.
        DataError, ArtifactError: see `chosen_features` and `read_model`.
    """
    # Read the model, the features and the images.
    device = runtime.start()
    model, config, artifact = read_model(model_path)
    to_device(model, device)
    data = find_source(artifact.header, model_path, source)
    check_images(data, root, artifact.header, model_path, config.parse, progress)
    extractor = chosen_features(features, data, config.parse.channels, device)
    work = _Work(model, extractor, seed, device, runtime, progress)
    compared = _images(data, root, artifact.header, config.parse, samples, images, work)
    settings = {
        "model": artifact.header.digest,
        "data": digest(compared.test.numpy()),
        "training_data": digest(compared.training.numpy()),
        "samples": samples,
        "images": len(compared.test),
        "features": extractor.digest,
        "two_sample": two_sample,
        "seed": seed,
        "precision": runtime.precision_name(device),
    }

    with ExitStack() as held:
        if out is not None:
            held.enter_context(locked(out, model_path))
            earlier = read_result(out)
            if earlier is not None and not runtime.force:
                return same_result(earlier, out, settings, command="eval-samples")

        # Sample and compare.
        began = time.perf_counter()
        drawn = _samples(work, samples)
        result = _compared(work, drawn, compared)
        if two_sample:
            result |= _two_sample(work, drawn, compared.test)
        result |= _definition(work, config.parse, compared, samples)
        result |= {"seconds": time.perf_counter() - began, "settings": settings}

        # Write.
        if out is None:
            return result
        write_json(out, result)
        return result | {"out": str(out)}


def _images(
    source: Source,
    root: Path,
    header: Header,
    config: ParseConfig,
    samples: int,
    images: int | None,
    work: _Work,
) -> _Images:
    """Load test images, evenly spaced over their split, and random training images.

    Training images of MNIST differ at even and odd positions, so that evenly spaced ones would not
    stand for all of them; and its test images differ from one thousand to the next, so that they
    are put in random order for the blocks of KID (LOG.md, 2026-11-30).

    Binary ones are drawn once: test images from the seed, as `npdraw eval-nll` draws them, training
    images from the next one.
    """
    reading = reading_for(source, root, header, config, work.progress)
    size, channels = config.image_size, config.channels
    loaded = {
        split: load(source, split, root=root, image_size=size, channels=channels, reading=reading)
        for split in SPLITS
    }
    for note in dict.fromkeys(note for found in loaded.values() for note in found.notes):
        work.progress.note(note)

    def pixels(split: str, chosen: Tensor, seed: int) -> Tensor:
        # Binarise all, so that an image does not depend on how many are chosen.
        values = to_levels(torch.tensor(loaded[split].images), config, seed)[chosen]
        return values * 255 if config.binarize else values

    tests, training = (len(loaded[split].images) for split in ("test", "train"))
    enough = min(samples, training)
    spaced = torch.from_numpy(evenly_spaced(tests, tests if images is None else images))
    noise = generator("images", work.seed, 0, torch.device("cpu"))
    mixed = spaced[torch.randperm(len(spaced), generator=noise)]
    random = torch.randperm(training, generator=noise)[:enough]
    found = _Images(pixels("test", mixed, work.seed), pixels("train", random, work.seed + 1))
    for what, count in (
        ("samples", samples),
        ("test images", len(found.test)),
        ("training images", enough),
    ):
        if count < LEAST:
            raise UsageError(
                f"{count} {what} are too few to compare",
                hint=f"At least {LEAST} samples, test images and training images are needed.",
            )
    if min(samples, len(found.test)) < BLOCK:
        work.progress.note(
            f"with fewer than {BLOCK:,} samples or test images, distances say little, and KID has "
            "no standard error"
        )
    return found


def _seeds(work: _Work, samples: int) -> range:
    """Return the seeds of the samples: other ones for each seed of the evaluation."""
    return range(work.seed * samples, (work.seed + 1) * samples)


def _samples(work: _Work, samples: int) -> Tensor:
    """Draw samples and their pixels, uint8 [N, C, H, W] of 0 to 255."""
    work.progress.start("sample", samples)
    seeds = list(_seeds(work, samples))
    with work.runtime.autocast(work.device):
        drawn = draw_pixels(work.model, seeds, work.seed, seen=work.progress.update)
    work.progress.finish()
    return drawn


def _compared(work: _Work, drawn: Tensor, images: _Images) -> dict[str, Any]:
    """Return the distances of samples and of training images to the test images."""
    sets, done = (drawn, images.test, images.training), 0
    work.progress.start("features", sum(map(len, sets)))

    def seen(count: int) -> None:
        nonlocal done
        done += count
        work.progress.update(done)

    found, test, training = (features_of(work.extractor, x, work.device, seen) for x in sets)
    work.progress.finish()
    return {**_figures(found, test), "floor": _figures(training, test)}


def _figures(features: Tensor, test: Tensor) -> dict[str, float | None]:
    """Return the distances between features; the error of a single block is not known: None."""
    figures = asdict(compare(features, test))
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _two_sample(work: _Work, drawn: Tensor, test: Tensor) -> dict[str, Any]:
    """Return the accuracy of a classifier that separates samples from test images."""
    work.progress.start("two-sample", APART_STEPS, scale=BATCH)
    share, error = two_sample_accuracy(
        drawn,
        test,
        seed=work.seed,
        runtime=work.runtime,
        device=work.device,
        report=lambda done, metrics: work.progress.update(done, **metrics),
    )
    work.progress.finish()
    return {"two_sample": share, "two_sample_se": error}


def _definition(work: _Work, config: ParseConfig, images: _Images, samples: int) -> dict[str, Any]:
    """Return all that defines the figures, besides model and data set."""
    seeds, extractor = _seeds(work, samples), work.extractor
    binary = f"binary, images drawn once, P(1) = value / 255, seed {work.seed}"
    return {
        "samples": samples,
        "sample_seeds": f"{seeds[0]}-{seeds[-1]}",
        "images": len(images.test),
        "split": "test",
        "training_images": len(images.training),
        "pixels": binary if config.binarize else "256 values",
        "features": extractor.name,
        "features_digest": extractor.digest,
        "resizing": extractor.resizing(config.image_size),
        "seed": work.seed,
    }
