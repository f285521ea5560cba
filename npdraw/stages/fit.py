"""The pipeline as a function, `npdraw.fit`: the stages of `npdraw run` that make a model.

And, with labels, that of `npdraw train-classes`.
"""

import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray

from npdraw.class_config import WITH_CLASSES
from npdraw.datasets import default_root, digest, kind_of, parse_source
from npdraw.errors import DataError, StoppedError, UsageError
from npdraw.inputs.given_images import labels_of, pixels_of, saved
from npdraw.inputs.labelled import labelled_training_images
from npdraw.inputs.settings import LARGEST_SEED, LONGEST, RUNS, changes
from npdraw.inputs.sources import UNUSED, Chosen, choose
from npdraw.reading import Wanted
from npdraw.runtime.lock import command_lock
from npdraw.runtime.progress import Progress, Silent
from npdraw.runtime.reporting import reporting
from npdraw.runtime.settings import Runtime
from npdraw.stages.run import MODEL, PARSE, NotesOnce, train
from npdraw.stages.train_classes import train_classes

IMAGES, LABELLED_IMAGES = "images.npy", "images.npz"
"""Files in the folder of a run: images that were given as an array, without and with labels."""

_AGAIN = "Call npdraw.fit again with the same arguments to resume."
_AGAIN_WITHOUT_FORCE = f"{_AGAIN[:-1]}, but without force=True."

AnyPath = str | PathLike[str]


def fit(
    images: object,
    *,
    preset: str | None,
    config: Mapping[str, Any] | AnyPath | None,
    wanted: Wanted,
    labels: object,
    image_size: int | None,
    steps: int | None,
    minutes: float | None,
    limit: int | float | None,
    seed: int,
    out: AnyPath | None,
    data_root: AnyPath | None,
    runtime: Runtime,
    progress: bool | Progress | None,
) -> Path:
    """Train a model and return its file; arguments and errors as for `npdraw.fit`.

    `wanted` is how pictures or arrays become images. Fourteen parameters, because each is an
    argument of that function, or holds some.

    Raises:
        KeyboardInterrupt: INT came; in a training it was saved first.
        StoppedError: TERM or HUP came in a training, which was saved first.
    """
    image_size, steps = _whole("image_size", image_size), _whole("steps", steps)
    seed = _seed(seed)
    limit = limit if isinstance(limit, float) else _whole("limit", limit)
    minutes = _minutes(minutes, steps)
    given = config if config is None or isinstance(config, Mapping) else _path(config)
    root = default_root() if data_root is None else _path(data_root)
    chosen_for = partial(
        choose,
        preset,
        given=given,
        wanted=wanted,
        root=root,
        parse={"image_size": image_size},
        prior={"steps": steps},
        decoder={"steps": steps},
    )
    folder = None if out is None else _path(out)
    try:
        with _reporting(progress) as reporter, _undisturbed():
            how: dict[str, Any] = {"root": root, "limit": limit, "seed": seed, "runtime": runtime}
            how |= {"progress": reporter, "minutes": minutes}
            stated = changes(given, classes={"steps": steps}).get("classes", {})
            how["classes"] = {"classes": stated} if _asked(labels) else None
            if isinstance(images, str | PathLike):
                _check_of_source(labels)
                chosen = chosen_for(_source(images))
                folder = folder or RUNS / chosen.config.preset
                with command_lock(folder / MODEL):
                    return _make(chosen, folder, **how)
            pixels = pixels_of(images, reporter)
            named = _labels_of_array(labels, len(pixels))
            kind = "images" if named is None else "labelled"
            folder = folder or RUNS / f"{kind}-{digest(pixels)[:8]}"
            file = folder / (IMAGES if named is None else LABELLED_IMAGES)
            with (
                command_lock(folder / MODEL),
                saved(pixels, named, file, folder / PARSE, force=runtime.force) as source,
            ):
                return _make(chosen_for(source), folder, **how)
    except StoppedError as error:
        number = error.exit_code - 128
        again = _AGAIN_WITHOUT_FORCE if runtime.force else _AGAIN
        if number == signal.SIGINT:  # an `except Exception` around the call must not continue
            raise KeyboardInterrupt(f"{error.message}. {again}") from error
        raise StoppedError(error.message, hint=again, signal_number=number) from error


def _make(
    chosen: Chosen,
    folder: Path,
    *,
    classes: Mapping[str, Any] | None,
    root: Path,
    limit: int | float | None,
    minutes: float | None,
    **how: Any,
) -> Path:
    """Run the stages into a folder; return the file of the model.

    `classes` are the settings of train-classes, None for a model without classes.
    """
    how["progress"] = NotesOnce(how["progress"])
    notes = chosen.notes
    if classes is not None:
        notes = tuple(note for note in notes if note != UNUSED)
    if classes is not None and (how["runtime"].force or not (folder / WITH_CLASSES).exists()):
        # Labels that cannot be used should not be found after the training.
        source, config = parse_source(chosen.data), chosen.config.parse
        labelled_training_images(source, root, config, limit, Silent(), chosen.reading)
    train(
        chosen.config,
        source=chosen.data,
        root=root,
        reading=chosen.reading,
        notes=notes,
        fewer_parts=chosen.fewer_parts,
        limit=limit,
        minutes=minutes,
        out=folder,
        **how,
    )
    if classes is None:
        return folder / MODEL
    train_classes(
        folder / MODEL,
        changes=classes,
        source=None,
        root=root,
        limit=limit,
        out=folder / WITH_CLASSES,
        **how,
    )
    return folder / WITH_CLASSES


def _asked(labels: object) -> bool:
    return labels is not None and labels is not False


def _check_of_source(labels: object) -> None:
    if not (labels is None or isinstance(labels, bool)):
        raise UsageError(
            "labels were given, but the images are read from files",
            hint="Use labels=True for the labels of the files, or give images as an array.",
        )


def _labels_of_array(labels: object, images: int) -> NDArray[Any] | None:
    if labels is True:
        raise UsageError(
            "labels=True, but the images are an array", hint="Give a label for each image."
        )
    return labels_of(labels, images) if _asked(labels) else None


def _source(images: AnyPath) -> str:
    """Return the source of images, which is the text itself, or names what is at the path."""
    if isinstance(images, str):
        return images
    path = _path(images)
    kind = kind_of(path)
    if not kind:
        raise DataError(
            f"{path} is neither a folder nor a .npz or .npy file", hint="Check the path."
        )
    return f"{kind}:{path}"


def _path(given: AnyPath) -> Path:
    return Path(given).expanduser()


def _whole(name: str, value: object) -> int | None:
    """Return a whole number, or None; its range is checked where it is used."""
    if value is None:
        return None
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}, not a whole number")
    return int(value)


def _seed(value: object) -> int:
    """Return a seed that artifacts can record."""
    seed = _whole("seed", value)
    if seed is None or not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"seed {seed} is not in 0..{LARGEST_SEED}")
    return seed


def _minutes(value: object, steps: int | None) -> float | None:
    if value is None:
        return None
    if steps is not None:
        raise UsageError("steps and minutes exclude each other", hint="Give one of them.")
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 < float(cast(float, value)) < LONGEST:
        raise UsageError(f"minutes is {value!r}, not a time above 0")
    return float(cast(float, value))


def _reporting(progress: bool | Progress | None) -> AbstractContextManager[Progress]:
    """Give the stages what they report to."""
    if progress is None or isinstance(progress, bool):
        return reporting(quiet=not progress)
    if isinstance(progress, Progress):
        return nullcontext(progress)
    raise UsageError(
        f"progress is {progress!r}",
        hint="Use True, False, or an object with the methods of npdraw.runtime.progress.Progress.",
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave torch's random numbers on the CPU, and its number of threads, as they were."""
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
