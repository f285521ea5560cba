"""Features of images: one row for each, whatever the batch, the size or the memory order."""

import pytest
import torch
from torch import Tensor

from npdraw.quality.classifier import FEATURES, Classifier
from npdraw.quality.features import OwnFeatures, features_of

CPU = torch.device("cpu")
LIMIT = 1_000_000  # bytes of the weights


def extractor(image_size: int = 28, at_once: int = 256, channels: int = 1) -> OwnFeatures:
    torch.manual_seed(0)
    return OwnFeatures(Classifier(channels, 10).eval(), image_size, "tiny", "0" * 64, at_once)


def images(count: int, side: int = 28, channels: int = 1) -> Tensor:
    noise = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, side, side), generator=noise, dtype=torch.uint8)


def test_features_do_not_depend_on_the_batch() -> None:
    given = images(20)
    expected = features_of(extractor(), given, CPU)
    assert expected.shape == (20, FEATURES)
    for at_once in (1, 7, 20):
        found = features_of(extractor(at_once=at_once), given, CPU)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    order = torch.randperm(20)
    found = features_of(extractor(at_once=7), given[order], CPU)
    torch.testing.assert_close(found, expected[order], rtol=1e-5, atol=1e-6)


def test_features_are_the_input_of_the_last_layer() -> None:
    given, own = images(3, channels=3), extractor(channels=3)
    features = features_of(own, given, CPU)
    logits = own.classifier(given.float() / 255)
    torch.testing.assert_close(own.classifier.head(features), logits)
    assert float(features.std(0).mean()) > 0  # images differ


def test_every_forward_pass_is_reported() -> None:
    seen: list[int] = []
    features_of(extractor(at_once=8), images(20), CPU, seen.append)
    assert seen == [8, 8, 4]


def test_images_of_another_size_are_resized() -> None:
    own = extractor(image_size=28)
    flat = torch.full((2, 1, 14, 14), 200, dtype=torch.uint8)
    large = torch.full((2, 1, 28, 28), 200, dtype=torch.uint8)
    torch.testing.assert_close(features_of(own, flat, CPU), features_of(own, large, CPU))
    assert own.resizing(14) == "14 x 14 to 28 x 28, bilinear"
    assert own.resizing(28) == "none"


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 10), (1, 50)])
def test_the_weights_of_a_classifier_fit_into_a_megabyte(channels: int, classes: int) -> None:
    weights = Classifier(channels, classes).state_dict().values()
    assert sum(weight.numel() * 4 for weight in weights) < LIMIT
