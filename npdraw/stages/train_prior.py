"""Stage 2: train the prior on the parses by maximum likelihood (model.md section 6)."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from npdraw.artifacts import write_artifact
from npdraw.config import as_dict
from npdraw.model.latents import Latents
from npdraw.model.prior import Prior
from npdraw.stages.loading import drawings_of, later_config, new_prior, read_parse, weights_of
from npdraw.stages.noise import batch, generator
from npdraw.stages.output import (
    Identity,
    MetricsLog,
    clear,
    finished,
    locked,
    read_json,
    resumable,
    write_json,
)
from npdraw.stages.progress import Progress
from npdraw.stages.runtime import Runtime
from npdraw.stages.training import (
    Stop,
    descend,
    is_due,
    judged,
    learning_rate,
    load_checkpoint,
    new_state,
    remember_best,
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
        parameters = sum(p.numel() for p in prior.parameters())
        return {
            "dry_run": True,
            "settings": identity.config,
            "parameters": parameters,
            "out": str(out),
        }
    with locked(out) as folder, Stop() as stop:
        checkpoint = folder / "checkpoint.safetensors"
        header = finished(out, "prior", identity, force=runtime.force)
        if header is not None:
            result = read_json(folder / "result.json") | header.metrics
            return result | {"resumed_from": settings.steps, "out": str(out), "up_to_date": True}
        state = new_state(
            prior, [(list(prior.parameters()), settings.learning_rate)], settings.weight_decay
        )
        if resumable(checkpoint, out, identity, force=runtime.force):
            load_checkpoint(checkpoint, state)
        else:
            clear(folder)
        write_json(folder / "config.json", identity.config)
        resumed_from = state.step
        log = MetricsLog(folder / "metrics.jsonl", step=state.step)
        began = time.perf_counter() - log.seconds

        drawings = drawings_of(parse).to(device)
        train = drawings[: parse.header.dataset["train"]]
        held_out = drawings[parse.header.dataset["train"] :]
        every = max(50, settings.steps // 10)
        loss = float("nan")
        progress.start(
            "train-prior",
            settings.steps,
            unit="drawings",
            scale=settings.batch_size,
            done=state.step,
        )
        while True:
            last = state.step == settings.steps
            if is_due(state.step, every) or last:
                with judged(state), runtime.autocast(device):
                    figures = validate(prior, held_out)
                remember_best(state, figures["validation_nats"])
                seconds = time.perf_counter() - began
                if state.step != resumed_from or state.step == 0:
                    log.append(state.step, seconds=seconds, **figures)
                progress.update(state.step, **figures)
            if last or stop.signal or (state.step % runtime.save_every == 0 and state.step):
                save_checkpoint(checkpoint, state, identity)
            stop.leave(state.step, settings.steps)
            if last:
                break
            index = batch(seed, state.step, settings.batch_size, len(train)).to(device)
            rate = learning_rate(state.step, settings.steps, settings.warmup)
            with runtime.autocast(device):
                objective = -prior.log_prob(train[index]).mean()
            loss = descend(state, objective, rate, settings.ema)
            progress.update(state.step, nats=loss)
        progress.finish()

        prior.load_state_dict(state.best)
        prior.eval()
        with runtime.autocast(device):
            metrics = validate(prior, held_out)
        write_artifact(
            out,
            "prior",
            weights_of(prior, parse.tensors["bank"]),
            config=identity.config,
            dataset=identity.dataset,
            inputs=identity.inputs,
            seed=seed,
            metrics={"steps": settings.steps, "best_step": state.best_step, **metrics},
        )
        seconds = time.perf_counter() - began
        result = {"steps": settings.steps, "seconds": seconds, "resumed_from": resumed_from}
        write_json(folder / "result.json", result | metrics)
    return {**result, **metrics, "best_step": state.best_step, "out": str(out)}


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
