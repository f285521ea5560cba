"""Plot likelihood against faithful canvases, for MNIST models of several weights (`make curve`).

Each model is a shortened run of the preset `mnist`, trained and evaluated in `runs/curve/`;
finished runs are not repeated. Prints a table and draws `docs/canvas-curve.png`.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
STEPS = 700
SAMPLES, IMAGES = 50, 1000
FOLDER, PICTURE = Path("runs/curve"), Path("docs/canvas-curve.png")

SIDE = (720, 440)
"""Width and height of the picture, pixels."""
MARGIN = (90, 30, 40, 70)
"""Left, top, right and bottom margins of the axes, pixels."""
INK, FAINT, DOT = (30, 30, 30), (215, 215, 215), (190, 40, 40)

Point = tuple[str, float, float]
"""Label, canvas_mse, NLL."""


def npdraw(*arguments: str | Path) -> None:
    """Run a command, its results redirected to stderr."""
    command = [sys.executable, "-m", "npdraw", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def measured(weight: float) -> dict[str, float]:
    """Train and evaluate with one canvas weight; return the result of eval-nll."""
    folder = FOLDER / f"{weight:g}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "w.toml"
    settings.write_text(f"[decoder]\ncanvas_weight = {weight}\nsteps = {STEPS}\n")
    parse, prior, model = (
        FOLDER / "parse.safetensors",
        FOLDER / "prior.safetensors",
        folder / "model.safetensors",
    )
    npdraw("train-decoder", parse, prior, "--config", settings, "--out", model)
    out = folder / "nll.json"
    npdraw("eval-nll", model, "--samples", str(SAMPLES), "--images", str(IMAGES), "--out", out)
    result: dict[str, float] = json.loads(out.read_text())
    return result


def ticks(values: Iterable[float], step: float) -> list[float]:
    """Return the multiples of `step` from just below the smallest value to above the largest."""
    known = list(values)
    first, last = int(min(known) / step), int(max(known) / step) + 1
    return [step * number for number in range(first, last + 1)]


def draw(points: list[Point]) -> Image.Image:
    """Plot NLL over canvas error: a labelled dot per point, and a line through them."""
    image = Image.new("RGB", SIDE, "white")
    pen = ImageDraw.Draw(image)
    small, large = (ImageFont.load_default(size) for size in (14, 16))
    across = ticks((x for _, x, _ in points), 0.005)
    up = ticks((y for _, _, y in points), 0.5)
    left, top, right, bottom = MARGIN[0], MARGIN[1], SIDE[0] - MARGIN[2], SIDE[1] - MARGIN[3]

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * (x - across[0]) / (across[-1] - across[0]),
            bottom - (bottom - top) * (y - up[0]) / (up[-1] - up[0]),
        )

    for x in across:
        column, _ = place(x, up[0])
        pen.line([(column, top), (column, bottom)], FAINT)
        pen.text((column, bottom + 8), f"{x:.3f}", INK, small, "mt")
    for y in up:
        _, row = place(across[0], y)
        pen.line([(left, row), (right, row)], FAINT)
        pen.text((left - 8, row), f"{y:.1f}", INK, small, "rm")
    pen.text(((left + right) / 2, SIDE[1] - 14), "canvas_mse of the test images", INK, large, "mb")
    pen.text((left, top - 8), f"NLL, nats (S = {SAMPLES})", INK, large, "lb")
    dots = [place(x, y) for _, x, y in points]
    pen.line(dots, DOT, 2)
    for (label, _, _), (column, row) in zip(points, dots, strict=True):
        pen.ellipse([column - 5, row - 5, column + 5, row + 5], DOT)
        pen.text((column + 8, row - 6), label, INK, small, "lb")
    return image


def main() -> None:
    """Run everything that is not finished, then print and draw the results."""
    npdraw("parse", "--data", "mnist", "--out", FOLDER / "parse.safetensors")
    npdraw("train-prior", FOLDER / "parse.safetensors", "--out", FOLDER / "prior.safetensors")
    results = {weight: measured(weight) for weight in WEIGHTS}
    print("| canvas_weight | NLL | -ELBO | rate | distortion | canvas_mse |")
    print("|---|---|---|---|---|---|")
    for weight, f in results.items():
        nats = " | ".join(f"{f[name]:.2f}" for name in ("elbo", "rate", "distortion"))
        print(
            f"| {weight:g} | {f['nll']:.2f} ± {f['nll_se']:.2f} | {nats} | {f['canvas_mse']:.4f} |"
        )
    draw([(f"{w:g}", f["canvas_mse"], f["nll"]) for w, f in results.items()]).save(PICTURE)


if __name__ == "__main__":
    main()
