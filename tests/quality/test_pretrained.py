"""Networks of others: their errors always, the networks themselves where they are installed."""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.quality import pretrained
from npdraw.quality.features import features_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("module", "package", "features"),
    [
        ("torch_fidelity", "torch-fidelity", pretrained.inception_features),
        ("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", pretrained.imagenet_features),
    ],
)
def test_without_the_extra_there_is_one_clear_error(
    module: str, package: str, features: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(UsageError, match=f"the package {package} is not installed") as error:
        features(CPU)
    assert error.value.hint == "Run: pip install 'npdraw[metrics]'"


class Harmful:
    """Would run a function when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("executed",)


def test_weights_of_others_are_tensors_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(2), "b": torch.zeros(1)}, path)
    assert pretrained.read_weights(path)["a"].tolist() == [1, 1]
    torch.save({"a": Harmful()}, path)
    with pytest.raises(ArtifactError, match=r"weights\.pth is damaged"):
        pretrained.read_weights(path)
    assert "executed" not in capsys.readouterr().out
    for content in (b"", b"half a file", b"PK\3\4" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="is damaged"):
            pretrained.read_weights(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(3, 3)}, path)
    with pytest.raises(ArtifactError, match="the weights of another network"):
        pretrained.load(torch.nn.Linear(2, 2), path)


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write random weights where torch-fidelity would keep its own; return their file."""
    module: Any = pytest.importorskip(
        pretrained.INCEPTION, reason="torch-fidelity is not installed"
    )
    bare = tmp_path / "bare"
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
    monkeypatch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
    model = module.FeatureExtractorInceptionV3("random", ["2048"])
    monkeypatch.undo()
    weights = io.BytesIO()
    torch.save(model.state_dict(), weights)
    digest = hashlib.sha256(weights.getvalue()).hexdigest()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(bare))
    monkeypatch.setattr(module, "URL_INCEPTION_V3", f"https://x.test/weights-{digest[:8]}.pth")
    path = pretrained.inception_weights()
    path.parent.mkdir(parents=True)
    path.write_bytes(weights.getvalue())
    return path


def test_inception_is_that_of_torch_fidelity(inception: Path) -> None:
    network = pretrained.inception_features(CPU)
    assert network.name == "Inception (FID)"
    assert network.resizing(28) == "28 x 28 to 299 x 299, bilinear as in TensorFlow 1"
    assert network.digest == hashlib.sha256(inception.read_bytes()).hexdigest()
    grey = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    features = features_of(network, grey, CPU)
    assert features.shape == (3, 2048)
    colour = features_of(network, grey.expand(-1, 3, -1, -1).contiguous(), CPU)
    torch.testing.assert_close(features, colour)


def test_weights_of_inception_have_to_be_fetched_and_whole(inception: Path) -> None:
    inception.write_bytes(inception.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="its SHA-256 begins with"):
        pretrained.inception_features(CPU)
    inception.unlink()
    with pytest.raises(DataError, match="the weights of Inception are not in") as error:
        pretrained.inception_features(CPU)
    assert f"-o {inception} https://x.test/" in error.value.hint


def test_imagenet_features_are_those_of_the_package() -> None:
    reason = "efficientnet-lite-pytorch is not installed"
    pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    network = pretrained.imagenet_features(CPU)
    assert network.name == "ImageNet features (EfficientNet-Lite0)"
    assert network.resizing(32) == "32 x 32 to 224 x 224, bilinear"
    grey = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    features = features_of(network, grey, CPU)
    assert features.shape == (3, 1280)
    assert bool(features.isfinite().all())
    torch.testing.assert_close(features_of(network, grey[1:2], CPU), features[1:2])
