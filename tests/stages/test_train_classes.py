"""A model learns classes: drawn, classified and evaluated by label, and unchanged without one."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import npdraw
from npdraw.artifacts import read_artifact, write_artifact
from npdraw.drawings.classify import classes_of_drawing, classify_images, classify_test
from npdraw.drawings.named import named_drawing
from npdraw.drawings.strokes import fingerprint
from npdraw.errors import ArtifactError, DataError, StoppedError, UsageError
from npdraw.header import read_header
from npdraw.inputs.classes import labels_of
from npdraw.inputs.models import read_model
from npdraw.model.importance import importance_figures
from npdraw.pictures.sheet import draw
from npdraw.report.runs import find_runs
from npdraw.run_key import RunKey
from npdraw.runtime.noise import uniform
from npdraw.runtime.settings import Runtime
from npdraw.stages import train_classes as stage
from tests.boards import as_fp32, shown
from tests.tiny_classes import one_sided, teach
from tests.tiny_stages import TEST, TRAIN, VALIDATION, Recorder, bars

CLASSES = ("0", "1")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a file of labelled images."""
    path = tmp_path_factory.mktemp("labelled") / "bars.npz"
    (train, y_train), (test, y_test) = one_sided(TRAIN + VALIDATION, 1), one_sided(TEST, 2)
    np.savez(path, train=train, test=test, train_labels=y_train, test_labels=y_test)
    return path


@pytest.fixture(scope="module")
def taught(trained: Any, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught") / "classes.safetensors"
    result = teach(trained.model, labelled, out)
    assert result["classes"] == 2
    assert result["labelled"] == TRAIN + VALIDATION
    assert result["class_nats"] < result["nats_without_label"]
    assert result["class_accuracy"] > 0.9
    return out


def test_it_can_be_watched(trained: Any, labelled: Path, metrics: Any, tmp_path: Path) -> None:
    teach(trained.model, labelled, tmp_path / "x", steps=2, tensorboard=True)
    found = shown(tmp_path / "x.run/tensorboard")
    curves = [{k: v for k, v in r.items() if k != "seconds"} for r in found.curves()]
    assert curves == as_fp32(metrics(tmp_path / "x"))
    assert [step for step, _ in found.usage()] == [0, 1, 2]


def test_nothing_else_of_the_model_changes(trained: Any, taught: Path, stages: Any) -> None:
    before = read_artifact(trained.model, kind="model")
    after = read_artifact(taught, kind="model")
    assert all(torch.equal(after.tensors[name], x) for name, x in before.tensors.items())
    assert {name.split(".")[0] for name in after.tensors.keys() - before.tensors.keys()} == {
        "class_prior"
    }
    assert after.header.dataset["classes"] == list(CLASSES)
    assert after.header.inputs == before.header.inputs | {"model": before.header.digest}
    assert before.header.metrics.items() <= after.header.metrics.items()
    unlabelled, unchanged = (
        stages.eval_nll(path, source=stages.source) for path in (taught, trained.model)
    )
    assert unlabelled["nll"] == unchanged["nll"]


def test_resumed_equals_uninterrupted(
    trained: Any, labelled: Path, interrupt: Any, tmp_path: Path
) -> None:
    short = {"steps": 6, "drawings": 40}
    teach(trained.model, labelled, tmp_path / "whole", **short)
    with pytest.raises(StoppedError, match="at step 4 of 6"):
        teach(trained.model, labelled, tmp_path / "halves", progress=interrupt(4), **short)
    assert teach(trained.model, labelled, tmp_path / "halves", **short)["resumed_from"] == 4
    assert (tmp_path / "halves").read_bytes() == (tmp_path / "whole").read_bytes()
    again = teach(trained.model, labelled, tmp_path / "halves", **short)
    assert (again["up_to_date"], again["resumed_from"]) == (True, 6)


def test_other_labels_are_another_run(trained: Any, labelled: Path, tmp_path: Path) -> None:
    short = {"steps": 2, "drawings": 40}
    teach(trained.model, labelled, tmp_path / "c", **short)
    with np.load(labelled) as archive:
        arrays = dict(archive)
    arrays["train_labels"] = arrays["train_labels"][::-1]
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(UsageError, match=r"dataset\.labels"):
        teach(trained.model, tmp_path / "other.npz", tmp_path / "c", **short)


def test_other_images_with_the_same_labels_are_another_run(
    trained: Any, labelled: Path, tmp_path: Path
) -> None:
    short = {"steps": 2, "drawings": 40}
    teach(trained.model, labelled, tmp_path / "c", **short)
    with np.load(labelled) as archive:
        arrays = dict(archive)
    arrays["train"] = arrays["train"][:, ::-1]
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(UsageError, match=r"dataset\.labels"):
        teach(trained.model, tmp_path / "other.npz", tmp_path / "c", **short)


def test_the_images_of_the_model_stay_its_own(taught: Path, stages: Any, labelled: Path) -> None:
    model = npdraw.load(taught, precision="fp32")
    found = named_drawing("test:3", model, labelled.parent).image
    assert torch.equal(found, model.preprocess(bars(TEST, 2)[3:4]))
    assert stages.eval_nll(taught)["nll"] == stages.eval_nll(taught, source=stages.source)["nll"]
    given = stages.eval_nll(taught, given_labels=True)
    named = stages.eval_nll(taught, given_labels=True, source=f"npz:{labelled}")
    assert given["nll"] == named["nll"]


def test_a_signal_stops_the_drawing_of_images(
    trained: Any, labelled: Path, interrupt: Any, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError, match="at step 0 of 6"):
        teach(trained.model, labelled, tmp_path / "c", steps=6, progress=interrupt(20))


def test_classes_without_images_and_labels_of_no_use_are_noted(
    trained: Any, labelled: Path, stages: Any, tmp_path: Path
) -> None:
    with np.load(labelled) as archive:
        arrays = dict(archive)
    arrays["train_labels"] = 2 * arrays["train_labels"]
    np.savez(tmp_path / "gap.npz", **arrays)
    seen = stages.Recorder()
    teach(trained.model, tmp_path / "gap.npz", tmp_path / "c", progress=seen, steps=2, drawings=40)
    assert "1 of 3 classes have no training image and are left out: 1" in seen.notes
    assert read_header(tmp_path / "c").dataset["classes"] == ["0", "2"]
    seen.notes.clear()
    stage._note_useless(9.0, 9.5, seen)
    assert not seen.notes
    stage._note_useless(9.5, 9.0, seen)
    assert seen.notes[0].startswith("the labels did not help: 9.50 nats")


def test_few_labels_are_enough(trained: Any, labelled: Path, tmp_path: Path) -> None:
    result = teach(trained.model, labelled, tmp_path / "c", limit=20, steps=2)
    assert result["labelled"] == 20
    planned = teach(trained.model, labelled, tmp_path / "d", dry_run=True)
    assert planned["dry_run"]
    assert not (tmp_path / "d").exists()


def test_other_classes_replace_those_of_a_model(
    trained: Any, labelled: Path, taught: Path, tmp_path: Path
) -> None:
    with np.load(labelled) as archive:
        arrays = dict(archive)
    names = {f"{split}_labels": arrays[f"{split}_labels"] + 1 for split in ("train", "test")}
    np.savez(tmp_path / "other.npz", **arrays | names)
    seen = Recorder()
    teach(taught, tmp_path / "other.npz", tmp_path / "again", steps=2, progress=seen)
    assert "the classes of classes.safetensors are replaced" in seen.notes
    teach(trained.model, tmp_path / "other.npz", tmp_path / "once", steps=2)
    again, once = (read_artifact(tmp_path / name, kind="model") for name in ("again", "once"))
    assert again.header.dataset == once.header.dataset
    assert again.header.metrics == once.header.metrics
    assert all(torch.equal(again.tensors[name], x) for name, x in once.tensors.items())


def test_images_without_labels_and_a_single_class_are_refused(
    trained: Any, labelled: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="has no labels"):
        teach(trained.model, None, tmp_path / "c")  # those of the tiny stages have none
    with np.load(labelled) as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "same.npz", **arrays | {"train_labels": np.ones(TRAIN + VALIDATION, int)})
    with pytest.raises(DataError, match=rf"all {TRAIN} training images of .* have the same label"):
        teach(trained.model, tmp_path / "same.npz", tmp_path / "c")


def test_sorted_images_are_refused_or_noted(trained: Any, labelled: Path, tmp_path: Path) -> None:
    with np.load(labelled) as archive:
        arrays = dict(archive)
    late = np.r_[np.arange(TRAIN) % 2, np.full(VALIDATION, 2)]
    np.savez(tmp_path / "late.npz", **arrays | {"train_labels": late})
    with pytest.raises(DataError, match=r"held-out images of .* are of classes that no"):
        teach(trained.model, tmp_path / "late.npz", tmp_path / "c")
    late[-1] = 1  # the only held-out image of a known class
    np.savez(tmp_path / "late.npz", **arrays | {"train_labels": late})
    seen = Recorder()
    short = {"steps": 2, "drawings": 40}
    teach(trained.model, tmp_path / "late.npz", tmp_path / "c", progress=seen, **short)
    assert "1 of 3 classes have no training image and are left out: 2" in seen.notes
    assert ("draw", TRAIN + 1, {"unit": "drawings"}) in seen.tasks
    many = np.r_[np.arange(TRAIN) % 9, np.zeros(VALIDATION, int)]
    np.savez(tmp_path / "many.npz", **arrays | {"train_labels": many})
    teach(trained.model, tmp_path / "many.npz", tmp_path / "d", progress=seen, **short)
    assert any("held-out images show 1 of 9 classes only" in note for note in seen.notes)


def test_the_labelled_images_are_those_of_the_model(
    labelled: Path, stages: Any, tmp_path: Path
) -> None:
    few, made = replace(stages, npz=labelled), tmp_path / "model"
    few.parse(tmp_path / "parse", limit=30)
    few.train_prior(tmp_path / "parse", tmp_path / "prior")
    few.train_decoder(tmp_path / "parse", tmp_path / "prior", made)
    short = {"steps": 2, "drawings": 40}
    assert teach(made, None, tmp_path / "c", **short)["labelled"] == 30
    assert teach(made, None, tmp_path / "d", limit=20, **short)["labelled"] == 20
    more = teach(made, labelled, tmp_path / "e", **short)
    assert more["labelled"] == TRAIN + VALIDATION


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"classes": ["0"]}, "class_embedding"),
        ({"classes": "0"}, "classes of its data set"),
        ({"labels": "no"}, "labels of its data set"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    change: dict[str, Any], match: str, taught: Path, tmp_path: Path
) -> None:
    artifact = read_artifact(taught, kind="model")
    header = artifact.header
    key = replace(RunKey.of(header), dataset=header.dataset | change)
    path = tmp_path / "wrong.safetensors"
    write_artifact(path, "model", artifact.tensors, run_key=key, metrics=header.metrics)
    with pytest.raises(ArtifactError, match=match):
        read_model(path)


def test_sheets_have_a_row_for_each_class(taught: Path, stages: Any, tmp_path: Path) -> None:
    drawn = {"seeds": range(5), "label": "1,0"}
    result = stages.sample(taught, tmp_path / "s.png", grid=True, **drawn)
    assert result["images"] == 10
    model = npdraw.load(taught, precision="fp32")
    assert model.classes == CLASSES
    folder = tmp_path / "folder"
    assert stages.sample(taught, folder, **drawn)["files"] == 11
    names = sorted(path.name for path in folder.glob("*.png"))
    assert names == [f"{y}-00000{seed}.png" for y in (0, 1) for seed in range(5)]
    stored = read_artifact(folder / "drawings.safetensors", kind="drawings").tensors
    assert stored["labels"].tolist() == [1] * 5 + [0] * 5
    assert stored["seeds"].tolist() == [*range(5), *range(5)]
    right = model.sample(5, label=1)
    assert torch.equal(stored["whether"][:5], right.whether)
    # Samples of one class only replace those of two.
    stages.sample(taught, folder, seeds=range(2), label="0", force=True)
    assert len(list(folder.glob("*.png"))) == 2


def test_drawings_show_their_class(taught: Path) -> None:
    model = npdraw.load(taught, precision="fp32")
    for label, name in enumerate(CLASSES):
        ink = model.paint(model.sample(200, label=name))[:, 0].mean(0)
        halves = ink[:, :4].sum(), ink[:, 4:].sum()
        assert halves[label] > 1.1 * halves[1 - label]


def test_of_several_candidates_the_one_most_probably_of_its_class_is_kept(
    taught: Path, stages: Any, tmp_path: Path
) -> None:
    model = npdraw.load(taught, precision="fp32")
    prior, many = model.network.class_prior, 40
    assert prior is not None
    for label, name in enumerate(CLASSES):
        kept = model.sample(many, label=name, candidates=3)
        with torch.no_grad():
            every = [draw(prior, list(range(many)), 1.0, [label] * many, k) for k in range(3)]
        chances = [
            [float(classes_of_drawing(model, z[n : n + 1])[label]) for z in every]
            for n in range(many)
        ]
        best = [fingerprint(every[int(np.argmax(row))][n : n + 1]) for n, row in enumerate(chances)]
        assert [fingerprint(kept[n : n + 1]) for n in range(many)] == best
        assert fingerprint(every[0]) == fingerprint(model.sample(many, label=name))
        assert len({fingerprint(z) for z in every}) == 3
    stages.sample(taught, tmp_path / "folder", seeds=range(5), label="1", candidates=3)
    stored = read_artifact(tmp_path / "folder/drawings.safetensors", kind="drawings")
    assert torch.equal(stored.tensors["whether"], kept[:5].whether)
    assert stored.header.config["sample"]["candidates"] == 3
    for wrong in ({"candidates": 0, "label": "1"}, {"candidates": 2}):
        with pytest.raises(UsageError, match="candidates"):
            model.sample(3, **wrong)


def test_completions_take_a_label(taught: Path) -> None:
    model = npdraw.load(taught, precision="fp32")
    nothing = torch.zeros(model.layout.steps, dtype=torch.bool)
    given = model.sample(1)
    completed = model.complete(given, nothing, 3, seed=4, label="1")
    assert torch.equal(completed.whether, model.sample(3, seed=4, label="1").whether)
    with pytest.raises(UsageError, match="no class 'middle'"):
        model.complete(given, nothing, label="middle")


def test_classes_are_recognised(
    taught: Path, labelled: Path, stages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {"root": labelled.parent, "runtime": Runtime(precision="fp32", threads=1)}
    test = {"source": f"npz:{labelled}", "images": None, "samples": 20, "seed": 0}
    result = classify_test(taught, progress=stages.Recorder(), **test, **common)
    assert result["images"] == TEST
    assert result["accuracy"] > 0.9
    error = math.sqrt(result["accuracy"] * (1 - result["accuracy"]) / TEST)
    assert result["accuracy_se"] == pytest.approx(error)
    assert result["nats"] < math.log(2)
    monkeypatch.setattr("npdraw.drawings.classify.IMAGES_AT_ONCE", 7)
    again = classify_test(taught, progress=stages.Recorder(), **test, **common)
    assert again["nats"] == pytest.approx(result["nats"], rel=1e-6)
    model = npdraw.load(taught, precision="fp32")
    images, labels = one_sided(TEST, 2)
    chances = model.classify(images, 20)
    assert torch.allclose(chances.sum(1), torch.ones(TEST, dtype=torch.float64))
    assert (chances.argmax(1).numpy() == labels).mean() == pytest.approx(result["accuracy"])
    picture = labelled.parent / "one.png"
    Image.fromarray(images[3]).save(picture)
    asked = {"names": [str(picture)], "samples": 5}
    named = classify_images(taught, seed=0, **asked, **common)["images"]
    other = classify_images(taught, seed=1, **asked, **common)["images"]
    assert other[0]["probabilities"] != named[0]["probabilities"]
    best = model.classify(images[3:4], 5)[0]
    assert named[0]["label"] == CLASSES[int(best.argmax())]
    assert named[0]["probabilities"]["0"] == pytest.approx(float(best[0]), abs=1e-5)


def test_test_images_of_other_classes_are_left_out(
    taught: Path, labelled: Path, tmp_path: Path
) -> None:
    with np.load(labelled) as archive:
        arrays = dict(archive)
    common = {"root": tmp_path, "runtime": Runtime(precision="fp32", threads=1)}
    test = {"source": f"npz:{tmp_path / 'more.npz'}", "images": None, "samples": 2, "seed": 0}
    arrays["test_labels"] = np.where(np.arange(TEST) < 5, 2, arrays["test_labels"])
    np.savez(tmp_path / "more.npz", **arrays)
    seen = Recorder()
    result = classify_test(taught, progress=seen, **test, **common)
    assert result["images"] == TEST - 5
    assert result["accuracy"] > 0.9
    assert any(note.startswith(f"5 of {TEST} test images are of classes") for note in seen.notes)
    np.savez(tmp_path / "more.npz", **arrays | {"test_labels": np.full(TEST, 2)})
    with pytest.raises(DataError, match="test images of the class 2"):
        classify_test(taught, progress=seen, **test, **common)


def test_likelihoods_of_given_labels(taught: Path, labelled: Path, stages: Any) -> None:
    source = f"npz:{labelled}"
    given = stages.eval_nll(taught, source=source, given_labels=True, samples=4)
    assert given["label"] == "given"
    assert given["nll"] < stages.eval_nll(taught, source=source, samples=4)["nll"]
    model, _, _ = read_model(taught)
    images, labels = one_sided(TEST, 2)
    loaded = npdraw.load(taught, precision="fp32")
    x = loaded.preprocess(images)
    noise = uniform("eval", 0, range(TEST), (4, model.layout.steps, model.brush.numbers))
    with torch.no_grad():
        figures = importance_figures(
            model, x, noise, "importance", label=torch.tensor(labels).long()
        )
    assert given["nll"] == pytest.approx(float(figures[:, 0].mean()), rel=1e-5)


def test_models_without_classes_say_so(trained: Any, stages: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model has no classes") as caught:
        stages.sample(trained.model, tmp_path / "s.png", grid=True, label="0")
    assert "train-classes" in caught.value.hint
    with pytest.raises(UsageError, match="the model has no classes"):
        stages.eval_nll(trained.model, given_labels=True)
    with pytest.raises(UsageError, match="the model has no classes"):
        npdraw.load(trained.model).classify(bars(2, 2))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0", [0]),
        ("1,0,1", [1, 0]),
        ("0-1", [0, 1]),
        ("all", [0, 1]),
        (" 1 , 0", [1, 0]),
        ("0 - 1", [0, 1]),
    ],
)
def test_labels_are_names_ranges_or_all(text: str, labels: list[int], taught: Path) -> None:
    assert labels_of(read_header(taught), text) == labels


def test_a_name_with_a_comma_or_a_hyphen_is_a_name(taught: Path) -> None:
    header = read_header(taught)
    odd = ["a,b", "a-b", "-", "a", "b", "all"]
    named = replace(header, dataset=header.dataset | {"classes": odd})
    assert labels_of(named, "a,b") == [0]
    assert labels_of(named, "a-b") == [1]
    assert labels_of(named, "-") == [2]
    assert labels_of(named, "a-b,b,a") == [1, 4, 3]
    assert labels_of(named, "all") == [5]
    worn = ["t-shirt", "trouser", "ankle-boot"]
    named = replace(header, dataset=header.dataset | {"classes": worn})
    assert labels_of(named, "t-shirt-ankle-boot") == [0, 1, 2]
    assert labels_of(named, "trouser - ankle-boot,t-shirt") == [1, 2, 0]
    with pytest.raises(UsageError, match="no class 'coat'"):
        labels_of(named, "t-shirt-coat")


@pytest.mark.parametrize(
    ("text", "match"),
    [("1-0", "reversed"), ("up", "no class 'up'"), ("", "no class ''"), ("0-9", "no class '9'")],
)
def test_wrong_labels_are_refused(text: str, match: str, taught: Path) -> None:
    with pytest.raises(UsageError, match=match):
        labels_of(read_header(taught), text)


def test_a_report_does_not_take_the_training_of_classes_for_that_of_the_model(taught: Path) -> None:
    assert (taught.parent / "classes.safetensors.run/metrics.jsonl").is_file()
    piece = find_runs([taught])[0].pieces["model"]
    assert piece.header is not None
    assert (piece.records, piece.sheets, piece.seconds) == ([], {}, None)
