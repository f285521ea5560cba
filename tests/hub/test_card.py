"""The card of a model: valid metadata, figures of the artifact, settings that npdraw reads back."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from npdraw.header import Header, read_header
from npdraw.hub import HubModel
from npdraw.hub.card import card
from npdraw.overrides import override
from npdraw.presets import preset
from tests.drawings.inked import write_ink_model

MODEL = HubModel("me/digits")
FIGURES = {
    "elbo": 81.466,
    "nll": 80.278,
    "rate": 40.706,
    "distortion": 40.76,
    "canvas_mse": 0.0219,
    "relaxed_elbo": 80.3,
    "steps": 7400,
    "best_step": 7200,
}


def changed(header: Header, **fields: Any) -> Header:
    return Header(**{**vars(header), **fields})


@pytest.fixture
def header(write_model: Any, tmp_path: Path) -> Header:
    write_model(tmp_path / "m.safetensors", "mnist")
    return read_header(tmp_path / "m.safetensors")


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of the tables: first cell -> the others."""
    cells = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in cells}


def test_its_metadata_are_those_of_the_hub(header: Header) -> None:
    yaml = pytest.importorskip("yaml")
    _, front, body = card(MODEL, header, parameters=4464, size=24000).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "npdraw",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["npdraw", "np-draw", "image-generation"],
    }
    assert body.lstrip().startswith("# digits\n\nDraws images of 8 x 8 pixels (grey, two-valued) ")


def test_it_says_how_to_use_the_model(header: Header) -> None:
    text = card(MODEL, header, parameters=4464, size=24000)
    assert "\nnpdraw sample hf:me/digits --grid\n" in text
    assert '\nmodel = npdraw.load("hf:me/digits")\n' in text


def test_it_holds_the_facts_of_the_artifact(header: Header) -> None:
    inputs = {"parse": "a" * 64, "prior": "b" * 64}
    shown = rows(card(MODEL, changed(header, inputs=inputs), parameters=4464, size=5_542_912))
    assert shown["data"] == [
        f"mnist: 40 images for training, 20 for validation; digest `{'0' * 64}`"
    ]
    assert shown["strokes"] == ["4 parts of 4 x 4 pixels"]
    assert shown["preset, seed"] == ["`glyphs`, 0"]
    assert shown["parameters"] == ["4,464; the file has 5.5 MB"]
    assert shown["digest"] == [f"`{header.digest}`"]
    assert shown["made from"] == [f"parse `{'a' * 64}`, prior `{'b' * 64}`"]


def test_it_holds_the_figures_of_the_artifact(header: Header) -> None:
    text = card(MODEL, changed(header, metrics=FIGURES), parameters=1, size=1)
    shown = rows(text)
    assert shown["`nll`"][1] == "80.28 nats per image"
    assert shown["`elbo`"][1] == "81.47 nats per image"
    assert shown["`canvas_mse`"][1] == "0.0219"
    assert shown["training"] == ["7,400 steps; these weights are those of step 7,200"]
    assert "`bits_per_dim`" not in shown
    assert "as stored in the file; nats and errors: lower" in text
    # A model with classes has another model as input too, and its weights are whole.
    figures = changed(header, metrics=FIGURES, inputs={"model": "c" * 64})
    for rounded in (True, False):
        text = card(MODEL, figures, parameters=1, size=1, rounded=rounded)
        assert ("before its weights were rounded to bf16" in text) == rounded
    assert "The file stores none." in card(MODEL, changed(header, metrics={}), parameters=1, size=1)


def test_colour_and_ink_are_described(tmp_path: Path) -> None:
    write_ink_model(tmp_path / "ink.safetensors")
    header = changed(read_header(tmp_path / "ink.safetensors"), metrics=FIGURES)
    text = card(MODEL, header, parameters=1, size=1)
    parse = header.config["parse"]
    assert "(colour, 256 levels)" in text
    assert rows(text)["strokes"] == [
        f"{parse['parts']} patterns in {parse['inks']} inks and {parse['contrasts']} contrasts "
        "on each layer, of 4 x 4, 2 x 2 pixels"
    ]
    bits = 80.278 / (3 * 8 * 8 * math.log(2))
    assert rows(text)["`bits_per_dim`"][1] == f"{bits:.3f} bits"


def test_classes_are_listed(header: Header) -> None:
    names = ["cat", "a|b`c", *map(str, range(30))]
    assert "| classes |" not in card(MODEL, header, parameters=1, size=1)
    shown = rows(card(MODEL, with_classes(header, names[:1]), parameters=1, size=1))
    assert shown["classes"] == ["1: `cat`; see `--label`"]
    assert shown["`class_accuracy`"][1] == "97.5%"
    text = card(MODEL, with_classes(header, names), parameters=1, size=1)
    (line,) = (line for line in text.splitlines() if line.startswith("| classes |"))
    assert line.startswith("| classes | 32: `cat`, `a\\|b'c`, `0`, ")
    assert line.endswith(", `17`, ...; see `--label` |")


def with_classes(header: Header, names: list[str]) -> Header:
    return changed(
        header,
        config={**header.config, "classes": {"steps": 9}},
        dataset={**header.dataset, "classes": names},
        metrics={"class_accuracy": 0.975},
    )


def test_own_pictures_are_called_so(header: Header) -> None:
    for name, words in (("folder", "own pictures"), ("npz", "own arrays"), ("idx", "own files")):
        data = {**header.dataset, "name": name}
        text = card(MODEL, changed(header, dataset=data), parameters=1, size=1)
        assert rows(text)["data"][0].startswith(words)


def test_its_settings_are_a_file_for_config(header: Header) -> None:
    text = card(MODEL, header, parameters=1, size=1)
    settings = text.partition("```toml\n")[2].partition("```")[0]
    made = override(preset("glyphs"), tomllib.loads(settings), source="the card")
    assert made.parse.image_size == 8
    assert made.decoder.decoder_channels == (4,)
    assert (made.prior.width, made.prior.depth) == (8, 1)
