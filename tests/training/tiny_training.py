"""A training so small that a step takes a millisecond, for the tests of its mechanics."""

import torch
from torch import Tensor, nn

from npdraw.training.state import State, new_state, optimizer_step


class Body(nn.Module):
    """A kernel between layers, a head in channels-last order, an embedding and biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, width, 3, padding=1)
        self.head = nn.Conv2d(width, 4, 3, padding=1)
        self.embedding = nn.Parameter(torch.ones(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x)).mean((2, 3)) * self.embedding.sum(0)  # type: ignore[no-any-return]


class Small(nn.Module):
    """A body and a matrix, each with a learning rate of its own."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.body = Body(width)
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.body(x))  # type: ignore[no-any-return]


def training(width: int = 3, *, decay: float = 0.1) -> State:
    torch.manual_seed(1)
    model = Small(width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return new_state(model, [(model.body, 0.01), (model.linear, 0.02)], decay)


def loss_of(state: State, step: int) -> Tensor:
    images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(step))
    return state.model(images).square().sum()  # type: ignore[no-any-return]


def steps(state: State, count: int, *, decay: float = 0.9) -> None:
    for _ in range(count):
        optimizer_step(state, loss_of(state, state.step), 0.5, decay)


def copied(state: State) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
