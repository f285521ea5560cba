"""npdraw as others get it: a source distribution, a wheel, and the shipped models inside."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import npdraw
from npdraw.header import read_header
from npdraw.inputs import shipped

ROOT = Path(npdraw.__file__).parents[1]
MOST_BYTES = 8_000_000  # of a shipped model
MOST_FEATURE_BYTES = 1_000_000  # of shipped features


def test_every_package_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = set(project["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "npdraw").rglob("__init__.py")
    }
    assert named == found | {"npdraw.shipped", "npdraw.shipped_features"}


def test_the_shipped_models_are_small_sound_and_described() -> None:
    assert shipped.folder() == ROOT / "data/models"
    models = shipped.status(check=True)
    assert [model.name for model in models] == ["cifar10", "glyphs", "mnist", "omniglot"]
    for model in models:
        assert model.state == "ready", model.problem
        assert model.bytes <= MOST_BYTES
        assert model.path.with_suffix(".md").is_file()


def test_the_shipped_features_are_small_sound_and_described() -> None:
    card = (ROOT / "data/features/README.md").read_text(encoding="utf-8")
    for name in ("cifar10", "glyphs", "mnist", "omniglot"):
        path = shipped.find_features(name)
        assert path == ROOT / f"data/features/{name}.safetensors"
        assert path.stat().st_size <= MOST_FEATURE_BYTES
        assert read_header(path, kind="features", verify=True).digest in card
    assert shipped.find_features("mnist-static") == ROOT / "data/features/mnist.safetensors"
    assert shipped.find_features("folder") is None


def run(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installation_ships_its_models(
    tmp_path: Path, write_model: Callable[[Path, str], None]
) -> None:
    source, dist, target, work = (tmp_path / name for name in ("source", "dist", "lib", "work"))
    shutil.copytree(
        ROOT / "npdraw", source / "npdraw", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    write_model(source / "data/models/tiny.safetensors", "glyphs")
    (source / "data/models/tiny.md").write_text("A card.")
    shutil.copytree(ROOT / "data/features", source / "data/features")
    work.mkdir()
    # The wheel is built from the source distribution, so that both must be complete.
    pack = f"import setuptools.build_meta as b; b.build_sdist({os.fspath(dist)!r})"
    run("-c", pack, cwd=source, PYTHONPATH="")
    (archive,) = dist.iterdir()
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-cache-dir")
    offline = ("--no-build-isolation", "--target", os.fspath(target), os.fspath(archive))
    run(*install, *offline, cwd=work, PYTHONPATH="")

    # -S: no .pth file is read, so that an editable install of the checkout is out of the way.
    libraries = dict.fromkeys([os.fspath(target), *map(sysconfig.get_path, ("purelib", "platlib"))])
    path = os.pathsep.join(libraries)

    def installed(*arguments: str) -> str:
        return run("-S", *arguments, cwd=work, PYTHONPATH=path)

    def figures(*arguments: str) -> Any:
        return json.loads(installed("-m", "npdraw", *arguments, "--json"))

    probe = "import npdraw, sys; print(npdraw.__file__, *sys.meta_path, *sys.path, sep='\\n')"
    module, *others = installed("-c", probe).splitlines()
    assert module == os.fspath(target / "npdraw/__init__.py")
    assert os.fspath(ROOT) not in others
    assert not any("editable" in line for line in others)

    version = installed("-c", "from importlib import metadata; print(metadata.version('npdraw'))")
    assert installed("-m", "npdraw", "--version") == f"npdraw {version}"

    listed = figures("data", "ls")["models"]
    assert listed["tiny"]["path"] == os.fspath(target / "npdraw/shipped/tiny.safetensors")
    assert (target / "npdraw/shipped/tiny.md").read_text() == "A card."
    features = {path.name for path in (ROOT / "data/features").iterdir()}
    assert {path.name for path in (target / "npdraw/shipped_features").iterdir()} == features
    for folder in ("npdraw/studio/page", "npdraw/report/templates"):
        names = {path.name for path in (ROOT / folder).iterdir()}
        assert {path.name for path in (target / folder).iterdir()} == names
    assert figures("info", "tiny")["digest"] == listed["tiny"]["digest"]
    assert figures("sample", "tiny", "--grid", "--seeds", "0-3", "--quiet")["images"] == 4
    assert [os.fspath(p.relative_to(work)) for p in work.rglob("*.png")] == [
        "runs/tiny/samples.png"
    ]
