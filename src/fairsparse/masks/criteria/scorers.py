"""Importance of weights: (weights, or the model and batches) -> scores, higher is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fairsparse.core import Batch, LossFn, Scores
from fairsparse.masks.modes import evaluating

_TINY = 1e-20


def magnitude(weights: Mapping[str, Tensor]) -> Scores:
    """Absolute value of each weight."""
    return {name: w.detach().abs() for name, w in weights.items()}


def random(weights: Mapping[str, Tensor], generator: torch.Generator) -> Scores:
    """Uniform noise: the control that tells what any score is worth."""
    return {
        name: torch.rand(w.shape, generator=generator).to(w.device) for name, w in weights.items()
    }


def lamp(weights: Mapping[str, Tensor]) -> Scores:
    """Squared weight over the sum of the squares not smaller in its layer [1]_.

    References
    ----------
    .. [1] Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021,
       arXiv:2010.07611.
    """
    scores = {}
    for name, w in weights.items():
        square = w.detach().double().square().flatten()
        order = square.argsort(stable=True)  # ties by index, on every device
        ranked = square[order]
        tail = ranked.flip(0).cumsum(0).flip(0).clamp_min(_TINY)
        scores[name] = torch.empty_like(square).index_copy_(0, order, ranked / tail).view(w.shape)
    return scores


def taylor(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Iterable[tuple[Batch, float]],
    loss: LossFn,
) -> Scores:
    """Weighted sum over batches of ``(gradient * weight)^2`` [1]_.

    Parameters
    ----------
    model : nn.Module
        Used in evaluation mode; its mode and gradients are left as they were.
    weights : mapping
        Name -> parameter of `model`.
    batches : iterable of (Batch, float)
        Batches of one size (the square of a batch gradient depends on it) and their weights. With
        batches of a single cell, the weights say how much each cell counts.
    loss : LossFn

    References
    ----------
    .. [1] Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019,
       arXiv:1906.10771.
    """
    total = {name: torch.zeros_like(w, requires_grad=False) for name, w in weights.items()}
    with evaluating(model):
        for batch, share in batches:
            grads = torch.autograd.grad(loss(model(batch.x), batch), list(weights.values()))
            for (name, w), g in zip(weights.items(), grads, strict=True):
                total[name].add_((g * w.detach()).square(), alpha=share)
    return total


def tempered(weights: Mapping[str, Tensor], importance: Scores) -> Scores:
    """``|w| * importance^(1/4)``: magnitude, tempered by a squared Taylor score.

    The fourth root brings the squared score to the order of ``|w|^(1/2)``, so magnitude leads.
    """
    return {
        name: w.detach().abs() * importance[name].clamp_min(_TINY).pow(0.25)
        for name, w in weights.items()
    }
