"""List, download and check the data sets and shipped models; look at pictures of your own.

Examples:

    npdraw data ls
    npdraw data doctor
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npdraw.cli import console, options, reading_options
from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.files import REINSTALL
from npdraw.inputs.settings import RUNS
from npdraw.inputs.sources import choose
from npdraw.reading import Wanted, short
from npdraw.runtime.text import printable, value_text

if TYPE_CHECKING:
    from npdraw.datasets import Status
    from npdraw.inputs import shipped


def ls(*, data_root: options.DataRoot = None, as_json: options.AsJson = False) -> None:
    """List the data sets, the state of their files, and the shipped models.

    Sizes and headers are checked here; unchecked means that the images were not. Doctor reads all.

    Examples:

        npdraw data ls
        npdraw data ls --data-root data --json
    """
    from npdraw.datasets import default_root, status
    from npdraw.inputs import shipped

    root = data_root or default_root()
    _show("data ls", root, status(root), shipped.status(), as_json=as_json)


def look(
    source: options.LookAt,
    *,
    image_size: options.ImageSize = None,
    background: reading_options.Background = "auto",
    invert: reading_options.Invert = "auto",
    fit: reading_options.Fit = "auto",
    channels: reading_options.Channels = "auto",
    pixels: reading_options.PixelValues = "auto",
    force: options.Force = False,
    out: options.OutLook = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what a folder or file of your own holds, how it is read, and a sheet of the images.

    Examples:

        npdraw data look folder:my-pictures
        npdraw data look folder:my-pictures --invert no --out runs/kept.png
    """
    wanted = Wanted(background, invert, fit, channels, pixels)
    chosen = choose(None, source, None, wanted, None, parse={"image_size": image_size})
    if chosen.seen is None:
        raise UsageError(
            f"{source} is a data set that npdraw knows",
            hint="Look at folder:PATH, npz:FILE or idx:FOLDER; npdraw data ls lists the others.",
        )

    from npdraw.datasets import default_root
    from npdraw.stages.look import look as stage

    result: dict[str, Any] = stage(
        chosen.config,
        chosen.seen,
        source=source,
        root=default_root(),
        out=out or RUNS / "look.png",
        force=force,
    )
    console.show("data look", result, as_json=as_json, lines=_looked_at(result))


def download(
    *,
    name: options.SetName,
    data_root: options.DataRoot = None,
    as_json: options.AsJson = False,
) -> None:
    """Download the files of a data set; intact files are kept.

    Examples:

        npdraw data download mnist
        npdraw data download omniglot --data-root data
    """
    from npdraw.datasets import default_root, status
    from npdraw.datasets import download as fetch

    root = data_root or default_root()
    fetch(name, root)
    states = [s for s in status(root) if s.name == name]
    if not (root / f"{name}.npz").exists():  # which would be read in place of the downloaded files
        states = [replace(s, state="ready", problem="") for s in states]  # checksums were compared
    _show("data download", root, states, as_json=as_json)


def doctor(*, data_root: options.DataRoot = None, as_json: options.AsJson = False) -> None:
    """Read and check every data set that is present, every shipped model, and shipped features.

    The exit code is 4 if a data set is damaged, 3 if only models or features are.

    Examples:

        npdraw data doctor
        npdraw data doctor --data-root data --json
    """
    from npdraw.datasets import default_root, status
    from npdraw.inputs import shipped

    root = data_root or default_root()
    sets, models = status(root, check=True), shipped.status(check=True)
    damaged = [s for s in sets if s.state == "damaged"]
    problems = [f"{s.name} is damaged: {s.problem}" for s in damaged]
    problems += [f"the shipped model {s.name}: {s.problem}" for s in models if s.problem]
    problems += shipped.damaged_features()
    if damaged:
        fetch = f"npdraw data download {damaged[0].name} --data-root {root}"
        raise DataError("; ".join(problems), hint=f"Delete the damaged file, then run: {fetch}")
    if problems:
        raise ArtifactError("; ".join(problems), hint=REINSTALL)
    _show("data doctor", root, sets, models, as_json=as_json)


def _show(
    command: str,
    root: Path,
    statuses: "list[Status]",
    models: "list[shipped.Status] | None" = None,
    *,
    as_json: bool,
) -> None:
    sets: dict[str, Any] = {
        s.name: {"state": s.state, "problem": s.problem, **asdict(s.facts)} for s in statuses
    }
    rows = [("data set", "state", "train", "test", "side", "licence", "origin")]
    for name, s in sets.items():
        counts = (f"{s['train']:,}", f"{s['test']:,}", f"{s['image_size']} px")
        rows.append((name, s["state"], *counts, s["licence"], s["origin"]))
    result: dict[str, Any] = {"root": str(root), "sets": sets}
    lines = [*console.columns(rows), f"root: {root}"]
    lines += [f"{name}: {s['problem']}" for name, s in sets.items() if s["problem"]]
    if any(s["state"] == "unchecked" for s in sets.values()) and command == "data ls":
        lines.append("unchecked: npdraw data doctor compares the images")
    if models is not None:
        result["models"] = {m.name: _described(m) for m in models}
        lines += ["", *_table(result["models"])]
    console.show(command, result, as_json=as_json, lines=lines)


def _described(model: "shipped.Status") -> dict[str, Any]:
    header = model.header
    return {
        "state": model.state,
        "problem": model.problem,
        "bytes": model.bytes,
        "data": header and header.dataset.get("name"),
        "metrics": header.metrics if header else {},
        "digest": header and header.digest,
        "path": str(model.path),
    }


def _table(models: dict[str, Any]) -> list[str]:
    if not models:
        return ["shipped models: none"]
    rows = [("shipped model", "state", "size", "data set", "validation -ELBO", "path")]
    for name, m in models.items():
        figure = value_text("elbo", m["metrics"].get("elbo"))
        size = f"{m['bytes'] / 1e6:.1f} MB"
        rows.append((name, m["state"], size, m["data"] or "-", figure, m["path"]))
    return console.columns(rows)


def _looked_at(seen: dict[str, Any]) -> list[str]:
    """Return the facts about pictures or arrays as aligned lines, then what was chosen and why."""
    sizes, reading = seen["sizes"], seen["reading"]
    shapes = {name: "{} x {}".format(*sizes[name]) for name in ("smallest", "median", "largest")}
    spread = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    looked_at = f" ({seen['looked_at']:,} looked at)" * (seen["looked_at"] < seen["pictures"])
    validation = f", of which {seen['validation_images']:,} for validation"
    colour = "colour" if seen["channels"] == 3 else "grey"
    side, levels = seen["image_size"], "binary" if seen["binarize"] else "256 levels"
    black, white = reading["black"], reading["white"]
    on_ground = seen["transparent"] or (reading["fit"] == "pad" and sizes["not_square"])
    rows = [
        ("pictures", f"{seen['pictures']:,}{looked_at}"),
        ("cannot be read", f"{seen['unreadable']:,}"),
        ("several frames", f"{seen['several_frames']:,}"),
        ("left out", _counts(seen["left_out"])),
        ("size", shapes["median"] if len(set(shapes.values())) == 1 else spread),
        (
            "not square",
            f"{sizes['not_square']:,}, by more than a tenth {sizes['far_from_square']:,}",
        ),
        ("in colour", f"{seen['coloured']:.0%}"),
        ("transparent", f"{seen['transparent']:.0%}"),
        ("levels", "two" if seen["two_valued"] else "many"),
        ("ground", "light" if seen["light_ground"] else "dark"),
        ("values", " to ".join(short(value, white - black) for value in seen["values"])),
        ("splits", _counts(seen["splits"])),
        ("validation folders", f"{seen['validation_folders']:,}"),
        ("classes", _counts(seen["classes"])),
        ("becomes", f"{side} x {side}, {colour}, {levels}"),
        ("black, white", ", ".join(short(value, white - black) for value in (black, white))),
        ("inverted", "yes" if reading["invert"] else "no"),
        ("fit", reading["fit"] if sizes["not_square"] else "-"),
        ("background", reading["background"] if on_ground else "-"),
        ("training images", f"{seen['training_images']:,}{validation}"),
        ("preset", seen["preset"]),
        ("sheet", f"{seen['out']}, {seen['shown']} images"),
    ]
    return [printable(line) for line in (*console.columns(rows), "", *seen["notes"])]


def _counts(counts: dict[str, int]) -> str:
    """Return names with their counts, or "none"."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
