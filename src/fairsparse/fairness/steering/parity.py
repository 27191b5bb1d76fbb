"""Terms that move the rates of predicting class 1 of groups towards each other.

Surrogates for training; audits never use them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fairsparse.fairness.steering.penalties import sampling_variance

Form = Literal["logistic", "linear", "hinge"]


def directions(rates: Tensor, counts: Tensor) -> Tensor:
    """Which way each group's rate has to go: (G,), 1 up, -1 down, 0 stays.

    The distance from the mean of the groups, divided by the largest such distance: with two groups
    the lower one gets 1 and the higher one -1. All are 0 while the variance of the rates is no
    more than sampling gives; with two groups, while they differ by less than one standard error.

    Parameters
    ----------
    rates : Tensor, shape (G,)
        Of predicting class 1; NaN, for a group without examples, counts nowhere and stays.
    counts : Tensor, shape (G,)
        Examples behind each rate.
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
    logits: Tensor, index: Tensor, push: Tensor, share: Tensor, form: Form = "logistic"
) -> Tensor:
    """Mean cost of the groups' logits, each pushed its own way: a scalar [1]_.

    ``1/B sum_i |d_g| phi(sign(d_g) z_i) / P_g`` over the examples i of the groups g, with z the
    logit of class 1 against class 0. Over many batches a group's part averages to ``|d_g|`` times
    its mean cost, whatever the batches contain.

    Parameters
    ----------
    logits : Tensor, shape (B, 2)
    index : Tensor of int64, shape (B,)
        Group of each example; -1 where it counts in none.
    push : Tensor, shape (G,)
        d, such as `directions` gives; positive pushes up.
    share : Tensor, shape (G,)
        P, the share of all training examples that are in the group.
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
