"""Muon: momentum whose update of each matrix is made orthogonal (Jordan et al. 2024).

`torch.optim.Muon` takes matrices only; here a convolution's kernel counts as the matrix
[out, in * height * width] that it is.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that drives all singular values towards 1 (Jordan et al. 2024)."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, with decoupled weight decay.

    The update is scaled by `0.2 * sqrt(max(rows, columns))`, so that its root mean square is that
    of AdamW and learning rates carry over (Liu et al. 2025, section 2.2).
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """`groups` are parameter groups as every optimiser takes; parameters have >= 2 axes.

        Updates are made orthogonal in `dtype`; bf16 is accurate enough.
        """
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(groups, defaults)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; matrices of one shape together."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shape = (parameter.shape[0], parameter[0].numel())
                    by_shape.setdefault(shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                self._update(shape, parameters, group)

    def _update(
        self, shape: tuple[int, int], parameters: list[nn.Parameter], group: dict[str, Any]
    ) -> None:
        directions = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum, gradient = state["momentum"], parameter.grad
            assert gradient is not None
            momentum.lerp_(gradient, 1 - group["momentum"])
            directions.append(gradient.lerp(momentum, group["momentum"]).reshape(shape))
        scale = 0.2 * max(shape) ** 0.5
        updates = orthogonalize(torch.stack(directions).to(self.dtype)).float()
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(update.view(parameter.shape), alpha=group["lr"] * scale)


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return the nearly orthogonal factor of each matrix, [B, R, C], computed in their type.

    With the singular value decomposition `U S V^T` this is about `U V^T`: singular values end
    between 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return torch.transpose(x, 1, 2) if tall else x
