"""Importance by the flow of ones through a network, without any data: SynFlow."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fairsparse.core import InputError, Scores
from fairsparse.masks.maskset import BATCH_NORMS, NORMS, MaskSet


def synflow(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    shape: Iterable[int],
    masks: MaskSet | None = None,
) -> Scores:
    """``w * dR/dw`` in the network of absolute weights, R its output for an input of ones.

    In a network of convolutions, linear layers, ReLU and pooling the scores of each layer that all
    paths cross sum to R (Tanaka et al. 2020, arXiv:2006.05467). Scores depend on which weights
    live, so SynFlow removes weights in many small steps.

    A copy in float64 is measured, because R grows exponentially with depth. Shifts carry no flow:
    biases count as zero, and a normalization is the positive factor it applies to each channel,
    ``|gamma| / sqrt(running variance + eps)`` for BatchNorm and ``|gamma|`` for the others.

    `shape` is that of one input, without the batch; weights that `masks` has removed count as zero.
    Where R is zero or not finite, weights cannot be ranked by it: an `InputError`.
    """
    device = next(iter(weights.values())).device
    device = torch.device("cpu") if device.type == "mps" else device  # it has no float64
    linear = _absolute(model, device)
    if masks is not None:
        masks.apply_(linear)
    parameters = dict(linear.named_parameters())
    chosen = [parameters[name] for name in weights]
    flow = linear(torch.ones(1, *shape, dtype=torch.float64, device=device)).sum()
    if not bool(flow.isfinite()) or not bool(flow > 0):
        raise InputError(
            f"synflow: the flow through the network is {float(flow.detach()):g}, which ranks no"
            " weights; every path is cut, or the network is too deep: use another criterion"
        )
    gradients = torch.autograd.grad(flow, chosen, materialize_grads=True)
    return {
        name: (g * p.detach()).to(w.device)
        for (name, w), p, g in zip(weights.items(), chosen, gradients, strict=True)
    }


def _absolute(model: nn.Module, device: torch.device) -> nn.Module:
    """A float64 copy of `model` in which everything that a path crosses is a positive factor."""
    linear = copy.deepcopy(model).to(device, torch.float64).eval()
    for name, module in list(linear.named_modules(remove_duplicate=False)):
        if isinstance(module, NORMS):
            parent, _, child = name.rpartition(".")
            setattr(linear.get_submodule(parent), child, _Factor(module))
    with torch.no_grad():
        for name, parameter in linear.named_parameters():
            parameter.requires_grad_(True)
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.abs_()
    return linear


class _Factor(nn.Module):
    """What a normalization multiplies each of its channels by."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        gamma = getattr(norm, "weight", None)
        factor = torch.ones((), dtype=torch.float64) if gamma is None else gamma.detach().abs()
        variance = getattr(norm, "running_var", None)
        if isinstance(norm, BATCH_NORMS) and variance is not None:
            factor = factor.to(variance.device) / (variance + norm.eps).sqrt()
        self.factor = factor
        self.by_channel = not isinstance(norm, nn.LayerNorm)

    def forward(self, x: Tensor) -> Tensor:
        factor = self.factor.to(x.device)
        if self.by_channel and factor.dim():
            factor = factor.view(-1, *(1,) * (x.dim() - 2))
        return x * factor
