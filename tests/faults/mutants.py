"""Files that npdraw never wrote: damaged or crafted artifacts, and files of other kinds."""

import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.content import CRAFTED, Content


def _place(data: bytearray, choose: random.Random) -> int:
    """Return a random position; half of all are in the header, which is short."""
    header = 8 + int.from_bytes(data[:8], "little")
    return choose.randrange(min(header, len(data)) if choose.random() < 0.5 else len(data))


def _flip(data: bytearray, choose: random.Random) -> None:
    data[_place(data, choose)] ^= 1 << choose.randrange(8)


def _overwrite(data: bytearray, choose: random.Random) -> None:
    data[_place(data, choose)] ^= choose.randrange(1, 256)


def _cut(data: bytearray, choose: random.Random) -> None:
    del data[len(data) * choose.randrange(64) // 64 :]


def _append(data: bytearray, choose: random.Random) -> None:
    data += choose.choice([b"\0", b"\0" * 64, b" ", bytes(data), choose.randbytes(999)])


def _insert(data: bytearray, choose: random.Random) -> None:
    at = _place(data, choose)
    data[at:at] = choose.randbytes(choose.choice([1, 8]))


def _delete(data: bytearray, choose: random.Random) -> None:
    at = _place(data, choose)
    del data[at : at + choose.choice([1, 8])]


def _blocks(data: bytearray, choose: random.Random) -> None:
    one, other = sorted(choose.sample(range(len(data) // 64), 2))
    first = data[64 * one : 64 * one + 64]
    data[64 * one : 64 * one + 64] = choose.choice([data[64 * other : 64 * other + 64], bytes(64)])
    data[64 * other : 64 * other + 64] = first


def _length(data: bytearray, choose: random.Random) -> None:
    odd = [0, 1, 2, len(data), len(data) - 8, 10 << 20, 2**63, 2**64 - 1]
    data[:8] = choose.choice(odd).to_bytes(8, "little")


def _text(data: bytearray, change: Callable[[str], str]) -> None:
    """Change the text of the header, and its length accordingly."""
    end = 8 + int.from_bytes(data[:8], "little")
    raw = change(bytes(data[8:end]).decode("ascii")).rstrip().encode()
    raw += b" " * (-len(raw) % 8)
    data[:end] = len(raw).to_bytes(8, "little") + raw


def _numbers(data: bytearray, choose: random.Random) -> None:
    def swap(text: str) -> str:
        one, other = sorted(choose.sample(list(re.finditer(r"\d+", text)), 2), key=re.Match.start)
        between = text[one.end() : other.start()]
        return text[: one.start()] + other[0] + between + one[0] + text[other.end() :]

    _text(data, swap)


def _twice(data: bytearray, choose: random.Random) -> None:
    def double(text: str) -> str:
        pattern = r'\\"\w+\\":[-\d.]+,|"[\w./]+":\{[^{}]+\},'
        match = choose.choice(list(re.finditer(pattern, text)))
        return text[: match.start()] + match[0] + text[match.start() :]

    _text(data, double)


DAMAGE = [
    _flip,
    _flip,
    _overwrite,
    _cut,
    _append,
    _insert,
    _delete,
    _blocks,
    _length,
    _numbers,
    _twice,
]


def damaged(data: bytes, choose: random.Random) -> tuple[str, bytes]:
    """Return the name of a damage, and a damaged copy that differs from `data`."""
    while True:
        damage, copy = choose.choice(DAMAGE), bytearray(data)
        damage(copy, choose)
        if copy != data:
            return damage.__name__, bytes(copy)


def crafted(data: bytes, what: str, choose: random.Random) -> tuple[str, bytes]:
    """Return the name of a change, and an artifact with odd content and a correct digest."""
    while True:
        change, content = choose.choice(CRAFTED[what]), Content.of(data)
        change(content, choose)
        copy = content.signed()
        if copy != data:
            return change.__name__, copy


def mutants(data: bytes, what: str, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` mutants of an artifact: three in five are damaged, the others crafted."""
    for index in range(count):
        choose = random.Random(f"{what} {index}")
        yield crafted(data, what, choose) if index % 5 > 2 else damaged(data, choose)


# Anything but an artifact


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _long(path: Path, filler: bytes) -> None:
    size = 10 << 20
    body = (filler * (size // len(filler) + 1))[:size]
    path.write_bytes(size.to_bytes(8, "little") + body)


PLACES: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "loop": _loop,
    "empty": Path.touch,
    "picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)),
    "lists": lambda path: _long(path, b"[],"),
    "deep": lambda path: _long(path, b"["),
    "numbers": lambda path: path.write_bytes((2**20).to_bytes(8, "little") + b"[1" + b"," * 2**20),
    "floats": lambda path: _long(path, b"1.5,"),
    "sparse": lambda path: os.truncate(path, 1 << 40) if path.touch() is None else None,
}
"""Anything else that may lie in place of an artifact."""

HEAVY = ("lists", "deep", "floats")
"""The slowest of these: the short form tries them on two commands only."""
