"""The functions that share work between processes, each on its own."""

import math

import pytest
import torch
from torch import nn

from npdraw.errors import UsageError
from npdraw.runtime.distributed import (
    all_gather_rows,
    all_reduce_max,
    all_reduce_mean,
    all_reduce_sum,
    check_batch,
    chunks,
    local_batch_mean,
    on_rank_zero,
    process_group,
    rank_slice,
    replica,
)
from npdraw.runtime.group import SINGLE_PROCESS, Group, environment


def test_one_process_needs_no_group() -> None:
    model = nn.Linear(2, 2)
    with process_group(torch.device("cpu")) as group:
        assert group == SINGLE_PROCESS
        assert not torch.distributed.is_initialized()
        assert replica(model, group) is model
        assert on_rank_zero(group, lambda: model) is model
        assert all_reduce_max(group, 7) == 7
        table = torch.ones(3, 2)
        assert all_gather_rows(group, table) is table
        assert all_reduce_mean(group, table) is table
        assert all_reduce_sum(group, table).tolist() == [3, 3]


def test_the_group_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    for name, value in variables.items():
        assert environment() == SINGLE_PROCESS  # not all of them are there
        monkeypatch.setenv(name, value)
    assert environment() == Group(rank=5, size=8, local_rank=1, local_size=4)
    assert not environment().is_rank_zero
    assert SINGLE_PROCESS.is_rank_zero


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_all_of_it_once(size: int) -> None:
    groups = [Group(rank, size) for rank in range(size)]
    for count in (5, 7, 64):
        whole = list(range(count))
        shares = [whole[rank_slice(group, count)] for group in groups]
        assert [row for share in shares for row in share] == whole
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    parts = sorted((part.start, part.stop) for g in groups for _, part in chunks(g, 23, 10))
    assert parts == [(0, 10), (10, 20), (20, 23)]
    numbers = sorted(number for g in groups for number, _ in chunks(g, 23, 10))
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_mean_of_unequal_shares_is_that_of_the_batch(size: int) -> None:
    values = torch.arange(7.0).square()
    means = [
        local_batch_mean(group, values[rank_slice(group, 7)], 7)
        for group in (Group(rank, size) for rank in range(size))
    ]
    assert float(sum(means)) / size == pytest.approx(float(values.mean()))


def test_a_batch_has_an_image_for_each_process() -> None:
    check_batch(Group(size=2), 2)
    with pytest.raises(UsageError, match="a batch of 1 cannot be shared by 2") as caught:
        check_batch(Group(size=2), 1)
    assert "--batch-size" in caught.value.hint


def test_sums_go_from_first_to_last() -> None:
    big = torch.tensor([1.0, 2**-53, 2**-53, -1.0], dtype=torch.float64)
    assert float(all_reduce_sum(SINGLE_PROCESS, big)) == 0.0
    assert math.copysign(1, float(all_reduce_sum(SINGLE_PROCESS, torch.tensor([-0.0])))) == 1
