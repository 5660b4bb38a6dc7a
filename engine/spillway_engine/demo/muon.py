"""Muon: momentum whose step is made orthogonal, for the weight matrices inside the layers.

After Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024), with its quintic
Newton-Schulz coefficients. `torch.optim.Muon` iterates in bfloat16, which many CPUs only emulate; this one
does in float32, all matrices of one shape together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


def orthogonalised(matrix: torch.Tensor, num_iterations: int = 5) -> torch.Tensor:
    """The nearest orthogonal matrices of shape [batch, rows, columns], roughly: singular values in 0.7 to 1.2."""
    transposed = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if transposed else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return torch.as_tensor(x.mT if transposed else x)


class Muon:
    """The optimizer; matrices of one shape are orthogonalised together."""

    def __init__(
        self, matrices: Iterable[torch.nn.Parameter], momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        self._groups: dict[torch.Size, list[torch.nn.Parameter]] = {}
        for matrix in matrices:
            self._groups.setdefault(matrix.shape, []).append(matrix)
        self._velocities = {shape: torch.zeros(len(group), *shape) for shape, group in self._groups.items()}
        self._momentum = momentum
        self._weight_decay = weight_decay

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One Nesterov step.

        Every singular value moves by about `learning_rate` times sqrt(rows / columns), at least 1.
        """
        for shape, group in self._groups.items():
            gradient = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            velocity = self._velocities[shape]
            velocity.lerp_(gradient, 1.0 - self._momentum)
            direction = orthogonalised(gradient.lerp(velocity, self._momentum))
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, step in zip(group, direction, strict=True):
                matrix.mul_(1.0 - learning_rate * self._weight_decay).sub_(step, alpha=learning_rate * scale)
