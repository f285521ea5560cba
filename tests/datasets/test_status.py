"""The state of the named data sets: what a quick look shows, and what reading all of it does."""

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from npdraw import datasets
from npdraw.cli import execute
from npdraw.datasets import Source, celeba, cifar10, digest, load, mnist, omniglot, status
from npdraw.datasets.facts import SETS
from npdraw.datasets.published import File

Images = np.ndarray[Any, np.dtype[np.uint8]]


def states(root: Path, **options: bool) -> dict[str, str]:
    return {entry.name: entry.state for entry in status(root, **options)}


def problem(root: Path, name: str, **options: bool) -> str:
    return next(entry.problem for entry in status(root, **options) if entry.name == name)


@pytest.fixture
def expect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make one data set, of few images, the only one that is known."""

    def only(name: str, train: Images, test: Images, *, digests: bool = True) -> None:
        known = {"train": digest(train[:, None]), "test": digest(test[:, None])}
        facts = replace(
            SETS[name],
            train=len(train),
            test=len(test),
            digests=known if digests else {},
            image_size=train.shape[1],
        )
        monkeypatch.setattr(datasets, "SETS", {name: facts})

    return only


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)


def test_nothing_is_missing_but_what_needs_files(tmp_path: Path) -> None:
    missing = {"glyphs": "ready"} | dict.fromkeys(list(SETS)[1:], "missing")
    assert states(tmp_path) == states(tmp_path, check=True) == missing


def test_an_archive_is_unchecked_until_it_is_read(
    tmp_path: Path, expect: Callable[..., None], images: Images
) -> None:
    expect("mnist", images[:8], images[8:])
    archive = tmp_path / "mnist.npz"
    np.savez_compressed(archive, train=images[:8], test=images[8:])
    assert states(tmp_path) == {"mnist": "unchecked"}
    assert states(tmp_path, check=True) == {"mnist": "ready"}
    np.savez_compressed(archive, train=images[:8], test=255 - images[8:])
    assert states(tmp_path) == {"mnist": "unchecked"}
    assert states(tmp_path, check=True) == {"mnist": "damaged"}
    assert problem(tmp_path, "mnist", check=True) == (
        f"the test images in {archive} are not the expected ones"
    )


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_archive_is_damaged(
    share: float, tmp_path: Path, expect: Callable[..., None], images: Images
) -> None:
    expect("mnist", images[:8], images[8:])
    archive = tmp_path / "mnist.npz"
    np.savez(archive, train=images[:8], test=images[8:])
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    assert states(tmp_path) == {"mnist": "damaged"}
    assert "mnist.npz is damaged or not" in problem(tmp_path, "mnist")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"train": (8, 28, 28), "test": (3, 28, 28)}, "they are [3, 28, 28], not [4, 28, 28]"),
        ({"train": (7, 28, 28), "test": (4, 28, 28)}, "they are [7, 28, 28], not [8, 28, 28]"),
        ({"train": (8, 30, 30), "test": (4, 30, 30)}, "they are [8, 30, 30], not [8, 28, 28]"),
        ({"train": (8, 28, 28, 3), "test": (4, 28, 28, 3)}, "not [8, 28, 28]"),
        ({"x": (8, 28, 28), "test": (4, 28, 28)}, "holds the arrays ['test', 'x']"),
        ({"train": (8, 784), "test": (4, 784)}, "array 'train' in"),
    ],
)
def test_arrays_of_another_shape_are_not_the_set(
    arrays: dict[str, tuple[int, ...]],
    words: str,
    tmp_path: Path,
    expect: Callable[..., None],
    images: Images,
) -> None:
    expect("mnist", images[:8], images[8:])
    made: dict[str, Any] = {name: np.ones(shape, np.uint8) for name, shape in arrays.items()}
    np.savez(tmp_path / "mnist.npz", **made)
    for check in (False, True):
        assert states(tmp_path, check=check) == {"mnist": "damaged"}
        assert words in problem(tmp_path, "mnist", check=check)


def test_without_a_digest_an_archive_of_any_size_stays_unchecked(
    tmp_path: Path, expect: Callable[..., None]
) -> None:
    faces = np.zeros((6, 40, 40, 3), np.uint8)
    expect("celeba", np.zeros((4, 64, 64, 3), np.uint8), faces[4:], digests=False)
    np.savez(tmp_path / "celeba.npz", train=faces[:4], test=faces[4:])
    assert states(tmp_path) == states(tmp_path, check=True) == {"celeba": "unchecked"}
    np.savez(tmp_path / "celeba.npz", train=faces[:3], test=faces[4:])  # a part of the set
    assert states(tmp_path) == states(tmp_path, check=True) == {"celeba": "unchecked"}
    np.savez(tmp_path / "celeba.npz", train=faces[..., 0], test=faces[..., 0])
    assert states(tmp_path) == states(tmp_path, check=True) == {"celeba": "damaged"}


def with_checksum(file: File, content: bytes) -> File:
    return replace(file, checksum=hashlib.new(file.algorithm, content).hexdigest())


def write(root: Path, file: File, content: bytes) -> None:
    (root / file.path).parent.mkdir(parents=True, exist_ok=True)
    (root / file.path).write_bytes(content)


def test_files_with_checksums_are_ready_or_damaged_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in (("mnist", mnist), ("cifar10", cifar10)):
        monkeypatch.setattr(datasets, "SETS", {name: SETS[name]})
        if module is mnist:
            known: Any = {s: with_checksum(f, s.encode()) for s, f in mnist.FILES.items()}
            monkeypatch.setattr(mnist, "FILES", known)
            content = {file: split.encode() for split, file in known.items()}
        else:
            known = {
                split: tuple(with_checksum(file, file.path.encode()) for file in files)
                for split, files in cifar10.BATCHES.items()
            }
            monkeypatch.setattr(cifar10, "BATCHES", known)
            content = {file: file.path.encode() for files in known.values() for file in files}
        for file, whole in content.items():
            write(tmp_path, file, whole)
        assert states(tmp_path) == {name: "ready"}
        for file, whole in content.items():
            write(tmp_path, file, whole[:-1])
            assert states(tmp_path) == {name: "damaged"}
            assert Path(file.path).name in problem(tmp_path, name)
            write(tmp_path, file, whole)


def test_folders_of_pictures_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omniglot, "CHARACTERS", 2)
    monkeypatch.setattr(omniglot, "DRAWERS", 3)
    monkeypatch.setattr(datasets, "SETS", {"omniglot": SETS["omniglot"]})
    folder = tmp_path / "omniglot-py/images_background/a/b"
    folder.mkdir(parents=True)
    (tmp_path / "omniglot-py/images_evaluation").mkdir()
    for name in ("0001_01", "0001_02", "0001_03", "0002_01", "0002_02"):
        (folder / f"{name}.png").touch()
    assert states(tmp_path) == {"omniglot": "damaged"}
    assert "1 of 6 Omniglot drawings are missing" in problem(tmp_path, "omniglot")
    (folder / "0002_03.png").touch()
    assert states(tmp_path) == {"omniglot": "unchecked"}
    assert states(tmp_path, check=True) == {"omniglot": "damaged"}  # they are empty

    lines = "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n"
    monkeypatch.setattr(datasets, "SETS", {"celeba": SETS["celeba"]})
    monkeypatch.setattr(celeba, "PARTITION", with_checksum(celeba.PARTITION, lines.encode()))
    write(tmp_path, celeba.PARTITION, lines.encode())
    faces = tmp_path / "celeba/img_align_celeba"
    faces.mkdir()
    Image.new("RGB", (178, 218)).save(faces / "000001.jpg")
    assert states(tmp_path) == {"celeba": "damaged"}
    assert "1 of 2 faces are missing" in problem(tmp_path, "celeba")
    Image.new("RGB", (178, 218)).save(faces / "000003.jpg")  # validation faces are not used
    assert states(tmp_path) == {"celeba": "unchecked"}
    assert states(tmp_path, check=True) == {"celeba": "ready"}
    write(tmp_path, celeba.PARTITION, lines.encode()[:-1])
    assert states(tmp_path) == {"celeba": "damaged"}


def test_real_files_are_not_called_damaged(npdraw_data: Path) -> None:
    assert set(states(npdraw_data).values()) <= {"ready", "unchecked", "missing"}


def test_the_table_and_the_json_have_the_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"half")
    words = ["data", "ls", "--data-root", str(tmp_path)]
    assert execute(words) == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("mnist")]
    assert lines[0].split()[:2] == ["mnist", "damaged"]
    assert lines[1].split()[:2] == ["mnist-static", "missing"]
    assert lines[2].startswith(f"mnist: {tmp_path / 'mnist.npz'} is damaged")
    assert execute([*words, "--json"]) == 0
    sets = json.loads(capsys.readouterr().out)["sets"]
    assert sets["mnist"]["state"] == "damaged" and "mnist.npz" in sets["mnist"]["problem"]
    assert execute(["data", "doctor", "--data-root", str(tmp_path)]) == 4


def test_a_check_finds_damaged_labels_that_loading_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = gzip.compress(bytes(16 + 28 * 28))
    known = replace(mnist.FILES["train"], checksum=hashlib.sha256(packed).hexdigest())
    labels = mnist.FILES["test labels"]
    files = {"train": known, "test": known, "test labels": labels}
    monkeypatch.setattr(mnist, "FILES", files)
    monkeypatch.setattr(datasets, "SETS", {"mnist": replace(SETS["mnist"], digests={})})
    (tmp_path / known.path).parent.mkdir(parents=True)
    (tmp_path / known.path).write_bytes(packed)
    assert states(tmp_path, check=True) == {"mnist": "ready"}
    (tmp_path / labels.path).write_bytes(b"half")
    assert len(load(Source("mnist"), "train", root=tmp_path, image_size=28).images) == 1
    (broken,) = status(tmp_path, check=True)
    assert broken.state == "damaged" and "t10k-labels-idx1-ubyte.gz" in broken.problem
