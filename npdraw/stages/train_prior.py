"""Stage 2: train the prior on the parses by maximum likelihood (docs/model.md, section 6)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.class_config import ClassConfig
from npdraw.config import PriorConfig, as_dict
from npdraw.datasets.splits import evenly_spaced
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.models import (
    drawings_of,
    freeze_unused,
    later_config,
    new_prior,
    read_parse,
    weights_of,
)
from npdraw.model.brush import Brush
from npdraw.model.importance import off_mps
from npdraw.model.prior import Prior
from npdraw.pictures.sheet import canvas_images, draw_for_sheet, write_sheet
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import (
    all_reduce_sum,
    check_batch,
    chunks,
    rank_slice,
)
from npdraw.runtime.group import SINGLE_PROCESS, Group, environment
from npdraw.runtime.metrics_log import MetricsLog
from npdraw.runtime.noise import batch_indices, seed_dropout
from npdraw.runtime.progress import Progress
from npdraw.runtime.settings import Runtime, explain_out_of_memory, send
from npdraw.training.examples import Examples
from npdraw.training.loss import Loss, take_step
from npdraw.training.pauses import is_due, out_of_patience, watched_count
from npdraw.training.session import (
    Session,
    resume_or_start,
    show_samples,
    training_session,
    write_finished,
)
from npdraw.training.state import (
    State,
    ema_weights,
    learning_rate,
    new_state,
    plan,
    remember_best,
    seed_weights,
    sync_metrics,
)

VALIDATION_DRAWINGS = 1000
"""Held-out drawings, at most, that validations during training use."""

VALIDATION_BATCH = 500
"""Drawings validated at once, at most."""

VALUES_AT_ONCE = 1 << 24
"""Probabilities computed at once: tensors of 64 MB."""


def train_prior(
    parse_path: Path,
    *,
    changes: Mapping[str, Mapping[str, Any]],
    out: Path,
    seed: int | None,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Train the prior on the parses of the training images; validate on held-out ones.

    Returns the result of `npdraw train-prior --json`; nats are per image. Processes started by
    torchrun share each batch and the validation: the result is that of one process.
    """
    # Read the settings and build the prior.
    device = runtime.start()
    parse = read_parse(parse_path)
    config = later_config(parse, changes, "prior")
    settings, dataset = config.prior, parse.header.dataset
    run_key = RunKey(
        as_dict(config, ("parse", "prior")),
        dataset,
        {"parse": parse.header.digest},
        parse.header.seed if seed is None else seed,
    )
    seed_weights("prior", run_key.seed)
    brush = brush_of(config.parse, parse.tensors)
    prior = new_prior(config, brush).to(device)
    freeze_unused(prior)
    check_batch(environment(), settings.batch_size)
    if runtime.dry_run:
        return plan(prior, run_key.config, settings.steps, settings.batch_size, out)

    with training_session(
        out,
        "prior",
        config,
        run_key,
        inputs=(parse_path,),
        device=device,
        runtime=runtime,
        progress=progress,
    ) as session:
        if session.finished is not None:
            return session.finished | {"resumed_from": session.finished["steps"]}

        # Resume or start.
        state = new_state(
            prior,
            [(prior, settings.learning_rate)],
            settings.weight_decay,
            session.group,
            runtime.dtype(device),
        )
        log = resume_or_start(session, state)
        resumed_from = state.step

        # Train.
        drawings = Examples(drawings_of(parse).to(device))
        train, held_out = drawings.split(dataset["train"])
        with explain_out_of_memory(settings.batch_size, recorded=runtime.cuda_graphs):
            fit(session, log, state, prior, train, held_out, settings)

        # Validate the best weights on all held-out drawings and write them.
        prior.load_state_dict(state.best)
        prior.eval()
        with session.autocast():
            metrics = validate(prior, held_out, session.group)
        result = {"steps": state.step, "best_step": state.best_step, **metrics}
        score = "validation_nats", state.step
        return write_finished(session, log, weights_of(prior, brush), result, resumed_from, score)


def fit(
    session: Session,
    log: MetricsLog,
    state: State,
    prior: Prior,
    train: Examples,
    held_out: Examples,
    settings: PriorConfig | ClassConfig,
) -> None:
    """Run the training loop: validate, draw samples (their canvases), save, step.

    It is also that of `train_classes`.
    """
    progress, start, steps = session.progress, state.step, settings.steps
    name = "train-classes" if prior.classes else "train-prior"
    every = max(10, steps // 10)
    count = watched_count(len(held_out), steps * settings.batch_size, 1)
    chosen = evenly_spaced(len(held_out), min(VALIDATION_DRAWINGS, count))
    watched = held_out[torch.from_numpy(chosen)]
    progress.start(name, steps, unit="drawings", scale=settings.batch_size, done=start)
    while True:
        last = state.step == steps
        fresh = state.step != start or state.step == 0  # a resumed step was validated before
        validating = fresh and (state.step % every == 0 or last)
        drawing = fresh and (is_due(state.step, every) or last)
        if validating or drawing:
            sync_metrics(state)

        # Validate.
        if validating:
            with ema_weights(state), session.autocast():
                metrics = validate(prior, watched, session.group)
            remember_best(state, metrics["validation_nats"])
            log.append(state.step, **metrics)
            progress.update(state.step, **metrics)
        if state.step % every == 0:
            last |= out_of_patience(state.step, state.best_step, every, settings.patience)

        # Draw samples.
        if drawing and session.group.is_rank_zero:
            with ema_weights(state), session.autocast():
                z = draw_for_sheet(prior)
            canvases = canvas_images(prior.brush.paint(z)).cpu()
            sheet = write_sheet(session.folder, state.step, canvases)
            show_samples(log, state.step, sheet, z, prior.brush)

        # Save, and stop if a signal came.
        session.stop.sync()
        if fresh and (last or session.stop.signal or state.step % session.runtime.save_every == 0):
            sync_metrics(state)
            session.save(state)
        session.stop.raise_if_stopped(state.step, steps)
        if last:
            break

        # Take a step.
        recent = train_step(state, prior, train, settings, session.seed, session.runtime)
        progress.update(state.step, **({"nats": recent["loss"]} if recent else {}))
    state.recordings.clear()
    progress.finish()


def train_step(
    state: State,
    prior: Prior,
    train: Examples,
    settings: PriorConfig | ClassConfig,
    seed: int,
    runtime: Runtime,
) -> dict[str, float]:
    """Take one step on the nats of a batch of drawings; return the metrics of `optimizer_step`.

    Each process of a group takes its rows of the batch.
    """
    device, group = prior.position.device, state.group
    index = batch_indices(seed, state.step, settings.batch_size, len(train))
    drawn = train[send(index[rank_slice(group, len(index))], device)]
    seed_dropout(seed, state.step, group.rank)
    kind, choices = type(drawn.z), len(drawn.z.tensors())

    def values(*tensors: Tensor) -> list[Tensor]:
        z = kind(*tensors[:choices])
        label = tensors[choices] if prior.classes else None
        return [-state.replica(prior.brush.one_hot(z), label=label).joint(z)]

    loss = Loss(("loss",), values, drawn.tensors())
    rate = learning_rate(state.step, settings.steps, settings.warmup)
    return take_step(state, loss, len(index), rate, settings.ema, runtime)


@torch.no_grad()
def validate(prior: Prior, drawings: Examples, group: Group = SINGLE_PROCESS) -> dict[str, float]:
    """Return the mean nats per drawing: in total, and for whether, where, what, ink, contrast."""
    names = ("whether", *prior.brush.sizes)
    size = drawings_at_once(prior.brush, VALIDATION_BATCH)
    sums = torch.zeros(-(-len(drawings) // size), len(names), dtype=torch.float64)
    for number, part in chunks(group, len(drawings), size):
        z, label = drawings[part].z, drawings[part].label
        factors = prior(prior.brush.one_hot(z), label=label)
        nats = torch.stack([factors.log_prob(z)[name] for name in names])
        nats = off_mps(nats).sum((1, 2), dtype=torch.float64)
        sums[number] = -nats.cpu()
    means = (all_reduce_sum(group, sums) / len(drawings)).tolist()
    nats_of = {f"{name}_nats": value for name, value in zip(names, means, strict=True)}
    return {"validation_nats": sum(means), **nats_of}


def drawings_at_once(brush: Brush, most: int) -> int:
    """Return how many drawings, at most `most`, a prior without gradients reads at once.

    Their factors take memory: T numbers for each value of each choice.
    """
    values = brush.layout.steps * brush.noise_size
    return min(most, max(1, VALUES_AT_ONCE // values))
