"""Stage 3: train encoder, decoder and, jointly, the prior on images (docs/model.md, section 6).

What counts in the end is the bound of several hard samples, so that is what the best weights are
chosen by.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import check_input
from npdraw.config import Config, as_dict
from npdraw.datasets.splits import evenly_spaced
from npdraw.inputs.images import same_images, to_levels
from npdraw.inputs.models import (
    freeze_unused,
    later_config,
    new_model,
    read_parse,
    read_prior,
    weights_of,
)
from npdraw.model.importance import importance_figures
from npdraw.model.npdraw import NPDraw, Relaxation
from npdraw.pictures.sheet import SHEET, draw, render, write_sheet
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import check_batch, chunks, process_group, total
from npdraw.runtime.group import SINGLE_PROCESS, Group, environment
from npdraw.runtime.noise import generator, uniform
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import (
    CHECKPOINT,
    MetricsLog,
    locked,
    up_to_date,
    write_json,
)
from npdraw.runtime.settings import Runtime, explain_out_of_memory, send
from npdraw.runtime.signals import Stop
from npdraw.training.checkpoint import resume, save_checkpoint
from npdraw.training.decoder_step import train_step
from npdraw.training.state import (
    State,
    ema_weights,
    is_due,
    new_state,
    plan,
    remember_best,
    sync_metrics,
    write_finished,
)

JUDGED_SAMPLES = 8
"""Hard samples for each validation image."""


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

    Returns the figures of `npdraw train-decoder --json`. `elbo` is the negative bound: nats per
    image, the lower the better, with hard posterior samples; `nll` is the tighter one of
    `JUDGED_SAMPLES` samples; `relaxed_elbo` is that of relaxed samples, so that `elbo` less it is
    the gap that the relaxation leaves. Processes started by torchrun share each batch, and the
    validation: the figures are those of one process.
    """
    device = runtime.start()
    parse = read_parse(parse_path)
    prior, _, prior_artifact = read_prior(prior_path)
    check_input(prior_artifact, "parse", parse)
    config = later_config(prior_artifact, changes, "decoder")
    settings = config.decoder
    seed = prior_artifact.header.seed if seed is None else seed
    data = same_images(parse.header, parse_path, source, root, config.parse, progress)
    run_key = RunKey(
        as_dict(config),
        data.dataset,
        {"parse": parse.header.digest, "prior": prior_artifact.header.digest},
        seed,
    )
    torch.manual_seed(generator("model", seed, 0, torch.device("cpu")).initial_seed())
    model = new_model(config, parse.tensors["bank"])
    model.prior.load_state_dict(prior.state_dict())
    model.prior.requires_grad_(settings.prior == "joint")
    freeze_unused(model.prior)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    check_batch(environment(), settings.batch_size)
    if runtime.dry_run:
        return plan(model, run_key.config, settings.steps, settings.batch_size, out)
    with (
        process_group(device) as group,
        locked(out, parse_path, prior_path, group=group) as folder,
        Stop(group) as stop,
    ):
        earlier = up_to_date(folder, out, "model", run_key, force=runtime.force, group=group)
        if earlier is not None:
            return earlier | {"resumed_from": settings.steps}
        parts = [
            (model.encoder, settings.encoder_learning_rate),
            (model.prior, settings.encoder_learning_rate),
            (model.decoder, settings.learning_rate),
        ]
        state = new_state(model, parts, settings.weight_decay, group, runtime.dtype(device))
        resumed_from = resume(state, out, folder, run_key, force=runtime.force)
        if group.is_rank_zero:
            sources = {"source": str(data.source.absolute())}
            write_json(folder / "config.json", run_key.config | sources)
        log = MetricsLog(folder / "metrics.jsonl", step=state.step, group=group)
        train = data.train.to(device)
        held_out = to_levels(data.held_out, config.parse, seed).to(device)

        def save() -> None:
            save_checkpoint(folder / CHECKPOINT, state, run_key)

        with explain_out_of_memory(settings.batch_size):
            fit(state, model, train, held_out, config, seed, log, save, stop, runtime, progress)
        model.load_state_dict(state.best)
        model.eval()
        with runtime.autocast(device):
            figures = validate(model, held_out, seed, group)
            soft = relaxed_elbo(model, held_out, seed, settings.final_temperature, group)
        result = {
            "steps": settings.steps,
            "best_step": state.best_step,
            **figures,
            "relaxed_elbo": soft,
        }
        tensors = weights_of(model, parse.tensors["bank"])
        return write_finished(out, "model", tensors, run_key, log, result, resumed_from, group)


def fit(
    state: State,
    model: NPDraw,
    train: Tensor,
    held_out: Tensor,
    config: Config,
    seed: int,
    log: MetricsLog,
    save: Callable[[], None],
    stop: Stop,
    runtime: Runtime,
    progress: Progress,
) -> None:
    """The training loop: judge, draw samples, save, step."""
    device, settings, began = train.device, config.decoder, state.step
    group = state.group
    every = max(10, settings.steps // 10)
    watched = held_out[torch.from_numpy(evenly_spaced(len(held_out), min(500, len(held_out))))]
    progress.start("train-decoder", settings.steps, scale=settings.batch_size, done=began)
    while True:
        last = state.step == settings.steps
        fresh = state.step != began or state.step == 0
        # The first phase ends with its weights at rest: a candidate, should waking not be better.
        rested = state.step == settings.relaxed_steps
        judging = fresh and (state.step % every == 0 or rested or last)
        drawing = fresh and (is_due(state.step, every) or last)
        if judging or drawing:
            sync_metrics(state)
        if judging:
            with ema_weights(state), runtime.autocast(device):
                figures = validate(model, watched, seed, group)
            remember_best(state, figures["nll"])
            log.append(state.step, **figures, **state.figures)
            progress.update(state.step, **figures)
        if drawing and group.is_rank_zero:
            with ema_weights(state), runtime.autocast(device):
                _, images = render(model, draw(model.prior, list(range(SHEET))))
            write_sheet(log.path.parent, state.step, images)
        stop.agree()
        if fresh and (last or stop.signal or state.step % runtime.save_every == 0):
            sync_metrics(state)
            save()
        stop.leave(state.step, settings.steps)
        if last:
            break
        recent = train_step(state, model, train, config, seed, runtime)
        progress.update(state.step, **{k: v for k, v in recent.items() if k == "loss"})
    progress.finish()


def validate(
    model: NPDraw, images: Tensor, seed: int, group: Group = SINGLE_PROCESS, chunk: int = 100
) -> dict[str, float]:
    """Return NLL, ELBO, rate and distortion in nats per image and canvas error, of hard samples.

    The NLL is the bound of all `JUDGED_SAMPLES` samples together; the canvas error is that of the
    first of them; the others are means over them.
    """
    sums = torch.zeros(-(-len(images) // chunk), 4, dtype=torch.float64)
    for number, part in chunks(group, len(images), chunk):
        x = model.in_unit(images[part])
        indices = range(part.start, part.stop)
        shape = (JUDGED_SAMPLES, model.layout.steps, 3)
        uniforms = send(uniform("validate", seed, indices, shape), x.device)
        with torch.no_grad():
            figures = importance_figures(model, x, uniforms, "importance")
        sums[number] = figures.sum(0).cpu()
    nll, rate, distortion, canvas = (total(group, sums) / len(images)).tolist()
    return {
        "nll": nll,
        "elbo": rate + distortion,
        "rate": rate,
        "distortion": distortion,
        "canvas_mse": canvas,
    }


@torch.no_grad()
def relaxed_elbo(
    model: NPDraw,
    images: Tensor,
    seed: int,
    temperature: float,
    group: Group = SINGLE_PROCESS,
    chunk: int = 100,
) -> float:
    """Return the negative ELBO that the first phase goes down, nats, with relaxed samples.

    What it is below `validate`'s is the gap that the relaxation leaves.
    """
    sums = torch.zeros(-(-len(images) // chunk), dtype=torch.float64)
    shape = (model.layout.steps, model.noise_size())
    for number, part in chunks(group, len(images), chunk):
        x = model.in_unit(images[part])
        uniforms = send(uniform("relaxed", seed, range(part.start, part.stop), shape), x.device)
        terms = model.relaxed(x, None, uniforms, Relaxation(temperature))
        sums[number] = (terms.distortion + terms.rate).sum(dtype=torch.float64).cpu()
    return float(total(group, sums)) / len(images)
