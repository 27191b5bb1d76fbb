"""The highest of many numbers: single weights, whole filters, or n of each m inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairsparse.core import InputError


class Pattern(NamedTuple):
    """Exactly `n` of each `m` consecutive inputs are kept."""

    n: int
    m: int


def as_selected(grouping: str) -> str:
    """The grouping by which `select` counts: channels are filters whose scores are shared."""
    return "filter" if grouping == "channel" else grouping


def parse(grouping: str) -> Pattern | None:
    """The pattern that a grouping such as ``2:4`` names; None for ``weight`` and ``filter``.

    >>> parse("2:4"), parse("filter")
    (Pattern(n=2, m=4), None)
    """
    if grouping in ("weight", "filter"):
        return None
    spelled = re.fullmatch(r"(\d+):(\d+)", grouping)
    pattern = Pattern(*map(int, spelled.groups())) if spelled else Pattern(0, 0)
    if not 1 <= pattern.n < pattern.m:
        raise InputError(
            f"grouping is '{grouping}'; known: weight, filter, and n:m with 1 <= n < m, such as"
            " 2:4, which keeps 2 of each 4 consecutive inputs"
        )
    return pattern


def top(values: Tensor, keep: int) -> Tensor:
    """Bool mask of the `keep` <= n largest of `values` (n,), without NaN; ties in index order.

    >>> top(torch.tensor([0.5, 2.0, 0.5, 1.0]), 3).tolist()
    [True, True, False, True]
    """
    n = values.numel()
    if keep <= 0:
        return torch.zeros(n, dtype=torch.bool, device=values.device)
    find = cpu_threshold if values.device.type == "cpu" else device_threshold
    threshold = find(values, keep)
    kept = values >= threshold
    surplus = int(kept.sum()) - keep
    if surplus:
        ties = (values == threshold).nonzero()[:, 0]
        kept[ties[len(ties) - surplus :]] = False
    return kept


def cpu_threshold(values: Tensor, keep: int) -> float:
    """The `keep`-th largest of `values` (n,) in CPU memory."""
    array = values.detach().numpy()
    at = len(array) - keep
    # with vector instructions: a tenth of the time of torch.kthvalue
    return float(np.partition(array, at)[at])


def device_threshold(values: Tensor, keep: int) -> Tensor:
    """The `keep`-th largest of `values` (n,), a scalar, computed where they are."""
    n = values.numel()
    # of the smaller side, and no k-th value, which occupies one block of a GPU alone
    if 2 * keep <= n:
        return values.topk(keep, sorted=False).values.min()
    return values.topk(n - keep + 1, largest=False, sorted=False).values.max()


def in_filters(values: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Replace scores by the places of their filters, so that one whole filter follows the other.

    Filters stand in the order of the mean score of their living weights, ties by name and index.
    Taking the first weights of this order keeps whole filters, and completes the count inside the
    next one; which of its weights those are, `best_within` decides. `values` are name -> (n,), by
    sorted name; -inf at dead weights, where it stays.
    """
    rows = {name: value.view(shapes[name][0], -1) for name, value in values.items()}
    alive = {name: row > -math.inf for name, row in rows.items()}
    means = []
    for name, row in rows.items():
        total = torch.where(alive[name], row, 0.0).sum(1)
        mean = total / alive[name].sum(1).clamp_min(1)
        means.append(torch.where(alive[name].any(1), mean, -math.inf))
    places = _places(torch.cat(means)).split([len(row) for row in rows.values()])
    return {
        name: torch.where(alive[name], -place[:, None].double(), -math.inf).flatten()
        for name, place in zip(rows, places, strict=True)
    }


def best_within(
    kept: Mapping[str, Tensor], values: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Of a filter that is `kept` in part, (n,) by name, keep its highest-scored weights instead."""
    result = {}
    for name, mask in kept.items():
        rows, scores = (t.view(shapes[name][0], -1) for t in (mask, values[name]))
        count, alive = rows.sum(1), (scores > -math.inf).sum(1)
        rows = rows.clone()
        for i in ((count > 0) & (count < alive)).nonzero()[:, 0].tolist():
            rows[i] = top(scores[i], int(count[i]))
        result[name] = rows.flatten()
    return result


def in_pattern(
    values: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], pattern: Pattern
) -> dict[str, Tensor]:
    """Keep the `n` highest of each `m` consecutive inputs, ties in their order.

    Inputs are the features of a linear layer or the channels of a convolution, at each position
    of its kernel. A layer whose number of inputs is not a multiple of `m` has no such blocks and
    is kept as it is.

    `values` are as in `in_filters`, the result is name -> bool (n,). A block with fewer than `n`
    living weights is an `InputError`.
    """
    kept = {}
    for name, value in values.items():
        if not divides(shapes[name], pattern):
            kept[name] = value > -math.inf
            continue
        inputs_last = value.view(shapes[name]).movedim(1, -1)
        blocks = inputs_last.reshape(-1, pattern.m)
        if bool(((blocks > -math.inf).sum(1) < pattern.n).any()):
            raise InputError(
                f"layer {name} has blocks of {pattern.m} inputs with fewer than {pattern.n} weights"
                f" alive; pruned weights do not return: prune to {pattern.n}:{pattern.m} from"
                " masks that have them"
            )
        mask = (_places(blocks) < pattern.n).view(inputs_last.shape)
        kept[name] = mask.movedim(-1, 1).flatten()
    return kept


def divides(shape: torch.Size, pattern: Pattern) -> bool:
    """Whether a layer's inputs divide into blocks of `m`."""
    return len(shape) > 1 and shape[1] % pattern.m == 0


def _places(values: Tensor) -> Tensor:
    """Place of each value along the last dimension, 0 for the highest, ties in index order."""
    return values.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
