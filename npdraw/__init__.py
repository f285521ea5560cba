"""npdraw: images drawn part by part (NP-DRAW, Zeng et al., UAI 2021).

import npdraw

model = npdraw.load("mnist")  # a shipped model, a file, or one of the hub: "hf:OWNER/NAME"
drawings = model.sample(9, seed=0)
images = model.decode(model.paint(drawings))

mine = npdraw.fit("folder:my-pictures", out="runs/mine")  # trains one
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from npdraw.version import __version__ as __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from npdraw.drawings.drawing_model import DrawingModel
    from npdraw.runtime.progress import Progress


def load(
    path_or_name: str | PathLike[str], *, device: str = "auto", precision: str = "auto"
) -> DrawingModel:
    """Read a trained model: a file of `npdraw train-decoder`, or one by its name.

    A name is that of a shipped model, or hf:OWNER/NAME (hf:OWNER/NAME@REVISION) for a model on the
    Hugging Face hub, which needs the extra `npdraw[hub]`; a download is announced on stderr.
    `device` is auto (cuda if available), cpu, cuda, cuda:N or mps; `precision` is auto, fp32 or
    bf16. Torch is imported when this is called, not with npdraw.

    Raises:
        npdraw.errors.ArtifactError: the model does not exist, is damaged, or cannot be downloaded.
        npdraw.errors.UsageError: the device does not exist, or one of the names is unknown; the
            extra is not installed, or the hub refuses the token.
    """
    from npdraw.drawings.drawing_model import open_model
    from npdraw.inputs.shipped import find_model
    from npdraw.runtime.settings import Runtime

    return open_model(find_model(path_or_name), Runtime(device=device, precision=precision))


def fit(
    images: str | PathLike[str] | Tensor | NDArray[Any],
    *,
    labels: bool | Sequence[int | str] | Tensor | NDArray[Any] | None = None,
    preset: str | None = None,
    config: Mapping[str, Any] | str | PathLike[str] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    limit: int | float | None = None,
    image_size: int | None = None,
    channels: Literal["auto", 1, 3] = "auto",
    pixels: Literal["auto", "binary", "levels"] = "auto",
    invert: Literal["auto", "yes", "no"] = "auto",
    background: str = "auto",
    fit: Literal["auto", "crop", "pad", "stretch"] = "auto",
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    data_root: str | PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    progress: bool | Progress | None = True,
) -> DrawingModel:
    """Train a model on images and return it, as the first three stages of `npdraw run` do.

        model = npdraw.fit("glyphs", limit=2000, steps=100)
        model = npdraw.fit("folder:my-pictures", out="runs/mine")
        model = npdraw.fit(array, preset="mnist", out="runs/mine")  # uint8 [N, H, W]
        model = npdraw.fit(array, labels=names)  # model.sample(9, label="cat")

    The files are those of the command: the bank and the drawings of all images, the prior, and the
    model, each beside its run folder with checkpoints. With equal settings, images and seed they
    have the same digests. Called again with the same arguments, it resumes from the last
    checkpoint, or returns the finished model. Ctrl-C, or the stop button of a notebook, finishes
    the step, saves and raises `KeyboardInterrupt`; a resumed training ends with the same numbers as
    an uninterrupted one. In a thread other than the main one, it does not hear signals.

    Arguments have the names and meanings of the flags of `npdraw run`, and notes and errors call
    them so: `--invert no` is `invert="no"`.

    Args:
        images: What to train on. A data set as for `--data` ("glyphs", "mnist", "folder:PATH",
            "npz:FILE", "idx:FOLDER", ...); a `Path` of a folder of pictures or of a `.npz` or
            `.npy` file; or an array or tensor. Arrays are uint8, bool, or floats in [0, 1], of
            shape [N, H, W], or with 1 or 3 channels last or first. They are saved as
            `OUT/images.npy` and read from there like any file of arrays: every 10th image is a test
            image, and notes say how the others are read.
        labels: Classes to learn as well, as by `npdraw train-classes` after the rest: for an array
            a name or whole number for each image, saved with the images as `OUT/images.npz`; for
            other images True, which stands for the labels that come with them. None or False: none.
        preset: A row of settings (npdraw/presets.py). By default that of the name of the data set;
            for pictures and arrays of your own, glyphs, textures or pictures, by a look at them.
        config: Further settings: a TOML file, or section -> setting -> value, as in
            `{"parse": {"parts": 100}}`. docs/interface.md, section 9, lists them.
        steps: Training steps of the prior, and as many of the decoder and for classes; those of the
            preset if None.
        minutes: In place of `steps`: reading and both trainings end after about this time. Classes
            come on top: 5,000 steps, or `classes.steps` of `config`.
        limit: Training images to use: a number, or a fraction up to 1.0; all if None.
        image_size: Side in pixels to which images are resized; that of the preset, or of the
            pictures up to 32, if None.
        channels: 1 for grey, 3 for colour, or "auto".
        pixels: "binary", "levels" (256 values) or "auto".
        invert: "yes", "no" or "auto": whether light and dark are swapped.
        background: "black", "white", "#rrggbb" or "auto": the ground of transparent pictures.
        fit: "crop", "pad", "stretch" or "auto": how pictures become square.
        seed: Seed of every random choice, at least 0.
        out: Folder to write to. By default `runs/PRESET`; for an array `runs/images-XXXXXXXX`, with
            labels `runs/labelled-XXXXXXXX`, with the first digits of the digest of its pixels.
        force: Start again and replace output that exists with other settings or images, which is
            otherwise an error.
        data_root: Folder of the named data sets; by default `NPDRAW_DATA`, else `data`.
        device: auto (cuda if available), cpu, cuda, cuda:N or mps.
        precision: auto (bf16 where the hardware multiplies it), fp32 or bf16.
        threads: CPU threads; 0 leaves the choice to torch. Digests depend on their number.
        progress: True for lines on stderr, or a bar on a terminal; False or None for neither
            progress nor notes; or an object with the methods of
            `npdraw.runtime.progress.Progress`, which receives both.

    Returns:
        The model, as `npdraw.load(out / "model.safetensors")` returns it, with labels
        `"classes.safetensors"`. `model.header.metrics` has its figures on validation images.

    Raises:
        npdraw.errors.UsageError: a name or number is wrong, settings contradict each other, or
            output exists with other settings.
        npdraw.errors.DataError: the images cannot be read, are too few, or not images; or there is
            no usable label for each image.
        npdraw.errors.BusyError: another process, or thread, is writing to `out`.
        npdraw.errors.DivergedError, npdraw.errors.ResourceError: see docs/interface.md, section 8.
        npdraw.errors.StoppedError: the process got TERM or HUP while training, and has saved.
        KeyboardInterrupt: it was interrupted; a training has saved.

    Twenty-one arguments, because all but `labels` are flags of the command.
    """
    from npdraw.reading import Wanted
    from npdraw.runtime.settings import Runtime
    from npdraw.stages.fit import fit as stage

    path = stage(
        images,
        preset=preset,
        config=config,
        wanted=Wanted(background, invert, fit, str(channels), pixels),
        labels=labels,
        image_size=image_size,
        steps=steps,
        minutes=minutes,
        limit=limit,
        seed=seed,
        out=out,
        data_root=data_root,
        runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
        progress=progress,
    )
    return load(path, device=device, precision=precision)
