"""Differentiable gaps between cells, and the cell weights and pushes that drive them down.

Surrogates: approximate, smooth, for training and scoring. Audits never use them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fairsparse.fairness.cells import Cells

FairLoss = Literal["both", "var", "rng"]
DeviationForm = Literal["absolute", "squared", "hinge"]
PushForm = Literal["logistic", "linear", "hinge"]
TAU = 0.05
# Weights at most ten times apart: a batch is then worth a third of its examples at least, by
# Kantorovich's (sum w)^2 / (n sum w^2) >= 4 r / (1 + r)^2 for weights of ratio r.
_LEAST, _MOST = 0.3, 3.0


def gap_loss(means: Tensor, families: Tensor, kind: FairLoss = "both") -> Tensor:
    """How unequal soft statistics are: a scalar, 0 at equality, averaged over families.

    Of each cell (K,) there are the mean soft statistic, NaN where it is left out, and the family
    within which it is compared. `kind` is the variance (soft CWV); the smooth range (soft MCD),
    ``tau log sum exp(s/tau) + tau log sum exp(-s/tau) - 2 tau log K`` with tau 0.05; or both, each
    divided by its own value so that they enter with equal relative weight.
    """
    return torch.stack([_one(s, kind) for s in _by_family(means, families)]).mean()


def spread_loss(means: Tensor, families: Tensor) -> Tensor:
    """Twice the standard deviation of the soft statistics, averaged over families."""
    parts = [2 * (s.var(correction=0) + 1e-12).sqrt() for s in _by_family(means, families)]
    return torch.stack(parts).mean()


def deviation_loss(
    means: Tensor, families: Tensor, form: DeviationForm = "absolute", tau: float = 0.0
) -> Tensor:
    """Twice the mean absolute deviation of the soft statistics: for two cells, their gap.

    Means and families are those of `gap_loss`. The `form` is of each family's deviation: itself,
    its square, or what it exceeds `tau` by; the mean over families is taken afterwards.
    """
    gaps = torch.stack([2 * (s - s.mean()).abs().mean() for s in _by_family(means, families)])
    if form == "squared":
        gaps = gaps.square()
    elif form == "hinge":
        gaps = (gaps - tau).clamp_min(0)
    return gaps.mean()


def _by_family(means: Tensor, families: Tensor) -> list[Tensor]:
    seen = ~means.isnan()
    return [means[(families == f) & seen] for f in families[seen].unique()]


def _one(s: Tensor, kind: FairLoss) -> Tensor:
    variance = s.var(correction=0)
    # centred, the two means are at least 1 and near equality no digits cancel: an error of either
    # sign in the spread would be the sign of the whole loss when it is divided by itself
    x = (s - s.mean()) / TAU
    spread = TAU * (x.expm1().mean().log1p() + (-x).expm1().mean().log1p())
    if kind == "var":
        return variance
    if kind == "rng":
        return spread
    return 0.5 * variance / (variance.detach() + 1e-8) + 0.5 * spread / (spread.detach() + 1e-8)


def streaming_weights(
    loss: Callable[[Tensor, Tensor], Tensor], means: Tensor, counts: Tensor, families: Tensor
) -> Tensor:
    """Weight of each cell's examples under which a sum over batches has the gap's gradient.

    For ``L(s_1 .. s_K)`` with ``s_k`` the mean of ``p_i`` over cell k, the gradient of ``L`` is
    that of ``sum_i w_k(i) p_i`` with ``w_k = (dL/ds_k) / n_k`` held constant. Batches need not
    contain every cell, and one pass serves any number of cells. The weights (K,) are 0 for cells
    without examples; `loss` is ``(means, families) -> scalar``, such as `gap_loss`.
    """
    leaf = means.detach().clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(leaf, families), leaf)
    return torch.where(counts > 0, slope / counts.clamp_min(1), torch.zeros_like(slope))


def weighted_sum(weights: Tensor, cells: Cells, logits: Tensor, y: Tensor, group: Tensor) -> Tensor:
    """``sum_i w_k(i) p_i`` over a batch; examples outside every cell count nothing."""
    index = cells.index(y, group)
    inside = index >= 0
    return (weights[index.clamp_min(0)] * cells.soft(logits, y) * inside).sum()


def proportional_weights(
    means: Tensor, families: Tensor, strength: Tensor | float, scale: Tensor
) -> Tensor:
    """Training weight of each cell, larger where the measured statistic lags: shape (K,).

    ``clip(1 + strength * x_k max(1, |x_k|)^0.5, 0.3, 3)`` with the lag ``x_k = (mean e - e_k) /
    scale`` within each family, divided by the family's mean: set by the present lag, not by its
    sum over time. A cell further than one scale from the others, which is what sets the range,
    counts more than in proportion. The scale is held constant, so the pressure fades as the gap
    closes and training settles instead of driving all cells to one accuracy at any price.

    The running statistics (K,) are NaN for a cell without a measurement, which weighs 1. At a
    strength, (K,) or (), of 1, a cell one scale below its family's mean weighs twice as much; the
    scale (K,) is the spread that counts as large, such as `family_scale` of the dense network.
    """
    weights = torch.ones_like(means)
    for f in families.unique():
        member = (families == f) & ~means.isnan()
        e = means[member]
        if len(e) > 1:
            lag = (e.mean() - e) / scale[member]
            pull = torch.as_tensor(strength).expand_as(means)[member]
            w = (1 + pull * lag * lag.abs().clamp_min(1).sqrt()).clamp(_LEAST, _MOST)
            weights[member] = w / w.mean()
    return weights


def family_scale(means: Tensor, counts: Tensor, families: Tensor, least: float = 0.02) -> Tensor:
    """Standard deviation of each cell's family beyond sampling noise, at least `least`: (K,).

    The variance that ``p (1 - p) / n`` alone would give is taken off; the floor keeps the noise of
    a family that is already even from being amplified.
    """
    noise = sampling_variance(means, counts)
    scale = torch.full_like(means, least)
    for f in families.unique():
        member = families == f
        k = int(member.sum())
        beyond = means[member].var(correction=0) - noise[member].mean() * (k - 1) / k
        scale[member] = beyond.clamp_min(least**2).sqrt()
    return scale


def sampling_variance(means: Tensor, counts: Tensor) -> Tensor:
    """``p (1 - p) / n`` of each cell's share of right answers, (K,).

    p is Laplace's ``(right + 1) / (n + 2)``: a single right answer does not make a cell certain.
    """
    p = (means * counts + 1) / (counts + 2)
    return p * (1 - p) / counts


def directions(rates: Tensor, counts: Tensor) -> Tensor:
    """Which way each group's rate has to go: (G,), 1 up, -1 down, 0 stays.

    The distance from the mean of the groups, divided by the largest such distance: with two groups
    the lower one gets 1 and the higher one -1. All are 0 while the variance of the rates is no
    more than sampling gives; with two groups, while they differ by less than one standard error.
    Rates (G,) are of predicting class 1; NaN, for a group without examples, counts nowhere and
    stays. `counts` (G,) are the examples behind each rate.
    """
    result = torch.zeros_like(rates)
    seen = ~rates.isnan()
    if int(seen.sum()) < 2:
        return result
    away = rates[seen].mean() - rates[seen]
    noise = sampling_variance(rates[seen], counts[seen]).mean()
    if float(away.square().sum() / (len(away) - 1)) > float(noise):
        result[seen] = away / away.abs().max()
    return result


def directed_term(
    logits: Tensor, index: Tensor, push: Tensor, share: Tensor, form: PushForm = "logistic"
) -> Tensor:
    """Mean cost of the groups' logits (B, 2), each pushed its own way: a scalar [1]_.

    ``1/B sum_i |d_g| phi(sign(d_g) z_i) / P_g`` over the examples i of the groups g, with z the
    logit of class 1 against class 0. Over many batches a group's part averages to ``|d_g|`` times
    its mean cost, whatever the batches contain.

    Parameters
    ----------
    index : Tensor of int64, shape (B,)
        Group of each example; -1 where it counts in none.
    push, share : Tensor, shape (G,)
        d, such as `directions` gives, where positive pushes up; P, the group's share of all
        training examples.
    form : {"logistic", "linear", "hinge"}
        The cost phi(u): ``-log sigmoid(u)``, ``-u`` or ``max(0, 1 - u)``.

    References
    ----------
    .. [1] Tang et al., "Fair Scratch Tickets: Finding Fair Sparse Networks without Weight
       Training", CVPR 2023; there the direction is given beforehand.
    """
    z = logits[:, 1] - logits[:, 0]
    inside = (index >= 0).to(z.dtype)
    at = index.clamp_min(0)
    signed = push.sign()[at] * z
    cost = {
        "logistic": lambda: F.softplus(-signed),
        "linear": lambda: -signed,
        "hinge": lambda: (1 - signed).clamp_min(0),
    }[form]()
    # a group that no training example is in has no examples here either
    weight = (push.abs() / share.clamp_min(1e-9))[at] * inside
    return (weight * cost).sum() / len(z)
