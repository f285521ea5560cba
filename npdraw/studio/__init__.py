"""The studio: a page in the browser to draw with a model, served on this machine only.

`page/` holds the HTML, CSS and JavaScript of the page, without a build step. `easel` answers its
requests about drawings, `guard` refuses requests from anyone else, `app` combines the two, and
`server` runs until it is stopped. This file imports little, so that a missing extra is reported
before torch is imported.
"""

from importlib.util import find_spec

from npdraw.errors import UsageError

LIBRARIES = ("starlette", "uvicorn")
"""The packages that the extra `studio` installs."""


def require_extra() -> None:
    """Raise `UsageError` if the libraries of the extra are not installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"npdraw studio needs packages that are not installed: {', '.join(missing)}",
            hint="Install the extra: pip install 'npdraw[studio]'",
        )
