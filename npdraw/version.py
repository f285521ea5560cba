"""The version of npdraw, in a file of its own that imports nothing: pyproject.toml reads it too."""

__version__ = "0.1.0"
