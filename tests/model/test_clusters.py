"""k-means: distances, medoids, empty clusters, and the memory that they take."""

import subprocess
import sys

import pytest
import torch

from npdraw.model import clusters


def brute_force(patches, centres):
    """Squared distances [M, K], without any rearrangement, in double."""
    return (patches.double()[:, None] - centres.double()[None]).square().sum(2)


def test_distances_equal_brute_force_for_every_chunk_size(monkeypatch):
    patches, centres = torch.rand(50, 12), torch.rand(7, 12)
    expected = brute_force(patches, centres)
    for chunk, most in ((8, 1 << 24), (50, 1 << 24), (65_536, 1 << 24), (65_536, 60), (8, 3)):
        monkeypatch.setattr(clusters, "CHUNK", chunk)
        monkeypatch.setattr(clusters, "DISTANCES", most)
        label, distance = clusters.nearest(patches, centres)
        assert torch.equal(label, expected.argmin(1))
        assert torch.allclose(distance.double(), expected.amin(1), atol=1e-5)
        assert torch.equal(clusters._medoids(patches, centres), patches[expected.argmin(0)])


MANY = """
import resource, sys, torch
from npdraw.model import clusters
from npdraw.runtime.settings import keep_memory

keep_memory()
patches, centres = torch.rand(400_000, 4), torch.rand(512, 4)
clusters.nearest(patches[:1000], centres)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    clusters.nearest(patches, centres)
    clusters._medoids(patches, centres)
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / 2**20)
"""


def test_many_parts_of_many_patches_take_no_more_memory_than_one_chunk():
    # 64 MB of distances at once and some of the patches; every chunk's would be 780.
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, check=True)
    assert float(done.stdout) < 200


def test_an_empty_cluster_restarts_at_the_patch_that_fits_worst():
    patches = torch.tensor([[0.0, 0.1], [0.1, 0.0], [1.0, 1.0], [0.0, 0.0]])
    centres = torch.tensor([[0.0, 0.0], [9.0, 9.0]])  # nothing is near the second
    label, distance = clusters.nearest(patches, centres)
    assert label.tolist() == [0, 0, 0, 0]
    updated = clusters._update(patches, label, distance, 2)
    assert torch.allclose(updated[0], patches.mean(0))
    assert torch.equal(updated[1], patches[2])


def test_fewer_points_than_centres_repeat_themselves():
    points = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    for snap in ("mean", "medoid"):
        generator = torch.Generator().manual_seed(0)
        centres = clusters.cluster(points, 7, snap=snap, generator=generator)
        distance = brute_force(centres, points)
        assert distance.amin(1).max() == 0 and distance.amin(0).max() == 0


@pytest.mark.parametrize("snap", ["mean", "medoid"])
def test_everything_is_computed_on_the_device_of_the_points(snap):
    points = torch.rand(60, 4).repeat(2, 1)  # with more centres than points, some are empty
    expected = clusters.cluster(points, 80, snap=snap, generator=torch.Generator().manual_seed(3))
    # A tensor made without a device would now have no data, and could not meet the points.
    with torch.device("meta"):
        generator = torch.Generator().manual_seed(3)
        found = clusters.cluster(points, 80, snap=snap, generator=generator)
    assert torch.equal(found, expected)


def test_seeding_draws_by_squared_distance():
    # Two places far apart, one of them with a point a little aside: the second centre is almost
    # always at the other place, and the point aside is drawn as often as its distance says.
    points = torch.tensor([[0.0], [0.0], [3.0], [4.0]])
    seconds = [
        clusters._seed(points, 2, torch.Generator().manual_seed(seed))[:, 0].tolist()
        for seed in range(2000)
    ]
    from_zero = [second for first, second in seconds if first == 0]
    share = sum(second == 4.0 for second in from_zero) / len(from_zero)
    assert abs(share - 16 / 25) < 4 * (0.64 * 0.36 / len(from_zero)) ** 0.5


def test_equal_points_give_equal_centres():
    points = torch.full((5, 2), 0.25)
    centres = clusters.cluster(points, 3, snap="medoid", generator=torch.Generator())
    assert torch.equal(centres, points[:3])


def test_one_centre_is_the_mean_or_the_point_nearest_to_it():
    points = torch.tensor([[0.0], [1.0], [5.0]])
    for snap, expected in (("mean", 2.0), ("medoid", 1.0)):
        centres = clusters.cluster(points, 1, snap=snap, generator=torch.Generator())
        assert centres.tolist() == [[expected]]
