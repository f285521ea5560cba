"""A report about runs: one HTML file that opens anywhere and asks for nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npdraw.errors import UsageError
from npdraw.files import check_place, sweep_temporaries, write_atomic
from npdraw.report.amount import amount_of
from npdraw.report.drawn import drawn
from npdraw.report.page import compose, is_ours
from npdraw.report.runs import find_runs
from npdraw.runtime.lock import check_output
from npdraw.runtime.settings import Runtime

MOST_BYTES = 5_000_000
"""Of a report: what mail and chat let through."""

SUFFIXES = (".html", ".htm")


def report(paths: Sequence[Path], *, root: Path, out: Path, runtime: Runtime) -> dict[str, Any]:
    """Write the report of runs: folders of `npdraw run`, or models.

    What a run lacks, or has in a damaged state, the page says. The same runs, and the same data
    sets below `root`, give the same bytes: durations are those that the runs recorded. Of many or
    large runs less is shown, so that the page stays below `MOST_BYTES`. Returns the figures of
    `npdraw report --json`; `missing` has what is missing of each run.

    Raises:
        ArtifactError, UsageError: see `runs.find_runs`; or `out` is no name of a page, or another
            file than an unchanged report is there, and `runtime.force` is not given.
    """
    runs = find_runs(paths)
    if not out.name.lower().endswith(SUFFIXES):
        raise UsageError(f"{out} is not the name of a page", hint="Name an .html with --out.")
    check_output(out, list(paths))
    sweep_temporaries(out)
    before = _beginning(out)
    if before is not None and not runtime.force and not is_ours(before):
        raise UsageError(
            f"{out} is there and is not a report as npdraw wrote it",
            hint="Choose another --out, or --force to replace it.",
        )
    check_place(out)
    found = [drawn(run, root, runtime) for run in runs]
    amount = amount_of(len(runs))
    content = compose(runs, found, amount)
    while len(content) >= MOST_BYTES and amount != amount.less():
        amount = amount.less()
        content = compose(runs, found, amount)
    missing = {
        run.name: {
            **{kind: piece.problem for kind, piece in run.pieces.items() if piece.problem},
            **({"evaluation": run.no_evaluation} if run.no_evaluation else {}),
            **one.problems,
            **({"images": one.why_no_images} if one.why_no_images else {}),
        }
        for run, one in zip(runs, found, strict=True)
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


def _beginning(out: Path) -> bytes | None:
    """Return what is there, as far as a report may reach; None if there is nothing."""
    if not out.is_file():
        return None
    with out.open("rb") as file:
        return file.read(MOST_BYTES + 1)
