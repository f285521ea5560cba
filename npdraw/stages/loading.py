"""Between artifacts and models: which tensors an artifact holds, and the model they make."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from npdraw.artifacts import Artifact, check_shapes, read_artifact
from npdraw.config import SECTIONS, Config, ParseConfig, override
from npdraw.errors import ArtifactError, NpdrawError, UsageError
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from npdraw.model.npdraw import NPDraw
from npdraw.model.prior import Prior
from npdraw.presets import from_dict


def layout_of(config: ParseConfig) -> Layout:
    """Return the layout that the settings describe."""
    side = config.image_size
    return Layout(side, side, config.part_size, config.stride, config.jitter)


def stored_config(artifact: Artifact) -> Config:
    """Return the settings an artifact was made with; later sections come from its preset."""
    header = artifact.header
    try:
        return from_dict(header.config, data=header.dataset["name"], source=str(artifact.path))
    except (NpdrawError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{artifact.path} holds settings that this npdraw does not know: {error}",
            hint="It was written by another npdraw; make it again with --force.",
        ) from error


def later_config(
    artifact: Artifact, changes: Mapping[str, Mapping[str, Any]], section: str
) -> Config:
    """Return the settings of an artifact with `changes` to `section` and the ones after it.

    Settings of the sections before it are fixed by the artifact: `UsageError` if `changes` names
    other values for them.
    """
    stored = stored_config(artifact)
    config = override(stored, changes, source="the settings given")
    for fixed in SECTIONS[: SECTIONS.index(section)]:
        if getattr(config, fixed) != getattr(stored, fixed):
            raise UsageError(
                f"the settings of [{fixed}] are fixed by {artifact.path}, others were given",
                hint=f"Leave [{fixed}] out, or make {artifact.path} again with it.",
            )
    return replace(config, data=stored.data)


def read_parse(path: Path) -> Artifact:
    """Read a parse and check that its tensors fit its settings and data set."""
    artifact = read_artifact(path, kind="parse")
    config = stored_config(artifact).parse
    dataset, layout = artifact.header.dataset, layout_of(config)
    drawings = [dataset["train"] + dataset["validation"], layout.steps]
    shapes = {
        "bank": [config.parts, config.channels, config.part_size, config.part_size],
        "usage": [config.parts],
        "whether": drawings,
        "where": drawings,
        "what": drawings,
    }
    check_shapes(artifact, shapes)
    return artifact


def drawings_of(artifact: Artifact) -> Latents:
    """Return the drawings stored in a parse or by `sample`."""
    tensors = artifact.tensors
    return Latents(tensors["whether"], tensors["where"].long(), tensors["what"].long())


def drawing_tensors(z: Latents) -> dict[str, Tensor]:
    """Return drawings as stored: bool, and small integers."""
    z = z.canonical()
    return {"whether": z.whether, "where": z.where.short(), "what": z.what.short()}


def new_prior(config: Config, bank: Tensor) -> Prior:
    """Build an untrained prior."""
    prior = config.prior
    return Prior(
        layout_of(config.parse),
        bank,
        width=prior.width,
        depth=prior.depth,
        heads=prior.heads,
        head_width=prior.head_width,
        mlp_width=prior.mlp_width,
        dropout=prior.dropout,
    )


def only_used(prior: Prior) -> None:
    """Ask no gradient of the weights that the layout leaves without use.

    In a group of processes the others would be waited for with it.
    """
    if prior.layout.placements == 1:
        prior.where_embedding.requires_grad_(False)


def new_model(config: Config, bank: Tensor) -> NPDraw:
    """Build an untrained model; a frozen prior has no dropout."""
    decoder = config.decoder
    dropout = config.prior.dropout if decoder.prior == "joint" else 0.0
    return NPDraw(
        layout_of(config.parse),
        bank,
        new_prior(replace(config, prior=replace(config.prior, dropout=dropout)), bank),
        compositing=config.parse.compositing,
        encoder_channels=decoder.encoder_channels,
        encoder_depth=decoder.encoder_depth,
        decoder_channels=decoder.decoder_channels,
        decoder_depth=decoder.decoder_depth,
        decoder_patch=decoder.decoder_patch,
    )


def read_prior(path: Path) -> tuple[Prior, Config, Artifact]:
    """Read a trained prior."""
    artifact = read_artifact(path, kind="prior")
    config = stored_config(artifact)
    prior = new_prior(config, _bank(artifact, config))
    _fill(prior, artifact)
    return prior, config, artifact


def read_model(path: Path) -> tuple[NPDraw, Config, Artifact]:
    """Read a trained model."""
    artifact = read_artifact(path, kind="model")
    config = stored_config(artifact)
    model = new_model(config, _bank(artifact, config))
    _fill(model, artifact)
    return model.eval(), config, artifact


def weights_of(model: nn.Module, bank: Tensor) -> dict[str, Tensor]:
    """Return what an artifact stores of a prior or model: its bank and its weights."""
    return {"bank": bank, **model.state_dict()}


def _bank(artifact: Artifact, config: Config) -> Tensor:
    parse = config.parse
    shape = [parse.parts, parse.channels, parse.part_size, parse.part_size]
    bank = artifact.tensors.get("bank")
    if bank is None or list(bank.shape) != shape:
        found = "none" if bank is None else list(bank.shape)
        raise ArtifactError(
            f"{artifact.path} does not fit its settings: its bank has shape {found}, expected "
            f"{shape}",
            hint="It was written by another npdraw; make it again with --force.",
        )
    return bank


def _fill(model: nn.Module, artifact: Artifact) -> None:
    """Load weights; every one must be there, in its shape, and no other.

    They are copied into fp32, also from the bf16 of an exported model.
    """
    state = model.state_dict()
    bank = artifact.tensors["bank"]
    check_shapes(artifact, {"bank": bank.shape, **{name: w.shape for name, w in state.items()}})
    model.load_state_dict({name: artifact.tensors[name] for name in state})
