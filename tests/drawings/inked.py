"""A tiny model of random weights whose strokes have ink, on two layers."""

from pathlib import Path

import torch

from npdraw.config import Config, ParseConfig, PriorConfig
from npdraw.decoder_config import DecoderConfig
from npdraw.model.ink import pattern_name
from npdraw.model.latents import Latents, blank
from tests.random_models import write_random_model

COARSE, FINE = 4, 16
"""Cells of the two layers: 2 x 2 of 4 pixels, then 4 x 4 of 2 pixels."""

STEPS = COARSE + FINE

PARTS, INKS, CONTRASTS = 6, 4, 3


def write_ink_model(path: Path, *, seed: int = 0, finer: tuple[int, ...] = (2,)) -> None:
    """Write a model of 8 x 8 colour images; another `seed` gives other tables and weights.

    `finer` has the sides of the parts of the layers after the first.
    """
    config = Config(
        parse=ParseConfig(
            image_size=8,
            channels=3,
            binarize=False,
            part_size=4,
            stride=4,
            finer=finer,
            parts=PARTS,
            inks=INKS,
            contrasts=CONTRASTS,
            threshold=0.05,
        ),
        prior=PriorConfig(width=8, depth=1, heads=1, head_width=8, mlp_width=8),
        decoder=DecoderConfig(
            encoder_channels=4, encoder_depth=1, decoder_channels=(4,), decoder_depth=1
        ),
    )
    generator = torch.Generator().manual_seed(seed)

    def patterns(side: int) -> torch.Tensor:
        drawn = torch.randn(PARTS, 3, side, side, generator=generator)
        drawn = drawn - drawn.mean((2, 3), keepdim=True)
        return drawn / drawn.square().sum((1, 2, 3), keepdim=True).sqrt()

    tables = {
        **{pattern_name(layer): patterns(side) for layer, side in enumerate((4, *finer))},
        "inks": torch.rand(1 + len(finer), INKS, 3, generator=generator) - 0.5,
        "contrasts": torch.tensor([[0.0, 0.5, 1.0], *[[0.0, 0.3, 0.6]] * len(finer)]),
        "ground": torch.rand(3, generator=generator),
    }
    write_random_model(path, config, tables, seed)


def drawing(**strokes: tuple[int, int, int]) -> Latents:
    """A drawing with part, ink and contrast at steps named s0, s1, ..."""
    z = blank(1, STEPS, inked=True)
    for name, (part, ink, contrast) in strokes.items():
        z.put_stroke(0, int(name[1:]), where=0, what=part, ink=ink, contrast=contrast)
    return z
