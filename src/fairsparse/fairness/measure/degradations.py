"""How unequally a drop in accuracy falls: metrics of two models on the same examples.

A drop is accuracy of the reference less that of the candidate. Performance degradation is after
[1]_, and excess drops [2]_. Combined error variance and symmetric distance error are after [3]_, as
fractions, with half an error and one example added to each count.

References
----------
.. [1] Dai et al., on bi-level fair pruning, arXiv 2312.10181.
.. [2] Hashemizadeh et al., "Balancing act: constraining disparate impact in sparse models",
   arXiv 2310.20673.
.. [3] Blakeney et al., "Simon says: evaluating and mitigating bias in pruned neural networks with
   knowledge distillation", arXiv 2106.07849.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairsparse.fairness.inference import multiplicity
from fairsparse.fairness.inference.paired import Bounds, Pairs, excess_drop, paired_drop
from fairsparse.fairness.measure.counts import Array, Counts, Kind, compared, fold, gap, share
from fairsparse.fairness.measure.metric import POINTS, RATIO, Metric, Together, Unbounded, declaring
from fairsparse.registry import Registry

DEGRADATIONS: Registry[Metric] = Registry("degradation metric", sort=False)
degradation = declaring(DEGRADATIONS, Metric)


def drops(reference: Counts, candidate: Counts, kind: Kind) -> Array:
    """Accuracy of the reference minus the candidate's in each cell of `kind`, (..., K)."""
    return reference.accuracy(kind) - candidate.accuracy(kind)


def _relative(reference: Counts, candidate: Counts) -> tuple[Array, Array]:
    """Relative changes of each class's false positive and false negative rate, smoothed."""

    def rates(c: Counts) -> tuple[Array, Array]:
        n, correct = fold(c.n, c.groups, "class"), fold(c.correct, c.groups, "class")
        others = n.sum(-1, keepdims=True) - n
        false = fold(c.predicted, c.groups, "class") - correct
        return share(false + 0.5, others + 1), share(n - correct + 0.5, np.where(n > 0, n + 1, 0))

    (fpr, fnr), (fpr_now, fnr_now) = rates(reference), rates(candidate)
    return fpr_now / fpr - 1, fnr_now / fnr - 1


def _range_of_drops(kind: Kind) -> Together:
    def bounds(pairs: Pairs, groups: int) -> Bounds:
        cells = pairs.fold(groups, compared(kind, groups))
        return multiplicity.range_bounds(
            cells.drop[None], lambda z: Bounds(*(b[None] for b in paired_drop(cells, z)))
        )

    return Together(bounds)


def _largest(kind: Kind, each: Callable[[Pairs, Pairs, float], Bounds]) -> Together:
    def bounds(pairs: Pairs, groups: int) -> Bounds:
        cells, everyone = (pairs.fold(groups, k) for k in (compared(kind, groups), "all"))
        return multiplicity.extreme(lambda z: each(cells, everyone, z), len(cells.n), largest=True)

    return Together(bounds)


_CLASSES, _GROUPS = _range_of_drops("class"), _range_of_drops("group")
_DROP = _largest("class x group", lambda cells, _, z: paired_drop(cells, z))
_EXCESS = _largest("group", lambda cells, everyone, z: excess_drop(cells, everyone, z)[1])


@degradation("cev", "combined error variance (CEV)", "lower", "class", Unbounded(), RATIO)
def _cev(reference: Counts, candidate: Counts) -> Array:
    """Variance over classes of the relative changes of false positive and false negative rate.

    ``var x + var y``
    """
    return sum((x.var(-1) for x in _relative(reference, candidate)), np.array(0.0))


@degradation("sde", "symmetric distance error (SDE)", "lower", "class", Unbounded(), RATIO)
def _sde(reference: Counts, candidate: Counts) -> Array:
    """Mean over classes of how far the relative changes of the two error rates lie apart.

    ``mean_c |y_c - x_c|``
    """
    fpr, fnr = _relative(reference, candidate)
    return np.abs(fnr - fpr).mean(-1)


@degradation(
    "class_degradation_range", "range of drops over classes", "lower", "class", _CLASSES, POINTS
)
def _class_degradation_range(reference: Counts, candidate: Counts) -> Array:
    """Range over classes of the drop in accuracy."""
    return gap(drops(reference, candidate, "class"))


@degradation(
    "max_cell_drop",
    "largest drop of a cell",
    "lower",
    "class x group",
    _DROP,
    POINTS,
    without_groups="by class",
)
def _max_cell_drop(reference: Counts, candidate: Counts) -> Array:
    """Largest drop in accuracy of a class within a group; of a class where there are no groups."""
    kind = compared("class x group", reference.groups)
    return drops(reference, candidate, kind).max(-1)


@degradation(
    "max_excess_drop",
    "largest drop beyond the overall drop",
    "lower",
    "group",
    _EXCESS,
    POINTS,
    without_groups="by class",
)
def _max_excess_drop(reference: Counts, candidate: Counts) -> Array:
    """Largest drop of a group, or of a class where there are no groups, beyond the overall."""
    each = drops(reference, candidate, compared("group", reference.groups))
    return (each - drops(reference, candidate, "all")).max(-1)


@degradation(
    "performance_degradation_fairness",
    "range of drops over groups",
    "lower",
    "group",
    _GROUPS,
    POINTS,
)
def _performance_degradation_fairness(reference: Counts, candidate: Counts) -> Array:
    """Range over groups of the drop in accuracy."""
    return gap(drops(reference, candidate, "group"))
