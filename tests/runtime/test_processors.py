"""The number of processors that a process may use: control groups of both versions, affinity."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from npdraw.runtime.processors import cpu_limit

V1 = "sys/fs/cgroup/cpu"
V2 = "sys/fs/cgroup"


@pytest.fixture(autouse=True)
def many_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def limit(root: Path, groups: str, files: Mapping[str, str]) -> int | None:
    """Return the limit on a machine whose kernel shows these files."""
    for name, content in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="utf-8")
    return cpu_limit(root)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000", 2),
        ("50000 100000", 1),
        ("150000 100000", 2),  # one thread would leave a quarter unused
        ("max 100000", 64),
        ("", 64),
        ("200000", 64),
        ("200000 0", 64),
        ("-1 100000", 64),
        ("9" * 30 + " 1", 64),
    ],
)
def test_the_quota_of_version_2(tmp_path: Path, content: str, expected: int) -> None:
    assert limit(tmp_path, "0::/", {f"{V2}/cpu.max": content}) == expected


def test_the_quota_of_a_parent_counts(tmp_path: Path) -> None:
    files = {f"{V2}/a/b/cpu.max": "max 100000", f"{V2}/a/cpu.max": "300000 100000"}
    assert limit(tmp_path, "0::/a/b", files) == 3


@pytest.mark.parametrize(("quota", "expected"), [("200000", 2), ("-1", 64), ("0", 64), ("x", 64)])
def test_the_quota_of_version_1(tmp_path: Path, quota: str, expected: int) -> None:
    groups = "4:memory:/x\n3:cpu,cpuacct:/docker/1\n2:cpuset:/x\n1:name=systemd:/\n0::/"
    # A container sees its own group at the root of the mount, under the path of the host.
    files = {f"{V1}/cpu.cfs_quota_us": quota, f"{V1}/cpu.cfs_period_us": "100000"}
    assert limit(tmp_path, groups, files) == expected
    own = {f"{V1}/docker/1/{name.rpartition('/')[2]}": value for name, value in files.items()}
    assert limit(tmp_path, groups, own) == expected


@pytest.mark.parametrize("groups", ["", "x", "0:", "\0", "0::/../..", ":::::"])
def test_strange_groups_are_no_limit(tmp_path: Path, groups: str) -> None:
    assert limit(tmp_path, groups, {}) == 64


def test_affinity_counts_and_may_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert limit(tmp_path, "0::/", {f"{V2}/cpu.max": "200000 100000"}) == 1
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert cpu_limit(tmp_path) == 2
    assert cpu_limit(tmp_path / "empty") is None
