"""Names of models on the hub, and files in the cache of huggingface_hub."""

import os
from importlib import import_module
from pathlib import Path

import pytest

from npdraw.errors import UsageError
from npdraw.hub import HubModel, cached, named, repository
from npdraw.inputs.shipped import name_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:me/digits", HubModel("me/digits")),
        ("hf:Some-Lab_2/np.draw-v1.0", HubModel("Some-Lab_2/np.draw-v1.0")),
        ("hf:me/digits@v1.0", HubModel("me/digits", "v1.0")),
        ("hf:me/digits@refs/pr/3", HubModel("me/digits", "refs/pr/3")),
        (f"hf:me/digits@{COMMIT}", HubModel("me/digits", COMMIT)),
        ("mnist", None),
        ("runs/mine/model.safetensors", None),
        ("a/hf:b", None),
        ("", None),
    ],
)
def test_a_name_is_read_and_written(text: str, expected: HubModel | None) -> None:
    assert named(text) == expected
    assert named(Path(text)) == expected
    assert expected is None or str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        *("hf:", "hf:digits", "hf:me/", "hf:/digits", "hf:me/digits/model.safetensors"),
        *("hf://me/digits", "hf:me/digits@", "hf:me/di gits", "hf:me/digits@a b", "hf:me/-digits"),
        *("hf:me--you/digits", "hf:../digits", "hf:me/a..b", "hf:me/digits.git", "hf:mé/digits"),
        *("hf:me/digits@../../x", "hf:me/digits@/etc", "hf:me/digits@a//b", f"hf:me/{'x' * 97}"),
        *("hf:me/digits\n", "hf:me/digits@-x", "hf:me/digits?x=1", "hf:me/digits#x"),
    ],
)
def test_what_is_not_a_name_is_one_clear_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a model on the Hugging") as raised:
        named(text)
    assert raised.value.message.startswith(text.strip())
    assert "hf:OWNER/NAME" in raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        *("a/b", "A_1/b.c-d", "_a/b_", f"{'x' * 96}/y", f"{'x' * 97}/y", "a--b/c", "a/b..c"),
        *("-a/b", "a-/b", ".a/b", "a/b.", "a/b.git", "a/b.gitx", "a/git", "é/b", "a/b c", "a/b\n"),
    ],
)
def test_names_are_those_that_huggingface_hub_accepts(text: str) -> None:
    library = import_module("huggingface_hub.utils")
    try:
        library.validate_repo_id(text)
    except ValueError:
        with pytest.raises(UsageError):
            repository(text)
    else:
        assert repository(text).repository == text


@pytest.mark.parametrize("text", ["digits", "hf:me/digits", "me/digits@v1", "me/digits.git", ""])
def test_a_repository_is_owner_and_name(text: str) -> None:
    assert repository("me/digits") == HubModel("me/digits")
    with pytest.raises(UsageError, match="is not the name of a repository") as raised:
        repository(text)
    assert raised.value.hint.startswith("Write OWNER/NAME")


def test_a_file_wins_over_a_name(workdir: Path) -> None:
    (workdir / "hf:me").mkdir()
    assert named("hf:me/digits") == HubModel("me/digits")
    (workdir / "hf:me/digits").touch()
    assert named("hf:me/digits") is None
    assert named("hf:me/others") == HubModel("me/others")


def test_files_of_the_cache_have_the_name_of_their_model(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workdir / "hub/models--me--digits/snapshots" / COMMIT
    assert cached(folder / "model.safetensors") == HubModel("me/digits")
    assert name_of(folder / "model.safetensors") == "hf:me/digits"
    assert name_of(Path("hf:me/digits@v1")) == "hf:me/digits"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert cached(Path("model.safetensors")) == HubModel("me/digits")
    monkeypatch.chdir(workdir)
    for other in (
        folder / "other.safetensors",
        folder.parent / "model.safetensors",
        workdir / "models--me/snapshots" / COMMIT / "model.safetensors",
        workdir / "datasets--me--digits/snapshots" / COMMIT / "model.safetensors",
        Path("model.safetensors"),
        Path(os.sep),
    ):
        assert cached(other) is None
        assert name_of(other) is None
