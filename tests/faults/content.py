"""Artifacts taken apart, changed and signed again: odd content with a correct digest."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from npdraw.header import canonical, digest_of
from npdraw.tensor_layout import DTYPES, Entry, render


@dataclass
class Content:
    """An artifact in parts: metadata without digest, and dtype, shape and bytes of each tensor."""

    values: dict[str, Any]
    tensors: dict[str, tuple[str, Any, bytes]]
    overrides: dict[str, Any] = field(default_factory=dict)
    """Metadata fields that override the rest when the artifact is signed."""

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """Split a sound artifact into its parts."""
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
        """Return the artifact as npdraw would write it, with a correct digest."""
        order = list(DTYPES)
        named = sorted(self.tensors.items(), key=lambda item: (order.index(item[1][0]), item[0]))
        entries, start = [], 0
        for name, (dtype, shape, body) in named:
            entries.append(Entry(name, dtype, shape, start, start + len(body)))
            start += len(body)
        bodies = {name: body for name, (_, _, body) in named}
        digest = digest_of(self.values, entries, lambda entry: [bodies[entry.name]])
        text = canonical({**self.values, "digest": digest, **self.overrides})
        return render(text, entries) + b"".join(bodies.values())

    def resize(self, name: str, dtype: str, shape: list[int]) -> None:
        """Change dtype and shape of a tensor; its bytes are repeated or cut to fit."""
        _, _, body = self.tensors[name]
        size = math.prod(shape) * DTYPES[dtype][1]
        times = -(-size // max(1, len(body)))
        self.tensors[name] = (
            dtype,
            shape,
            (body * times)[:size] if dtype != "BOOL" else b"\1" * size,
        )

    def fill(self, name: str, value: bytes) -> None:
        """Set every element of a tensor to the bytes of one element."""
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
"""Settings that are in range, but far too large for the tensors of the file."""


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
    content.overrides[name] = choose.choice(odd[name])
    if name not in ("digest", "host"):
        content.values[name] = content.overrides[name]


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
"""What is read -> changes of its content, after which it is signed again."""
