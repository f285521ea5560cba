"""The studio: a page in the browser to draw with a model, served to this machine alone.

`page/` is what the browser gets: HTML, CSS and JavaScript as they are written. `easel` answers what
it asks about drawings, `guard` lets nobody else in, `app` joins the two, `server` is the stage.
Light, so that a missing extra is told before torch is imported.
"""

from importlib.util import find_spec

from npdraw.errors import UsageError

LIBRARIES = ("starlette", "uvicorn")
"""What the extra `studio` installs."""


def require_extra() -> None:
    """Raise `UsageError` if the libraries of the extra are not installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"npdraw studio needs {' and '.join(missing)}, not installed here",
            hint="pip install 'npdraw[studio]'",
        )
