"""What npdraw never wrote: damaged artifacts, and odd content whose digest is right."""

import json
import math
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npdraw.header import canonical, digest_of
from npdraw.tensor_layout import DTYPES, Entry, render


@dataclass
class Content:
    """An artifact taken apart: metadata without digest; of each tensor dtype, shape, bytes."""

    values: dict[str, Any]
    tensors: dict[str, tuple[str, Any, bytes]]
    mixed: dict[str, Any] = field(default_factory=dict)
    """Metadata put over the rest when it is signed, as an unknown field or none."""

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """Take a sound artifact apart."""
        end = 8 + int.from_bytes(data[:8], "little")
        head = json.loads(data[8:end])
        values = json.loads(head.pop("__metadata__")["npdraw"])
        values.pop("digest")
        tensors = {}
        for name, spec in head.items():
            first, last = spec["data_offsets"]
            tensors[name] = (spec["dtype"], spec["shape"], data[end + first : end + last])
        return cls(values, tensors)

    def signed(self) -> bytes:
        """Put it together as npdraw does, with the digest of what is there now."""
        order = list(DTYPES)
        named = sorted(self.tensors.items(), key=lambda item: (order.index(item[1][0]), item[0]))
        entries, start = [], 0
        for name, (dtype, shape, body) in named:
            entries.append(Entry(name, dtype, shape, start, start + len(body)))
            start += len(body)
        bodies = {name: body for name, (_, _, body) in named}
        digest = digest_of(self.values, entries, lambda entry: [bodies[entry.name]])
        text = canonical({**self.values, "digest": digest, **self.mixed})
        return render(text, entries) + b"".join(bodies.values())

    def resize(self, name: str, dtype: str, shape: list[int]) -> None:
        """Give a tensor another dtype and shape, its bytes repeated or cut to fit."""
        _, _, body = self.tensors[name]
        size = math.prod(shape) * DTYPES[dtype][1]
        times = -(-size // max(1, len(body)))
        self.tensors[name] = (
            dtype,
            shape,
            (body * times)[:size] if dtype != "BOOL" else b"\1" * size,
        )

    def fill(self, name: str, value: bytes) -> None:
        """Repeat the bytes of one element all over a tensor."""
        dtype, shape, body = self.tensors[name]
        self.tensors[name] = (dtype, shape, value * (len(body) // len(value)))


Change = Callable[[Content, random.Random], None]

INTEGERS: list[Any] = [-1, 10**10, 2**62, 2**70, 1.5, "4", True, None, [], {}]
OTHERS: list[Any] = [None, "", "x" * 300, "a\nb", -1.5, 2**70, [[[[[[1]]]]]], {"a": 1}]
SIZES = {
    "parse": ["image_size", "channels", "part_size", "stride", "jitter", "parts", "sweeps"],
    "prior": ["width", "depth", "heads", "head_width", "mlp_width", "steps", "batch_size"],
    "decoder": ["encoder_channels", "encoder_depth", "decoder_depth", "decoder_patch", "steps"],
}
HUGE: dict[str, Any] = {
    "prior.width": 65_536,
    "prior.depth": 128,
    "prior.heads": 1024,
    "prior.head_width": 1024,
    "prior.mlp_width": 65_536,
    "parse.parts": 4096,
    "decoder.encoder_channels": 65_536,
    "decoder.encoder_depth": 128,
    "decoder.decoder_depth": 16,
    "decoder.decoder_channels": [65_536] * 8,
}
"""In range, and far more than the tensors that are there."""


def _dataset(content: Content, choose: random.Random) -> None:
    record, kind = content.values["dataset"], content.values["kind"]
    name = choose.choice([*record, "surplus"])
    odd = {
        "image_shape": [[1, 8], [2, 8, 8], [8, 8, 1], "1x8x8", [1.0, 8, 8], [True, 8, 8], *OTHERS],
        "binarized": [False, 1, *OTHERS],
        "name": ["mnits", 5, ["npz"], *OTHERS],
        "digest": ["0" * 63, "g" * 64, 7, *OTHERS],
    }
    values = odd.get(name, [0, 41, *INTEGERS] if kind != "model" else [0, 2**48, *INTEGERS[2:]])
    if choose.random() < 0.2:
        record.pop(name, None)
        record["sizes"] = 1
    else:
        record[name] = choose.choice(values)


def _config(content: Content, choose: random.Random) -> None:
    config = content.values["config"]
    section = choose.choice([name for name in SIZES if name in config])
    name = choose.choice(SIZES[section])
    match choose.randrange(6):
        case 0:
            huge = [n for n in HUGE if n.partition(".")[0] in config]
            section, _, name = choose.choice(huge).partition(".")
            config[section][name] = HUGE[f"{section}.{name}"]
        case 1:
            config[choose.choice([section, "preset"])] = choose.choice([7, [], "gliphs", None])
        case 2:
            config.update(choose.choice([{"painter": {}}, {"preset": "a\nb"}, {"x" * 300: {}}]))
        case 3:
            config[section][choose.choice(["colour", "a\nb", ""])] = choose.choice([1, "x", None])
        case _:
            config[section][name] = choose.choice(INTEGERS)


def _header(content: Content, choose: random.Random) -> None:
    odd: dict[str, list[Any]] = {
        "kind": ["painting", 7, None, ["prior"], "x" * 10_000],
        "schema": [0, 2, -1, 10**9, "1", True, 1.0, None],
        "seed": [-1, 2**63, "3", 1.5, None, True],
        "inputs": [{"parse": "3f9a1c"}, {"parse": 5}, [], {"a\nb": "0" * 64}, None],
        "metrics": [{"a": "low"}, {"a": 10**30}, {"a": True}, [], {"x" * 300: 1}, {"a": {}}],
        "config": [[], 7, None, {"a": {"b": {"c": {"d": {"e": {}}}}}}],
        "dataset": [[], "npz", None, {"name": {"name": {"name": {"name": {"name": 1}}}}}],
        "digest": ["0" * 64, "", 7, None],
        "host": ["laptop"],
    }
    name = choose.choice(list(odd))
    content.mixed[name] = choose.choice(odd[name])
    if name not in ("digest", "host"):
        content.values[name] = content.mixed[name]


def _tensors(content: Content, choose: random.Random) -> None:
    name = choose.choice(sorted(content.tensors))
    dtype, shape, body = content.tensors[name]
    match choose.randrange(8):
        case 0:
            del content.tensors[name]
        case 1:
            content.tensors[f"{name}.surplus"] = ("F32", [1], b"\0" * 4)
        case 2:
            content.tensors[name + choose.choice(["s", "\n", "é", "x" * 300])] = (
                content.tensors.pop(name)
            )
        case 3:
            kinds = [kind for kind in DTYPES if kind not in (dtype, "BF16")]
            content.resize(name, choose.choice(kinds), shape)
        case 4:
            wrong = [[*shape, 1], [1, *shape], [*shape, *[1] * 9], [*shape[:-1], 99], [0], [-1, -1]]
            content.resize(name, dtype, choose.choice(wrong[:-1]))
        case 5:
            content.tensors[name] = (
                dtype,
                choose.choice([[2**62], [-1], "1", [1.5], [2**70]]),
                body,
            )
        case 6:
            content.fill("bank", choose.choice([b"\0\0\0\x40", b"\0\0\x80\xbf", b"\0\0\xc0\x7f"]))
        case _:
            content.resize("bank", choose.choice(["BF16", "U8"]), content.tensors["bank"][1])


def _drawings(content: Content, choose: random.Random) -> None:
    name = choose.choice(["where", "what", "whether", "usage"])
    odd = {"where": [-1, 64, 32767], "what": [-1, 8, 32767], "whether": [2, 255], "usage": [-1]}
    dtype = content.tensors[name][0]
    value = choose.choice(odd[name])
    content.fill(name, value.to_bytes(DTYPES[dtype][1], "little", signed=value < 0))


def _training(content: Content, choose: random.Random) -> None:
    metrics = content.values["metrics"]
    moments = sorted(name for name in content.tensors if name.startswith("optimizer/"))
    match choose.randrange(7):
        case 0:
            metrics[choose.choice(["step", "best_step"])] = choose.choice(
                [-1, 5, 3.5, 2**62, 1e300]
            )
        case 1:
            del metrics[choose.choice(["step", "best_step"])]
        case 2:
            gone = choose.choice(["weights/", "average/", "best/", "optimizer/m", "optimizer/e"])
            for name in [name for name in content.tensors if name.startswith(gone)]:
                del content.tensors[name]
        case 3:
            name = choose.choice(moments)
            content.resize(name, "F32", [*content.tensors[name][1], 2])
        case 4:
            del content.tensors[choose.choice(moments)]
        case 5:
            name = choose.choice([n for n in moments if "/step/" in n])
            content.fill(name, choose.choice([b"\0\0\x80\xbf", b"\0\0\0\0", b"\0\0\x80\x7e"]))
        case _:
            content.fill(choose.choice([n for n in moments if "_sq/" in n]), b"\0\0\x80\xbf")


def _evaluation(content: Content, choose: random.Random) -> None:
    metrics = content.values["metrics"]
    match choose.randrange(3):
        case 0:
            del metrics[choose.choice(sorted(metrics))]
        case 1:
            metrics["images"] = choose.choice([-1, 0, 4, 25, 5.0, 2**62, 1e300])
        case _:
            metrics["seconds"] = choose.choice([-1, -1e300])


CRAFTED: dict[str, list[Change]] = {
    "parse": [_dataset, _config, _header, _tensors, _drawings],
    "prior": [_dataset, _config, _header, _tensors],
    "model": [_dataset, _config, _header, _tensors],
    "training": [_training],
    "evaluation": [_evaluation],
}
"""By what is read: changes of the content after which it is signed anew."""


# Bytes


def _place(data: bytearray, choose: random.Random) -> int:
    """Half of all places are in the header, which is short."""
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
    """Change the text of the header, its length said right."""
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
        found = choose.choice(list(re.finditer(pattern, text)))
        return text[: found.start()] + found[0] + text[found.start() :]

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
    """Return a damaged copy that differs from `data`, and the name of the damage."""
    while True:
        damage, copy = choose.choice(DAMAGE), bytearray(data)
        damage(copy, choose)
        if copy != data:
            return damage.__name__, bytes(copy)


def crafted(data: bytes, what: str, choose: random.Random) -> tuple[str, bytes]:
    """Return an artifact with odd content and a right digest, and the name of the change."""
    while True:
        change, content = choose.choice(CRAFTED[what]), Content.of(data)
        change(content, choose)
        copy = content.signed()
        if copy != data:
            return change.__name__, copy


def mutants(data: bytes, what: str, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` mutants of an artifact, three in five of them damaged, the others crafted."""
    for index in range(count):
        choose = random.Random(f"{what} {index}")
        yield crafted(data, what, choose) if index % 5 > 2 else damaged(data, choose)


# What is no file, or no file of ours


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
"""What else may lie in place of an artifact."""

HEAVY = ("lists", "deep", "floats")
"""Those that take longest: the short form tries them on two commands."""
