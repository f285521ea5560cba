"""From settings and the tables of an artifact to a brush."""

from collections.abc import Mapping

from torch import Tensor

from npdraw.artifacts import Artifact, check_values
from npdraw.config import ParseConfig
from npdraw.model.brush import Brush, PartBrush
from npdraw.model.ink import InkBrush, Palette, pattern_name
from npdraw.model.layout import Layout

_LONGEST = 256.0 * 3**0.5
"""Length of the longest patch: 256 x 256 pixels, white, in three channels."""


def layout_of(config: ParseConfig) -> Layout:
    """Return the layout that the settings describe."""
    side = config.canvas_side
    return Layout(side, side, config.part_size, config.stride, config.jitter, config.finer)


def brush_of(config: ParseConfig, tables: Mapping[str, Tensor]) -> Brush:
    """Return the brush that the settings describe, with `tables` as artifacts store them."""
    layout = layout_of(config)
    if not config.inks:
        return PartBrush(
            layout,
            tables["bank"],
            config.compositing,
            threshold=config.threshold,
            sweeps=config.sweeps,
        )
    palette = Palette(
        tuple(tables[pattern_name(layer)] for layer in range(len(layout.grids))),
        tables["inks"],
        tables["contrasts"],
        tables["ground"],
    )
    return InkBrush(layout, palette, threshold=config.threshold)


def table_shapes(config: ParseConfig) -> dict[str, list[int]]:
    """Return the shapes of the tables of a brush, by the name under which artifacts store them."""
    if not config.inks:
        return {"bank": [config.parts, config.channels, config.part_size, config.part_size]}
    sides = (config.part_size, *config.finer)
    patterns = {
        pattern_name(layer): [config.parts, config.channels, side, side]
        for layer, side in enumerate(sides)
    }
    return patterns | {
        "inks": [len(sides), config.inks, config.channels],
        "contrasts": [len(sides), config.contrasts],
        "ground": [config.channels],
    }


def check_tables(artifact: Artifact, config: ParseConfig) -> None:
    """Raise `ArtifactError` unless the values of the tables of a brush are in their ranges."""
    if not config.inks:
        check_values(artifact, "bank", 0, 1)
        return
    for name in table_shapes(config):
        low, high = {"contrasts": (0.0, _LONGEST), "ground": (0.0, 1.0)}.get(name, (-1.0, 1.0))
        check_values(artifact, name, low, high)


def choices_of(config: ParseConfig) -> dict[str, int]:
    """Return how many values each choice of a stroke has, by the name of its tensor."""
    choices = {"where": config.jitter**2, "what": config.parts}
    return choices | ({"ink": config.inks, "contrast": config.contrasts} if config.inks else {})
