"""Which of the processes that `torchrun` started this one is. Light: the command line asks too."""

import os
from dataclasses import dataclass

from npdraw.errors import NpdrawError


@dataclass(frozen=True)
class Group:
    """This process among those that work together."""

    rank: int = 0
    """Its number, 0..size - 1; the first one, 0, alone writes and prints."""
    size: int = 1
    """Processes in all; a single one never talks to others."""
    local_rank: int = 0
    """Its number on its machine: the index of its CUDA device."""
    local_size: int = 1
    """Processes on its machine."""

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes, prints and decides."""
        return self.rank == 0


SINGLE_PROCESS = Group()
"""A process without others."""


class ElsewhereError(NpdrawError):
    """The first process met an error and tells it; this one only ends, with the same code."""

    code = "elsewhere"

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def environment() -> Group:
    """Return the group that torchrun's variables describe, else `SINGLE_PROCESS`."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(os.environ.get(name, "").isdecimal() for name in names):
        return SINGLE_PROCESS
    return Group(*(int(os.environ[name]) for name in names))
