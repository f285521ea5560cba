"""What a disk may hold after the power failed: for every prefix of what a process did to it.

What was written is safe once the file was synced; before, any beginning of it may be there. A new
name is safe once its folder was synced; before, the old or the new one may be there.
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
        """Its possible contents: what is safe, all, and two in between."""
        size = len(self.content)
        lengths = {self.safe, size, (self.safe + size) // 2, max(self.safe, size - 1)}
        for length in sorted(lengths):
            yield self.content[:length]


@dataclass
class Power:
    """A disk while operations happen; `states` is what it may hold if the power fails now."""

    safe: dict[str, _File] = field(default_factory=dict)
    """Names that a sync of their folder has made safe."""
    now: dict[str, _File] = field(default_factory=dict)
    """Names as the process sees them."""

    @classmethod
    def holding(cls, disk: Disk) -> "Power":
        """A disk on which all of this is safe."""
        names = {path: _File(content, len(content)) for path, content in disk.items()}
        return cls(dict(names), dict(names))

    def do(self, operation: dict[str, Any], data: bytes) -> None:
        """Follow an operation of the journal; `data` is what it wrote."""
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
        """Yield every content that `path` may have; None: it is not there."""
        for names in (self.safe, self.now):
            if path in names:
                yield from names[path].states()
            else:
                yield None


def journal(path: Path) -> list[dict[str, Any]]:
    """Read what a plan wrote down."""
    return [json.loads(line) for line in path.read_text().splitlines()]
