"""Numbers of steps for few images, and settings that reduce overfitting.

Chosen on validation images of MNIST, in short runs. The best weights of a run are kept, so steps
are upper bounds; but the learning rate falls to 0 at the last one.
"""

from dataclasses import replace

from benchmarks.studies.vae_training import Settings
from npdraw.config import Config

STEPS = ((100, 100, 150), (1_000, 200, 400), (10_000, 500, 800))
"""Up to this many images: steps of train-prior and train-decoder; above: those of the preset."""

SHIFTED = 1_000
"""Up to this many training images, NP-DRAW also trains on copies shifted by a pixel."""

VAE = (
    (100, Settings(steps=300, batch_size=64, kl_warmup=0.5, dropout=0.2)),
    (1_000, Settings(batch_size=64, kl_warmup=0.3, dropout=0.2)),
    (10_000, Settings(kl_warmup=0.3, dropout=0.1)),
)
"""Up to this many training images: settings; above: the defaults."""


def npdraw_settings(config: Config, images: int) -> Config:
    """Return `config` with steps suited to `images` training images, at most its own."""
    if images <= SHIFTED:
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
    """Return the settings of the VAE for `images` training images; the clock may end it sooner."""
    return next((settings for most, settings in VAE if images <= most), Settings())
