"""Names of devices, as `--device` takes them. Imports no torch."""

import re

DEVICES = "auto, cpu, cuda, cuda:N or mps"
"""The names; N is the number of a CUDA device, from 0."""

_NAME = re.compile(r"auto|cpu|cuda|cuda:(0|[1-9][0-9]{0,2})|mps")


def is_device(name: str) -> bool:
    """Return whether `name` is the name of a device, which this machine may or may not have."""
    return _NAME.fullmatch(name) is not None
