"""What a disk may hold after a power failure, for every prefix of a process's operations.

Data is safe once its file was synced; before that, the disk may hold any prefix of it. A new name
is safe once its folder was synced; before that, the disk may hold the old or the new one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Disk = dict[str, bytes]
"""Content by path."""


@dataclass
class _File:
    content: bytes
    safe: int

    def states(self) -> Iterator[bytes]:
        """Yield possible contents: the safe prefix, everything, and two lengths in between."""
        size = len(self.content)
        lengths = {self.safe, size, (self.safe + size) // 2, max(self.safe, size - 1)}
        for length in sorted(lengths):
            yield self.content[:length]


@dataclass
class Power:
    """A disk during operations; `states` yields what it may hold if the power fails now."""

    safe: dict[str, _File] = field(default_factory=dict)
    """Names made safe by a sync of their folder."""
    now: dict[str, _File] = field(default_factory=dict)
    """Names as the process sees them."""

    @classmethod
    def holding(cls, disk: Disk) -> "Power":
        """Return a disk on which all of these files are safe."""
        names = {path: _File(content, len(content)) for path, content in disk.items()}
        return cls(dict(names), dict(names))

    def do(self, operation: dict[str, Any], data: bytes) -> None:
        """Apply an operation of the journal; `data` is what it wrote."""
        path = operation["path"]
        if operation["kind"] == "open" and operation["new"] and path not in self.now:
            self.now[path] = _File(b"", 0)
        elif operation["kind"] == "write":
            file = self.now[path]
            file.content += data
        elif operation["kind"] == "fsync" and path in self.now:
            self.now[path].safe = len(self.now[path].content)
        elif operation["kind"] == "fsync":
            kept = {
                name: file for name, file in self.safe.items() if Path(name).parent != Path(path)
            }
            here = {
                name: file for name, file in self.now.items() if Path(name).parent == Path(path)
            }
            self.safe = kept | here
        elif operation["kind"] == "replace":
            self.now[operation["to"][0]] = self.now.pop(path)
        elif operation["kind"] == "unlink":
            self.now.pop(path, None)

    def states(self, path: str) -> Iterator[bytes | None]:
        """Yield every content that `path` may have; None if it may be missing."""
        for names in (self.safe, self.now):
            if path in names:
                yield from names[path].states()
            else:
                yield None


def journal(path: Path) -> list[dict[str, Any]]:
    """Read the operations that a plan recorded."""
    return [json.loads(line) for line in path.read_text().splitlines()]
