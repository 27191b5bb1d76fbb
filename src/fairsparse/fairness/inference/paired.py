"""Closed-form intervals and tests for rates, and for what two models do on the same examples.

Everything takes counts of any shape and works on all of them at once. The four counts of a paired
comparison are those of examples that both models get right, that only the first does (lost), only
the second (gained), and neither.

References
----------
.. [1] Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
.. [2] Newcombe, "Interval estimation for the difference between independent proportions", 1998.
.. [3] Newcombe, "Improved confidence intervals for the difference between binomial proportions
   based on paired data", 1998 (his method 10).
.. [4] Zou and Donner, "Construction of confidence limits about effect measures: a general
   approach", 2008.
.. [5] Clopper and Pearson, "The use of confidence or fiducial limits", 1934.
.. [6] DiCiccio, Vasudevan, Basu, Kenthapadi and Agarwal, "Evaluating fairness using permutation
   tests", 2020, arXiv:2007.05124.
.. [7] Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data: mid-p and
   asymptotic are better than exact conditional", 2013.
.. [8] Tango, "Equivalence test and confidence interval for the difference in proportions for the
   paired-sample design", 1998.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from fairsparse.fairness.measure.counts import Array, Kind, fold, share

LEVEL = 0.95
"""Coverage of every interval."""


class Bounds(NamedTuple):
    """Ends of an interval, each of the shape of the counts; NaN where there are no examples."""

    low: Array
    high: Array


class Pairs(NamedTuple):
    """How often both models are right, only the first, only the second, and neither."""

    both: Array
    lost: Array
    gained: Array
    neither: Array

    @property
    def n(self) -> Array:
        """Examples."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def drop(self) -> Array:
        """Accuracy of the first model less that of the second."""
        return share(self.lost - self.gained, self.n)

    def fold(self, groups: int, kind: Kind) -> Pairs:
        """Counts (..., G', C) summed into the cells of `kind`, as `counts.fold` does."""
        return Pairs(*(fold(x, groups, kind) for x in self))

    def minus(self, other: Pairs) -> Pairs:
        """The examples that are not in `other`."""
        return Pairs(*(a - b for a, b in zip(self, other, strict=True)))


def quantile(level: float = LEVEL) -> float:
    """The normal quantile of a two-sided interval."""
    return float(stats.norm.ppf((1 + level) / 2))


def wilson(hits: Array, n: Array, z: Array | float | None = None) -> Bounds:
    """Wilson's score interval of a rate [1]_.

    >>> low, high = wilson(np.array(81), np.array(263))
    >>> low.round(4).item(), high.round(4).item()
    (0.2553, 0.3662)
    """
    z = quantile() if z is None else z
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    centre = share(hits + z * z / 2, n + z * z)
    inner = np.maximum(hits * share(n - hits, n) + z * z / 4, 0)
    half = z * share(np.sqrt(inner), n + z * z)
    empty = n <= 0
    low = np.where(hits <= 0, 0.0, np.maximum(centre - half, 0))
    high = np.where(hits >= n, 1.0, np.minimum(centre + half, 1))
    return Bounds(np.where(empty, np.nan, low), np.where(empty, np.nan, high))


def exact(hits: Array, n: Array, z: Array | float | None = None) -> Bounds:
    """Clopper and Pearson's interval of a rate [5]_, which holds at any level and size.

    >>> low, high = exact(np.array(81), np.array(263))
    >>> low.round(4).item(), high.round(4).item()
    (0.2527, 0.3676)
    """
    tail = stats.norm.sf(quantile() if z is None else z)
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    low = np.where(hits > 0, stats.beta.ppf(tail, hits, n - hits + 1), 0.0)
    high = np.where(hits < n, stats.beta.isf(tail, hits + 1, n - hits), 1.0)
    empty = n <= 0
    return Bounds(np.where(empty, np.nan, low), np.where(empty, np.nan, high))


def difference(
    first: Array, first_bounds: Bounds, second: Array, second_bounds: Bounds, twist: Array | float
) -> Bounds:
    """Interval of first - second from an interval of each [4]_; `twist` is their correlation.

    From two of Wilson's, with a correlation of 0, it is Newcombe's for different examples [2]_.
    """
    below, above = first - first_bounds.low, first_bounds.high - first
    under, over = second - second_bounds.low, second_bounds.high - second
    low = np.sqrt(np.maximum(below**2 + over**2 - 2 * twist * below * over, 0))
    high = np.sqrt(np.maximum(above**2 + under**2 - 2 * twist * above * under, 0))
    return Bounds(first - second - low, first - second + high)


def paired_drop(pairs: Pairs, z: Array | float | None = None) -> Bounds:
    """Newcombe's interval of the drop in accuracy on the same examples [3]_.

    >>> low, high = paired_drop(Pairs(*map(np.array, (36, 12, 2, 0))))
    >>> low.round(4).item(), high.round(4).item()
    (0.0569, 0.3404)
    """
    both, lost, gained, neither = (np.asarray(x, float) for x in pairs)
    n = both + lost + gained + neither
    first, second = both + lost, both + gained
    cross = both * neither - lost * gained
    cross = np.where(cross > n / 2, cross - n / 2, np.where(cross >= 0, 0.0, cross))
    spread = np.sqrt(first * (n - first) * second * (n - second))
    twist = np.divide(cross, spread, out=np.zeros_like(cross), where=spread > 0)
    return difference(
        share(first, n), wilson(first, n, z), share(second, n), wilson(second, n, z), twist
    )


def score_drop(pairs: Pairs, z: Array | float) -> Bounds:
    """Tango's score interval of the drop [8]_, which holds at small levels and without flips, too.

    At zero it is McNemar's test. Shapes are as in `paired_drop`.

    >>> low, high = score_drop(Pairs(*map(np.array, (90, 5, 5, 0))), 1.96)
    >>> low.item() == -high.item()
    True
    """
    n, lost, gained = (np.asarray(x, float) for x in (pairs.n, pairs.lost, pairs.gained))
    drop = share(lost - gained, n)

    def end(outermost: float) -> Array:
        inner, outer = drop, np.full(np.broadcast_shapes(drop.shape, np.shape(z)), outermost)
        for _ in range(_HALVINGS):
            middle = (inner + outer) / 2
            # the likeliest rate q of gains where that of losses is q + middle: a q^2 + b q + c = 0
            b = middle * (2 * n - lost + gained) - lost - gained
            c = -gained * middle * (1 - middle)
            root = np.sqrt(np.maximum(b * b - 8 * n * c, 0))
            q = np.divide(root - b, 4 * n, out=np.zeros(np.shape(root)), where=n > 0)
            spread = np.maximum(n * (2 * q + middle * (1 - middle)), 1e-300)
            inside = np.abs(lost - gained - n * middle) <= z * np.sqrt(spread)
            inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
        return np.where(np.isnan(z) | np.isnan(drop), np.nan, outer)

    return Bounds(end(-1.0), end(1.0))


def excess_drop(
    pairs: Pairs, everyone: Pairs, z: Array | float | None = None
) -> tuple[Array, Bounds]:
    """A cell's drop less everyone's, and its interval.

    Everyone includes the cell, so this is the cell's drop less that of the others, which are
    independent of it, times the share that the others are; the two intervals are joined as in [4]_.

    Parameters
    ----------
    pairs, everyone : Pairs
        Of the cells (..., K) and of all examples (..., 1).
    """
    others = everyone.minus(pairs)
    weight = share(others.n, np.broadcast_to(everyone.n, others.n.shape))
    return excess_over(pairs, others, weight, z)


def excess_over(
    pairs: Pairs, others: Pairs, weight: Array, z: Array | float | None = None
) -> tuple[Array, Bounds]:
    """As `excess_drop`, of a cell and the others, who are `weight` of all examples, (..., K)."""
    apart = difference(pairs.drop, paired_drop(pairs, z), others.drop, paired_drop(others, z), 0.0)
    alone = (others.n == 0) & (pairs.n > 0)  # a cell that holds everyone drops as everyone does
    value = np.where(alone, 0.0, weight * (pairs.drop - others.drop))
    return value, Bounds(
        np.where(alone, 0.0, weight * apart.low), np.where(alone, 0.0, weight * apart.high)
    )


def mcnemar(lost: Array, gained: Array) -> Array:
    """Two-sided exact p-values that right -> wrong is as likely as wrong -> right.

    >>> mcnemar(np.array([5, 0]), np.array([0, 0])).tolist()
    [0.0625, 1.0]
    """
    flips = lost + gained
    return np.minimum(1.0, 2 * stats.binom.cdf(np.minimum(lost, gained), flips, 0.5))


_COUNTED = 25


def flip_test(lost: Array, gained: Array) -> Array:
    """McNemar's test: exact where fewer than 25 examples flipped, else its mid-p form [7]_.

    The exact test of many flips rejects less often than its level says, because counts jump.

    >>> flip_test(np.array([8, 24]), np.array([0, 9])).round(4).tolist()
    [0.0078, 0.009]
    """
    tie = stats.binom.pmf(np.minimum(lost, gained), lost + gained, 0.5)
    return mcnemar(lost, gained) - np.where(lost + gained < _COUNTED, 0.0, tie)


def excess_test(pairs: Pairs, others: Pairs) -> Array:
    """Two-sided p-values that a cell's drop is that of the others, NaN where it is empty.

    The level at which the interval of `excess_drop` first reaches zero: of a hypothesis on drops,
    whatever the difficulty of cells or how many predictions in them changed. A test that permutes
    which examples flipped would be of the hypothesis that all cells churn alike [6]_.

    Parameters
    ----------
    pairs, others : Pairs
        Of the cells and of all other examples, (..., K).
    """
    whole = np.ones(pairs.n.shape)
    value, _ = excess_over(pairs, others, whole)
    low, high = np.zeros(value.shape), np.full(value.shape, _FARTHEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        bounds = excess_over(pairs, others, whole, middle)[1]
        beyond = np.where(value > 0, bounds.low > 0, bounds.high < 0)
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    p = np.where(value == 0, 1.0, 2 * stats.norm.sf(low))
    return np.where(np.isnan(value), np.nan, p)


_FARTHEST, _HALVINGS = 37.0, 40
"""A normal quantile beyond which a p-value is no longer a number; digits of the one searched."""


def agreeing(bounds: Bounds, value: Array, p: Array, level: Array | float) -> Bounds:
    """Intervals of drops that leave zero out where the exact test rejects it, and only there.

    Parameters
    ----------
    bounds : Bounds
        At `level`.
    value, p : ndarray
        The drops, and the p-values of no drop.
    level : float or ndarray
        At which they are rejected.
    """
    rejected = np.asarray(p) <= level
    low = np.where(rejected & (value > 0), np.maximum(bounds.low, 0), bounds.low)
    high = np.where(rejected & (value < 0), np.minimum(bounds.high, 0), bounds.high)
    low, high = (
        np.where(rejected | np.isnan(p), x, y)
        for x, y in ((low, np.minimum(low, 0)), (high, np.maximum(high, 0)))
    )
    return Bounds(low, high)


def level_at_zero(value: float, low: float, high: float) -> float:
    """Two-sided level at which an interval, as that of a normal estimate, reaches zero.

    >>> round(level_at_zero(1.0, 0.0, 3.0), 3), level_at_zero(0.0, -1.0, 1.0)
    (0.05, 1.0)
    """
    reach = value - low if value > 0 else high - value
    if math.isnan(reach) or value == 0:
        return 1.0 if value == 0 else math.nan
    return float(2 * stats.norm.sf(quantile() * abs(value) / reach)) if reach > 0 else 0.0


def detectable(flips: Array, n: Array, z: Array | float, power: float = 0.8) -> Array:
    """Smallest drop that a cell's test would have found with a chance of `power`.

    Parameters
    ----------
    flips, n : ndarray
        Examples that one of the models alone gets right, and all.
    z : float or ndarray
        Normal quantile beyond which the test rejects.

    >>> detectable(np.array(36), np.array(300), 1.96).round(4).item()
    0.056
    """
    reach = z + stats.norm.ppf(power)
    churn = share(flips, n)
    # a drop needs as many flips: where few were seen, it is they that would vary
    needed = np.maximum(reach * np.sqrt(share(churn, n)), share(reach**2 + 0 * churn, n))
    return np.minimum(needed, 1.0)
