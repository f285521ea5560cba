"""Output of the command line: results on stdout, errors on stderr.

Rich is imported only for a terminal. Paths and messages are never interpreted as markup.
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from npdraw.errors import NpdrawError
from npdraw.runtime.group import environment
from npdraw.runtime.text import on_terminal, printable, value_text


def show(
    command: str, result: Mapping[str, Any], *, as_json: bool, lines: Iterable[str] | None = None
) -> None:
    """Print the result of a command on stdout: one JSON object, or `lines` for people.

    Without `lines`, each entry of the result is one line "name value".
    """
    if as_json:
        _print_json({"ok": True, "command": command, **result})
    else:
        shown = figures(result) if lines is None else lines
        sys.stdout.write("".join(line + "\n" for line in shown))
    sys.stdout.flush()


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def figures(result: Mapping[str, Any]) -> list[str]:
    """Return aligned lines "name value"; a value with a standard error is shown as a ± b.

    Nested values are flattened, their names joined by dots: `config.parse.parts`.
    """
    return columns([row for row in _rows("", result) if not row[0].endswith("_se")])


def _rows(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _rows(f"{prefix}{name}.", value)
        else:
            yield prefix + name, value_text(name, value, error=values.get(f"{name}_se"))


def _print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(_finite(value), allow_nan=False, default=str) + "\n")


def _finite(value: Any) -> Any:
    """Return `value` with None for NaN and infinity, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_error(command: str, error: NpdrawError, *, as_json: bool) -> None:
    """Print an error and its hint on stderr; with `as_json`, an object on stdout as well."""
    group = environment()
    message, hint = (printable(" ".join(text.splitlines())) for text in (error.message, error.hint))
    where = "" if group.is_rank_zero else f" (process {group.rank + 1} of {group.size})"
    lines = [(f"Error{where}:", message, "bold red"), ("Hint:", hint, "bold")]
    _print_labelled(lines if hint else lines[:1])
    if as_json:
        described = {"code": error.code, "message": message, "hint": hint}
        _print_json({"ok": False, "command": command, "error": described})
        sys.stdout.flush()


def _print_labelled(lines: Sequence[tuple[str, str, str]]) -> None:
    """Print lines "label text" on stderr, with styled labels on a terminal.

    One write prints them all, so that the lines of several processes do not interleave.
    """
    if on_terminal():
        from rich.console import Console
        from rich.text import Text

        shown = [Text.assemble((label, style), " ", text) for label, text, style in lines]
        Console(stderr=True, highlight=False).print(Text("\n").join(shown), soft_wrap=True)
    else:
        sys.stderr.write("".join(f"{label} {text}\n" for label, text, _ in lines))
        sys.stderr.flush()
