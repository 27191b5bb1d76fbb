"""Importance of weights: (weights, or the model and batches) -> scores, higher is kept.

`weights` are name -> parameter of the model, which is used in evaluation mode; its modes, its
statistics and its gradients are left as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fairsparse.core import Batch, LossFn, Scores
from fairsparse.masks.modes import evaluating, probing

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
    """Squared weight over the sum of the squares not smaller in its layer (arXiv:2010.07611)."""
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
    """Weighted sum over batches of ``(gradient * weight)^2`` (Molchanov et al., arXiv:1906.10771).

    `batches` are of one size (the square of a batch gradient depends on it), each with its weight.
    With batches of a single cell, the weights say how much each cell counts.
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


def snip(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Batch], loss: LossFn
) -> Scores:
    """``|w * dL/dw|``: how much the loss feels a weight being switched off, to first order.

    ``w * dL/dw`` is the gradient with respect to a mask of ones on the weights (Lee et al. 2019,
    arXiv:1810.02340). It is summed with its sign over all examples before the absolute value is
    taken: losses of batches are means over examples, and are averaged by the batches' sizes. A
    BatchNorm that has seen no data takes the batch's statistics.
    """
    with probing(model):
        gradient = _gradient(model, weights, batches, loss)
    return {
        name: (w.detach() * g).abs() for (name, w), g in zip(weights.items(), gradient, strict=True)
    }


def grasp(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Batch],
    loss: LossFn,
    temperature: float = 200.0,
) -> Scores:
    """``w * (H g)``: how much the flow of gradients would lose with a weight, to first order.

    g and H are gradient and Hessian of the loss of ``logits / temperature`` (Wang et al. 2020,
    arXiv:2002.07376). Scores have a sign: a weight below zero holds the squared norm of g down, and
    goes first. The temperature flattens the predictions of the untrained network; the other
    parameters are those of `snip`.
    """

    def cool(logits: Tensor, batch: Batch) -> Tensor:
        return loss(logits / temperature, batch)

    parameters = list(weights.values())
    total = [torch.zeros_like(w, requires_grad=False) for w in parameters]
    # fused attention has no second derivative
    with probing(model), sdpa_kernel(SDPBackend.MATH):
        fixed = _gradient(model, weights, batches, cool)
        for batch, share in shares(batches):
            value = cool(model(batch.x), batch) * share
            here = torch.autograd.grad(value, parameters, create_graph=True)
            aligned = torch.stack([(g * f).sum() for g, f in zip(here, fixed, strict=True)]).sum()
            products = torch.autograd.grad(aligned, parameters, materialize_grads=True)
            for sum_, product in zip(total, products, strict=True):
                sum_ += product
    return {name: w.detach() * h for (name, w), h in zip(weights.items(), total, strict=True)}


def _gradient(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Batch], loss: LossFn
) -> list[Tensor]:
    """Gradient of the mean loss over the examples of all batches."""
    parameters = list(weights.values())
    total = [torch.zeros_like(w, requires_grad=False) for w in parameters]
    for batch, share in shares(batches):
        gradient = torch.autograd.grad(loss(model(batch.x), batch), parameters)
        for sum_, g in zip(total, gradient, strict=True):
            sum_.add_(g, alpha=share)
    return total


def shares(batches: Sequence[Batch]) -> list[tuple[Batch, float]]:
    """Each batch with its share of all examples."""
    n = sum(len(batch.y) for batch in batches)
    return [(batch, len(batch.y) / n) for batch in batches]
