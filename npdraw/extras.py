"""Extras: optional libraries. A missing one is reported before anything slow is imported."""

from importlib.util import find_spec

from npdraw.errors import UsageError


def require(extra: str, needed_by: str, *libraries: str) -> None:
    """Raise `UsageError` unless the libraries of `npdraw[extra]` are installed.

    `needed_by` is the command, or the command with its flag, that needs them.
    """
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{needed_by} needs packages that are not installed: {', '.join(missing)}",
            hint=f"Install the extra: pip install 'npdraw[{extra}]'",
        )
