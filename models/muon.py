"""Muon (Jordan 2024): momentum made orthogonal for the weights of layers, AdamW for everything else.

A matrix' momentum has few large singular values; AdamW follows them. Made orthogonal, a step moves all directions
equally far.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.RNNBase)
MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's: singular values end between 0.7 and 1.2, after five iterations


class Muon(torch.optim.AdamW):
    """Muon with a step as large as AdamW's (Liu 2025, eq. 4), so that one learning rate serves all parameters.

    Args:
        network: whose linear, convolutional and recurrent layers' weights are stepped by Muon. A convolution's weight
            counts as the matrix of its first axis and all others.
        learning_rate: of all parameters.
        betas: of AdamW.
        weight_decay: of the matrices, decoupled; offsets and gains of norms have none.
    """

    def __init__(
        self, network: nn.Module, learning_rate: float, *, betas: tuple[float, float], weight_decay: float
    ) -> None:
        matrices = {weight: None for layer in network.modules() for weight in layer_weights(layer)}
        others = [parameter for parameter in network.parameters() if parameter not in matrices]
        groups: list[dict[str, Any]] = [{"params": list(matrices)}, {"params": others, "weight_decay": 0.0}]
        super().__init__(groups, learning_rate, betas=betas, weight_decay=weight_decay)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step the matrices, then AdamW with the other parameters alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        self._step_matrices(groups[0])
        self.param_groups = groups[1:]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    @torch.no_grad()
    def _step_matrices(self, group: dict[str, Any]) -> None:
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:  # AdamW looks for a step in each state that it loads
                state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(weight)}
            state["step"] += 1
            momentum = state["momentum"]
            momentum.lerp_(weight.grad, 1 - MOMENTUM)
            update = orthogonalised(weight.grad.lerp(momentum, MOMENTUM).flatten(1)).view_as(weight)
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.add_(update, alpha=-group["lr"] * _adamw_size(weight))


def layer_weights(layer: nn.Module) -> list[nn.Parameter]:
    """Return a layer's own weights that are matrices; none of a module that is no layer."""
    if not isinstance(layer, LAYERS):
        return []
    return [parameter for parameter in layer.parameters(recurse=False) if parameter.dim() > 1]


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix with the same singular vectors and singular values near 1, by Newton and Schulz' iteration.

    In single precision: half precision, which others use, saves a tenth of a training step, but on several processes
    its rounding makes another training of it, and processors without it are slow.
    """
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.T


def _adamw_size(weight: Tensor) -> float:
    """Return what gives an orthogonal matrix' entries the root mean square of AdamW's steps, about 0.2."""
    rows, columns = weight.flatten(1).shape
    return 0.2 * math.sqrt(max(rows, columns))
