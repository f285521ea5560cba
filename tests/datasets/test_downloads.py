import errno
import io
import os
import zipfile

import pytest

from npdraw.datasets import downloads
from npdraw.errors import DataError, ResourceError

GOOD = {"images/": b"", "images/Greek_(old)/character01/0001_01.png": b"drawing"}
FINDER = {"__MACOSX/images/._a": b"x", "images/.DS_Store": b"x", "images/Greek_(old)/": b""}


def archive(path, members, **attributes):
    with zipfile.ZipFile(path / "images.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members:
            member = zipfile.ZipInfo("x")
            member.filename, member.compress_type = name, zipfile.ZIP_DEFLATED
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            opened.writestr(member, content)
    return path / "images.zip"


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_drawings_replace_the_folder(tmp_path):
    packed, folder = archive(tmp_path, (GOOD | FINDER).items()), tmp_path / "images"
    for before in ({}, {"Greek_(old)/character01/0001_01.png": b"half"}, {"other.png": b""}):
        for name, bytes_ in before.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(bytes_)
        if "other.png" in before:
            (folder / "Greek_(old)/character01/0001_01.png").unlink()
        assert not downloads.unpacked(packed, folder)
        downloads.unpack(packed, folder)
        assert downloads.unpacked(packed, folder)
        assert content(folder) == {"Greek_(old)/character01/0001_01.png": b"drawing"}
        assert {path.name for path in tmp_path.iterdir()} == {"images.zip", "images"}


def test_a_link_to_the_drawings_stays_a_link(tmp_path):
    packed, elsewhere = archive(tmp_path, GOOD.items()), tmp_path / "large disk"
    elsewhere.mkdir()
    (tmp_path / "images").symlink_to(elsewhere)
    downloads.unpack(packed, tmp_path / "images")
    assert (tmp_path / "images").is_symlink()
    assert content(elsewhere) == {"Greek_(old)/character01/0001_01.png": b"drawing"}
    assert downloads.unpacked(packed, tmp_path / "images")


def test_a_pipe_in_place_of_a_drawing_is_not_opened(tmp_path):
    packed, folder = archive(tmp_path, GOOD.items()), tmp_path / "images"
    downloads.unpack(packed, folder)
    (name,) = content(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert not downloads.unpacked(packed, folder)


EVIL = [
    "../evil.png",
    "/evil.png",
    "images/../../evil.png",
    "images/a/../0001_01.png",
    "images/a/b/../../c.png",
    "images/a/b\\c/d.png",
    "images/a/b/c.py",
    "images/a/b/.png",
    "images/a/b/c/d.png",
    "images/c.png",
    "imagesx/a/b/c.png",
    "images/a/../",
    "images/a/b/c.png\n",
    "images/Greek_(old)/character01/0001_01.png",
]


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_other_members_is_refused(tmp_path, name):
    root = tmp_path / "a/b/c"
    root.mkdir(parents=True)
    packed = archive(root, [*GOOD.items(), (name, b"evil")])
    with pytest.raises(DataError) as error:
        downloads.unpack(packed, root / "images")
    assert error.value.message == (
        f"cannot unpack {packed}: {name!r} is not a drawing, or appears twice"
    )
    assert "Delete" in error.value.hint
    assert list(content(tmp_path)) == ["a/b/c/images.zip"]
    assert not downloads.unpacked(packed, root / "images")


def test_an_archive_with_a_link_is_refused(tmp_path):
    link = {"images/a/b/c.png": b"/etc/passwd"}
    packed = archive(tmp_path, link.items(), external_attr=0o120777 << 16)
    with pytest.raises(DataError, match="is not a drawing"):
        downloads.unpack(packed, tmp_path / "images")


def test_a_damaged_or_too_large_archive_changes_nothing(tmp_path, monkeypatch):
    packed, folder = archive(tmp_path, GOOD.items()), tmp_path / "images"
    downloads.unpack(packed, folder)
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as opened:
        for name, bytes_ in GOOD.items():
            opened.writestr(name, bytes_)
    whole = stored.getvalue()
    for broken, words in [
        (b"no zip", "not a zip file"),
        (whole[:-9], "not a zip file"),
        (whole.replace(b"drawing", b"drawinG"), "CRC"),
    ]:
        packed.write_bytes(broken)
        with pytest.raises(DataError, match=rf"cannot unpack .*images\.zip: .*{words}"):
            downloads.unpack(packed, folder)
    packed.write_bytes(whole)
    monkeypatch.setattr(downloads, "MAX_BYTES", 6)
    with pytest.raises(DataError, match="it unpacks to more than 6 bytes"):
        downloads.unpack(packed, folder)
    assert content(tmp_path).keys() == {"images.zip", "images/Greek_(old)/character01/0001_01.png"}


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [(errno.ENOSPC, ResourceError, "disk is full"), (errno.EACCES, DataError, "cannot write")],
)
def test_a_disk_that_cannot_be_written_leaves_no_temporaries(
    tmp_path, monkeypatch, number, kind, words
):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    packed = archive(tmp_path, GOOD.items())
    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(kind, match=words):
        downloads.unpack(packed, tmp_path / "images")
    monkeypatch.undo()
    assert content(tmp_path).keys() == {"images.zip"}
    assert not list(tmp_path.glob(".*"))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(DataError, match=r"cannot write .*file/raw") as error,
        downloads.download_lock(tmp_path / "file/raw"),
    ):
        pass
    assert "--data-root" in error.value.hint
    (tmp_path / "x.gz").mkdir()
    with pytest.raises(DataError, match=r"to .*x\.gz: .* it is a folder"):
        downloads.fetch("http://127.0.0.1:9/", tmp_path / "x.gz", "md5", "")
