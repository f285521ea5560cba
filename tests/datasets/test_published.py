"""What all published data sets share: checksums, download, and errors that name the way out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets as torchvision

from npdraw.datasets import celeba, cifar10, downloads, mnist, omniglot
from npdraw.errors import DataError

README = Path(__file__).parents[2] / "data" / "README.md"


def test_paths_and_checksums_are_those_of_torchvision():
    assert {Path(file.path).name for file in mnist.FILES.values()} == {
        name for name, _ in torchvision.MNIST.resources
    }
    for _, md5 in torchvision.MNIST.resources:  # ours are SHA-256; the README has both
        assert md5 in README.read_text(encoding="utf-8")
    for part, file in omniglot.FILES.items():
        assert file.checksum == torchvision.Omniglot.zips_md5[f"images_{part}"]
        assert file.path == f"{torchvision.Omniglot.folder}/images_{part}.zip"
    assert cifar10.ARCHIVE.checksum == torchvision.CIFAR10.tgz_md5
    lists = {"train": torchvision.CIFAR10.train_list, "test": torchvision.CIFAR10.test_list}
    for split, batches in cifar10.BATCHES.items():
        assert [(file.path, file.checksum) for file in batches] == [
            (f"{torchvision.CIFAR10.base_folder}/{name}", md5) for name, md5 in lists[split]
        ]
    md5s = {name: md5 for _, md5, name in torchvision.CelebA.file_list}
    assert celeba.PARTITION.checksum == md5s[Path(celeba.PARTITION.path).name]
    assert Path(celeba.PARTITION.path).parent == Path(torchvision.CelebA.base_folder)


def test_the_error_for_missing_data_names_the_command_and_the_variable(tmp_path):
    root = tmp_path / "my data"
    for name, data in [("mnist", mnist), ("omniglot", omniglot), ("cifar10", cifar10)]:
        assert not data.present(root)
        with pytest.raises(DataError, match=f"the data set {name} is not in") as error:
            data.read(root, "train")
        assert f"npdraw data download {name} --data-root '{root}'" in error.value.hint
        assert "NPDRAW_DATA" in error.value.hint


def test_download_fetches_what_is_missing_or_damaged_only(tiny_mnist, tmp_path, monkeypatch):
    source, images = tiny_mnist
    root = tmp_path / "fresh"
    local = {
        key: replace(file, url=(source / file.path).as_uri()) for key, file in mnist.FILES.items()
    }
    monkeypatch.setattr(mnist, "FILES", local)
    mnist.download(root)
    assert np.array_equal(mnist.read(root, "test"), images["test"])
    whole = root / local["train"].path
    whole.write_bytes(b"half")
    (source / local["test"].path).unlink()  # intact at its destination, so not fetched again
    mnist.download(root)
    assert np.array_equal(mnist.read(root, "train"), images["train"])


def test_a_failed_download_names_the_file_and_another_way(tiny_mnist, tmp_path, monkeypatch):
    gone = replace(mnist.FILES["train"], url=(tmp_path / "gone.gz").as_uri())
    monkeypatch.setattr(mnist, "FILES", {"train": gone})
    root = tmp_path / "fresh"
    with pytest.raises(DataError, match=r"cannot download .*gone\.gz to .*fresh") as error:
        mnist.download(root)
    assert "copy the file to" in error.value.hint
    assert not (root / gone.path).exists()


def test_a_download_with_another_checksum_is_refused(tiny_mnist, tmp_path, monkeypatch):
    source, _ = tiny_mnist
    file = mnist.FILES["train"]
    wrong = replace(file, url=(source / file.path).as_uri(), checksum="0" * 64)
    monkeypatch.setattr(mnist, "FILES", {"train": wrong})
    with pytest.raises(DataError, match="bytes, and their sha256 is not 0000"):
        mnist.download(tmp_path / "fresh")
    assert not (tmp_path / "fresh" / file.path).exists()


def test_a_complete_folder_that_cannot_be_written_is_enough(tiny_mnist, monkeypatch):
    root, _ = tiny_mnist
    monkeypatch.setattr("os.access", lambda *_: False)
    mnist.download(root)
    assert not list(root.rglob(downloads.LOCK))
    (root / mnist.FILES["train"].path).unlink()
    with pytest.raises(DataError, match="cannot download"):
        mnist.download(root)
