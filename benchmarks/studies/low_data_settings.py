"""How long to train when data are few, and what keeps them from being learnt by heart.

Found on validation images of MNIST, in short runs. The best weights on the way are taken,
so steps are upper bounds; but the learning rate falls to 0 at their end.
"""

from dataclasses import replace

from benchmarks.studies.vae_training import Settings
from npdraw.config import Config

STEPS = ((100, 100, 150), (1_000, 200, 400), (10_000, 500, 800))
"""Training images up to, steps of train-prior and of train-decoder; above, those of the preset."""

MOVED = 1_000
"""Up to so many training images both models also see them moved by a pixel."""

VAE = (
    (100, Settings(steps=300, batch_size=64, kl_warmup=0.5, dropout=0.2)),
    (1_000, Settings(batch_size=64, kl_warmup=0.3, dropout=0.2)),
    (10_000, Settings(kl_warmup=0.3, dropout=0.1)),
)
"""Training images up to, settings; above, the defaults."""


def npdraw_settings(config: Config, images: int) -> Config:
    """Return `config` with as many steps as `images` training images bear, at most its own."""
    if images <= MOVED:
        config = replace(config, parse=replace(config.parse, shift=1))
    for most, prior, decoder in STEPS:
        if images <= most:
            return replace(
                config,
                prior=replace(config.prior, steps=min(prior, config.prior.steps)),
                decoder=replace(config.decoder, steps=min(decoder, config.decoder.steps)),
            )
    return config


def vae_settings(images: int) -> Settings:
    """Return how the VAE is trained on so many images; the clock may end it sooner."""
    return next((settings for most, settings in VAE if images <= most), Settings())
