"""The studio answers as the Python API does."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from npdraw.drawings.classify import classes_of_drawing
from npdraw.drawings.named import named_drawing
from npdraw.drawings.strokes import fingerprint, from_json
from npdraw.model.ink import InkBrush
from npdraw.model.latents import Latents, blank
from npdraw.studio.app import PAGE
from tests.studio.serving import TOKEN, Reply, Served, expected_pictures, pixels, unpacked
from tests.studio.visitor import put
from tests.tiny_classes import one_sided


def drawing_of(studio: Served, reply: Reply) -> Latents:
    assert reply.status == 200, reply.body
    return from_json(reply.json["drawing"], studio.model.brush)


def square(sheet: NDArray[np.uint8], columns: int, number: int, side: int) -> NDArray[np.uint8]:
    """Return a part, [C, P, P], of the picture of all."""
    row, column = divmod(number, columns)
    return sheet[:, side * row : side * (row + 1), side * column : side * (column + 1)]


def check_pictures(studio: Served, reply: Reply) -> None:
    """Check that the pictures of a reply are exactly those of its drawing."""
    for name, picture in expected_pictures(studio.model, drawing_of(studio, reply)).items():
        assert np.array_equal(pixels(reply.json[name]), picture), name


def as_png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["studio", "coloured"])
def test_the_page_gets_the_facts_of_the_model(kind: str, request: pytest.FixtureRequest) -> None:
    studio: Served = request.getfixturevalue(kind)
    model, facts = studio.model, studio.send("GET", "api/model").json
    assert facts["positions"] == model.layout.positions.tolist()
    (layer,) = facts["layers"]
    assert layer["rows"] * layer["columns"] == model.layout.steps
    assert (layer["first"], layer["inks"], layer["contrasts"]) == (0, [], [])
    assert facts["digest"] == model.header.digest
    assert facts["image"] == list(model.decode(model.paint(model.sample())).shape[2:])
    blank = from_json(facts["blank"], model.brush)
    assert not blank.whether.any()
    sheet = unpacked(studio.send("GET", "api/bank.png").body)
    parts = (model.parts[0] * 255).round().to(torch.uint8)
    side = layer["part_size"]
    for number, part in enumerate(parts.numpy()):
        assert np.array_equal(square(sheet, facts["bank_columns"], number, side), part)


def test_the_page_gets_the_layers_of_a_model_with_ink(inked: Served) -> None:
    layout, brush = inked.model.layout, inked.model.brush
    facts = inked.send("GET", "api/model").json
    assert isinstance(brush, InkBrush)
    for number, layer in enumerate(facts["layers"]):
        grid = layout.grids[number]
        assert (layer["part_size"], layer["rows"], layer["columns"]) == (
            grid.part_size,
            grid.rows,
            grid.columns,
        )
        assert layer["first"] == layout.spans[number].start
        assert layer["contrasts"] == brush.contrasts[number].tolist()
        below = brush.ground if number == 0 else torch.tensor(0.5)
        for name, ink in zip(layer["inks"], brush.inks[number], strict=True):
            shown = np.array([int(name[at : at + 2], 16) for at in (1, 3, 5)]) / 255
            assert np.abs(shown - (below + ink).clamp(0, 1).numpy()).max() <= 0.501 / 255
    assert len(facts["layers"]) == 2 and facts["positions"] == layout.positions.tolist()
    assert not from_json(facts["blank"], brush).whether.any()


def test_parts_are_shown_as_they_paint(inked: Served) -> None:
    model, brush = inked.model, inked.model.brush
    assert isinstance(brush, InkBrush)
    for layer, step in ((0, 2), (1, 9)):
        for ink, contrast in ((0, 0), (3, 2)):
            query = f"layer={layer}&ink={ink}&contrast={contrast}"
            sheet = unpacked(inked.send("GET", f"api/bank.png?{query}").body)
            side = model.layout.grids[layer].part_size
            top, left = model.layout.positions[step, 0].tolist()
            for part in range(brush.sizes["what"]):
                z = put(blank(1, model.layout.steps, inked=True), step, 0, part, ink=ink,
                        contrast=contrast)  # fmt: skip
                painted = model.paint(z)[0, :3, top : top + side, left : left + side]
                below = brush.ground[:, None, None]
                shown = painted + (0.5 - below if layer else 0)
                expected = (shown.clamp(0, 1) * 255).numpy()
                assert np.abs(square(sheet, 3, part, side) - expected).max() <= 0.51


@pytest.mark.parametrize(
    "query", ["", "layer=0&ink=0", "layer=2&ink=0&contrast=0", "layer=0&ink=4&contrast=0",
              "layer=0&ink=0&contrast=3", "layer=-1&ink=0&contrast=0", "layer=a&ink=0&contrast=0",
              "layer=%C2%B2&ink=0&contrast=0"]
)  # fmt: skip
def test_parts_of_other_inks_are_refused(inked: Served, query: str) -> None:
    reply = inked.send("GET", f"api/bank.png?{query}")
    assert reply.status == 400
    assert "is not in 0.." in reply.message


@pytest.mark.parametrize("kind", ["studio", "coloured", "inked"])
def test_pictures_are_those_of_the_model(kind: str, request: pytest.FixtureRequest) -> None:
    studio: Served = request.getfixturevalue(kind)
    seen = set()
    for seed in range(12):
        z = studio.model.sample(1, seed)
        reply = studio.ask("render", drawing=studio.json_of(z))
        assert fingerprint(drawing_of(studio, reply)) == fingerprint(z)
        assert reply.json["source"] is None
        check_pictures(studio, reply)
        seen.add(reply.json["image"])
    assert len(seen) > 1


def test_samples_and_test_images_are_loaded_by_name(studio: Served, stages: Any) -> None:
    reply = studio.ask("load", word="seed:7", label=None)
    assert fingerprint(drawing_of(studio, reply)) == fingerprint(studio.model.sample(1, 7))
    check_pictures(studio, reply)
    reply = studio.ask("load", word="test:3", label=None)
    named = named_drawing("test:3", studio.model, stages.npz.parent)
    assert fingerprint(drawing_of(studio, reply)) == fingerprint(named.drawing)
    assert named.image is not None
    assert np.array_equal(pixels(reply.json["source"]), (named.image[0] * 255).byte().numpy())
    check_pictures(studio, reply)


def test_no_name_reads_a_file(studio: Served, trained: Any) -> None:
    for word in (str(trained.model), "x.json", "../x.png", "", "seed:", "test:9999", 3, None):
        reply = studio.ask("load", word=word, label=None)
        assert reply.status == 400
        assert reply.message


@pytest.mark.parametrize("kind", ["studio", "coloured", "inked"])
def test_pictures_and_drawings_are_uploaded(kind: str, request: pytest.FixtureRequest) -> None:
    studio: Served = request.getfixturevalue(kind)
    side, channels = studio.model.config.parse.image_size, studio.model.config.parse.channels
    array = np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)
    reply = studio.send("POST", "api/upload", as_png(array.squeeze()))
    image = studio.model.preprocess(array.transpose(2, 0, 1)[None])
    assert fingerprint(drawing_of(studio, reply)) == fingerprint(studio.model.encode(image))
    assert np.array_equal(pixels(reply.json["source"]), (image[0] * 255).round().byte().numpy())
    check_pictures(studio, reply)
    z = studio.model.sample(1, 5)
    content = json.dumps(studio.json_of(z)).encode()
    for before in (b"", b"\n  ", b"\xef\xbb\xbf"):
        reply = studio.send("POST", "api/upload", before + content)
        assert fingerprint(drawing_of(studio, reply)) == fingerprint(z)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the picture"),
        (b"no picture", "it is not a PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "cannot read the picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is not a PNG, JPEG"),
        (b'{"npdraw": "drawing"}', "the file is not a drawing for this model"),
        (b"{" * 999, "is not JSON"),
    ],
)
def test_files_that_are_neither_pictures_nor_drawings(
    studio: Served, content: bytes, words: str
) -> None:
    reply = studio.send("POST", "api/upload", content)
    assert reply.status == 400
    assert words in reply.message
    assert "0x" not in reply.message  # no address of an object


def test_a_region_is_painted_onto_another_drawing(studio: Served) -> None:
    for seed in range(6):
        a, b = studio.model.sample(1, seed), studio.model.sample(1, seed + 50)
        cells = [step for step in range(4) if (seed + 1) >> step & 1]
        reply = studio.ask(
            "compose", drawing=studio.json_of(a), other=studio.json_of(b), cells=cells
        )
        chosen = torch.tensor([step in cells for step in range(4)])
        assert fingerprint(drawing_of(studio, reply)) == fingerprint(a.with_cells(chosen, b))
        check_pictures(studio, reply)


def test_locked_cells_are_kept_when_the_rest_is_resampled(studio: Served) -> None:
    z, changed = studio.model.sample(1, 3), 0
    for fixed in ([0], [1, 3], [2], [0, 1, 2, 3]):
        kept = torch.tensor([step in fixed for step in range(4)])
        for seed in range(5):
            reply = studio.ask(
                "resample", drawing=studio.json_of(z), fixed=fixed, seed=seed, label=None
            )
            resampled = drawing_of(studio, reply)
            assert fingerprint(resampled) == fingerprint(studio.model.complete(z, kept, 1, seed))
            for one, other in ((z.whether, resampled.whether), (z.what, resampled.what)):
                assert torch.equal(one[0, kept], other[0, kept])
            check_pictures(studio, reply)
            changed += fingerprint(resampled) != fingerprint(z)
    assert changed > 5
    free = studio.ask("resample", drawing=studio.json_of(z), fixed=[], seed=9, label=None)
    assert fingerprint(drawing_of(studio, free)) == fingerprint(studio.model.sample(1, 9))


def test_classes_are_drawn_and_recognised(labelled: Served) -> None:
    model = labelled.model
    assert labelled.send("GET", "api/model").json["classes"] == ["left", "right"]
    z = model.sample(1, 3)
    kept = torch.tensor([True, False, False, False])
    for label in (None, "left", "right"):
        reply = labelled.ask("load", word="seed:3", label=label)
        sample = model.sample(1, 3, label=label)
        assert fingerprint(drawing_of(labelled, reply)) == fingerprint(sample)
        chances = reply.json["chances"]
        assert sum(chances) == pytest.approx(1)
        assert chances == pytest.approx(classes_of_drawing(model, sample).tolist())
        reply = labelled.ask(
            "resample", drawing=labelled.json_of(z), fixed=[0], seed=5, label=label
        )
        resampled = model.complete(z, kept, 1, 5, label=label)
        assert fingerprint(drawing_of(labelled, reply)) == fingerprint(resampled)
    for label in ("up", 3, ["left"], ""):
        assert labelled.ask("load", word="seed:3", label=label).status == 400


def test_a_model_without_classes_has_no_chances(studio: Served) -> None:
    assert studio.send("GET", "api/model").json["classes"] == []
    assert studio.ask("load", word="seed:7", label=None).json["chances"] == []
    assert "has no classes" in studio.ask("load", word="seed:7", label="left").message


def test_chances_follow_from_the_likelihoods_of_the_drawing(labelled: Served) -> None:
    model = labelled.model
    prior = model.network.class_prior
    assert prior is not None
    images, labels = one_sided(6, 4)
    for image, label in zip(images, labels.tolist(), strict=True):
        z = model.encode(image[None])
        with torch.no_grad(), model.runtime.autocast(model.device):
            scores = torch.cat([prior.log_prob(z, torch.tensor([k])) for k in range(2)])
        expected = scores.double().softmax(0)
        assert classes_of_drawing(model, z).tolist() == pytest.approx(expected.tolist(), abs=1e-2)
        assert expected.argmax() == label


def test_simultaneous_requests_get_their_own_answers(studio: Served) -> None:
    drawings = [studio.model.sample(1, seed) for seed in range(24)]

    def answered(number: int) -> bool:
        reply = studio.ask("render", drawing=studio.json_of(drawings[number]))
        return fingerprint(drawing_of(studio, reply)) == fingerprint(drawings[number])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(answered, range(24)))


def test_the_page_is_served_and_loads_nothing_from_elsewhere(studio: Served) -> None:
    names = {path.name for path in PAGE.iterdir()}
    assert {"index.html", "main.js", "studio.css", "icon.svg"} <= names
    for name in names:
        reply = studio.send("GET", name)
        assert (reply.status, reply.body) == (200, (PAGE / name).read_bytes())
        text = reply.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and '"//' not in text, name
    assert studio.send("GET", "").body == (PAGE / "index.html").read_bytes()
    assert studio.send("GET", "studio.css").headers["content-type"].startswith("text/css")
    assert studio.send("GET", "main.js").headers["content-type"].startswith("text/javascript")
    without_slash = studio.send("GET", f"/{TOKEN}")
    assert (without_slash.status, without_slash.headers["location"]) == (307, studio.url)
