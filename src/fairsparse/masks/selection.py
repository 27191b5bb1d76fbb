"""From scores and a sparsity to masks: the only place where weights are counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from fairsparse.core import InputError, Scores
from fairsparse.masks import grouping as groups
from fairsparse.masks.grouping import top
from fairsparse.masks.maskset import MaskSet

Scope = Literal["global", "layerwise", "erk"]
"""One ranking over all layers; the same sparsity in each layer; or layer densities in proportion to
(sum of the dimensions) / (their product), Erdos-Renyi-Kernel (Evci et al., "Rigging the Lottery",
ICML 2020, arXiv:1911.11134). The last two share out the exact total by largest remainders."""
_BISECTIONS = 100


def n_kept(sparsity: float, total: int) -> int:
    """Number of weights kept of `total` at `sparsity`: ``total - round(sparsity * total)``.

    >>> n_kept(0.9, 1000), n_kept(0.0, 7)
    (100, 7)
    """
    if not 0 <= sparsity < 1:
        raise InputError(
            f"sparsity is {sparsity}; it is the share of prunable weights set to zero, allowed in"
            " [0, 1)"
        )
    return total - round(sparsity * total)


def select(
    scores: Scores,
    sparsity: float,
    *,
    within: MaskSet | None = None,
    scope: Scope | Mapping[str, int] = "global",
    floor: float = 0.0,
    grouping: str = "weight",
) -> MaskSet:
    """Keep the highest-scored weights, exactly ``n - round(sparsity * n)`` of them.

    The count is exact with every grouping. Whole filters seldom add up to it: with ``filter`` the
    next filter in order is kept in part, one in the network with scope global and one in each
    layer otherwise. An n:m pattern has one sparsity of its own, and any other is refused.

    Parameters
    ----------
    scores : Scores
        Finite importance of every prunable weight; higher is kept. Ties are kept in the order of
        sorted parameter names and flat indices.
    sparsity : float in [0, 1)
        Of all prunable weights, dead ones included.
    within : MaskSet, optional
        Only weights alive here may be kept, so the result is nested in it.
    scope : Scope or mapping
        Which weights are ranked together; or the number of weights kept in each layer, by name.
    floor : float in [0, 1)
        Share of each layer that is kept whatever its scores (at least one weight when positive,
        whole filters with grouping ``filter``); numbers of weights by name stand as they are.
    grouping : {"weight", "filter"} or "n:m"
        Rank single weights; or whole filters (rows of a weight) by the mean score of their living
        weights; or keep the n highest of each m consecutive inputs, whatever scope and floor, and
        keep layers dense whose inputs do not divide by m.

    Raises
    ------
    InputError
        When a layer would be emptied, `within` has fewer weights than are to be kept, or the
        sparsity is not that of the pattern.
    """
    values = {name: _values(name, scores[name], grouping, within) for name in sorted(scores)}
    shapes = {name: scores[name].shape for name in values}
    keep = n_kept(sparsity, sum(value.numel() for value in values.values()))
    if keep > (alive := sum(map(_alive, values.values()))):
        raise InputError(
            f"sparsity {sparsity} keeps {keep} weights, but only {alive} are alive;"
            " raise the sparsity: pruned weights do not return"
        )
    if pattern := groups.parse(grouping):
        kept = groups.in_pattern(values, shapes, pattern)
        _check_pattern(kept, shapes, pattern, sparsity)
    elif grouping == "filter":
        places = groups.in_filters(values, shapes)
        kept = groups.best_within(
            _top(places, shapes, keep, scope, floor, sparsity, True), values, shapes
        )
    else:
        kept = _top(values, shapes, keep, scope, floor, sparsity)
    return MaskSet({name: kept[name].view(shapes[name]) for name in scores})


def _alive(value: Tensor) -> int:
    return int((value > -math.inf).sum())


def _top(
    values: dict[str, Tensor],
    shapes: Mapping[str, torch.Size],
    keep: int,
    scope: Scope | Mapping[str, int],
    floor: float,
    sparsity: float,
    whole: bool = False,
) -> dict[str, Tensor]:
    """The highest of `values`, `keep` of them and at least the floor, in `whole` filters."""
    alive = {name: _alive(value) for name, value in values.items()}
    units = {name: shapes[name][1:].numel() if whole else 1 for name in values}
    least = {name: _least(floor, values[name].numel(), alive[name], units[name]) for name in values}
    if sum(least.values()) > keep:
        raise InputError(
            f"{keep} weights are to be kept, but a floor of {floor} per layer needs"
            f" {sum(least.values())} and without it a layer would be emptied; lower the sparsity or"
            " the floor"
        )
    if scope == "global":
        kept = _global(values, keep, least)
    else:
        counts = _share_out(shapes, keep, scope, least, alive) if isinstance(scope, str) else scope
        if sum(counts[n] for n in values) != keep or any(counts[n] > alive[n] for n in values):
            raise ValueError(
                f"counts by layer {dict(counts)} do not keep {keep} weights out of {alive} alive"
            )
        kept = {name: top(values[name], counts[name]) for name in values}
    for name, mask in kept.items():
        if not bool(mask.any()):
            raise InputError(
                f"sparsity {sparsity} would empty layer {name} (0 of {mask.numel()} weights"
                " kept); lower the sparsity, or set floor above 0"
            )
    return kept


def _least(floor: float, n: int, alive: int, unit: int) -> int:
    return min(math.ceil(max(1, math.ceil(floor * n)) / unit) * unit, alive) if floor > 0 else 0


def _check_pattern(
    kept: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
    pattern: groups.Pattern,
    sparsity: float,
) -> None:
    total = sum(mask.numel() for mask in kept.values())
    keep = sum(int(mask.sum()) for mask in kept.values())
    if n_kept(sparsity, total) == keep:
        return
    whole = [name for name in kept if not groups.divides(shapes[name], pattern)]
    dense = (
        f" ({', '.join(whole)} stay: their inputs do not divide by {pattern.m})" if whole else ""
    )
    exact = 1 - keep / total
    # the shortest number that asks for this count
    allowed = next((s for d in range(17) if n_kept(s := round(exact, d), total) == keep), exact)
    raise InputError(
        f"grouping {pattern.n}:{pattern.m} removes {total - keep} of {total} weights{dense}, so its"
        f" sparsity is {allowed}; got {sparsity}: ask for {allowed}, or use grouping weight or"
        " filter"
    )


def _values(name: str, scores: Tensor, grouping: str, within: MaskSet | None) -> Tensor:
    """A flat copy of a layer's scores, -inf at its dead weights, for the marks of `_global`."""
    # means of filters need the digits; the order of single precision is itself
    exact = scores.dtype == torch.float32 and grouping != "filter"
    values = scores.detach().flatten().to(torch.float32 if exact else torch.float64, copy=True)
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"scores of {name} are not finite; a scorer returns finite numbers")
    if within is not None:
        values[~within[name].flatten().to(values.device)] = -math.inf
    return values


def _global(values: dict[str, Tensor], keep: int, least: Mapping[str, int]) -> dict[str, Tensor]:
    def highest() -> dict[str, Tensor]:
        kept = top(torch.cat(list(values.values())), keep)
        return dict(zip(values, kept.split([v.numel() for v in values.values()]), strict=True))

    kept = highest()
    if any(int(kept[name].sum()) < least[name] for name in values):
        for name, value in values.items():
            value[top(value, least[name])] = math.inf
        kept = highest()
    return kept


def _share_out(
    shapes: Mapping[str, torch.Size],
    keep: int,
    scope: Scope,
    least: Mapping[str, int],
    alive: Mapping[str, int],
) -> dict[str, int]:
    """Weights kept per layer: in the scope's proportion, between the floor and what is alive."""
    if scope not in ("layerwise", "erk"):
        raise InputError(f"unknown scope '{scope}'; known: global, layerwise, erk")
    # density ~ sum / product of the dimensions, so the count is in proportion to their sum
    wish = {n: s.numel() if scope == "layerwise" else sum(s) for n, s in shapes.items()}

    def shares(scale: float) -> dict[str, float]:
        return {n: min(alive[n], max(least[n], scale * wish[n])) for n in sorted(wish)}

    low, high = 0.0, float(sum(shape.numel() for shape in shapes.values()))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if sum(shares(middle).values()) > keep:
            high = middle
        else:
            low = middle
    share = shares(low)
    counts = {name: int(value) for name, value in share.items()}
    by_remainder = sorted(share, key=lambda name: (counts[name] - share[name], name))
    for name in by_remainder[: keep - sum(counts.values())]:
        counts[name] += 1
    return counts
