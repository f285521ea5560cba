"""Flags and arguments of commands with their help, whose brackets are not markup."""

import re
from typing import Any

import typer


def escape_markup(text: str) -> str:
    """Return `text` with its brackets escaped, so that the help does not read them as markup.

    The rule of `rich.markup.escape`, without importing Rich for commands that do not need it.
    """
    return re.sub(r"(\\*)(\[[a-z#/@][^[]*?])", r"\1\1\\\2", text)


def option(flag: str, panel: str, meaning: str, *, default: str = "", **more: Any) -> Any:
    """Declare a flag; `default` describes what a default of None stands for."""
    text = escape_markup(f"{meaning} [default: {default}]" if default else meaning)
    return typer.Option(flag, help=text, rich_help_panel=panel, **more)


def argument(name: str, meaning: str, *, default: str = "", **more: Any) -> Any:
    """Declare an argument; `default` describes what a default of None stands for."""
    text = escape_markup(f"{meaning} [default: {default}]" if default else meaning)
    return typer.Argument(metavar=name, help=text, **more)
