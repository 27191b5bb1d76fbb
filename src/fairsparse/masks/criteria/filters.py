"""Importance of whole filters: one number (U,) for each layer, broadcast to the weight's shape.

A filter is an output filter of a convolution or an output neuron of a linear layer: row ``u`` of
its weight. What is measured in one layer compares with nothing in another, so these scores rank
the filters of a layer (scopes layerwise and erk), never those of the whole network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fairsparse.core import Batch, Scores
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.structure.graph import activations


def l1(weights: Mapping[str, Tensor]) -> Scores:
    """Sum of a filter's absolute weights (Li et al. 2017, arXiv:1608.08710)."""
    return {name: broadcast(w.detach().abs().flatten(1).sum(1), w) for name, w in weights.items()}


def fpgm(weights: Mapping[str, Tensor], masks: MaskSet | None = None) -> Scores:
    """Sum of a filter's Euclidean distances to the other filters of its layer.

    The filter with the smallest sum is nearest to the geometric median (He et al. 2019,
    arXiv:1811.00250), and the others stand in for it best. Filters that `masks` has removed count
    for nobody's distance.
    """
    scores = {}
    for name, w in weights.items():
        rows = w.detach().flatten(1).double()
        distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
        if masks is not None:
            distances = distances * masks[name].to(w.device).flatten(1).any(1)
        scores[name] = broadcast(distances.sum(1), w)
    return scores


def hrank(model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Batch]) -> Scores:
    """Mean rank of a filter's feature maps over the examples (Lin et al. 2020, arXiv:2002.10179).

    Feature maps are taken after the normalization and the activation that follow the layer. Those
    of a linear layer are single numbers, whose rank is 1 where they are not zero.

    The model is used in evaluation mode, and of the batches only the inputs. One that cannot be
    traced is an `InputError`.
    """

    def ranks(maps: Tensor) -> Tensor:
        width = maps.shape[-1] if maps.dim() > 2 else 1
        planes = maps.reshape(*maps.shape[:2], -1, width).double()
        return torch.linalg.matrix_rank(planes).double()

    of_examples = activations(model, weights, batches, ranks)
    return {name: broadcast(of_examples[name].mean(0), w) for name, w in weights.items()}


def entropy(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Batch], bins: int = 32
) -> Scores:
    """Entropy, in nats, of a filter's mean activation over the examples.

    The mean over positions is taken after the normalization and the activation that follow the
    layer; its range over the examples is cut into `bins` equal parts (Luo & Wu 2017,
    arXiv:1706.05791). A constant channel has entropy 0, and none has more than ``log(bins)``.

    Model and batches are as in `hrank`.
    """

    def means(maps: Tensor) -> Tensor:
        return maps.reshape(*maps.shape[:2], -1).double().mean(2)

    of_examples = activations(model, weights, batches, means)
    scores = {}
    for name, w in weights.items():
        pooled = of_examples[name]
        low, high = pooled.min(0).values, pooled.max(0).values
        place = ((pooled - low) / (high - low).clamp_min(1e-300) * bins).long().clamp_max(bins - 1)
        share = torch.stack([(place == i).double().mean(0) for i in range(bins)])
        scores[name] = broadcast(torch.special.entr(share).sum(0), w)
    return scores


def broadcast(scores: Tensor, weight: Tensor) -> Tensor:
    """Give every weight of a filter the filter's score: (U,) -> the shape of `weight`."""
    return scores.view(-1, *(1,) * (weight.dim() - 1)).expand(weight.shape)
