"""Where two goals pull a network apart, per unit and per weight.

A unit is an output filter of a convolution or an output neuron of a linear layer: row ``u`` of its
weight tensor; in the projections of attention, the rows of one head. The two goals arrive as loss
functions; nothing here knows what they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from fairsparse.core import Batch, LossFn, Scores
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.modes import evaluating
from fairsparse.masks.structure.attention import head_rows
from fairsparse.methods.ballot.settings import Norm, Rule, Selection

_FEWEST_ALIVE = 5
_FEWEST_UNITS = 4


@dataclass(frozen=True)
class Layer:
    """Gradients of the two goals in one layer with U units."""

    cosines: Tensor
    """Cosine of the two gradients over each unit's living weights, per batch: (B, U)."""
    goal: Tensor
    """Summed gradient, of the weight's shape and zero at dead weights; as is `other`."""
    other: Tensor
    scorable: Tensor
    """Units with enough living weights for a direction to mean anything, bool (U,)."""


def measure(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Iterable[Batch],
    goal: LossFn,
    other: LossFn,
    masks: MaskSet | None = None,
) -> dict[str, Layer]:
    """Gradients of two losses over the same batches, one forward and two backward passes each.

    The model is used in evaluation mode, so that examples do not meet in batch statistics; its
    mode and gradients are left as they were.
    """
    parameters = list(weights.values())
    factors = {name: torch.ones_like(w, requires_grad=False) for name, w in weights.items()}
    if masks is not None:
        factors = {name: masks[name].to(w.device, w.dtype) for name, w in weights.items()}
    goals = {name: torch.zeros_like(w, requires_grad=False) for name, w in weights.items()}
    others = {name: torch.zeros_like(goal) for name, goal in goals.items()}
    cosines: dict[str, list[Tensor]] = {name: [] for name in weights}
    rows = head_rows(model)
    with evaluating(model):
        for batch in batches:
            logits = model(batch.x)
            first = torch.autograd.grad(goal(logits, batch), parameters, retain_graph=True)
            second = torch.autograd.grad(other(logits, batch), parameters)
            for (name, factor), one, two in zip(factors.items(), first, second, strict=True):
                a, f = one * factor, two * factor
                goals[name] += a
                others[name] += f
                cosines[name].append(_cosine(a, f, rows.get(name, 1)))
    alive = {name: factor.flatten(1).sum(1) for name, factor in factors.items()}
    return {
        n: Layer(torch.stack(cosines[n]), goals[n], others[n], alive[n] >= _FEWEST_ALIVE)
        for n in weights
    }


def unit_conflict(layer: Layer, norm: Norm = "rank", exact: bool = False) -> Tensor:
    """Conflict of each unit in [0, 1], shape (U,).

    By `norm` it is the rank of the negative mean cosine among the layer's units, 0.5 on average;
    ``clip``, that number less a standard error, clipped to [0, 1]; or ``sym``, ``(1 - mean cosine)
    / 2``. If `exact`, the cosine is that of the summed gradients, not the mean over batches.
    """
    neutral = 0.0 if norm == "clip" else 0.5
    mean = _cosine(layer.goal, layer.other) if exact else layer.cosines.mean(0)
    match norm:
        case "rank":
            conflict = _rank(-mean, layer.scorable)
        case "clip":
            error = torch.zeros_like(mean)
            if not exact and len(layer.cosines) > 1:
                error = layer.cosines.std(0) / len(layer.cosines) ** 0.5
            conflict = (-mean - error).clamp(0, 1)
        case "sym":
            conflict = (1 - mean) / 2
        case _:
            raise ValueError(f"unknown norm '{norm}'; known: rank, clip, sym")
    return torch.where(layer.scorable, conflict, neutral)


def weight_conflict(layer: Layer) -> Tensor:
    """Conflict of each weight in [0, 1]: opposite signs, geometric mean of relative sizes."""

    def size(gradient: Tensor) -> Tensor:
        rms = gradient.square().mean().sqrt().clamp_min(1e-30)
        return (gradient.abs() / rms).clamp_max(3) / 3

    opposed = layer.goal.sign() * layer.other.sign() < 0
    return torch.where(opposed, (size(layer.goal) * size(layer.other)).sqrt(), 0.0)


def removal_effect(layer: Layer, weight: Tensor) -> Tensor:
    """First-order fall of the other loss when a unit shrinks to zero, shape (U,)."""
    return (layer.other * weight.detach()).flatten(1).sum(1)


def combine(
    points: list[dict[str, Layer]], weights: Mapping[str, Tensor], how: Selection
) -> Scores:
    """Conflict of each weight in [0, 1], averaged over measurement points.

    With `alpha` below 1 the weight's own conflict has the rest of the share. A gate counts a
    conflict only where removing the unit lowers the other loss, to first order. The units that
    `protect` exempts, in each layer, are the most important to the first goal. The points are what
    `measure` returned in the course of training, the weights those at its end.
    """
    result = {}
    for name, w in weights.items():
        layers = [point[name] for point in points]
        unit = torch.stack([unit_conflict(x, how.norm, how.exact) for x in layers]).mean(0)
        counted = torch.ones_like(unit)
        if how.gate != "off":
            effects = torch.stack([removal_effect(x, w) for x in layers])
            effect = effects.mean(0)
            counted = torch.sigmoid(effect / effect.abs().median().clamp_min(1e-30))
            if how.gate == "hard":
                counted = ((effects > 0).float().mean(0) > 0.5).float()
        if how.protect > 0:
            accuracy = sum((x.goal * w.detach()).square().flatten(1).sum(1) for x in layers)
            assert isinstance(accuracy, Tensor)
            counted[accuracy.topk(max(1, round(how.protect * len(unit)))).indices] = 0.0
        shape = (-1,) + (1,) * (w.dim() - 1)
        kappa = (how.alpha * unit).view(shape).expand(w.shape)
        if how.alpha < 1:
            own = torch.stack([weight_conflict(x) for x in layers]).mean(0)
            kappa = kappa + (1 - how.alpha) * own
        result[name] = kappa * counted.view(shape)
    return result


def penalized(importance: Scores, kappa: Scores, weight: float, rule: Rule = "exp") -> Scores:
    """Keep scores: importance, lowered by conflict.

    ``exp``: ``importance * exp(-weight * kappa)``, so a weight in full conflict competes as if it
    were ``e^-weight`` times as important. ``rank``: the rank of the importance among all weights,
    scaled to [0, 1], less ``weight * kappa``; for importances with heavy tails.
    """
    if rule == "exp":
        return {name: score * (-weight * kappa[name]).exp() for name, score in importance.items()}
    names = sorted(importance)
    values = torch.cat([importance[name].flatten() for name in names])
    # equal importances share a rank, so that they still tie where conflict is equal
    distinct, rank = values.unique(return_inverse=True)
    scaled = rank.double() / max(1, len(distinct) - 1)
    parts = scaled.split([importance[name].numel() for name in names])
    return {
        name: part.view(importance[name].shape) - weight * kappa[name]
        for name, part in zip(names, parts, strict=True)
    }


def opposed_share(points: list[dict[str, Layer]]) -> float:
    """Share of scorable units whose mean cosine is negative: how much real conflict there is."""
    means = [layer.cosines.mean(0)[layer.scorable] for point in points for layer in point.values()]
    cosines = torch.cat(means) if means else torch.empty(0)
    return float((cosines < 0).float().mean()) if cosines.numel() else 0.0


def _cosine(a: Tensor, f: Tensor, rows: int = 1) -> Tensor:
    """Of each row, or of the unit of so many `rows` that it belongs to."""
    a, f = (t.double().reshape(len(t) // rows, -1) for t in (a, f))
    norm = a.norm(dim=1) * f.norm(dim=1)
    cosine = (a * f).sum(1) / norm.clamp_min(1e-300)
    return torch.where(norm > 0, cosine, 0.0).repeat_interleave(rows)


def _rank(values: Tensor, scorable: Tensor) -> Tensor:
    """Mean rank of each value among the scorable ones, scaled to [0, 1]; ties share their mean."""
    result = torch.full_like(values, 0.5)
    chosen = values[scorable]
    if len(chosen) >= _FEWEST_UNITS:
        # cosines that agree to rounding are ties: their order would be noise
        ranks = rankdata(chosen.mul(1e9).round().cpu()) - 1
        result[scorable] = torch.from_numpy(ranks / (len(chosen) - 1)).to(values)
    return result
