"""Teach a trained model the classes of its images: p(z | label) beside p(z) (docs/classes.md).

The prior with classes starts as the trained one and learns from drawings of the encoder. Nothing
else of the model changes, so neither do its samples and its likelihoods without a label.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from npdraw.config import BATCH_SIZE, SECTIONS, Config, as_dict
from npdraw.datasets.splits import evenly_spaced
from npdraw.errors import DataError
from npdraw.header import Header
from npdraw.inputs.images import copies_per_image, find_source, to_levels
from npdraw.inputs.labelled import (
    LABELLED,
    LabelledImages,
    labelled_training_images,
)
from npdraw.inputs.models import (
    freeze_unused,
    later_config,
    new_prior,
    read_model,
    to_device,
    weights_of,
)
from npdraw.inputs.other_images import check_images, reading_for
from npdraw.model.factors import Factors
from npdraw.model.latents import Latents, concatenate, join_steps
from npdraw.model.npdraw import NPDraw
from npdraw.model.prior import Prior
from npdraw.run_key import RunKey
from npdraw.runtime.noise import generator
from npdraw.runtime.progress import Progress
from npdraw.runtime.settings import Runtime, explain_out_of_memory, send
from npdraw.stages.train_prior import drawings_at_once, fit, validate
from npdraw.training.examples import Examples
from npdraw.training.session import GAIN, Session, resume_or_start, training_session, write_finished
from npdraw.training.state import new_state, plan, seed_weights

ACCURACY_IMAGES = 1000
"""Held-out images, at most, of which the classes are compared at the end."""


def train_classes(
    model_path: Path,
    *,
    changes: Mapping[str, Mapping[str, Any]],
    source: str | None,
    root: Path,
    limit: int | float | None,
    out: Path,
    seed: int | None,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Train a prior with classes on drawings of labelled images; write the model with it to `out`.

    The images are those that the model was made from, or all of `source`; `limit` keeps the first
    ones. Classes are those of the training images.

    Returns the result of `npdraw train-classes --json`: `class_nats` is the mean of -log p(z |
    label) over drawings of held-out images, `nats_without_label` that of -log p(z), and
    `class_accuracy` the share of (up to 1,000 of) them to which the right class gives the highest
    probability. The artifact keeps the metrics of the model and adds these.

    Nine parameters, because each is a flag of the command; the body is long because it lists all
    that a run does.

    Raises:
        DataError: the images cannot be read, have no labels, or all have the same one.
        UsageError: they do not fit the model, see `other_images.check_images`.
    """
    # Read the model and the images.
    device = runtime.start()
    model, _, artifact = read_model(model_path)
    header = artifact.header
    if model.classes:
        progress.note(f"the classes of {model_path.name} are replaced")
    config = later_config(artifact, changes, "classes")
    data = find_source(header, model_path, source)
    check_images(data, root, header, model_path, config.parse, progress)
    reading = reading_for(data, root, header, config.parse, progress)
    if limit is None and source is None:
        copies, split = copies_per_image(config.parse), header.dataset
        limit = split["train"] // copies + split["validation"]
    images = labelled_training_images(data, root, config.parse, limit, progress, reading)
    _note_absent(images, progress)
    run_key = RunKey(
        as_dict(config, SECTIONS),
        header.dataset | {"classes": list(images.known.classes), "labels": images.digest},
        {**header.inputs, "model": header.digest},
        header.seed if seed is None else seed,
    )
    settings = config.classes
    prior = _untrained(config, model, len(images.known.classes), run_key.seed)
    if runtime.dry_run:
        return plan(prior, run_key.config, settings.steps, settings.batch_size, out)
    to_device(model, device)
    prior.to(device)

    with training_session(
        out,
        "model",
        config,
        run_key,
        inputs=(model_path,),
        device=device,
        runtime=runtime,
        progress=progress,
    ) as session:
        if session.finished is not None:
            return _result(session.finished, session.finished["class_steps"])

        # Resume or start.
        state = new_state(
            prior,
            [(prior, settings.learning_rate)],
            settings.weight_decay,
            session.group,
            runtime.dtype(device),
        )
        sources = {LABELLED: str(data.absolute()), **_own_source(header, model_path)}
        log = resume_or_start(session, state, **sources)
        resumed_from = state.step

        # Train.
        train, held_out = _examples(session, model, images, resumed_from)
        with explain_out_of_memory(settings.batch_size, recorded=runtime.cuda_graphs):
            fit(session, log, state, prior, train, held_out, settings)

        # Validate the best weights on all held-out drawings and write them.
        prior.load_state_dict(state.best)
        prior.eval()
        with session.autocast():
            metrics = validate(prior, held_out, session.group)
            unlabelled = validate(model.prior, Examples(held_out.z), session.group)
            compared = evenly_spaced(len(held_out), min(ACCURACY_IMAGES, len(held_out)))
            share = accuracy(prior, held_out[torch.from_numpy(compared).to(device)])
        learned = (
            state.step,
            state.best_step,
            prior.classes,
            len(images.known.values),
            metrics["validation_nats"],
            unlabelled["validation_nats"],
            share,
        )
        _note_useless(metrics["validation_nats"], unlabelled["validation_nats"], progress)
        model.class_prior = prior
        stored = header.metrics | dict(zip(_LEARNED, learned, strict=True))
        weights, score = weights_of(model, model.brush), ("validation_nats", state.step)
        written = write_finished(session, log, weights, stored, resumed_from, score)
        return _result(written, resumed_from)


def _own_source(header: Header, model_path: Path) -> dict[str, str]:
    """Return where the images are that the model was made from, if it is known."""
    try:
        return {"source": str(find_source(header, model_path, None).absolute())}
    except DataError:
        return {}


def _note_absent(images: LabelledImages, progress: Progress) -> None:
    """Say so if classes have no training image, or if few have held-out ones."""
    names, known = images.absent, images.known
    if names:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        progress.note(
            f"{len(names)} of {len(names) + len(known.classes)} classes have no training image and "
            f"are left out: {shown}"
        )
    held_out = known.values[len(known.values) - images.data.validation :]
    tested = len(set(held_out.tolist()) - {-1})
    if tested < len(known.classes) / 2 and len(held_out) >= len(known.classes):
        progress.note(
            f"the held-out images show {tested} of {len(known.classes)} classes only: shuffle the "
            "images together with their labels, if they are sorted"
        )


def _note_useless(given: float, without: float, progress: Progress) -> None:
    """Say so if drawings are not more probable given their class."""
    if given >= without:
        progress.note(
            f"the labels did not help: {given:.2f} nats per held-out drawing, {without:.2f} "
            "without them; more steps, more labels or a lower classes.learning_rate may"
        )


_LEARNED = (
    "class_steps",
    "class_best_step",
    "classes",
    "labelled",
    "class_nats",
    "nats_without_label",
    "class_accuracy",
)


def _result(written: Mapping[str, Any], resumed_from: int) -> dict[str, Any]:
    """Return what the command prints of a result, which also has the metrics of the model."""
    names = ("seconds", *_LEARNED[2:], GAIN, "out", "up_to_date")
    shown = {name: written[name] for name in names if name in written}
    steps = {"steps": written["class_steps"], "best_step": written["class_best_step"]}
    return {**steps, "resumed_from": resumed_from, **shown}


def _untrained(config: Config, model: NPDraw, classes: int, seed: int) -> Prior:
    """Return a prior with classes that starts with the weights of the model's prior."""
    seed_weights("classes", seed)
    prior_config = replace(config.prior, dropout=config.classes.dropout)
    prior = new_prior(replace(config, prior=prior_config), model.brush, classes)
    prior.load_state_dict(model.prior.state_dict(), strict=False)  # all but the classes
    freeze_unused(prior)
    return prior


@torch.no_grad()
def _examples(
    session: Session, model: NPDraw, images: LabelledImages, step: int
) -> tuple[Examples, Examples]:
    """Return drawings of the encoder, with labels, of training and of held-out images.

    A training image has as many drawings as make `classes.drawings` of all, or as many as there are
    steps for, each of another binarisation; a held-out one has one. They are the same again for a
    training that resumes at `step`.

    Raises:
        StoppedError: a signal came.
    """
    data, settings, seed = images.data, session.config.classes, session.seed
    needed = min(settings.drawings, settings.steps * settings.batch_size)
    copies = -(-needed // len(data.train))
    train_labels, held_out_labels = images.labels.split([len(data.train), data.validation])
    kept = held_out_labels >= 0
    total = copies * len(data.train) + int(kept.sum())
    session.progress.start("draw", total, unit="drawings")
    done = 0

    def drawn(some: Tensor, copy: int) -> Latents:
        nonlocal done
        drawings = []
        for z in _drawings(session, model, some, seed + copy, copy):
            drawings.append(z)
            done += len(z)
            session.progress.update(done)
            session.stop.sync()
            session.stop.raise_if_stopped(step, settings.steps)
        return concatenate(drawings)

    held_out = drawn(data.held_out[kept], 0)
    train = concatenate([drawn(data.train, copy) for copy in range(1, copies + 1)])
    session.progress.finish()
    device = session.device
    return (
        Examples(train, train_labels.repeat(copies).to(device)),
        Examples(held_out, held_out_labels[kept].to(device)),
    )


def _drawings(
    session: Session, model: NPDraw, images: Tensor, seed: int, copy: int
) -> Iterator[Latents]:
    """Yield a drawing of each image, a batch at a time, sampled from q(z | x).

    Images are uint8 [N, C, H, W]; `seed` binarises them, and `copy` numbers the noise.
    """
    values = to_levels(images, session.config.parse, seed)
    spans, device = model.layout.spans, session.device
    for first in range(0, len(values), BATCH_SIZE):
        x = model.in_unit(send(values[first : first + BATCH_SIZE], device))
        noise = generator(f"classes {copy}", session.seed, first, device)
        shape = (len(x), model.layout.steps, model.brush.numbers)
        numbers = torch.rand(shape, generator=noise, device=device)

        def draw(q: Factors, layer: int, _: object, numbers: Tensor = numbers) -> Latents:
            return q.sample(numbers[:, spans[layer]])

        with session.autocast():
            _, layers, _ = model.posterior(model.layout.shrink(x), draw)
        yield join_steps(layers)


@torch.no_grad()
def accuracy(prior: Prior, drawings: Examples) -> float:
    """Return the share of drawings to which their class gives the highest probability."""
    right, size = 0, drawings_at_once(prior.brush, BATCH_SIZE)
    for first in range(0, len(drawings), size):
        some = drawings[first : first + size]
        labels = torch.arange(prior.classes, device=prior.position.device)
        scores = torch.stack([prior.log_prob(some.z, y.expand(len(some))) for y in labels], 1)
        right += int(scores.argmax(1).eq(cast(Tensor, some.label)).sum())
    return right / len(drawings)
