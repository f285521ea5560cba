"""Upload a model to the Hugging Face hub, with a card written from the model itself."""

from pathlib import Path
from typing import Any

import torch

from npdraw.artifacts import content_of
from npdraw.hub import CARD, FILE, HubModel
from npdraw.hub.card import card
from npdraw.hub.upload import upload
from npdraw.inputs.models import read_model
from npdraw.runtime.progress import Progress


def push(
    model_path: Path,
    target: HubModel,
    *,
    private: bool,
    force: bool,
    dry_run: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Upload the model and its card to the repository `target`; return what `--json` prints.

    The bytes that are uploaded are those that were read and checked. A dry run returns the card and
    goes nowhere.

    Raises:
        ArtifactError: `model_path` is damaged or not a model.
        UsageError, ResourceError: see `upload`.
    """
    model, _, artifact = read_model(model_path)
    content, header = content_of(artifact), artifact.header
    parameters = sum(weights.numel() for weights in model.parameters())
    text = card(
        target,
        header,
        parameters=parameters,
        size=len(content),
        rounded=any(tensor.dtype == torch.bfloat16 for tensor in artifact.tensors.values()),
    )
    result = {"bytes": len(content), "digest": header.digest, "out": str(target)}
    if dry_run:
        return {"dry_run": True, "card": text, **result}
    done = upload(
        target,
        {FILE: content, CARD: text.encode()},
        message=f"npdraw push: model {header.digest[:6]}",
        private=private,
        force=force,
        progress=progress,
    )
    return {"url": done.url, "private": done.private, "commit": done.commit, **result} | {
        "up_to_date": done.up_to_date
    }
