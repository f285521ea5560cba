"""Jinja templates to HTML: every value that a template shows is escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """Return the HTML of a file in `templates/`.

    Values are plain data. Text in them is escaped, and an undefined name is an error. Only the
    style sheet and the script of npdraw itself are marked as safe, in `report.html`.
    """
    return ENVIRONMENT.get_template(template).render(values)


def printable(text: str) -> str:
    """Return `text` with unprintable characters (control, bidirectional, surrogate) as escapes.

    The page is UTF-8, which cannot encode a lone surrogate, as in a file name of invalid bytes.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _finalize(value: object) -> object:
    """Make text printable, except HTML that a macro returned: its values are already."""
    return printable(value) if type(value) is str else value


ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
# The filter `tojson` also escapes <, > and &, so that no value can close the script element.
ENVIRONMENT.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
