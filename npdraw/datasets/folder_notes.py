"""What a folder of pictures holds, in words: its splits, its classes, and other files."""

from collections.abc import Iterator, Mapping, Sequence

from npdraw.datasets.listing import UNREAD

_MOST = 4  # endings or classes that a line lists


def splits(
    counts: Mapping[str, int], validation: int, elsewhere: int, *, arrays: bool = False
) -> Iterator[str]:
    """Yield how the folders of splits, or two arrays, are used.

    `counts` has the numbers of training and test pictures; it is empty without splits. The training
    pictures include those in folders of validation images, and those outside all of these folders.
    """
    if counts:
        train = counts["train"] - validation - elsewhere
        if train:
            say = "as their names say" if arrays else "as their folders say"
            yield f"{train:,} in train and {counts['test']:,} in test, {say}"
        else:
            yield f"{counts['test']:,} in test, as their folder says"
        if validation:
            yield f"{validation:,} in a validation folder, used for training"
        if elsewhere:
            yield f"{elsewhere:,} in {_others(train, validation)}, used for training"
    elif validation:
        yield (
            f"{validation:,} in a validation folder; without a test folder, they are used like the "
            "others"
        )


def _others(train: int, validation: int) -> str:
    if train and validation:
        return "none of these folders"
    return "neither folder" if train or validation else "other folders or none"


def test_others(others: int, looked_at: int) -> Iterator[str]:
    """Yield how many of the test pictures look the other way round than those for training."""
    if others:
        yield (
            f"{others:,} of {looked_at:,} test pictures look the other way round than most for "
            "training, and are read like these: invert their files first"
        )


def frames(count: int) -> Iterator[str]:
    """Yield how many pictures have frames or pages that are not read."""
    if count:
        verb = "has" if count == 1 else "have"
        yield f"{count:,} {verb} more than one frame or page: only the first is read"


def classes(names: Sequence[str]) -> Iterator[str]:
    """Yield how many classes there are, and the first of them; nothing if there are none."""
    if names:
        yield f"{len(names):,} classes ({_listed(names)}), stored as labels"


def left_out(endings: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Yield how many files are left out, with the most frequent endings."""
    pictures = [(ending, count) for ending, count in endings if ending in UNREAD]
    if pictures:
        counted = _counted(pictures, "picture in another format", "pictures in other formats")
        yield f"{counted}: convert them to PNG or JPEG"
    others = [(ending, count) for ending, count in endings if ending not in UNREAD]
    if others:
        yield _counted(others, "file that is not a picture", "files that are not pictures")


def _counted(endings: Sequence[tuple[str, int]], one: str, more: str) -> str:
    total = sum(count for _, count in endings)
    names = {"hidden": "hidden or system"}
    shown = _listed([f"{count:,} {names.get(ending, ending)}" for ending, count in endings])
    return f"{total:,} {one if total == 1 else more} left out ({shown})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_MOST], *["..."] * (len(names) > _MOST)])
