"""Stage 3: train encoder and decoder, and with them the prior, on images (model.md section 6)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import check_input
from npdraw.config import Config, DecoderConfig, as_dict
from npdraw.datasets import binarize, evenly_spaced
from npdraw.model.npdraw import NPDraw
from npdraw.model.parsing import parse as parse_images
from npdraw.stages.checkpoint import CHECKPOINT, resume, save_checkpoint
from npdraw.stages.distributed import batch_mean, check_batch, chunks, joined, rows, total
from npdraw.stages.group import ALONE, Group, environment
from npdraw.stages.images import same_images
from npdraw.stages.loading import (
    later_config,
    new_model,
    only_used,
    read_parse,
    read_prior,
    weights_of,
)
from npdraw.stages.noise import batch, generator, uniform
from npdraw.stages.output import Identity, MetricsLog, locked, up_to_date, write_json
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime, send
from npdraw.stages.sheet import SHEET, draw, render, write_sheet
from npdraw.stages.stop import Stop
from npdraw.stages.training import (
    State,
    conclude,
    descend,
    is_due,
    judged,
    learning_rate,
    new_state,
    plan,
    remember_best,
    settle,
)


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
    image, the lower the better, with one hard posterior sample; `relaxed_elbo` is the training
    objective's, so that their difference is the gap that the relaxation leaves. Processes started
    by torchrun share each batch, and the validation: the figures are those of one process.
    """
    device = runtime.start()
    parse = read_parse(parse_path)
    prior, _, prior_artifact = read_prior(prior_path)
    check_input(prior_artifact, "parse", parse)
    config = later_config(prior_artifact, changes, "decoder")
    settings = config.decoder
    seed = prior_artifact.header.seed if seed is None else seed
    data = same_images(parse.header, parse_path, source, root, config.parse, progress)
    identity = Identity(
        as_dict(config),
        data.dataset,
        {"parse": parse.header.digest, "prior": prior_artifact.header.digest},
        seed,
    )
    torch.manual_seed(generator("model", seed, 0, torch.device("cpu")).initial_seed())
    model = new_model(config, parse.tensors["bank"])
    model.prior.load_state_dict(prior.state_dict())
    model.prior.requires_grad_(settings.prior == "joint")
    only_used(model.prior)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    check_batch(environment(), settings.batch_size)
    if runtime.dry_run:
        return plan(model, identity.config, settings.steps, settings.batch_size, out)
    with (
        joined(device) as group,
        locked(out, parse_path, prior_path, group=group) as folder,
        Stop(group) as stop,
    ):
        earlier = up_to_date(folder, out, "model", identity, force=runtime.force, group=group)
        if earlier is not None:
            return earlier | {"resumed_from": settings.steps}
        parts = [
            (model.encoder, settings.encoder_learning_rate),
            (model.prior, settings.encoder_learning_rate),
            (model.decoder, settings.learning_rate),
        ]
        state = new_state(model, parts, settings.weight_decay, group, runtime.dtype(device))
        resumed_from = resume(state, out, folder, identity, force=runtime.force)
        if group.first:
            sources = {"source": str(data.source.absolute())}
            write_json(folder / "config.json", identity.config | sources)
        log = MetricsLog(folder / "metrics.jsonl", step=state.step, group=group)
        train = data.train.to(device)
        held_out = torch.from_numpy(binarize(data.held_out.numpy(), seed)).to(device)

        def save() -> None:
            save_checkpoint(folder / CHECKPOINT, state, identity)

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
        return conclude(out, "model", tensors, identity, log, result, resumed_from, group)


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
    every = max(50, settings.steps // 10)
    watched = held_out[torch.from_numpy(evenly_spaced(len(held_out), min(1000, len(held_out))))]
    progress.start("train-decoder", settings.steps, scale=settings.batch_size, done=began)
    while True:
        last = state.step == settings.steps
        fresh = state.step != began or state.step == 0
        judging = fresh and (state.step % every == 0 or last)
        drawing = fresh and (is_due(state.step, every) or last)
        if judging or drawing:
            settle(state)
        if judging:
            with judged(state), runtime.autocast(device):
                figures = validate(model, watched, seed, group)
            remember_best(state, figures["elbo"])
            log.append(state.step, **figures, **state.figures)
            progress.update(state.step, **figures)
        if drawing and group.first:
            with judged(state), runtime.autocast(device):
                _, images = render(model, draw(model.prior, list(range(SHEET))))
            write_sheet(log.path.parent, state.step, images)
        stop.agree()
        if fresh and (last or stop.signal or state.step % runtime.save_every == 0):
            settle(state)
            save()
        stop.leave(state.step, settings.steps)
        if last:
            break
        recent = train_step(state, model, train, config, seed, runtime)
        progress.update(state.step, **{k: v for k, v in recent.items() if k == "loss"})
    progress.finish()


def schedule(step: int, settings: DecoderConfig) -> tuple[float, float]:
    """Return temperature and parse weight at `step`.

    The temperature falls geometrically over the whole run; the parse weight linearly to its floor.
    """
    done = step / settings.steps
    temperature = settings.temperature * (settings.final_temperature / settings.temperature) ** done
    left = max(0.0, 1 - done / settings.parse_until) if settings.parse_until else 0.0
    floor = settings.final_parse_weight
    return temperature, floor + (settings.parse_weight - floor) * left


def train_step(
    state: State,
    model: NPDraw,
    train: Tensor,
    config: Config,
    seed: int,
    runtime: Runtime,
) -> dict[str, float]:
    """Binarise a batch afresh, parse it, and take one step down the loss; figures as `descend`.

    Each process of a group takes its rows of the batch, and of the noise of the whole batch.
    """
    device, settings, step = train.device, config.decoder, state.step
    noise = generator("train", seed, step, device)
    index = send(batch(seed, step, settings.batch_size, len(train)), device)
    mine, size = rows(state.group, len(index)), len(index)
    chances = torch.rand((size, *train.shape[1:]), generator=noise, device=device)
    shape = (size, model.layout.steps, model.noise_size())
    uniforms = torch.rand(shape, generator=noise, device=device)[mine]
    images = (chances[mine] < train[index[mine]].float() / 255).float()
    temperature, parse_weight = schedule(step, settings)
    parse = None
    if parse_weight > 0:  # in fp32, as the stored parses: bf16 would choose other parts
        parse = parse_images(
            images,
            model.bank,
            model.layout,
            threshold=config.parse.threshold,
            compositing=model.compositing,
            sweeps=config.parse.sweeps,
        )
    with runtime.autocast(device):
        hard_rows = max(round(settings.hard_fraction * size) - mine.start, 0)
        terms = state.forward(images, parse, uniforms, temperature, hard_rows)
        loss = (
            terms.distortion
            + settings.kl_weight * terms.rate
            + parse_weight * terms.parse
            + settings.canvas_weight * terms.canvas
        )
    elbo = terms.distortion.detach() + terms.rate.detach()
    return descend(
        state,
        batch_mean(state.group, loss, size),
        learning_rate(step, settings.steps, settings.warmup),
        settings.ema,
        relaxed_elbo=batch_mean(state.group, elbo, size),
    )


def validate(
    model: NPDraw, images: Tensor, seed: int, group: Group = ALONE, chunk: int = 100
) -> dict[str, float]:
    """Return ELBO, rate and distortion in nats per image and canvas error, with hard samples."""
    sums = torch.zeros(-(-len(images) // chunk), 3, dtype=torch.float64)
    for number, part in chunks(group, len(images), chunk):
        x = images[part].float()
        indices = range(part.start, part.stop)
        uniforms = send(uniform("validate", seed, indices, (model.layout.steps, 3)), x.device)
        with torch.no_grad():
            w = model.weigh(x, model.encode(x), uniforms)
        figures = torch.stack([w.rate, w.distortion, w.canvas_error])
        sums[number] = figures.sum(1, dtype=torch.float64).cpu()
    rate, distortion, canvas = (total(group, sums) / len(images)).tolist()
    return {
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
    group: Group = ALONE,
    chunk: int = 100,
) -> float:
    """Return the training objective's negative ELBO of images, nats, with relaxed samples.

    What it is below `validate`'s is the gap that the relaxation leaves.
    """
    sums = torch.zeros(-(-len(images) // chunk), dtype=torch.float64)
    shape = (model.layout.steps, model.noise_size())
    for number, part in chunks(group, len(images), chunk):
        x = images[part].float()
        uniforms = send(uniform("relaxed", seed, range(part.start, part.stop), shape), x.device)
        terms = model(x, None, uniforms, temperature)
        sums[number] = (terms.distortion + terms.rate).sum(dtype=torch.float64).cpu()
    return float(total(group, sums)) / len(images)
