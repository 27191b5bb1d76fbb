"""What many cells at once allow to say: ranges and extremes over them, and adjusted p-values.

The range of rates over cells is at least zero, and grows by sampling even where all cells are
alike. Where it does not stand out from that, no resampling of the data covers the true range; the
intervals here do, by bounding all pairs of cells at once. With two cells they are the interval of
one difference.

References
----------
.. [1] Tukey, "The problem of multiple comparisons", 1953: the studentized range.
.. [2] Šidák, "Rectangular confidence regions for the means of multivariate normal distributions",
   1967.
.. [3] Holm, "A simple sequentially rejective multiple test procedure", 1979.
.. [4] Benjamini and Hochberg, "Controlling the false discovery rate", 1995.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special, stats

from fairsparse.fairness.inference.paired import LEVEL, Bounds, wilson
from fairsparse.fairness.measure.counts import Array, share

STANDS_OUT = 3.0
"""A range this many times its noise floor, or more, is resampled; below it, all pairs are bound."""

_GRID = np.linspace(-9, 9, 3601)
_COUNTED = 2000
"""Where cells hold fewer examples in all, what sampling makes of a range is counted."""


@lru_cache(maxsize=256)
def pairs_quantile(cells: int, families: int = 1) -> float:
    """Normal quantile that holds for all pairs of `cells` at once, in each of `families` [1]_.

    >>> round(pairs_quantile(2), 3), round(pairs_quantile(3) * 2**0.5, 3)
    (1.96, 3.314)
    """
    level = LEVEL ** (1 / families)
    return float(stats.studentized_range.ppf(level, cells, np.inf)) / 2**0.5


def each_quantile(cells: int) -> float:
    """Normal quantile of two-sided intervals that hold for all of `cells` at once [2]_."""
    return float(stats.norm.ppf((1 + LEVEL ** (1 / cells)) / 2))


def floor(hits: Array, n: Array) -> float:
    """Expected range over cells if all had the pooled rate; counts (F, K).

    It is what sampling alone makes of the range, in the family where it makes most: exact where
    cells are few and small, else of normal rates. NaN where a cell is empty.

    >>> round(floor(np.full((1, 10), 930), np.full((1, 10), 1000)), 3)
    0.025
    >>> round(floor(np.eye(10)[:1] + np.eye(10)[1:2], np.ones((1, 10))), 3)  # 2 of 10 single people
    0.893
    """
    pooled = share(hits.sum(-1, keepdims=True), n.sum(-1, keepdims=True))
    variance = pooled * (1 - pooled) * share(np.ones(n.shape), n)
    if np.isnan(variance).any():
        return np.nan
    family = variance.sum(-1).argmax()
    rate, sizes, spread = float(pooled[family, 0]), n[family], np.sqrt(variance[family])  # (K,)
    if spread.max() == 0:
        return 0.0
    if sizes.sum() <= _COUNTED and (sizes == np.round(sizes)).all():
        x = np.unique(np.concatenate([np.arange(m) / m for m in np.unique(sizes)]))
        # no rate lies between two neighbours of this grid, so each step counts with its width
        below = stats.binom.logcdf(np.floor(x[:, None] * sizes + 1e-9), sizes, rate).sum(-1)
        above = stats.binom.logsf(np.floor(x[:, None] * sizes + 1e-9), sizes, rate).sum(-1)
        return float(((1 - np.exp(below) - np.exp(above)) * np.diff(x, append=1.0)).sum())
    x = _GRID * spread.max()
    with np.errstate(divide="ignore"):
        z = x[:, None] / spread
    below, above = special.log_ndtr(z).sum(-1), special.log_ndtr(-z).sum(-1)
    return float(min(1.0, np.trapezoid(1 - np.exp(below) - np.exp(above), x)))


def range_bounds(
    rates: Array, bounds: Callable[[float], Bounds], families: int | None = None
) -> Bounds:
    """Interval of the largest range over families of cells, from all pairs at once.

    Parameters
    ----------
    rates : (F, K)
        Estimates.
    bounds : callable
        Normal quantile -> interval of each estimate; estimates are independent.
    families : int, optional
        For how many the quantile is to hold; F unless said.
    """
    count, cells = rates.shape
    if cells < 2 or np.isnan(rates).any():
        return Bounds(np.array(np.nan), np.array(np.nan))
    low, high = bounds(pairs_quantile(cells, families or count))
    down, up = rates - low, high - rates
    lows, highs = [], []
    for f in range(count):  # one family at a time: pairs of a thousand classes are a million
        apart = rates[f][:, None] - rates[f]
        lows.append((apart - np.hypot(down[f][:, None], up[f])).max())
        highs.append((apart + np.hypot(up[f][:, None], down[f])).max())
    return Bounds(np.array(max(0.0, *lows)), np.array(max(highs)))


def rate_range(hits: Array, n: Array) -> Bounds:
    """Interval of the largest range of rates, counts (F, K); a range of rates is at most 1."""
    low, high = range_bounds(share(hits, n), lambda z: wilson(hits, n, z))
    return Bounds(low, np.minimum(high, 1.0))


def mean_range(hits: Array, n: Array) -> Bounds:
    """Interval of the largest mean of two ranges; counts (2 F, K), family f goes with F + f.

    Each range has its own interval, for all families at once; the ends of two are averaged.
    """
    half, rates = len(hits) // 2, share(hits, n)

    def bounds(family: int) -> Bounds:
        one = slice(family, family + 1)
        return range_bounds(rates[one], lambda z: wilson(hits[one], n[one], z), 2 * half)

    ends = [bounds(family) for family in range(2 * half)]
    low, high = (np.array([e[i] for e in ends]) for i in (0, 1))
    return Bounds(
        ((low[:half] + low[half:]) / 2).max(),
        np.minimum((high[:half] + high[half:]) / 2, 1.0).max(),
    )


def extreme(bounds: Callable[[float], Bounds], cells: int, largest: bool) -> Bounds:
    """Interval of the largest or smallest of `cells` quantities, from all of them at once."""
    low, high = bounds(each_quantile(max(cells, 1)))
    reduce = np.max if largest else np.min
    return Bounds(reduce(low), reduce(high))


def holm(p: Array) -> Array:
    """Adjust p-values (K,) so that any false finding below a level has at most that chance [3]_.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


def benjamini_hochberg(p: Array) -> Array:
    """Adjust p-values (K,) so that findings below a level are false at that rate [4]_.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, np.nan])).round(6).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    tested = ~np.isnan(p)
    adjusted = np.full(len(p), np.nan)
    adjusted[tested] = stats.false_discovery_control(p[tested])
    return adjusted
