"""`npdraw classify`."""

from typing import Any

from npdraw.cli import class_options, console, options, resolve
from npdraw.config import CLASS_SAMPLES
from npdraw.errors import UsageError
from npdraw.runtime.reporting import reporting

SHOWN = 3
"""Classes that are shown for each image."""


def classify(
    model: options.NamedModel,
    images: class_options.Pictures = None,
    *,
    data: options.OtherData = None,
    data_root: options.DataRoot = None,
    number: options.Images = None,
    samples: options.Samples = CLASS_SAMPLES,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Classify pictures, or all test images, by the likelihood of each class.

    For a model that npdraw train-classes wrote. Without IMAGE it classifies the test images and
    prints how many are right.

    Examples:

        npdraw classify runs/az.safetensors test:0 test:1
        npdraw classify runs/az.safetensors --images 10 --samples 1
    """
    folder = resolve.folder(model, None)
    path = resolve.artifact("model", model, folder, quiet=quiet)
    if images and (data is not None or number is not None):
        raise UsageError(
            "--data and --images are for test images, but pictures are named",
            hint="Omit them, or the pictures.",
        )

    from npdraw.datasets import default_root
    from npdraw.drawings.classify import classify_images, classify_test
    from npdraw.runtime.settings import Runtime

    root = data_root or default_root()
    runtime = Runtime(device=device, precision=precision, threads=threads)
    if images:
        result = classify_images(
            path, names=images, root=root, samples=samples, seed=seed, runtime=runtime
        )
        console.show("classify", result, as_json=as_json, lines=_lines(result))
        return
    with reporting(quiet=quiet) as reporter:
        result = classify_test(
            path,
            source=data,
            root=root,
            images=number,
            samples=samples,
            seed=seed,
            runtime=runtime,
            progress=reporter,
        )
    console.show("classify", result, as_json=as_json)


def _lines(result: dict[str, Any]) -> list[str]:
    """Return a line for each image: its likeliest classes with their probabilities."""
    rows = []
    for one in result["images"]:
        best = sorted(one["probabilities"].items(), key=lambda pair: -pair[1])[:SHOWN]
        rows.append([one["image"], *(f"{name} {chance:.3f}" for name, chance in best)])
    notes = console.figures({name: value for name, value in result.items() if name == "notes"})
    return console.columns(rows) + notes
