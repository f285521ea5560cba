import gzip
import hashlib
import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from npdraw.datasets import downloads, published
from npdraw.errors import DataError

ORDER = [(character, drawer) for character in (1, 2, 3) for drawer in (1, 2)]


def idx(images):
    header = np.array([0x803, *images.shape], ">i4").tobytes()
    return gzip.compress(header + images.tobytes(), mtime=0)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Write a tiny MNIST with its own checksums; return its root and images."""
    images = {
        "train": np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8),
        "test": np.random.default_rng(1).integers(0, 256, (2, 28, 28), dtype=np.uint8),
    }
    contents = {split: idx(array) for split, array in images.items()}
    contents |= {"train labels": b"labels", "test labels": b"others"}
    files = {}
    for key, file in published.MNIST.items():
        files[key] = replace(file, checksum=hashlib.sha256(contents[key]).hexdigest())
        path = tmp_path / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[key])
    monkeypatch.setattr(published, "MNIST", files)
    return tmp_path, images


def test_mnist_is_read_from_its_archives(mnist):
    root, images = mnist
    published.check_mnist(root)
    for split, expected in images.items():
        assert np.array_equal(published.read_mnist(root, split), expected)


def test_a_half_unpacked_mnist_does_not_matter_and_nothing_is_written(mnist):
    root, images = mnist
    raw = root / "MNIST" / "raw"
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    before = sorted(raw.iterdir())
    raw.chmod(0o555)
    assert np.array_equal(published.read_mnist(root, "train"), images["train"])
    assert sorted(raw.iterdir()) == before
    raw.chmod(0o755)


@pytest.mark.parametrize("key", ["train", "test labels"])
def test_a_damaged_mnist_file_is_named_with_what_mends_it(mnist, key):
    root, _ = mnist
    path = root / published.MNIST[key].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path.name} is damaged: .* bytes") as error:
        published.check_mnist(root)
    assert error.value.hint == f"run: npdraw data download mnist --data-root {root}"
    if key == "train":
        with pytest.raises(DataError, match=path.name):
            published.read_mnist(root, "train")


def test_what_cannot_be_a_file_of_mnist_is_not_read(mnist, monkeypatch):
    root, _ = mnist
    path = root / published.MNIST["train"].path
    monkeypatch.setattr(downloads, "MOST", path.stat().st_size - 1)
    with pytest.raises(DataError, match=r"idx3-ubyte\.gz is damaged: it has more than"):
        published.read_mnist(root, "train")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="no regular file"):
        published.read_mnist(root, "train")


def test_missing_data_name_the_command_and_the_variable(tmp_path):
    root = tmp_path / "my data"
    for read, name in [(published.read_mnist, "mnist"), (published.read_omniglot, "omniglot")]:
        assert not published.present(name, root)
        with pytest.raises(DataError, match=f"the data set {name} is not in") as error:
            read(root, "train")
        assert f"npdraw data download {name} --data-root '{root}'" in error.value.hint
        assert "NPDRAW_DATA" in error.value.hint


def drawing(character, drawer):
    """Black strokes on white paper, 105x105, like the published files."""
    paper = Image.new("1", (105, 105), 1)
    ImageDraw.Draw(paper).line((10, 10 * character, 90, 95 - 9 * drawer), fill=0, width=3)
    return paper


@pytest.fixture
def omniglot(tmp_path, monkeypatch):
    """Write three characters of two drawers, the later numbers in the earlier folder."""
    monkeypatch.setattr(published, "OMNIGLOT_CHARACTERS", 3)
    monkeypatch.setattr(published, "OMNIGLOT_DRAWERS", 2)
    monkeypatch.setattr(published, "OMNIGLOT_SPLIT", {"train": 3, "test": 2})
    places = {1: "evaluation/Zulu/character02", 2: "background/Aleph/character09"}
    places[3] = "background/Aleph/character01"
    for character, drawer in ORDER:
        folder = tmp_path / "omniglot-py" / f"images_{places[character]}"
        folder.mkdir(parents=True, exist_ok=True)
        drawing(character, drawer).save(folder / f"{character:04}_{drawer:02}.png")
    return tmp_path


def test_omniglot_is_in_order_of_characters_and_drawers_with_ink_255(omniglot):
    assert published.present("omniglot", omniglot)
    order = np.random.RandomState(0).permutation(6)
    for split, rows in [("train", sorted(order[:3])), ("test", sorted(order[3:5]))]:
        images = published.read_omniglot(omniglot, split)
        assert images.max() > 200 and np.median(images) == 0
        for image, row in zip(images, rows, strict=True):
            inverse = Image.fromarray(~np.asarray(drawing(*ORDER[row]).convert("L")))
            small = inverse.resize((28, 28), Image.Resampling.BICUBIC)
            assert np.array_equal(image, np.asarray(small))


def test_a_missing_and_a_damaged_drawing_are_named(omniglot):
    path = next(omniglot.rglob("0002_01.png"))
    content = path.read_bytes()
    wide = path.with_name("wide.png")
    Image.new("1", (106, 105)).save(wide)
    for broken in (b"", content[: len(content) // 2], wide.read_bytes()):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"0002_01\.png is damaged"):
            for split in ("train", "test"):
                published.read_omniglot(omniglot, split)
    path.unlink()
    os.mkfifo(path)  # opening it would wait for ever
    with pytest.raises(DataError, match=r"1 of 6 Omniglot drawings are missing .* 0002_01\.png"):
        published.read_omniglot(omniglot, "train")


def test_download_fetches_what_is_missing_or_damaged_only(mnist, tmp_path, monkeypatch):
    source, images = mnist
    root = tmp_path / "fresh"
    local = {
        key: replace(file, url=(source / file.path).as_uri())
        for key, file in published.MNIST.items()
    }
    monkeypatch.setattr(published, "MNIST", local)
    published.download("mnist", root)
    assert np.array_equal(published.read_mnist(root, "test"), images["test"])
    whole = root / local["train"].path
    whole.write_bytes(b"half")
    (source / local["test"].path).unlink()  # intact at its destination, so not fetched again
    published.download("mnist", root)
    assert np.array_equal(published.read_mnist(root, "train"), images["train"])


def test_download_unpacks_drawings_again_over_broken_ones(omniglot, tmp_path, monkeypatch):
    root, files = tmp_path / "fresh", {}
    for part, file in published.OMNIGLOT.items():
        path = tmp_path / f"{part}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for picture in (omniglot / "omniglot-py" / f"images_{part}").rglob("*.png"):
                archive.write(picture, picture.relative_to(omniglot / "omniglot-py"))
        checksum = hashlib.md5(path.read_bytes()).hexdigest()
        files[part] = replace(file, url=path.as_uri(), checksum=checksum)
    monkeypatch.setattr(published, "OMNIGLOT", files)
    published.download("omniglot", root)
    expected = published.read_omniglot(omniglot, "train")
    for picture in root.rglob("*.png"):
        picture.write_bytes(b"")
    published.download("omniglot", root)
    assert np.array_equal(published.read_omniglot(root, "train"), expected)


def test_a_failed_download_says_which_and_what_else_to_do(mnist, tmp_path, monkeypatch):
    _, _ = mnist
    gone = replace(published.MNIST["train"], url=(tmp_path / "gone.gz").as_uri())
    monkeypatch.setattr(published, "MNIST", {"train": gone})
    root = tmp_path / "fresh"
    with pytest.raises(DataError, match=r"cannot download .*gone\.gz to .*fresh") as error:
        published.download("mnist", root)
    assert "copy the file to" in error.value.hint
    assert not (root / gone.path).exists()


def test_a_download_with_another_checksum_is_refused(mnist, tmp_path, monkeypatch):
    source, _ = mnist
    file = published.MNIST["train"]
    wrong = replace(file, url=(source / file.path).as_uri(), checksum="0" * 64)
    monkeypatch.setattr(published, "MNIST", {"train": wrong})
    with pytest.raises(DataError, match="bytes came, and their sha256 is not 0000"):
        published.download("mnist", tmp_path / "fresh")
    assert not (tmp_path / "fresh" / file.path).exists()


def test_a_complete_folder_that_cannot_be_written_is_enough(mnist, monkeypatch):
    root, _ = mnist
    monkeypatch.setattr("os.access", lambda *_: False)
    published.download("mnist", root)
    assert not list(root.rglob(downloads.LOCK))
    (root / published.MNIST["train"].path).unlink()
    with pytest.raises(DataError, match="cannot download"):
        published.download("mnist", root)
