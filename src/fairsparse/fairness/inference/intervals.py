"""A paired bootstrap on counts, and the intervals that it gives.

A bootstrap resample of n examples enters the metrics through counts alone, and the counts of the
observed combinations (group, true class, predicted classes) are multinomial. They are drawn as
such, never as rows, so the cost is bounded by the number of distinct combinations. Where these are
too many, as with a thousand classes, what matters of them is drawn: which models were right, by
group and true class, and false positives, by group and predicted class. Within a class this is the
same law; that an error in one class is a false positive in another is then left out of account.

Notes
-----
Independent Poisson counts, given their sum T, are multinomial of T draws. So Poisson counts with a
mean sum a little below n are drawn for all combinations at once, by table, and the n - T examples
missing are drawn one by one: together this is the multinomial of exactly n draws [1]_.

References
----------
.. [1] Devroye, "Non-uniform random variate generation", 1986, chapter XI.
.. [2] Efron, "Better bootstrap confidence intervals", 1987.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from fairsparse.core import InputError
from fairsparse.fairness.measure.counts import Array, Counts
from fairsparse.fairness.measure.outcomes import Outcomes

LOW, HIGH = 0.025, 0.975
"""Quantiles that bound a 95 % interval."""

MAX_DROPPED = 0.05
"""An interval is NaN when a larger share of the resamples leaves the statistic undefined."""

_CHUNK = 2**22  # combinations x resamples held at once: about 40 MB
_SUMMED, _FEWEST = 2**33, 200  # numbers added up in all, but for as many resamples in any case
_JACKKNIFE = 2**26  # combinations x features that the acceleration may cost
_SLOTS = 2**16
_UNDECIDED = 255
_LARGEST_TABLE = 128  # above this mean, a table's values would not stay below _UNDECIDED
_MOST_TABLES = 8  # larger means than so many tables' are drawn one by one


class Interval(NamedTuple):
    """Percentile bounds of a statistic, each (...), and the share of resamples without a value."""

    low: Array
    high: Array
    dropped: Array


def resample(
    outcomes: Outcomes, *, resamples: int = 2000, seed: int = 0
) -> Iterator[tuple[Counts, ...]]:
    """Yield bootstrap resamples of the examples, a chunk at a time.

    Parameters
    ----------
    outcomes : Outcomes
        Of any number of models; all of them meet the same resampled examples.
    resamples : int, at least 1
        In total, over all chunks; fewer of millions of clusters, where that would take minutes.
    seed : int, at least 0

    Yields
    ------
    tuple of Counts
        One for each model, with leading axis (R,); every resample has N examples.

    Raises
    ------
    InputError
        For too few resamples or a negative seed.
    """
    if resamples < 1 or seed < 0:
        raise InputError(
            f"resamples must be at least 1 and seed at least 0; got {resamples} and {seed}"
        )
    rng = np.random.default_rng(seed)
    parts = outcomes.combinations
    size = max(1, _CHUNK // max(max(part.effect.shape) for part in parts))
    entries = sum(part.effect.nnz for part in parts)
    resamples = min(resamples, max(_FEWEST, _SUMMED // max(entries, 1)))
    for start in range(0, resamples, size):
        drawn = min(size, resamples - start)
        sums = [p.effect @ multinomial(p.times, drawn, rng) for p in parts if len(p.times)]
        yield outcomes.resampled(np.ascontiguousarray(sum(sums).T))


def leave_one_out(outcomes: Outcomes) -> Iterator[tuple[tuple[Counts, ...], Array]]:
    """Yield the counts without one example of each distinct combination, a chunk at a time.

    Nothing is yielded where there are too many combinations.

    Yields
    ------
    tuple of Counts
        One for each model, with leading axis (K',).
    ndarray of int, shape (K',)
        How many examples are like the one left out.
    """
    part, *more = outcomes.combinations
    features, distinct = part.effect.shape
    if more or features * distinct > _JACKKNIFE:
        return
    total = part.effect @ part.times
    size = max(1, _CHUNK // features)
    for start in range(0, distinct, size):
        without = total - part.effect[:, start : start + size].toarray().T
        yield outcomes.resampled(without), part.times[start : start + size]


def multinomial(times: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw n = sum(times) of n examples with replacement, `size` times over.

    Parameters
    ----------
    times : ndarray of int, shape (K,)
        How often each distinct example occurs, in ascending order.
    size : int
    rng : Generator

    Returns
    -------
    ndarray of int32, shape (K, size)
        How often each was drawn; every column sums to n.
    """
    n = int(times.sum())
    thinning = max(0.0, 1 - 4 / math.sqrt(n))  # a Poisson sum above n is then a 1 in 30,000 event
    while True:
        drawn = _poisson(times, thinning, size, rng)
        missing = n - drawn.sum(0, dtype=np.int64)
        if missing.min() >= 0:
            break
    examples = np.repeat(np.arange(len(times), dtype=np.int32), times)
    extra = examples[rng.integers(0, n, missing.sum())]
    for column, some in enumerate(np.split(extra, np.cumsum(missing[:-1]))):
        drawn[:, column] += np.bincount(some, minlength=len(times)).astype(np.int32)
    return drawn


def _poisson(times: Array, thinning: float, size: int, rng: np.random.Generator) -> Array:
    """Draw Poisson counts of mean ``thinning * times``, int32 (K, size); `times` ascending."""
    drawn = np.empty((len(times), size), np.int32)
    large = np.searchsorted(times, _MOST_TABLES * _LARGEST_TABLE, side="right")
    for count in np.unique(times[:large]):
        start, stop = np.searchsorted(times, [count, count + 1])
        terms = -(-int(count) // _LARGEST_TABLE)  # a sum of Poisson counts is a Poisson count
        drawn[start:stop] = 0
        for _ in range(terms):
            mean = thinning * count / terms
            drawn[start:stop] += _poisson_by_table(mean, (stop - start, size), rng)
    mean = thinning * times[large:, None]
    drawn[large:] = rng.poisson(mean, (len(mean), size))
    return drawn


def _poisson_by_table(mean: float, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Draw Poisson counts by table look-up, an order of magnitude faster than one by one.

    A uniform slot decides the value where a value fills whole slots; the mass that does not fill
    slots shares the undecided ones and is drawn again, so the law is that of Poisson.
    """
    table, rest = _poisson_table(mean)
    drawn = table[rng.integers(0, _SLOTS, shape, dtype=np.uint16)]
    undecided = drawn == _UNDECIDED
    if rest.any():
        drawn[undecided] = rng.choice(_UNDECIDED, undecided.sum(), p=rest / rest.sum())
    return drawn


@functools.lru_cache(maxsize=1024)
def _poisson_table(mean: float) -> tuple[Array, Array]:
    values = np.arange(_UNDECIDED)
    mass = stats.poisson.pmf(values, mean) * _SLOTS
    whole = np.floor(mass).astype(np.int64)
    table = np.full(_SLOTS, _UNDECIDED, np.uint8)
    table[: whole.sum()] = np.repeat(values, whole)
    return table, mass - whole


def percentile(samples: Array, low: float = LOW, high: float = HIGH) -> Interval:
    """Return the percentile interval over the first axis, NaN-aware.

    Undefined samples are left out; where they are more than `MAX_DROPPED` of all, the bounds are
    NaN.

    Parameters
    ----------
    samples : ndarray, shape (R, ...)
    low, high : float
        Quantiles that bound it.

    >>> low, high, dropped = percentile(np.arange(101.0))
    >>> low.item(), high.item(), dropped.item()
    (2.5, 97.5, 0.0)
    """
    ordered = np.sort(samples, axis=0)  # NaN last
    defined = (~np.isnan(samples)).sum(0)
    dropped = 1 - defined / len(samples)

    def quantile(q: float) -> Array:
        position = q * np.maximum(defined - 1, 0)
        below = np.floor(position).astype(np.int64)
        above = np.ceil(position).astype(np.int64)
        left, right = (np.take_along_axis(ordered, i[None], 0)[0] for i in (below, above))
        return np.where(dropped > MAX_DROPPED, np.nan, left + (position - below) * (right - left))

    return Interval(quantile(low), quantile(high), dropped)


def bca(samples: Array, value: float, acceleration: float = 0.0) -> Interval:
    """Return Efron's bias-corrected and accelerated interval [2]_ of one statistic, NaN-aware.

    Parameters
    ----------
    samples : ndarray, shape (R,)
    value : float
        Of the data themselves.
    acceleration : float
        From the skewness of the jackknife values; 0 corrects the bias alone.
    """
    defined = samples[~np.isnan(samples)]
    if np.isnan(value) or len(defined) == 0 or samples.min() == samples.max():
        return percentile(samples)
    below = ((defined < value).mean() + (defined <= value).mean()) / 2
    edge = 0.5 / len(defined)
    bias = stats.norm.ppf(np.clip(below, edge, 1 - edge))
    z = bias + stats.norm.ppf([LOW, HIGH])
    low, high = stats.norm.cdf(bias + z / np.maximum(1 - acceleration * z, 1e-3))
    return percentile(samples, float(low), float(high))


def acceleration(left_out: Array, times: Array) -> float:
    """Acceleration of `bca` from leave-one-out values (K,) that occur `times`."""
    usable = ~np.isnan(left_out)
    if not usable.any():
        return 0.0
    values, weights = left_out[usable], times[usable]
    apart = np.average(values, weights=weights) - values
    spread = (weights * apart**2).sum() ** 1.5
    return float((weights * apart**3).sum() / (6 * spread)) if spread > 0 else 0.0
