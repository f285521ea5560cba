"""Export a model for sharing, with weights rounded to half the size."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.errors import UsageError
from npdraw.files import sweep_temporaries
from npdraw.inputs.models import read_model
from npdraw.run_key import RunKey
from npdraw.runtime.lock import check_output
from npdraw.runtime.run_folder import finished

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
"""Types in which weights can be stored; `read_model` converts them to fp32."""

SCALES = "encoder.log_scales"
"""The scales of gains of an encoder of strokes with ink."""


def export(model_path: Path, *, dtype: str, out: Path, force: bool) -> dict[str, Any]:
    """Write the model to `out` with its weights stored as `dtype`, "bf16" or "fp32".

    Everything else stays: the tables of the brush are small and canvases are painted from them,
    so they remain fp32, as do the scales of gains, of which bf16 would change the logits by a
    percent. The metrics remain those of the weights before rounding. The inputs of the copy are
    those of the model and the model itself, so its digests lead to the model, the parse and the
    prior even where the model file is missing. Returns the result of `npdraw export --json`.

    Raises:
        UsageError: `out` exists with other settings or another dtype, without `force`.
        ArtifactError: `model_path` is damaged or not a model; or `out` exists and is something
            else, without `force`.
    """
    check_output(out, (model_path,))
    sweep_temporaries(out)
    model, _, artifact = read_model(model_path)
    header, kept = artifact.header, {*model.brush.tables(), SCALES}
    tensors = {
        name: tensor if name in kept else tensor.to(DTYPES[dtype])
        for name, tensor in artifact.tensors.items()
    }
    inputs = {**header.inputs, "model": header.digest}
    run_key = RunKey(header.config, header.dataset, inputs, header.seed)
    earlier = finished(out, "model", run_key, force=force)
    if earlier is not None:
        _check_dtype(out, tensors, dtype)
        return _result(out, dtype, earlier.digest) | {"up_to_date": True}
    digest = write_artifact(out, "model", tensors, run_key=run_key, metrics=header.metrics)
    return _result(out, dtype, digest)


def _check_dtype(out: Path, tensors: dict[str, Tensor], dtype: str) -> None:
    """Raise `UsageError` if `out`, made from the same model, stores it in other types."""
    existing = read_artifact(out, kind="model").tensors
    if {name: t.dtype for name, t in existing.items()} != {n: t.dtype for n, t in tensors.items()}:
        raise UsageError(
            f"{out} exists with weights of another type, now {dtype}",
            hint="--force replaces it; --out writes elsewhere.",
        )


def _result(out: Path, dtype: str, digest: str) -> dict[str, Any]:
    return {"dtype": dtype, "bytes": out.stat().st_size, "digest": digest, "out": str(out)}
