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
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats

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


def wilson(hits: Array, n: Array, z: float | None = None) -> Bounds:
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


def exact(hits: Array, n: Array, z: float | None = None) -> Bounds:
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


def paired_drop(pairs: Pairs, z: float | None = None) -> Bounds:
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


def excess_drop(pairs: Pairs, everyone: Pairs, z: float | None = None) -> tuple[Array, Bounds]:
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


_EXACT = 400
"""Where fewer examples than this flipped, the test of excess drops enumerates all outcomes."""


def excess_test(pairs: Pairs, everyone: Pairs) -> Array:
    """Two-sided p-values that a cell's drop differs from the others' by chance.

    A permutation test: which examples flipped is given, which of them are the cell's is not. Where
    few flipped, all outcomes are counted; else the drop's exact mean and variance are used.

    Parameters
    ----------
    pairs, everyone : Pairs
        Of the cells (K,) and of all examples (1,).
    """
    lost, gained, n = (int(x[0]) for x in (everyone.lost, everyone.gained, everyone.n))
    net, size = lost - gained, pairs.n
    expected = share(size * net, np.asarray(n))
    moved = np.abs(pairs.lost - pairs.gained - expected)
    mean = net / max(n, 1)
    spread = (lost + gained) - n * mean**2
    variance = size * share(n - size, np.asarray(n * max(n - 1, 1))) * spread
    z = np.maximum(moved - 0.5, 0) / np.sqrt(np.maximum(variance, 1e-300))  # flips come in ones
    p = np.where(variance > 0, special.erfc(z / 2**0.5), 1.0)
    if lost + gained < _EXACT:
        for k in np.flatnonzero((size > 0) & (size < n)):
            p[k] = _enumerated(int(size[k]), lost, gained, n, float(moved[k]), float(expected[k]))
    return np.where(size > 0, p, np.nan)


def _enumerated(size: int, lost: int, gained: int, n: int, moved: float, expected: float) -> float:
    a = np.arange(min(lost, size) + 1)
    b = np.arange(min(gained, size) + 1)
    mass = stats.hypergeom.pmf(a, n, lost, size)[:, None] * stats.hypergeom.pmf(
        b, n - lost, gained, np.maximum(size - a, 0)[:, None]
    )
    far = np.abs(a[:, None] - b - expected) >= moved - 1e-9
    return float(min(1.0, mass[far].sum()))


def no_worse(pairs: Pairs, margin: float) -> Array:
    """One-sided p-values that a cell's drop is `margin` or more; small ones say that it is not.

    The score test of a paired difference against a margin: the flips' rates are those most likely
    under a drop of exactly `margin` (Tango 1998, Nam 1997).

    >>> no_worse(Pairs(*map(np.array, (430, 6, 9, 55))), 0.02).item() < 0.01
    True
    """
    n = np.asarray(pairs.n, float)
    lost, gained = np.asarray(pairs.lost, float), np.asarray(pairs.gained, float)
    # the likeliest rate q of gains where that of losses is q + margin: a q^2 + b q + c = 0
    a = 2 * n
    b = margin * (2 * n - lost + gained) - lost - gained
    c = -gained * margin * (1 - margin)
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0))
    gain = np.divide(root - b, 2 * a, out=np.full(n.shape, np.nan), where=n > 0)
    variance = n * (2 * gain + margin * (1 - margin))
    z = (lost - gained - n * margin) / np.sqrt(np.maximum(variance, 1e-300))
    return np.where(n > 0, stats.norm.cdf(z), np.nan)
