"""Tables of the results of `benchmarks.rivals`, in Markdown."""

import math
from pathlib import Path
from typing import Any

from benchmarks.rivals.settings import OURS
from npdraw.presets import preset
from npdraw.runtime.run_folder import read_json


def tables(out: Path) -> str:
    """Return a table for each data set and protocol, models with the best likelihood first."""
    parts = []
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        lines = [read_json(path) for path in folder.glob("*.json")]
        groups: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            if "options" in line:
                groups.setdefault(_title(line), []).append(line)
        for title, group in sorted(groups.items()):
            parts.append(f"{title}\n\n{table(_of_equal_time(group))}")
    return "\n\n".join(parts)


def _of_equal_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out models that had another time than NP-DRAW took, as from an earlier command."""
    taken = [line["seconds"] for line in lines if line["model"] == OURS]
    return [
        line
        for line in lines
        if not taken or line["model"] == OURS or line["options"]["seconds"] == taken[0]
    ]


def _title(line: dict[str, Any]) -> str:
    options = line["options"]
    return (
        f"{line['data']}, {line['train']:,} + {line['held_out']:,} images, "
        f"threads: {options['threads']}, NLL of {options['images']:,} "
        f"test images with S = {options['samples']}, {options['drawings']:,} samples compared, "
        f"seed {options['seed']}"
    )


def table(lines: list[dict[str, Any]]) -> str:
    """Return the table of a data set's lines, in nats, or in bits per dimension for colour."""
    settings = preset(lines[0]["data"]).parse
    unit, digits = 1.0, 2
    if settings.levels == 256:
        unit, digits = settings.channels * settings.image_size**2 * math.log(2), 3
    names = (
        *("NLL", "-ELBO", "KID", "Fréchet distance", "precision", "coverage"),
        *("parameters", "seconds", "steps (best)", "ms per sample"),
    )
    rows = [["model", *names], ["---"] * (1 + len(names))]
    for line in sorted(lines, key=lambda line: float(line["nll"])):
        nll, error, elbo = (line[name] / unit for name in ("nll", "nll_se", "elbo"))
        rows.append(
            [
                line["model"],
                f"{'' if line.get('exact') else '≤ '}{nll:.{digits}f} ± {error:.{digits}f}",
                f"{elbo:.{digits}f}",
                *_quality(line.get("quality", {})),
                f"{line['parameters']:,}",
                f"{line['seconds']:,.0f}",
                f"{line['steps']:,} ({line['best_step']:,})",
                f"{1000 * line['seconds_per_sample']:.1f}",
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _quality(figures: dict[str, Any]) -> list[str]:
    """Return the cells of the quality of samples, empty where the data set has no features."""
    if not figures:
        return [""] * 4
    error = "" if figures["kid_se"] is None else f" ± {figures['kid_se']:.3f}"
    return [
        f"{figures['kid']:.3f}{error}",
        f"{figures['frechet_distance']:.2f}",
        f"{figures['precision']:.2f}",
        f"{figures['coverage']:.2f}",
    ]
