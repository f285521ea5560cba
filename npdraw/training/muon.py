"""Muon: momentum with an orthogonalised update of each matrix (Jordan et al. 2024).

The same algorithm as `torch.optim.Muon(..., nesterov=True, adjust_lr_fn="match_rms_adamw")`, which
accepts matrices only. Here a convolution's kernel is updated as the matrix
[out, in * height * width], and matrices of one shape are updated together.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that drives singular values to 1 (Jordan et al. 2024)."""

WIDE = 4
"""Matrices with more columns per row than this are orthogonalised through their products with
themselves: kernels of 3 x 3 take a quarter of the time (LOG.md)."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    Updates are scaled by `0.2 * sqrt(max(rows, columns))`, so that their root mean square is that
    of AdamW's and its learning rates carry over (Liu et al. 2025, section 2.2).
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
        """Take parameter groups as any optimiser does; every parameter has two axes or more.

        Updates are orthogonalised in `dtype`; bf16 is accurate enough.
        """
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(groups, defaults)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
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
        updates = updates * (group["lr"] * scale)  # the learning rate may be a tensor
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(update.view(parameter.shape))


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return the nearest orthogonal matrix, roughly, of each matrix [B, R, C], in its own type.

    If the singular value decomposition of a matrix is `U S V^T`, this is about `U V^T`: the
    singular values of the result are between 0.7 and 1.2.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    wide = x.shape[2] > WIDE * x.shape[1]
    x = _iterate_gram(x.float(), iterations).to(x.dtype) if wide else _iterate(x, iterations)
    return torch.transpose(x, 1, 2) if tall else x


def _iterate(x: Tensor, iterations: int) -> Tensor:
    """Apply the quintic iteration to matrices [B, R, C] of norm 1 at most."""
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _iterate_gram(x: Tensor, iterations: int) -> Tensor:
    """Compute `_iterate` on the small matrices `x x^T` [B, R, R], for R much less than C.

    Each iterate is a polynomial of `x x^T` times x, so that x itself is needed twice only (Gram
    Newton-Schulz, Dao-AILab 2026). In fp32, since half-precision products would give `x x^T`
    negative eigenvalues, which grow.
    """
    a, b, c = COEFFICIENTS
    with torch.autocast(x.device.type, enabled=False):
        gram = x @ x.mT
        whole: Tensor | None = None
        for last in [False] * (iterations - 1) + [True]:
            factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            whole = factor if whole is None else whole @ factor
            if not last:
                gram = factor @ gram @ factor
        assert whole is not None  # there is at least one iteration
        return whole @ x
