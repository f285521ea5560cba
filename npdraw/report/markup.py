"""HTML put together so that whatever is no HTML yet is escaped, wherever it stands."""

import base64
import html
import json
from typing import Any

from torch import Tensor

from npdraw.pictures.files import png

VOID = frozenset({"br", "img", "input", "link", "meta"})
"""Elements without an end."""


class Html(str):
    """Text that is HTML; any other text is escaped where it is put into some."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; a child or value that is not `Html` is text.

    `class_` stands for the attribute class, `data_x` for data-x. None and False leave an attribute
    or a child out; True is an attribute without a value. Tuples and lists of children are laid out.
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    end = "" if name in VOID else f"</{name}>"
    return Html(f"<{name}{shown}>{joined(*children)}{end}")


def joined(*children: object) -> Html:
    """Return children one after another, as `element` takes them."""
    found: list[str] = []
    for child in children:
        if isinstance(child, list | tuple):
            found.append(joined(*child))
        elif child is not None and child is not False:
            found.append(_text(child))
    return Html("".join(found))


def _text(value: object) -> str:
    return value if isinstance(value, Html) else html.escape(plain(str(value)), quote=True)


def plain(text: str) -> str:
    """Return text without signs that no page shows: bytes of odd names, controls, what turns lines.

    The page is written as UTF-8, which has no half of a pair of surrogates.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def script_data(identity: str, value: Any) -> Html:
    """Return a block of JSON for the script of the page; nothing in it can end the block."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return element("script", Html(text), type="application/json", id=identity)


def data_uri(content: bytes) -> str:
    """Return a PNG as the address of itself."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def picture(pixels: Tensor, alt: str, **attributes: object) -> Html:
    """Return uint8 [C, H, W] as an image of the page, which style sheets may enlarge."""
    height, width = pixels.shape[1:]
    source = data_uri(png(pixels))
    return element("img", src=source, alt=alt, width=width, height=height, **attributes)
