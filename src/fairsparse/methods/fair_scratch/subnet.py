"""A network of fixed weights in which learned scores decide which of them are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fairsparse.masks.grouping import top
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.modes import call_with

Granularity = Literal["weight", "kernel", "filter"]


class _TopWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, weight: Tensor, keep: int) -> Tensor:
        ctx.save_for_backward(scores, weight)
        return weight * _mask(scores, keep)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        scores, weight = ctx.saved_tensors
        return (grads[0] * weight).mul_(scores.sign()), None, None


def top_weights(scores: Tensor, weight: Tensor, keep: int) -> Tensor:
    """`weight` times the mask of the `keep` largest ``|scores|``, straight-through [1]_.

    The scores broadcast to the weight's shape: one number for each weight, or for each unit. Equal
    scores are kept in the order of memory, so of units only the last can be kept in part. The
    gradient goes to the scores alone, as if the mask were ``|scores|`` itself: a score gets
    ``dL/dmask * sign(score)``, summed over its unit, whether it is kept or not.

    References
    ----------
    .. [1] Ramanujan et al., "What's Hidden in a Randomly Weighted Neural Network?", CVPR 2020,
       arXiv:1911.13299.
    """
    masked: Tensor = _TopWeights.apply(scores.expand_as(weight), weight, keep)
    return masked


def _mask(scores: Tensor, keep: int) -> Tensor:
    size = scores.detach().abs()
    # in the order of memory nothing is moved; for channels-last it is not that of the dimensions
    order: list[int] = sorted(range(size.dim()), key=size.stride, reverse=True)
    laid_out = size.permute(order)
    mask = top(laid_out.reshape(-1), keep).view(laid_out.shape)
    return mask.permute([order.index(d) for d in range(size.dim())])


def score_shape(shape: torch.Size, granularity: Granularity) -> tuple[int, ...]:
    """Shape of a layer's scores, which broadcasts to the weight's shape.

    A kernel is what one input channel contributes to one output: in a linear layer, one weight.

    >>> [score_shape(torch.Size((8, 4, 3, 3)), g) for g in ("weight", "kernel", "filter")]
    [(8, 4, 3, 3), (8, 4, 1, 1), (8, 1, 1, 1)]
    """
    scored = {"weight": len(shape), "kernel": 2, "filter": 1}[granularity]
    return tuple(n if i < scored else 1 for i, n in enumerate(shape))


class Subnet(nn.Module):
    """`model` with some weights replaced by ``weight * mask(scores)``; the model is not changed.

    The scores are this module's own parameters, and what it runs is `model` itself: its buffers
    are updated, and parameters that require a gradient get one.

    `keep` is the number of weights that are used of each parameter it names. One score stands for
    a weight, a kernel or a filter; the last unit of a layer is kept in part where the count is no
    multiple of the unit's size. The first scores are drawn uniformly in ``+-1 / sqrt(fan)``, with
    the fan of the scores' own shape.
    """

    def __init__(
        self,
        model: nn.Module,
        keep: Mapping[str, int],
        granularity: Granularity,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.model, self.keep = model, dict(keep)
        parameters = dict(model.named_parameters())
        self._fixed = {name: parameters[name] for name in keep}
        self.scores = nn.ParameterList()
        for weight in self._fixed.values():
            shape = score_shape(weight.shape, granularity)
            bound = torch.Size(shape[1:]).numel() ** -0.5
            drawn = torch.rand(shape, generator=generator) * (2 * bound) - bound
            self.scores.append(nn.Parameter(drawn.to(weight.device)))
        self._held: dict[str, Tensor] | None = None

    def train(self, mode: bool = True) -> Subnet:
        """Set the mode; in evaluation the mask is computed once, for all batches."""
        super().train(mode)
        with torch.no_grad():
            self._held = None if mode else self.weights()
        return self

    def weights(self) -> dict[str, Tensor]:
        """Name -> weight with the mask of the present scores applied."""
        pairs = zip(self._fixed.items(), self.scores, strict=True)
        return {name: top_weights(s, w, self.keep[name]) for (name, w), s in pairs}

    def masks(self) -> MaskSet:
        """The masks of the present scores."""
        pairs = zip(self._fixed.items(), self.scores, strict=True)
        return MaskSet({name: _mask(s.expand_as(w), self.keep[name]) for (name, w), s in pairs})

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (B, *f) to the model's outputs."""
        logits: Tensor = call_with(self.model, self._held or self.weights(), x)
        return logits
