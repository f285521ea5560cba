"""Draw sets of small pictures such as people bring: `python -m benchmarks.studies.own_sets DEST`.

Each set becomes a folder of PNG files, drawn from a seed: `runes` (pen strokes in black on white
paper, 48 x 48), `textures` (grey cloths, waves and gradients of all levels, 32 x 32), `icons`
(shapes in colour on transparency, 32 x 32), `letters` (a typeface in black on white, 40 x 40) and
`sprites` (symmetric figures of few colours on transparency, 16 x 16). With `--runs FOLDER`, where
`npdraw run --out FOLDER/NAME` has written models of them, a picture of sets and samples is written.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Noise = np.random.Generator
COLUMNS, BORDER = 10, 4  # of a sheet of samples
FINE = 4  # pictures are drawn that many times larger, then shrunk, so that edges are soft


def rune(noise: Noise) -> Image.Image:
    """Return one of eight invented letters, written with a pen in black on white."""
    joints = {  # on a grid of 3 x 5 points
        0: [(0, 0), (0, 4), (2, 2), (0, 2)],
        1: [(1, 0), (1, 4)],
        2: [(0, 0), (2, 0), (0, 4), (2, 4)],
        3: [(0, 4), (1, 0), (2, 4)],
        4: [(0, 0), (0, 2), (2, 2), (2, 4)],
        5: [(2, 0), (0, 1), (2, 3), (0, 4)],
        6: [(0, 0), (1, 2), (2, 0), (1, 2), (1, 4)],
        7: [(0, 4), (0, 0), (2, 0), (2, 4)],
    }[int(noise.integers(8))]
    size, lean, scale = 48 * FINE, 0.3 * noise.normal(), noise.uniform(0.8, 1.1)
    points = []
    for column, row in joints:
        x = (column - 1) * 0.24 * scale + lean * (2 - row) * 0.06 + 0.012 * noise.normal()
        y = (row - 2) * 0.17 * scale + 0.012 * noise.normal()
        points.append(((0.5 + x) * size, (0.5 + y) * size))
    picture, width = Image.new("L", (size, size), 255), int(noise.integers(3, 6)) * FINE
    pen = ImageDraw.Draw(picture)
    pen.line(points, 20, width, joint="curve")
    for x, y in points:
        pen.circle((x, y), width / 2 - 1, 20)
    return _shrunk(picture)


def texture(noise: Noise) -> Image.Image:
    """Return waves, a weave, rings or a gradient in grey, at a random scale and angle."""
    y, x = np.mgrid[:32, :32] / 32 - 0.5
    angle, scale, phase = noise.uniform(0, math.pi), noise.uniform(8, 22), noise.uniform(0, 6)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    shade = (
        lambda: np.sin(scale * u + phase),
        lambda: np.sin(scale * u + phase) * np.sin(scale * v),
        lambda: np.sin(scale * np.hypot(u, v) + phase),
        lambda: 2 * u,
    )[int(noise.integers(4))]()
    grey = noise.uniform(90, 160) + noise.uniform(40, 90) * shade + 4 * noise.normal(size=x.shape)
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def icon(noise: Noise) -> Image.Image:
    """Return a disc, square, star, heart, house or ring with a gradient, some with an outline."""
    size, kind = 32 * FINE, int(noise.integers(6))
    centre, radius = size / 2, size * noise.uniform(0.3, 0.45)
    box = (centre - radius, centre - radius, centre + radius, centre + radius)
    shape = Image.new("L", (size, size))
    pen = ImageDraw.Draw(shape)
    if kind in (0, 5):
        pen.ellipse(box, 255)
        if kind == 5:
            inner = radius * 0.5
            pen.ellipse((centre - inner, centre - inner, centre + inner, centre + inner), 0)
    elif kind == 1:
        pen.rounded_rectangle(box, radius * 0.3, 255)
    else:
        pen.polygon([(centre + radius * x, centre + radius * y) for x, y in _outline(kind)], 255)

    # A gradient from one colour to a lighter one, and a dark outline around half of the icons.
    colour = np.array(Image.new("HSV", (1, 1), (int(noise.integers(256)), 200, 210)).convert("RGB"))
    shade = np.linspace(0.4 * noise.random(), 0, size)[:, None, None]
    pixels = colour * (1 - shade) + 255 * shade + np.zeros((size, size, 1))
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if noise.random() < 0.5:
        inside = shape.filter(ImageFilter.MinFilter(2 * FINE + 1))
        dark = Image.new("RGB", picture.size, tuple(int(value * 0.35) for value in colour[0, 0]))
        picture.paste(dark, mask=ImageChops.subtract(shape, inside))
    picture.putalpha(shape)
    return _shrunk(picture)


def letter(noise: Noise) -> Image.Image:
    """Return a capital letter of Pillow's typeface in black on white, turned a little."""
    size = 40 * FINE
    picture = Image.new("L", (size, size), 255)
    font = ImageFont.load_default(size * noise.uniform(0.6, 0.85))
    text = chr(ord("A") + int(noise.integers(26)))
    ImageDraw.Draw(picture).text((size / 2, size / 2), text, 0, font, anchor="mm")
    return _shrunk(picture.rotate(6 * noise.normal(), Image.Resampling.BICUBIC, fillcolor=255))


def sprite(noise: Noise) -> Image.Image:
    """Return a figure of 16 x 16 pixels, left and right alike, in one colour with a dark rim."""
    body = np.zeros((16, 16), bool)
    body[3:13, 3:8] = noise.random((10, 5)) < 0.35 + 0.12 * np.arange(5)
    body |= body[:, ::-1]
    padded = np.pad(body, 1)
    rim = (padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]) & ~body
    hue = int(noise.integers(256))
    pixels = np.zeros((16, 16, 4), np.uint8)
    for where, value in ((body, 220), (rim, 70)):
        colour = Image.new("HSV", (1, 1), (hue, 180, value)).convert("RGB")
        pixels[where] = (*colour.getpixel((0, 0)), 255)  # type: ignore[misc]
    return Image.fromarray(pixels)


def _outline(kind: int) -> list[tuple[float, float]]:
    """Return the corners of a star, a heart or a house, in -1..1."""
    if kind == 2:
        turns = [(0.4 if n % 2 else 1.0, n * math.pi / 5 - math.pi / 2) for n in range(10)]
        return [(r * math.cos(t), r * math.sin(t)) for r, t in turns]
    if kind == 3:
        steps = np.linspace(0, 2 * math.pi, 60)
        down = (
            13 * np.cos(steps) - 5 * np.cos(2 * steps) - 2 * np.cos(3 * steps) - np.cos(4 * steps)
        )
        return list(zip(np.sin(steps) ** 3, -down / 17, strict=True))
    return [(0, -1), (1, -0.1), (0.7, -0.1), (0.7, 1), (-0.7, 1), (-0.7, -0.1), (-1, -0.1)]


def _shrunk(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // FINE, picture.height // FINE), Image.Resampling.BOX)


SETS: dict[str, Callable[[Noise], Image.Image]] = {
    "runes": rune,
    "textures": texture,
    "icons": icon,
    "letters": letter,
    "sprites": sprite,
}


def draw_set(name: str, folder: Path, count: int) -> None:
    """Write `count` pictures of a set as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        SETS[name](np.random.default_rng([number])).save(folder / f"{number:04}.png")


def compare(dest: Path, runs: Path, out: Path, names: list[str]) -> None:
    """Write a picture: two rows of each set, and two rows of its model's samples beside them."""
    sheets = [Image.open(runs / name / "samples.png").convert("RGB") for name in names]
    side = max(sheet.width for sheet in sheets)
    cell = (side - BORDER) // COLUMNS
    height = 2 * cell + BORDER
    shown = Image.new("RGB", (2 * side + 4 * BORDER, (height + 2 * BORDER) * len(names)), "white")
    for row, (name, sheet) in enumerate(zip(names, sheets, strict=True)):
        top = row * (height + 2 * BORDER)
        for number in range(2 * COLUMNS):
            picture = Image.open(dest / name / f"{number:04}.png").convert("RGBA")
            small = picture.resize((cell - BORDER, cell - BORDER), Image.Resampling.BOX)
            at = number % COLUMNS * cell + BORDER, top + number // COLUMNS * cell + BORDER
            shown.paste(small, at, small)
        shown.paste(sheet.crop((0, 0, side, height)), (side + 4 * BORDER, top))
    shown.save(out, optimize=True)


def main() -> None:
    """Draw every set, or those given."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.own_sets", description=__doc__)
    parser.add_argument("dest", type=Path, help="folder to write a folder for each set to")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--count", type=int, default=1000, help="pictures of each set")
    parser.add_argument("--runs", type=Path, help="folder with a run for each set")
    parser.add_argument("--out", type=Path, default=Path("docs/own-pictures.png"))
    args = parser.parse_args()
    for name in args.sets:
        draw_set(name, args.dest / name, args.count)
    if args.runs:
        compare(args.dest, args.runs, args.out, args.sets)


if __name__ == "__main__":
    main()
