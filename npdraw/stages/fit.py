"""The pipeline as a function, `npdraw.fit`: the stages of `npdraw run` that make a model."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from npdraw.datasets import default_root, digest, kind_of
from npdraw.errors import DataError, StoppedError, UsageError
from npdraw.inputs.given_images import pixels_of, saved
from npdraw.inputs.settings import LARGEST_SEED, RUNS
from npdraw.inputs.sources import Chosen, choose
from npdraw.reading import Wanted
from npdraw.runtime.lock import command_lock
from npdraw.runtime.progress import Progress
from npdraw.runtime.reporting import reporting
from npdraw.runtime.settings import Runtime
from npdraw.stages.run import MODEL, PARSE, train

IMAGES = "images.npy"
"""The images of a run that were given as an array, a file in its folder."""

_AGAIN = "Call npdraw.fit again with the same arguments to resume."

AnyPath = str | PathLike[str]


def fit(
    images: object,
    *,
    preset: str | None,
    config: Mapping[str, Any] | AnyPath | None,
    wanted: Wanted,
    image_size: int | None,
    steps: int | None,
    limit: int | float | None,
    seed: int,
    out: AnyPath | None,
    data_root: AnyPath | None,
    runtime: Runtime,
    progress: bool | Progress | None,
) -> Path:
    """Train a model and return its file; arguments and errors as for `npdraw.fit`.

    `wanted` is how pictures or arrays become images. Twelve parameters, because each is an argument
    of that function, or holds some.

    Raises:
        KeyboardInterrupt: INT came; in a training it was saved first.
        StoppedError: TERM or HUP came in a training, which was saved first.
    """
    _check_numbers(image_size=image_size, steps=steps, limit=limit, seed=seed)
    root = default_root() if data_root is None else _path(data_root)
    chosen_for = partial(
        choose,
        preset,
        given=config if config is None or isinstance(config, Mapping) else _path(config),
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
            how["progress"] = reporter
            if isinstance(images, str | PathLike):
                chosen = chosen_for(_source(images))
                folder = folder or RUNS / chosen.config.preset
                with command_lock(folder / MODEL):
                    return _make(chosen, folder, **how)
            pixels = pixels_of(images, reporter)
            folder = folder or RUNS / f"images-{digest(pixels)[:8]}"
            with (
                command_lock(folder / MODEL),
                saved(pixels, folder / IMAGES, folder / PARSE, force=runtime.force) as source,
            ):
                return _make(chosen_for(source), folder, **how)
    except StoppedError as error:
        number = error.exit_code - 128
        if number == signal.SIGINT:  # an `except Exception` around the call must not continue
            raise KeyboardInterrupt(f"{error.message}. {_AGAIN}") from error
        raise StoppedError(error.message, hint=_AGAIN, signal_number=number) from error


def _make(chosen: Chosen, folder: Path, **how: Any) -> Path:
    """Run the stages into a folder; return the file of the model."""
    train(
        chosen.config,
        source=chosen.data,
        reading=chosen.reading,
        notes=chosen.notes,
        fewer_parts=chosen.fewer_parts,
        out=folder,
        **how,
    )
    return folder / MODEL


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


def _check_numbers(**given: float | None) -> None:
    """Raise `UsageError` for numbers of a wrong type, or a seed that no artifact could record.

    Other ranges are checked where the numbers are used.
    """
    for name, value in given.items():
        fits = isinstance(value, int) and not isinstance(value, bool)
        fits |= name == "limit" and isinstance(value, float)
        if value is not None and not fits:
            raise UsageError(f"{name} is {value!r}, not a whole number")
    seed = given["seed"]
    if seed is None or not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"seed {seed} is not in 0..{LARGEST_SEED}")


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
