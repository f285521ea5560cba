"""Stage 2: train the prior on the parses by maximum likelihood (model.md section 6)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from npdraw.config import Config, as_dict
from npdraw.datasets import evenly_spaced
from npdraw.model.canvas import paint
from npdraw.model.latents import Latents
from npdraw.model.prior import Prior
from npdraw.stages.loading import drawings_of, later_config, new_prior, read_parse, weights_of
from npdraw.stages.noise import batch, generator
from npdraw.stages.output import Identity, MetricsLog, finished, locked, repeated, write_json
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime
from npdraw.stages.sheet import SHEET, draw, to_uint8, write_sheet
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


def train_prior(
    parse_path: Path,
    *,
    changes: Mapping[str, Mapping[str, Any]],
    out: Path,
    seed: int | None,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Train the prior on the parses of the training images; validate on those held out.

    Returns the figures of `npdraw train-prior --json`; nats are per image.
    """
    device = runtime.start()
    parse = read_parse(parse_path)
    config = later_config(parse, changes, "prior")
    settings = config.prior
    seed = parse.header.seed if seed is None else seed
    identity = Identity(
        as_dict(config, ("parse", "prior")),
        parse.header.dataset,
        {"parse": parse.header.digest},
        seed,
    )
    torch.manual_seed(generator("prior", seed, 0, torch.device("cpu")).initial_seed())
    prior = new_prior(config, parse.tensors["bank"]).to(device)
    if runtime.dry_run:
        return plan(prior, identity.config, settings.steps, settings.batch_size, out)
    with locked(out, parse_path) as folder, Stop() as stop:
        header = finished(out, "prior", identity, force=runtime.force)
        if header is not None:
            return repeated(folder, header, out) | {"resumed_from": settings.steps}
        state = new_state(prior, [(prior, settings.learning_rate)], settings.weight_decay)
        resumed_from = resume(state, out, folder, identity, force=runtime.force)
        write_json(folder / "config.json", identity.config)
        log = MetricsLog(folder / "metrics.jsonl", step=state.step)
        drawings = drawings_of(parse).to(device)
        held_out = drawings[parse.header.dataset["train"] :]

        def save() -> None:
            save_checkpoint(folder / CHECKPOINT, state, identity)

        train = drawings[: parse.header.dataset["train"]]
        fit(state, prior, train, held_out, config, seed, log, save, stop, runtime, progress)
        prior.load_state_dict(state.best)
        prior.eval()
        with runtime.autocast(device):
            figures = validate(prior, held_out)
        result = {"steps": settings.steps, "best_step": state.best_step, **figures}
        tensors = weights_of(prior, parse.tensors["bank"])
        return conclude(out, "prior", tensors, identity, log, result, resumed_from)


def fit(
    state: State,
    prior: Prior,
    train: Latents,
    held_out: Latents,
    config: Config,
    seed: int,
    log: MetricsLog,
    save: Callable[[], None],
    stop: Stop,
    runtime: Runtime,
    progress: Progress,
) -> None:
    """The training loop: judge, draw samples (canvases, here), save, step."""
    device, settings, began = prior.position.device, config.prior, state.step
    every = max(50, settings.steps // 10)
    watched = held_out[torch.from_numpy(evenly_spaced(len(held_out), min(1000, len(held_out))))]
    progress.start(
        "train-prior", settings.steps, unit="drawings", scale=settings.batch_size, done=began
    )
    while True:
        last = state.step == settings.steps
        fresh = state.step != began or state.step == 0
        if fresh and (state.step % every == 0 or last):
            with judged(state), runtime.autocast(device):
                figures = validate(prior, watched)
            remember_best(state, figures["validation_nats"])
            log.append(state.step, **figures)
            progress.update(state.step, **figures)
        if fresh and (is_due(state.step, every) or last):
            with judged(state), runtime.autocast(device):
                z = draw(prior, list(range(SHEET)))
            canvas = paint(z, prior.bank, prior.layout, config.parse.compositing)
            write_sheet(log.path.parent, state.step, to_uint8(canvas[:, :-1]).cpu())
        if fresh and (last or stop.signal or state.step % runtime.save_every == 0):
            save()
        stop.leave(state.step, settings.steps)
        if last:
            break
        index = batch(seed, state.step, settings.batch_size, len(train)).to(device)
        torch.manual_seed(
            generator("dropout", seed, state.step, torch.device("cpu")).initial_seed()
        )
        with runtime.autocast(device):
            loss = -prior.log_prob(train[index]).mean()
        rate = learning_rate(state.step, settings.steps, settings.warmup)
        nats = descend(state, loss, rate, settings.ema)
        progress.update(state.step, nats=nats)
    progress.finish()


@torch.no_grad()
def validate(prior: Prior, drawings: Latents, chunk: int = 500) -> dict[str, float]:
    """Return the mean nats of drawings, in all and of whether, where and what."""
    totals = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(drawings), chunk):
        z = drawings[start : start + chunk]
        factors = prior(z.one_hot(prior.layout.placements, len(prior.bank)))
        nats = torch.stack(factors.log_prob(z)).sum((1, 2), dtype=torch.float64)
        totals -= nats.cpu()
    whether, where, what = (totals / len(drawings)).tolist()
    return {
        "validation_nats": whether + where + what,
        "whether_nats": whether,
        "where_nats": where,
        "what_nats": what,
    }
