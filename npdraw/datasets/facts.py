"""The named data sets: one table of their sizes, origin, licence and digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Facts:
    """What is known about a named data set.

    `train` and `test` count images, `image_size` is their side in pixels. `digests` maps a split to
    `npdraw.datasets.digest` of its images [N, 1, H, W]; data sets without one are checked file by
    file. `note` is shown whenever the data set is loaded.
    """

    train: int
    test: int
    image_size: int
    origin: str
    licence: str
    digests: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    channels: int = 1


SETS: Mapping[str, Facts] = {
    "glyphs": Facts(20_000, 2_000, 28, "drawn by npdraw", "MIT"),
    "mnist": Facts(
        60_000,
        10_000,
        28,
        "Y. LeCun, C. Cortes: yann.lecun.com/exdb/mnist",
        "CC BY-SA 3.0",
        {
            "train": "0f507c79838d9fb97b81e67df24cb0e7adb1dbd2b707bbf7aded55922a16f3b7",
            "test": "22498ea987607f37719b79dd1f938f649c0b0ca2ed5a669381b4f1c06f472600",
        },
    ),
    "mnist-static": Facts(
        60_000,
        10_000,
        28,
        "H. Larochelle: cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
        "none stated (made from MNIST)",
        {
            "train": "fcad890a68e98bb11384832a3854061d751c56c4d368d7dd4823fed291e64292",
            "test": "55730f640ca9d74bb5560ef311f2c9dcce5300eec954c8afb2d4c69121934b42",
        },
    ),
    "omniglot": Facts(
        24_345,
        8_070,
        28,
        "B. Lake: github.com/brendenlake/omniglot",
        "MIT",
        {
            "train": "ab6b043ac5268a134ea2743faef3f08db97bd2ebbae8d51d0d6599c7433651ec",
            "test": "882ee7ea90a6a1f6bd87ecf4fd659c74253b167202e7bf2d7e63ff44a2351004",
        },
        note="omniglot: a seeded random split of the published size, not the published split, "
        "so likelihoods are close to published ones but not comparable",
    ),
    "cifar10": Facts(
        50_000,
        10_000,
        32,
        "A. Krizhevsky: cs.toronto.edu/~kriz/cifar.html",
        "none stated",
        channels=3,
    ),
    "celeba": Facts(
        162_770,
        19_962,
        64,
        "Z. Liu and others: mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "research only",
        channels=3,
    ),
}
"""The named data sets by name, in the order in which they are listed."""
