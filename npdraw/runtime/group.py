"""The rank of this process among those that `torchrun` started. Imports no torch."""

import os
from dataclasses import dataclass

from npdraw.errors import NpdrawError


@dataclass(frozen=True)
class Group:
    """This process among the processes that work together."""

    rank: int = 0
    """Its number, 0..size - 1; only rank zero writes and prints."""
    size: int = 1
    """Number of processes; a single one never communicates."""
    local_rank: int = 0
    """Its number on its machine: the index of its CUDA device."""
    local_size: int = 1
    """Number of processes on its machine."""

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes, prints and decides."""
        return self.rank == 0


SINGLE_PROCESS = Group()
"""A process that works alone."""


class ElsewhereError(NpdrawError):
    """Rank zero met an error and reports it; this process only ends, with the same exit code."""

    code = "elsewhere"

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def environment() -> Group:
    """Return the group that torchrun's environment variables describe, or `SINGLE_PROCESS`."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(os.environ.get(name, "").isdecimal() for name in names):
        return SINGLE_PROCESS
    return Group(*(int(os.environ[name]) for name in names))
