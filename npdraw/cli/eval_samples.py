"""`npdraw eval-samples`."""

from collections.abc import Mapping
from typing import Any

from npdraw.cli import console, options, quality_options, resolve
from npdraw.runtime.lock import command_lock
from npdraw.runtime.reporting import reporting
from npdraw.runtime.text import value_text

_MEASURES = ("kid", "precision", "recall", "density", "coverage")
"""Rows of the table, after the Fréchet distance."""

_DEFINITION = (
    *("samples", "sample_seeds", "images", "split", "training_images", "pixels"),
    *("features", "features_digest", "resizing", "seed", "seconds", "out", "up_to_date"),
)
"""What is printed below the table."""

_SHORT = 12  # digits of a digest


def eval_samples(
    *,
    model: options.ModelPath = None,
    data: options.OtherData = None,
    data_root: options.DataRoot = None,
    preset: options.FindPreset = None,
    images: options.Images = None,
    samples: quality_options.SampleCount = quality_options.SAMPLES,
    features: quality_options.Features = "own",
    two_sample: quality_options.TwoSample = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    out: quality_options.OutFigures = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure how closely samples resemble test images, beside how closely training images do.

    Examples:

        npdraw eval-samples --samples 100 --images 100
        npdraw eval-samples runs/k100/model.safetensors --samples 50 --json
    """
    folder = resolve.folder(model, preset, find=data)
    model = resolve.artifact("model", model, folder, quiet=quiet)

    with command_lock(out, model):
        from npdraw.datasets import default_root
        from npdraw.runtime.settings import Runtime
        from npdraw.stages.eval_samples import eval_samples as stage

        with reporting(quiet=quiet) as reporter:
            result = stage(
                model,
                source=data,
                root=data_root or default_root(),
                samples=samples,
                images=images,
                features=features,
                two_sample=two_sample,
                seed=seed,
                out=out,
                runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
                progress=reporter,
            )
    distance = "FID" if features == "inception" else "Fréchet distance"
    console.show("eval-samples", result, as_json=as_json, lines=_lines(result, distance))


def _lines(result: Mapping[str, Any], distance: str) -> list[str]:
    """Return a table of the figures, of samples and of training images, and what defines them."""
    rows = [("against test images", "samples", "training images")]
    for key in ("frechet_distance", *_MEASURES):
        name = {"frechet_distance": distance, "kid": "KID"}.get(key, key)
        samples, floor = (
            value_text(key, figures[key], error=figures.get(f"{key}_se"))
            for figures in (result, result["floor"])
        )
        rows.append((name, samples, floor))
    if "two_sample" in result:
        share = value_text("", result["two_sample"], error=result["two_sample_se"])
        rows.append(("two-sample accuracy (best: 0.5)", share, ""))
    settings = result["settings"]
    shown = {key: result[key] for key in _DEFINITION if key in result}
    shown |= {"model": settings["model"], "precision": settings["precision"]}
    for name in ("features_digest", "model"):
        shown[name] = shown[name][:_SHORT]
    return [*console.columns(rows), "", *console.figures(shown)]
