"""Stage 2: train the prior on the parses by maximum likelihood (docs/model.md, section 6)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from npdraw.config import Config, as_dict
from npdraw.datasets.splits import evenly_spaced
from npdraw.inputs.models import (
    drawings_of,
    freeze_unused,
    later_config,
    new_prior,
    read_parse,
    weights_of,
)
from npdraw.model.canvas import paint
from npdraw.model.latents import Latents
from npdraw.model.prior import Prior
from npdraw.pictures.sheet import SHEET, draw, to_uint8, write_sheet
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import (
    batch_mean,
    check_batch,
    chunks,
    process_group,
    rank_slice,
    total,
)
from npdraw.runtime.group import SINGLE_PROCESS, Group, environment
from npdraw.runtime.noise import batch, generator, seed_dropout
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
from npdraw.training.state import (
    State,
    ema_weights,
    is_due,
    learning_rate,
    new_state,
    optimizer_step,
    plan,
    remember_best,
    sync_metrics,
    write_finished,
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

    Returns the figures of `npdraw train-prior --json`; nats are per image. Processes started by
    torchrun share each batch, and the validation: the figures are those of one process.
    """
    device = runtime.start()
    parse = read_parse(parse_path)
    config = later_config(parse, changes, "prior")
    settings = config.prior
    seed = parse.header.seed if seed is None else seed
    run_key = RunKey(
        as_dict(config, ("parse", "prior")),
        parse.header.dataset,
        {"parse": parse.header.digest},
        seed,
    )
    torch.manual_seed(generator("prior", seed, 0, torch.device("cpu")).initial_seed())
    prior = new_prior(config, parse.tensors["bank"]).to(device)
    freeze_unused(prior)
    check_batch(environment(), settings.batch_size)
    if runtime.dry_run:
        return plan(prior, run_key.config, settings.steps, settings.batch_size, out)
    with (
        process_group(device) as group,
        locked(out, parse_path, group=group) as folder,
        Stop(group) as stop,
    ):
        earlier = up_to_date(folder, out, "prior", run_key, force=runtime.force, group=group)
        if earlier is not None:
            return earlier | {"resumed_from": settings.steps}
        dtype, decay = runtime.dtype(device), settings.weight_decay
        state = new_state(prior, [(prior, settings.learning_rate)], decay, group, dtype)
        resumed_from = resume(state, out, folder, run_key, force=runtime.force)
        if group.is_rank_zero:
            write_json(folder / "config.json", run_key.config)
        log = MetricsLog(folder / "metrics.jsonl", step=state.step, group=group)
        drawings = drawings_of(parse).to(device)
        held_out = drawings[parse.header.dataset["train"] :]

        def save() -> None:
            save_checkpoint(folder / CHECKPOINT, state, run_key)

        train = drawings[: parse.header.dataset["train"]]
        with explain_out_of_memory(settings.batch_size):
            fit(state, prior, train, held_out, config, seed, log, save, stop, runtime, progress)
        prior.load_state_dict(state.best)
        prior.eval()
        with runtime.autocast(device):
            figures = validate(prior, held_out, group)
        result = {"steps": settings.steps, "best_step": state.best_step, **figures}
        tensors = weights_of(prior, parse.tensors["bank"])
        return write_finished(out, "prior", tensors, run_key, log, result, resumed_from, group)


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
    group = state.group
    every = max(10, settings.steps // 10)
    watched = held_out[torch.from_numpy(evenly_spaced(len(held_out), min(1000, len(held_out))))]
    progress.start(
        "train-prior", settings.steps, unit="drawings", scale=settings.batch_size, done=began
    )
    while True:
        last = state.step == settings.steps
        fresh = state.step != began or state.step == 0
        judging = fresh and (state.step % every == 0 or last)
        drawing = fresh and (is_due(state.step, every) or last)
        if judging or drawing:
            sync_metrics(state)
        if judging:
            with ema_weights(state), runtime.autocast(device):
                figures = validate(prior, watched, group)
            remember_best(state, figures["validation_nats"])
            log.append(state.step, **figures)
            progress.update(state.step, **figures)
        if drawing and group.is_rank_zero:
            with ema_weights(state), runtime.autocast(device):
                z = draw(prior, list(range(SHEET)))
            canvas = paint(z, prior.bank, prior.layout, config.parse.compositing)
            write_sheet(log.path.parent, state.step, to_uint8(canvas[:, :-1]).cpu())
        stop.agree()
        if fresh and (last or stop.signal or state.step % runtime.save_every == 0):
            sync_metrics(state)
            save()
        stop.leave(state.step, settings.steps)
        if last:
            break
        figures = train_step(state, prior, train, config, seed, runtime)
        progress.update(state.step, **({"nats": figures["loss"]} if figures else {}))
    progress.finish()


def train_step(
    state: State, prior: Prior, train: Latents, config: Config, seed: int, runtime: Runtime
) -> dict[str, float]:
    """Take one step down the nats of a batch of drawings; figures as `optimizer_step`.

    Each process of a group takes its rows of the batch.
    """
    device, settings, group = prior.position.device, config.prior, state.group
    index = batch(seed, state.step, settings.batch_size, len(train))
    z = train[send(index[rank_slice(group, len(index))], device)]
    seed_dropout(seed, state.step, group.rank)
    with runtime.autocast(device):
        factors = state.replica(z.one_hot(prior.layout.placements, len(prior.bank)))
        nats = -factors.joint(z)
    loss = batch_mean(group, nats, len(index))
    rate = learning_rate(state.step, settings.steps, settings.warmup)
    return optimizer_step(state, loss, rate, settings.ema)


@torch.no_grad()
def validate(
    prior: Prior, drawings: Latents, group: Group = SINGLE_PROCESS, chunk: int = 500
) -> dict[str, float]:
    """Return the mean nats of drawings, in all and of whether, where and what."""
    sums = torch.zeros(-(-len(drawings) // chunk), 3, dtype=torch.float64)
    for number, part in chunks(group, len(drawings), chunk):
        z = drawings[part]
        factors = prior(z.one_hot(prior.layout.placements, len(prior.bank)))
        nats = torch.stack(factors.log_prob(z)).sum((1, 2), dtype=torch.float64)
        sums[number] = -nats.cpu()
    whether, where, what = (total(group, sums) / len(drawings)).tolist()
    return {
        "validation_nats": whether + where + what,
        "whether_nats": whether,
        "where_nats": where,
        "what_nats": what,
    }
