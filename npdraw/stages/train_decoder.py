"""Stage 3: train encoder and decoder, and with them the prior, on images (model.md section 6)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import check_input
from npdraw.config import Config, DecoderConfig, as_dict
from npdraw.datasets import binarize, evenly_spaced
from npdraw.model.latents import blank
from npdraw.model.npdraw import NPDraw
from npdraw.model.parsing import parse as parse_images
from npdraw.stages.images import same_images
from npdraw.stages.loading import later_config, new_model, read_parse, read_prior, weights_of
from npdraw.stages.noise import batch, generator, uniform
from npdraw.stages.output import (
    Identity,
    MetricsLog,
    finished,
    locked,
    repeated,
    write_json,
)
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime
from npdraw.stages.sheet import SHEET, draw, render, write_sheet
from npdraw.stages.training import (
    CHECKPOINT,
    State,
    Stop,
    conclude,
    descend,
    is_due,
    judged,
    learning_rate,
    new_state,
    plan,
    remember_best,
    resume,
    save_checkpoint,
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
    objective's, so that their difference is the gap that the relaxation leaves.
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
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if runtime.dry_run:
        return plan(model, identity.config, settings.steps, settings.batch_size, out)
    with locked(out, parse_path, prior_path) as folder, Stop() as stop:
        header = finished(out, "model", identity, force=runtime.force)
        if header is not None:
            return repeated(folder, header, out) | {"resumed_from": settings.steps}
        parts = [
            (model.encoder, settings.encoder_learning_rate),
            (model.prior, settings.encoder_learning_rate),
            (model.decoder, settings.learning_rate),
        ]
        state = new_state(model, parts, settings.weight_decay)
        resumed_from = resume(state, out, folder, identity, force=runtime.force)
        write_json(
            folder / "config.json", identity.config | {"source": str(data.source.absolute())}
        )
        log = MetricsLog(folder / "metrics.jsonl", step=state.step)
        train = data.train.to(device)
        held_out = torch.from_numpy(binarize(data.held_out.numpy(), seed)).to(device)

        def save() -> None:
            save_checkpoint(folder / CHECKPOINT, state, identity)

        fit(state, model, train, held_out, config, seed, log, save, stop, runtime, progress)
        model.load_state_dict(state.best)
        model.eval()
        with runtime.autocast(device):
            figures = validate(model, held_out, seed)
            soft = relaxed_elbo(model, held_out, seed, settings.final_temperature)
        result = {
            "steps": settings.steps,
            "best_step": state.best_step,
            **figures,
            "relaxed_elbo": soft,
        }
        tensors = weights_of(model, parse.tensors["bank"])
        return conclude(out, "model", tensors, identity, log, result, resumed_from)


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
    every = max(50, settings.steps // 10)
    watched = held_out[torch.from_numpy(evenly_spaced(len(held_out), min(1000, len(held_out))))]
    recent: dict[str, float] = {}
    progress.start("train-decoder", settings.steps, scale=settings.batch_size, done=began)
    while True:
        last = state.step == settings.steps
        fresh = state.step != began or state.step == 0
        if fresh and (state.step % every == 0 or last):
            with judged(state), runtime.autocast(device):
                figures = validate(model, watched, seed)
            remember_best(state, figures["elbo"])
            log.append(state.step, **figures, **recent)
            progress.update(state.step, **figures)
        if fresh and (is_due(state.step, every) or last):
            with judged(state), runtime.autocast(device):
                _, images = render(model, draw(model.prior, list(range(SHEET))))
            write_sheet(log.path.parent, state.step, images)
        if fresh and (last or stop.signal or state.step % runtime.save_every == 0):
            save()
        stop.leave(state.step, settings.steps)
        if last:
            break
        recent = train_step(state, model, train, config, seed, runtime)
        progress.update(state.step, loss=recent["loss"])
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
    """Binarise a batch afresh, parse it, and take one step down the loss."""
    device, settings, step = train.device, config.decoder, state.step
    noise = generator("train", seed, step, device)
    index = batch(seed, step, settings.batch_size, len(train)).to(device)
    grey = train[index].float() / 255
    images = (torch.rand(grey.shape, generator=noise, device=device) < grey).float()
    shape = (len(images), model.layout.steps, model.noise_size())
    uniforms = torch.rand(shape, generator=noise, device=device)
    temperature, parse_weight = schedule(step, settings)
    parse = parse_images(  # in fp32, as the stored parses: bf16 would choose other parts
        images,
        model.bank,
        model.layout,
        threshold=config.parse.threshold,
        compositing=model.compositing,
        sweeps=config.parse.sweeps,
    )
    with runtime.autocast(device):
        hard_rows = round(settings.hard_fraction * len(images))
        terms = model.terms(images, parse, uniforms, temperature, hard_rows)
        loss = (
            terms.distortion
            + settings.kl_weight * terms.rate
            + parse_weight * terms.parse
            + settings.canvas_weight * terms.canvas
        ).mean()
    rate = learning_rate(step, settings.steps, settings.warmup)
    value = descend(state, loss, rate, settings.ema)
    with torch.no_grad():
        elbo = float((terms.distortion + terms.rate).mean())
    return {"loss": value, "relaxed_elbo": elbo}


def validate(model: NPDraw, images: Tensor, seed: int, chunk: int = 100) -> dict[str, float]:
    """Return ELBO, rate and distortion in nats per image and canvas error, with hard samples."""
    totals = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(images), chunk):
        x = images[start : start + chunk].float()
        indices = range(start, start + len(x))
        uniforms = uniform("validate", seed, indices, (model.layout.steps, 3)).to(x.device)
        with torch.no_grad():
            w = model.weigh(x, model.encode(x), uniforms)
        sums = torch.stack([w.rate, w.distortion, w.canvas_error]).sum(1, dtype=torch.float64)
        totals += sums.cpu()
    rate, distortion, canvas = (totals / len(images)).tolist()
    return {
        "elbo": rate + distortion,
        "rate": rate,
        "distortion": distortion,
        "canvas_mse": canvas,
    }


@torch.no_grad()
def relaxed_elbo(
    model: NPDraw, images: Tensor, seed: int, temperature: float, chunk: int = 100
) -> float:
    """Return the training objective's negative ELBO of images, nats, with relaxed samples.

    What it is below `validate`'s is the gap that the relaxation leaves.
    """
    total = 0.0
    for start in range(0, len(images), chunk):
        x = images[start : start + chunk].float()
        indices = range(start, start + len(x))
        shape = (model.layout.steps, model.noise_size())
        uniforms = uniform("relaxed", seed, indices, shape).to(x.device)
        terms = model.terms(x, blank(len(x), model.layout.steps, x.device), uniforms, temperature)
        total += float((terms.distortion + terms.rate).sum(dtype=torch.float64))
    return total / len(images)
