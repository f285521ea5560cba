"""What train-decoder goes down, step by step: a loss of relaxed samples, then one of hard samples.

docs/model.md, section 6; `NPDraw.relaxed` and `NPDraw.wake`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from npdraw.config import Config, DecoderConfig
from npdraw.inputs.images import deformed
from npdraw.model.npdraw import NPDraw, Relaxation, WakeConfig
from npdraw.model.parsing import parse as parse_images
from npdraw.runtime.distributed import batch_mean, rank_slice
from npdraw.runtime.noise import batch, generator, seed_dropout
from npdraw.runtime.settings import Runtime, send
from npdraw.training.state import State, learning_rate, optimizer_step


def schedule(step: int, settings: DecoderConfig) -> tuple[float, float]:
    """Return temperature and parse weight at `step` of the first phase.

    The temperature falls geometrically, the parse weight linearly to its floor.
    """
    done = step / settings.relaxed_steps
    temperature = settings.temperature * (settings.final_temperature / settings.temperature) ** done
    left = max(0.0, 1 - done / settings.parse_until) if settings.parse_until else 0.0
    floor = settings.final_parse_weight
    return temperature, floor + (settings.parse_weight - floor) * left


def random_maps(count: int, share: float, spread: float, noise: torch.Generator) -> Tensor:
    """Return linear maps [count, 2, 2]: a `share` of them random, the others the identity.

    Entries of a random one are normal about those of the identity, `spread` their deviation: few
    images are learned by heart less when no two of a training are alike.
    """
    device = noise.device
    chosen = torch.rand((count, 1, 1), generator=noise, device=device) < share
    entries = spread * torch.randn((count, 2, 2), generator=noise, device=device)
    return torch.eye(2, device=device) + chosen * entries


def train_step(
    state: State,
    model: NPDraw,
    train: Tensor,
    config: Config,
    seed: int,
    runtime: Runtime,
) -> dict[str, float]:
    """Binarise a batch afresh and take one step on the loss of its phase.

    Returns the metrics of `optimizer_step`. Each process of a group takes its rows of the
    batch, and of the noise of the whole batch.
    """
    device, settings, step = train.device, config.decoder, state.step
    noise = generator("train", seed, step, device)
    seed_dropout(seed, step, state.group.rank)
    index = send(batch(seed, step, settings.batch_size, len(train)), device)
    mine, size = rank_slice(state.group, len(index)), len(index)
    images = train[index[mine]].float() / 255
    if settings.deform > 0 and step < settings.relaxed_steps:
        maps = random_maps(size, 1 - step / settings.relaxed_steps, settings.deform, noise)
        images = deformed(images, maps[mine])
    if config.parse.binarize:
        chances = torch.rand((size, *train.shape[1:]), generator=noise, device=device)
        images = (chances[mine] < images).float()

    def uniform_of(*shape: int) -> Tensor:
        """Noise of this process's images."""
        return torch.rand((size, *shape), generator=noise, device=device)[mine]

    first, decay = settings.relaxed_steps, settings.ema
    if step < first:
        rate = learning_rate(step, first, settings.warmup)
        loss, figures = _relaxed_loss(state, model, images, uniform_of, config, runtime, mine.start)
    else:
        done = step - first
        rate = settings.wake_rate * learning_rate(done, settings.steps - first, settings.warmup)
        decay = min(decay, (done + 1) / (done + 11))  # the average starts again with the phase
        uniforms = uniform_of(settings.wake_samples + 1, model.layout.steps, 3)
        with runtime.autocast(device):
            wake = state.replica(images, None, uniforms, WakeConfig(settings.wake_canvas_weight))
        loss, figures = -wake.joint - wake.proposal, {"wake_nll": wake.nll}
    means = {name: batch_mean(state.group, value, size) for name, value in figures.items()}
    return optimizer_step(state, batch_mean(state.group, loss, size), rate, decay, **means)


def _relaxed_loss(
    state: State,
    model: NPDraw,
    images: Tensor,
    uniform_of: Callable[..., Tensor],
    config: Config,
    runtime: Runtime,
    before: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Parse a batch; return the loss of the first phase and its ELBO, each [N].

    `before` is the number of images of the batch that other processes take before these.
    """
    settings = config.decoder
    temperature, parse_weight = schedule(state.step, settings)
    parse = None
    if parse_weight > 0:  # in fp32, as the stored parses: bf16 would choose other parts
        parse = parse_images(
            model.layout.shrink(images),
            model.bank,
            model.layout,
            threshold=config.parse.threshold,
            compositing=model.compositing,
            sweeps=config.parse.sweeps,
        )
    uniforms = uniform_of(model.layout.steps, model.noise_size())
    hard_rows = max(round(settings.hard_fraction * settings.batch_size) - before, 0)
    with runtime.autocast(images.device):
        terms = state.replica(images, parse, uniforms, Relaxation(temperature, hard_rows))
        loss = (
            terms.distortion
            + settings.kl_weight * terms.rate
            + parse_weight * terms.parse
            + settings.canvas_weight * terms.canvas
        )
    return loss, {"relaxed_elbo": (terms.distortion + terms.rate).detach()}
