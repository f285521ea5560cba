"""Stage 3: train encoder, decoder and, jointly, the prior on images (docs/model.md, section 6).

The goal is the bound of several hard samples, so the best weights are chosen by it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import Artifact, check_input
from npdraw.config import BATCH_SIZE, Config, as_dict
from npdraw.datasets.splits import evenly_spaced
from npdraw.decoder_config import DecoderConfig
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.images import ground_of, same_images, to_levels
from npdraw.inputs.models import (
    freeze_unused,
    later_config,
    new_model,
    read_parse,
    read_prior,
    to_device,
    weights_of,
)
from npdraw.inputs.other_images import reading_of_others
from npdraw.model.importance import importance_figures, off_mps
from npdraw.model.npdraw import NPDraw
from npdraw.model.prior import Prior
from npdraw.model.terms import Relaxation
from npdraw.pictures.sheet import draw_for_sheet, render, write_sheet
from npdraw.reading import from_record
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import all_reduce_sum, check_batch, chunks
from npdraw.runtime.group import SINGLE_PROCESS, Group, environment
from npdraw.runtime.metrics_log import MetricsLog
from npdraw.runtime.noise import uniform
from npdraw.runtime.progress import Progress
from npdraw.runtime.settings import Runtime, explain_out_of_memory, send
from npdraw.training.decoder_step import train_step
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
    new_state,
    plan,
    remember_best,
    seed_weights,
    sync_metrics,
)

VALIDATION_IMAGES = 500
"""Held-out images, at most, that validations during training use; fewer in short trainings."""

LOST = 4.0
"""How many times as large as that of the parse a model's canvas error may be without a note."""

VALIDATION_SAMPLES = 8
"""Hard samples of each validation image."""


def train_decoder(
    parse_path: Path,
    prior_path: Path,
    *,
    changes: Mapping[str, Mapping[str, Any]],
    source: str | None,
    root: Path,
    out: Path,
    seed: int | None,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Train the model; validate the hard ELBO on held-out images.

    Returns the result of `npdraw train-decoder --json`, in nats per image, lower is better:
    `elbo` is the negative ELBO of hard posterior samples, `nll` the tighter bound of
    `VALIDATION_SAMPLES` samples, and `relaxed_elbo` that of relaxed samples, so that `elbo -
    relaxed_elbo` is the gap that the relaxation leaves. Processes started by torchrun share each
    batch and the validation: the result is that of one process.

    Raises:
        DataError: the images cannot be found or differ from those of the parse.
        UsageError: those of another data set do not fit it, see `other_images.check_images`.

    Nine parameters, because each is a flag of the command.
    """
    # Read the settings, the prior and the images, and build the model.
    device = runtime.start()
    parse = read_parse(parse_path)
    prior, _, prior_artifact = read_prior(prior_path)
    check_input(prior_artifact, "parse", parse)
    config = later_config(prior_artifact, changes, "decoder")
    settings = config.decoder
    named = (parse.header, parse_path, source, root, config.parse, progress)
    data = same_images(*named, reading=reading_of_others(*named))
    run_key = RunKey(
        as_dict(config),
        data.dataset,
        {"parse": parse.header.digest, "prior": prior_artifact.header.digest},
        prior_artifact.header.seed if seed is None else seed,
    )
    model = _untrained(config, parse, prior, run_key.seed, device)
    check_batch(environment(), settings.batch_size)
    if runtime.dry_run:
        return plan(model, run_key.config, settings.steps, settings.batch_size, out)

    with training_session(
        out,
        "model",
        config,
        run_key,
        inputs=(parse_path, prior_path),
        device=device,
        runtime=runtime,
        progress=progress,
    ) as session:
        if session.finished is not None:
            return session.finished | {"resumed_from": session.finished["steps"]}

        # Resume or start.
        state = _new_state(session, model)
        log = resume_or_start(session, state, source=str(data.source.absolute()))
        resumed_from = state.step

        # Train.
        train = data.train.to(device)
        held_out = to_levels(data.held_out, config.parse, session.seed).to(device)
        with explain_out_of_memory(settings.batch_size, recorded=runtime.cuda_graphs):
            fit(session, log, state, model, train, held_out)

        # Validate the best weights on all held-out images and write them.
        model.load_state_dict(state.best)
        model.eval()
        group, temperature = session.group, settings.final_temperature
        with session.autocast():
            metrics = validate(model, held_out, session.seed, group)
            relaxed = relaxed_elbo(model, held_out, session.seed, temperature, group)
        result = {"steps": state.step, "best_step": state.best_step, **metrics}
        result["relaxed_elbo"] = relaxed
        _note_lost(metrics["canvas_mse"], float(parse.header.metrics["canvas_mse"]), progress)
        tensors = weights_of(model, model.brush)
        # The wake phase gains at once, however many steps it has.
        score = "nll", settings.relaxed_steps or state.step
        return write_finished(session, log, tensors, result, resumed_from, score)


def _note_lost(error: float, parsed: float, progress: Progress) -> None:
    """Say so if drawings no longer show the images, as after a training that became unstable."""
    if error > LOST * parsed:
        progress.note(
            f"the drawings show little of the images: canvas_mse {error:.4f}, {parsed:.4f} for the "
            "parse; another --seed or a lower decoder.encoder_learning_rate may help"
        )


def _untrained(
    config: Config, parse: Artifact, prior: Prior, seed: int, device: torch.device
) -> NPDraw:
    """Build the model with the trained prior, which trains on unless the settings freeze it."""
    seed_weights("model", seed)
    brush = brush_of(config.parse, parse.tensors)
    model = new_model(config, brush, float(parse.header.metrics["canvas_mse"]))
    model.prior.load_state_dict(prior.state_dict())
    model.prior.requires_grad_(config.decoder.prior == "joint")
    freeze_unused(model.prior)
    return to_device(model, device)


def _new_state(session: Session, model: NPDraw) -> State:
    """Return a training at step 0; the decoder has a learning rate of its own."""
    settings = session.config.decoder
    parts = [
        (model.encoder, settings.encoder_learning_rate),
        (model.prior, settings.encoder_learning_rate),
        (model.decoder, settings.learning_rate),
    ]
    dtype = session.runtime.dtype(session.device)
    return new_state(model, parts, settings.weight_decay, session.group, dtype)


def fit(
    session: Session, log: MetricsLog, state: State, model: NPDraw, train: Tensor, held_out: Tensor
) -> None:
    """Run the training loop: validate, draw samples, save, step."""
    config, settings, progress = session.config, session.config.decoder, session.progress
    start, steps = state.step, settings.steps
    every = max(10, steps // 10)
    count = watched_count(len(held_out), steps * settings.batch_size, VALIDATION_SAMPLES)
    chosen = evenly_spaced(len(held_out), min(VALIDATION_IMAGES, count))
    watched = held_out[torch.from_numpy(chosen)]
    reading = from_record(session.run_key.dataset.get("reading"))
    ground = ground_of(reading, config.parse.channels).to(train.device) / 255
    progress.start("train-decoder", steps, scale=settings.batch_size, done=start)
    jumped = False  # to the wake phase, with weights that were just validated
    while True:
        last = state.step == steps
        fresh = state.step != start or state.step == 0  # a resumed step was validated before
        # The relaxed phase ends at learning rate 0: the best so far, should the wake phase not
        # improve on it.
        between = state.step == settings.relaxed_steps
        validating = fresh and not jumped and (state.step % every == 0 or between or last)
        drawing = fresh and not jumped and (is_due(state.step, every) or last)
        if validating or drawing:
            sync_metrics(state)

        # Validate.
        if validating:
            with ema_weights(state), session.autocast():
                metrics = validate(model, watched, session.seed, session.group)
            remember_best(state, metrics["nll"])
            log.append(state.step, **metrics, **state.metrics)
            progress.update(state.step, **metrics)
        if state.step % every == 0 and _ended_early(state, settings, every):
            if state.step < settings.relaxed_steps < steps:
                state.step, jumped = settings.relaxed_steps, True
                continue  # with the wake phase
            last = True

        # Draw samples.
        if drawing and session.group.is_rank_zero:
            with ema_weights(state), session.autocast():
                z = draw_for_sheet(model.prior)
                _, images = render(model, z)
            sheet = write_sheet(session.folder, state.step, images)
            show_samples(log, state.step, sheet, z, model.brush)

        # Save, and stop if a signal came.
        session.stop.sync()
        if fresh and (last or session.stop.signal or state.step % session.runtime.save_every == 0):
            sync_metrics(state)
            session.save(state)
        session.stop.raise_if_stopped(state.step, steps)
        if last:
            break

        # Take a step.
        jumped = False
        recent = train_step(state, model, train, config, session.seed, session.runtime, ground)
        progress.update(state.step, **({"loss": recent["loss"]} if recent else {}))
    state.recordings.clear()
    progress.finish()


def _ended_early(state: State, settings: DecoderConfig, every: int) -> bool:
    """Return whether the phase has not improved for longer than the settings' patience."""
    waking = state.step >= settings.relaxed_steps
    best_step = max(state.best_step, settings.relaxed_steps) if waking else state.best_step
    return out_of_patience(state.step, best_step, every, settings.patience)


def validate(
    model: NPDraw, images: Tensor, seed: int, group: Group = SINGLE_PROCESS
) -> dict[str, float]:
    """Return NLL, ELBO, rate and distortion in nats per image, and canvas error, of hard samples.

    The NLL is the bound of all `VALIDATION_SAMPLES` samples together (docs/model.md, section 7);
    the canvas error is that of the first one; the others are means over the samples.
    """
    sums = torch.zeros(-(-len(images) // BATCH_SIZE), 4, dtype=torch.float64)
    shape = (VALIDATION_SAMPLES, model.layout.steps, model.brush.numbers)
    for number, part in chunks(group, len(images), BATCH_SIZE):
        x = model.in_unit(images[part])
        uniforms = send(uniform("validate", seed, range(part.start, part.stop), shape), x.device)
        with torch.no_grad():
            figures = importance_figures(model, x, uniforms, "importance")
        sums[number] = figures.sum(0).cpu()
    nll, rate, distortion, canvas = (all_reduce_sum(group, sums) / len(images)).tolist()
    return {
        "nll": nll,
        "elbo": rate + distortion,
        "rate": rate,
        "distortion": distortion,
        "canvas_mse": canvas,
    }


@torch.no_grad()
def relaxed_elbo(
    model: NPDraw, images: Tensor, seed: int, temperature: float, group: Group = SINGLE_PROCESS
) -> float:
    """Return the negative ELBO of relaxed samples, the loss of the relaxed phase, nats per image.

    Its difference from the `elbo` of `validate` is the gap that the relaxation leaves.
    """
    sums = torch.zeros(-(-len(images) // BATCH_SIZE), dtype=torch.float64)
    shape = (model.layout.steps, model.brush.noise_size)
    for number, part in chunks(group, len(images), BATCH_SIZE):
        x = model.in_unit(images[part])
        uniforms = send(uniform("relaxed", seed, range(part.start, part.stop), shape), x.device)
        terms = model.relaxed(x, uniforms, Relaxation(temperature))
        sums[number] = off_mps(terms.distortion + terms.rate).sum(dtype=torch.float64).cpu()
    return float(all_reduce_sum(group, sums)) / len(images)
