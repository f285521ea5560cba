"""Data sets by name: sources, loading, downloads, status, and the table of facts."""

import pkgutil
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from npdraw import datasets
from npdraw.datasets import (
    Source,
    default_root,
    digest,
    download,
    load,
    parse_source,
    status,
)
from npdraw.datasets.embedded import glyphs
from npdraw.datasets.facts import SETS
from npdraw.errors import DataError, UsageError

GLYPHS, MNIST = Source("glyphs"), Source("mnist")


def write_npz(path, seed=0, side=28):
    images = np.random.default_rng(seed).integers(0, 256, (12, side, side), dtype=np.uint8)
    np.savez_compressed(path, train=images[:8], test=images[8:])
    return images


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("glyphs", "glyphs", None),
        ("omniglot", "omniglot", None),
        ("folder:some/pictures", "folder", Path("some/pictures")),
        ("npz:a:b.npz", "npz", Path("a:b.npz")),
        ("folder:~/pictures", "folder", Path.home() / "pictures"),
    ],
)
def test_a_source_is_a_name_or_a_path(text, name, path):
    assert parse_source(text) == Source(name, path)


@pytest.mark.parametrize(
    ("text", "path", "key"),
    [
        ("npz:a.npz#x", "a.npz", "x"),
        ("npz:a#b.npz#x,y", "a#b.npz", "x,y"),
        ("npz:here#.npz", "here#.npz", ""),
        ("idx:sets#emnist-letters", "sets", "emnist-letters"),
        ("folder:a#b", "a#b", ""),
    ],
)
def test_a_source_may_have_a_key(tmp_path, monkeypatch, text, path, key):
    monkeypatch.chdir(tmp_path)
    Path("here#.npz").touch()  # a file of that name comes first
    source = parse_source(text)
    assert (source.path, source.key, str(source)) == (Path(path), key, text)
    assert parse_source(str(source.absolute())) == Source(source.name, tmp_path / path, key)


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "pictures"])
def test_a_path_without_its_kind_is_recognised(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    Path("x.npz").touch()
    Path("x.npy").touch()
    with pytest.raises(UsageError, match="unknown data set") as error:
        parse_source(name)
    assert error.value.hint == f"Write {'folder' if name == 'pictures' else 'npz'}:{name}."


def test_a_source_is_written_as_it_was_given():
    assert [str(parse_source(text)) for text in ("mnist", "npz:x.npz")] == ["mnist", "npz:x.npz"]


@pytest.mark.parametrize("text", ["mnst", "MNIST", "glyphs:x", "", "folders:x"])
def test_an_unknown_source_lists_the_known_ones(text):
    with pytest.raises(UsageError, match="unknown data set") as error:
        parse_source(text)
    assert "glyphs, idx:FOLDER, mnist, mnist-static, npz:FILE, omniglot" in error.value.hint


def test_the_nearest_source_is_suggested_and_a_path_asked_for():
    with pytest.raises(UsageError) as error:
        parse_source("mnst")
    assert error.value.hint.startswith("Did you mean 'mnist'?")
    for text in ("folder", "npz:"):
        with pytest.raises(UsageError, match="has no path"):
            parse_source(text)


def test_the_root_is_the_variable_or_data(monkeypatch):
    monkeypatch.setenv("NPDRAW_DATA", "/somewhere")
    assert default_root() == Path("/somewhere")
    monkeypatch.setenv("NPDRAW_DATA", "")
    assert default_root() == Path("data")
    monkeypatch.delenv("NPDRAW_DATA")
    assert default_root() == Path("data")


def test_glyphs_need_no_root(tmp_path):
    loaded = load(GLYPHS, "test", root=tmp_path / "absent", image_size=28)
    assert np.array_equal(loaded.images, glyphs("test")) and loaded.notes == ()
    assert loaded.images.shape == (SETS["glyphs"].test, 1, 28, 28)


def test_a_named_set_is_read_from_its_npz_first(tmp_path):
    images = write_npz(tmp_path / "mnist.npz")
    loaded = load(MNIST, "test", root=tmp_path, image_size=28)
    assert np.array_equal(loaded.images[:, 0], images[8:])
    assert loaded.notes == (f"mnist in {tmp_path}: its test images are not the expected ones",)


def test_images_known_by_their_digest_need_no_note(tmp_path, monkeypatch):
    images = write_npz(tmp_path / "omniglot.npz")
    known = replace(SETS["omniglot"], digests={"train": digest(images[:8][:, None])})
    monkeypatch.setattr(datasets, "SETS", {"omniglot": known})
    (note,) = load(Source("omniglot"), "train", root=tmp_path, image_size=28).notes
    assert "not the published split" in note


def test_images_are_resized(tmp_path):
    images = write_npz(tmp_path / "x.npz", side=30)
    source = Source("npz", tmp_path / "x.npz")
    same = load(source, "train", root=tmp_path, image_size=30).images
    assert np.array_equal(same[:, 0], images[:8])
    half = load(source, "train", root=tmp_path, image_size=15).images
    blocks = images[:8].reshape(8, 15, 2, 15, 2).mean((2, 4))
    assert half.shape == (8, 1, 15, 15)
    assert np.corrcoef(half.ravel(), blocks.ravel())[0, 1] > 0.9


def test_a_folder_is_loaded_with_its_notes(tmp_path):
    for value in range(4):
        Image.new("L", (9, 9), value).save(tmp_path / f"{value}.png")
    (tmp_path / "x.png").write_bytes(b"")
    source = Source("folder", tmp_path)
    loaded = load(source, "train", root=tmp_path, image_size=5, channels=3)
    assert loaded.images.shape == (3, 3, 5, 5) and loaded.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert loaded.notes == (
        "skipped 1 of 5 files that cannot be read: 'x.png'",
        "the last picture is the test picture",
    )
    with pytest.raises(DataError):
        load(source, "train", root=tmp_path, image_size=5, strict=True)


def test_unknown_splits_channels_and_missing_data_are_refused(tmp_path):
    with pytest.raises(UsageError, match="unknown split 'valid'"):
        load(GLYPHS, "valid", root=tmp_path, image_size=28)
    with pytest.raises(UsageError, match="2 channels"):
        load(GLYPHS, "test", root=tmp_path, image_size=28, channels=2)
    for name in ("mnist", "omniglot"):
        with pytest.raises(DataError, match=f"{name} is not in"):
            load(Source(name), "test", root=tmp_path, image_size=28)


def test_download_refuses_what_needs_none(tmp_path):
    for text in ("glyphs", "npz:x.npz"):
        with pytest.raises(UsageError, match="needs no download"):
            download(text, tmp_path)
    with pytest.raises(UsageError, match="unknown data set"):
        download("mnits", tmp_path)


def test_a_digest_sees_pixels_shape_and_type():
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    changed = images.copy()
    changed[1, 2, 3] += 1
    others = [changed, images.reshape(2, 4, 3), images.view(np.int8), images[:, ::-1]]
    assert len({digest(other) for other in [images, *others]}) == 5
    assert digest(images) == digest(np.asfortranarray(images))
    assert digest(images) == "baeda522fd9f35124db82c2ac1e3956ab28222c5fc8ab15c68f482c6df7b9cee"


@pytest.mark.parametrize("name", ["mnist", "omniglot"])
def test_the_real_data_have_the_pinned_digests(npdraw_data, name):
    states = {entry.name: entry.state for entry in status(npdraw_data)}
    if states[name] == "missing":
        pytest.skip(f"NPDRAW_DATA has no {name}")
    for split in ("train", "test"):
        loaded = load(Source(name), split, root=npdraw_data, image_size=28)
        assert len(loaded.images) == getattr(SETS[name], split)
        assert digest(loaded.images) == SETS[name].digests[split]


def test_no_function_hides_a_submodule():
    for module in pkgutil.iter_modules(datasets.__path__):
        assert isinstance(getattr(datasets, module.name, datasets), types.ModuleType), module.name


def test_the_readme_has_the_facts():
    text = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    for name, facts in SETS.items():
        colour = "colour" if facts.channels == 3 else "grey"
        size = f"{facts.image_size}x{facts.image_size} {colour}"
        assert f"| `{name}` | {facts.train:,} | {facts.test:,} | {size} |" in text
        for split, value in facts.digests.items():
            assert f"| {split} | `{value}` |" in text
