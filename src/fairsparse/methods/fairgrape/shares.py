"""Keep weights so that each party's share of a layer's importance stays what it was: FairGRAPE.

Parties are whoever importance was measured for; nothing here knows what they stand for. The greedy
rule is published (Lin et al., arXiv:2207.10888); what happens to parties without importance is this
implementation's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairsparse.masks.maskset import MaskSet

Order = Literal["importance", "share", "product"]

_BLOCKS = 1000
_WINDOW = 256

_Indices = npt.NDArray[np.int64]


def balanced(
    importance: Mapping[str, Tensor],
    keep: Mapping[str, int],
    within: MaskSet,
    order: Order = "importance",
    block: int | None = None,
) -> MaskSet:
    """In each layer keep as many weights as asked, by `pick` among those alive in `within`.

    A layer's importance is (K, *shape), for each of K parties; `keep` is at most what is alive. By
    default a block is a thousandth of the layer.
    """
    masks = {}
    for name, mask in within.items():
        alive = mask.flatten().cpu()
        values = importance[name].detach().flatten(1).cpu()[:, alive]
        kept = torch.zeros_like(alive)
        kept[alive] = pick(values, keep[name], order, block or max(1, len(alive) // _BLOCKS))
        masks[name] = kept.view(mask.shape).to(mask.device)
    return MaskSet(masks)


def pick(importance: Tensor, keep: int, order: Order = "importance", block: int = 1) -> Tensor:
    """Bool mask of the `keep` weights picked, in turn, for the party that falls short the most.

    A party's target is its share of the importance of all weights. Again and again, the party
    whose share of what is kept lies furthest below its target (the first of equal ones) picks its
    best weights that are not kept yet; each counts for all parties. A party picks no weight that
    is worth nothing to it; when nothing is left that is worth anything to any party, the rest is
    kept in index order. With one party these are its top weights.

    Importance is (K, n), finite and not negative. By `order`, a party's best weights have the most
    importance to the party; the largest share of the importance to all; or the largest product of
    both; of equal ones the first in index order. A party picks `block` weights before the shares
    are taken again.

    >>> pick(torch.tensor([[6.0, 4.0, 0.0, 0.0], [0.0, 0.0, 9.0, 1.0]]), 2).tolist()
    [True, False, True, False]
    """
    rows = np.ascontiguousarray(importance.T.numpy())  # (n, K): a weight's numbers side by side
    queues = [_queue(importance, party, order) for party in range(len(importance))]
    target = rows.sum(0, dtype=np.float64)
    target /= target.sum() or 1.0
    # a party with nothing to pick from is never the one that falls short the most
    closed = np.array([np.inf if not len(queue) else 0.0 for queue in queues])
    kept, total = np.zeros(len(rows), dtype=bool), np.zeros(len(queues))
    at, left = [0] * len(queues), keep
    while left and not np.isinf(closed).all():
        party = int(np.argmin(total / (total.sum() or 1.0) - target + closed))
        chosen, at[party] = _next(queues[party], at[party], kept, min(block, left))
        kept[chosen] = True
        total += rows[chosen].sum(0, dtype=np.float64)
        left -= len(chosen)
        if at[party] >= len(queues[party]):
            closed[party] = np.inf
    kept[np.flatnonzero(~kept)[:left]] = True
    return torch.from_numpy(kept)


def shift(importance: Tensor, before: Tensor, after: Tensor) -> Tensor | None:
    """How far each party's share of a layer's importance moved, (K,); None where it had none.

    The importance is (K, *shape), the masks before and after are of the layer's shape.
    """
    values = importance.flatten(1).double()
    was, now = (values[:, mask.flatten()].sum(1) for mask in (before, after))
    if not float(was.sum()) or not float(now.sum()):
        return None
    return now / now.sum() - was / was.sum()


def _queue(importance: Tensor, party: int, order: Order) -> _Indices:
    """Weights worth something to a party, best first."""
    own = importance[party]
    worth = own.nonzero()[:, 0]
    value = own[worth]
    if order != "importance":
        share = value.double() / importance[:, worth].sum(0, dtype=torch.float64)
        value = share if order == "share" else value * share
    queue: _Indices = worth[value.sort(descending=True, stable=True).indices].numpy()
    return queue


def _next(queue: _Indices, at: int, kept: npt.NDArray[np.bool_], want: int) -> tuple[_Indices, int]:
    """Up to `want` weights of `queue`, from place `at`, that are not kept; and the next place."""
    parts = []
    while want and at < len(queue):
        window = queue[at : at + max(want, _WINDOW)]
        free = np.flatnonzero(~kept[window])[:want]
        at += int(free[-1]) + 1 if len(free) == want else len(window)
        parts.append(window[free])
        want -= len(free)
    return np.concatenate(parts) if parts else queue[:0], at
