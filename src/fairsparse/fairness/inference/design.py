"""Examples that come in clusters, or count with weights: how much they are worth.

Pictures of one person, or sentences of one author, are right and wrong together, so they tell less
than as many people would; examples with unequal weights tell less than equal ones. Drops have the
variance between clusters (the sandwich, as in generalised estimating equations), and their test is
McNemar's for clusters [1]_ [2]_. Intervals take as many effective examples as would have that
variance if they were independent [3]_; where a cell has few clusters, Student's quantile shrinks
them further.

References
----------
.. [1] Obuchowski, "On the comparison of correlated proportions for clustered data", 1998.
.. [2] Yang, Sun and Hardin, "A note on the tests for clustered matched-pair binary data", 2010.
.. [3] Korn and Graubard, "Confidence intervals for proportions with small expected number of
   positive counts estimated from survey data", 1998.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from fairsparse.fairness.inference.paired import Pairs, quantile
from fairsparse.fairness.measure.counts import Array, share


class Sample(NamedTuple):
    """Examples as they were sampled: their clusters, as codes (U,), and weights (U,)."""

    cluster: Array
    weight: Array


class Effective(NamedTuple):
    """Counts of cells (K,) that intervals for independent examples can take.

    ``others`` are all examples but the cell's, ``weight`` the share of all that these are, ``p``
    the p-value that the cell's drop is zero.
    """

    pairs: Pairs
    others: Pairs
    weight: Array
    p: Array


def effective(cell: Array, size: int, right: tuple[Array, Array], sample: Sample) -> Effective:
    """Reduce what two models did to effective counts.

    Parameters
    ----------
    cell : ndarray of int, shape (U,)
        Codes below `size`, -1 in none.
    size : int
    right : tuple of ndarray of bool, each (U,)
    sample : Sample
    """
    before, after = right
    weight, lost = sample.weight, before.astype(float) - after
    _, cluster = np.unique(sample.cluster, return_inverse=True)
    all_sums = _Sums.of(cluster, np.zeros(len(cluster), np.int64), 1, weight, lost)
    whole_b, whole_a = (np.bincount(cluster, weight * x) for x in (np.ones(len(lost)), lost))
    inside = np.flatnonzero(cell >= 0)
    mine = _Sums.of(cluster[inside], cell[inside], size, weight[inside], lost[inside])
    pairs = _weighted(cell, size, right, weight)
    everyone = _weighted(np.zeros(len(cell), np.int64), 1, right, weight)
    others = everyone.minus(pairs)
    # clusters that are only partly in the cell are, for the rest, among the others
    rest_b, rest_a = whole_b[mine.cluster] - mine.b, whole_a[mine.cluster] - mine.a
    drop = np.nan_to_num(others.drop)
    total = all_sums.squares(drop)
    within = mine.sum((whole_a[mine.cluster] - drop[mine.cell] * whole_b[mine.cluster]) ** 2)
    left = mine.sum((rest_a - drop[mine.cell] * rest_b) ** 2)
    partly = mine.sum((rest_b > 1e-12 * weight.max()).astype(float))
    clusters = len(whole_b) - mine.clusters + partly
    kish = np.maximum((whole_b**2).sum() - mine.sum(whole_b[mine.cluster] ** 2 - rest_b**2), 0)
    return Effective(
        _shrunk(pairs, mine.squares(pairs.drop), mine.clusters, mine.sum(mine.b**2)),
        _shrunk(others, total - within + left, clusters, kish),
        share(others.n, everyone.n),
        mine.test(),
    )


class _Sums(NamedTuple):
    """Of each cluster in each cell (E,): sums of weights ``b``, and of weighted losses ``a``."""

    cluster: Array
    cell: Array
    a: Array
    b: Array
    size: int

    @classmethod
    def of(cls, cluster: Array, cell: Array, size: int, weight: Array, lost: Array) -> _Sums:
        both, at = np.unique(cluster * size + cell, return_inverse=True)
        a, b = (np.bincount(at, weight * x, len(both)) for x in (lost, np.ones(len(lost))))
        return cls(both // size, both % size, a, b, size)

    def sum(self, values: Array) -> Array:
        """Over the clusters of each cell, (K,)."""
        return np.bincount(self.cell, values, self.size)

    @property
    def clusters(self) -> Array:
        return np.bincount(self.cell, minlength=self.size)

    def squares(self, drop: Array) -> Array:
        """Sum over clusters of ``(a - drop b)^2``, (K,)."""
        a, ab, b = (self.sum(x) for x in (self.a**2, self.a * self.b, self.b**2))
        drop = np.nan_to_num(drop)
        return np.maximum(a - 2 * drop * ab + drop**2 * b, 0)

    def test(self) -> Array:
        """Two-sided p-values (K,) that losses and gains of clusters are alike.

        Changing the signs of the few clusters that changed can make no smaller one than of all.
        """
        moved = np.bincount(self.cell, np.abs(self.a) > 1e-12, self.size)
        spread = np.sqrt(self.sum(self.a**2))
        t = share(np.abs(self.sum(self.a)), spread)
        p = 2 * stats.t.sf(t, np.maximum(self.clusters - 1, 1))
        p = np.maximum(np.where(spread > 0, p, 1.0), np.minimum(1.0, 2.0 ** (1 - moved)))
        return np.where(self.clusters > 0, p, np.nan)


def _weighted(cell: Array, size: int, right: tuple[Array, Array], weight: Array) -> Pairs:
    before, after = right

    def total(chosen: Array) -> Array:
        at = (cell >= 0) & chosen
        return np.bincount(cell[at], weight[at], size)

    return Pairs(*map(total, (before & after, before & ~after, ~before & after, ~before & ~after)))


def _shrunk(pairs: Pairs, squares: Array, clusters: Array, kish: Array) -> Pairs:
    """Counts scaled to as many examples as would have the variance ``squares / n^2`` (K,)."""
    n = pairs.n
    spread = share(pairs.lost + pairs.gained, n) - pairs.drop**2
    free = np.maximum(clusters - 1, 1)
    variance = share(squares, n**2) * (clusters / free)
    most = share(n**2, kish)  # as many as there are clusters, of weights as unequal as theirs
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(variance > 0, spread / variance, most)
    size = size * (quantile() / stats.t.ppf(stats.norm.cdf(quantile()), free)) ** 2
    return Pairs(*(np.nan_to_num(share(x, n) * size) for x in pairs))
