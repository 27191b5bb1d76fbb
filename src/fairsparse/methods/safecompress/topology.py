"""Which weights live, changed while training: some die, as many others take their places."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from fairsparse.core import Batch, LossFn, Scores
from fairsparse.masks.criteria import scorers
from fairsparse.masks.grouping import top
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.modes import call_with, evaluating

Growth = Literal["random", "gradient-largest", "gradient-smallest"]


def die(masks: MaskSet, scores: Scores, rate: float) -> MaskSet:
    """Let the lowest-scored living weights of each layer die; of equal ones the last in order.

    `rate` in [0, 1] is the share of each layer's living weights that die, rounded up; at most as
    many as are dead, so that others can take all their places.
    """
    living = {}
    for name, mask in masks.items():
        values = scores[name].detach().flatten().double()
        alive = mask.flatten().to(values.device)
        n, kept = alive.numel(), int(alive.sum())
        # a product such as 0.1 * 30 lies above its true value and must not be rounded up for it
        dying = min(math.ceil(rate * kept - 1e-9), n - kept)
        values = values.masked_fill(~alive, -math.inf)
        living[name] = top(values, kept - dying).view(mask.shape)
    return MaskSet(living)


def grow(masks: MaskSet, living: MaskSet, scores: Scores) -> MaskSet:
    """In each layer, let the highest-scored dead weights take the places of those that died.

    `masks` and `living` are before and after the deaths; the result has exactly as many weights in
    each layer as `masks`, and none of those that died. Of equal scores the first in order grow.
    """
    grown = {}
    for name, mask in masks.items():
        values = scores[name].detach().flatten().double()
        places = int(mask.sum()) - int(living[name].sum())
        values = values.masked_fill(mask.flatten().to(values.device), -math.inf)
        grown[name] = living[name] | top(values, places).view(mask.shape)
    return MaskSet(grown)


def growth_scores(rule: Growth, slopes: Scores, generator: torch.Generator) -> Scores:
    """Score by which weights grow; one without a gradient comes last, whatever the rule.

    Such a weight, as in a unit that is cut off, would stay 0 for good. `slopes` are gradients of
    the loss, of either sign; `generator` draws for ``random``.
    """
    if rule == "gradient-largest":
        return {name: slope.abs() for name, slope in slopes.items()}
    if rule == "gradient-smallest":
        return {
            name: torch.where(slope != 0, -slope.abs(), torch.finfo(slope.dtype).min)
            for name, slope in slopes.items()
        }
    noise = scorers.random(slopes, generator)
    return {name: noise[name] - (slope == 0).float() for name, slope in slopes.items()}


def gradients(
    model: nn.Module, weights: Mapping[str, Tensor], masks: MaskSet, batch: Batch, loss: LossFn
) -> dict[str, Tensor]:
    """Gradient of the loss for every weight, dead ones too, where only `masks` are alive.

    The model is used in evaluation mode, so that its BatchNorm statistics stay, and left as it was.
    """
    alive = {n: (w.detach() * masks[n].to(w.device)).requires_grad_() for n, w in weights.items()}
    with evaluating(model):
        value = loss(call_with(model, alive, batch.x), batch)
        return dict(zip(alive, torch.autograd.grad(value, list(alive.values())), strict=True))
