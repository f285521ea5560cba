"""A report on runs: one HTML file that opens in any browser and loads nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npdraw.errors import UsageError
from npdraw.files import check_writable, sweep_temporaries, write_atomic
from npdraw.report.limits import limits_for
from npdraw.report.outputs import Outputs, outputs_of
from npdraw.report.page import compose, is_unchanged
from npdraw.report.runs import Run, find_runs, why_no_evaluation
from npdraw.runtime.lock import check_output
from npdraw.runtime.settings import Runtime

MOST_BYTES = 5_000_000
"""The size limit of a report, so that it can be sent by mail or chat."""

SUFFIXES = (".html", ".htm")


def report(paths: Sequence[Path], *, root: Path, out: Path, runtime: Runtime) -> dict[str, Any]:
    """Write the report of runs: folders written by `npdraw run`, or model files.

    The page says which files of a run are missing or damaged. The same runs, with the same data
    sets below `root`, give the same bytes: durations are read from the runs. If the runs are many
    or large, less of each is shown, so that the page stays below `MOST_BYTES`.

    Returns what `npdraw report --json` prints; `missing` lists what each run lacks.

    Raises:
        ArtifactError, UsageError: see `runs.find_runs`.
        UsageError: `out` does not end in .html, or exists and is not an unedited report, unless
            `runtime.force` is set.
    """
    runs = find_runs(paths)
    if not out.name.lower().endswith(SUFFIXES):
        raise UsageError(f"{out} is not an HTML file name", hint="End --out in .html.")
    check_output(out, list(paths))
    sweep_temporaries(out)
    before = _beginning(out)
    if before is not None and not runtime.force and not is_unchanged(before):
        raise UsageError(
            f"{out} exists and is not an unedited npdraw report",
            hint="Choose another --out, or use --force to replace it.",
        )
    check_writable(out)

    outputs = [outputs_of(run, root, runtime) for run in runs]
    limits = limits_for(len(runs))
    content = compose(runs, outputs, limits)
    while len(content) >= MOST_BYTES and limits != limits.halved():
        limits = limits.halved()
        content = compose(runs, outputs, limits)

    missing = {
        run.name: {
            **{kind: piece.problem for kind, piece in run.pieces.items() if piece.problem},
            **({"evaluation": _evaluation(run)} if run.no_evaluation else {}),
            **output.problems,
            **{name: reason for name, reason in _reasons(output).items() if reason},
        }
        for run, output in zip(runs, outputs, strict=True)
    }
    result = {
        "runs": [run.name for run in runs],
        "bytes": len(content),
        "missing": missing,
        "out": str(out),
    }
    if content == before:
        return result | {"up_to_date": True}
    write_atomic(out, [content])
    return result


def _reasons(output: Outputs) -> dict[str, str]:
    """Return the full reasons, with paths, why images are absent; empty where they are not."""
    return {"images": output.why_no_images, "training images": output.why_no_training_images}


def _evaluation(run: Run) -> str:
    """Return why a run has no evaluation, with the paths of its files where a command is given."""
    if run.no_evaluation != why_no_evaluation():
        return run.no_evaluation
    model = run.pieces["model"].path
    return why_no_evaluation(str(model), str(model.parent))


def _beginning(out: Path) -> bytes | None:
    """Return the first bytes of an existing file, enough for a whole report; None if absent."""
    if not out.is_file():
        return None
    with out.open("rb") as file:
        return file.read(MOST_BYTES + 1)
