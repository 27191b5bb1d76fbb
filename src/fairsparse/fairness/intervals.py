"""How sure a measurement is: a paired bootstrap on counts, and exact tests of flips.

A bootstrap resample of n examples enters the metrics through counts alone, and the counts of the
observed combinations (group, true class, predicted classes) are multinomial. They are drawn as
such, never as rows, so the cost is bounded by the number of distinct combinations.

Notes
-----
Independent Poisson counts, given their sum T, are multinomial of T draws. So Poisson counts with a
mean sum a little below n are drawn for all combinations at once, by table, and the n - T examples
missing are drawn one by one: together this is the multinomial of exactly n draws [1]_.

References
----------
.. [1] Devroye, "Non-uniform random variate generation", 1986, chapter XI.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats

from fairsparse.fairness.counts import Array, Counts, Labels, as_codes, group_rows
from fairsparse.fairness.metrics import METRICS, evaluate
from fairsparse.types import UNKNOWN, InputError

LOW, HIGH = 0.025, 0.975
"""Quantiles that bound a 95 % interval."""

MAX_DROPPED = 0.05
"""An interval is NaN when a larger share of the resamples leaves the statistic undefined."""

_CHUNK = 2**22  # combinations x resamples held at once: about 40 MB
_SLOTS = 2**16
_UNDECIDED = 255
_LARGEST_TABLE = 128  # above this mean, a table's values would not stay below _UNDECIDED


class Interval(NamedTuple):
    """Percentile bounds of a statistic, each (...), and the share of resamples without a value."""

    low: Array
    high: Array
    dropped: Array


class _Combinations(NamedTuple):
    """Distinct examples: how often each occurs, ascending, and what each adds to the counts.

    ``effect`` is a matrix (features, K). Features are n, then correct and predicted of each model,
    each flat (G', C).
    """

    times: Array
    effect: sparse.csc_array
    shape: tuple[int, int]
    known: int


def resample(
    predictions: Sequence[Labels],
    y: Labels,
    group: Labels,
    class_names: Sequence[str],
    group_names: Sequence[str] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Iterator[tuple[Counts, ...]]:
    """Yield bootstrap resamples of the examples, a chunk at a time.

    Parameters
    ----------
    predictions : sequence of (N,)
        Predicted classes of each model; all models meet the same resampled examples.
    y, group : (N,)
        True classes; groups, -1 where unknown.
    class_names, group_names : sequence of str
    resamples : int, at least 1
        In total, over all chunks.
    seed : int, at least 0

    Yields
    ------
    tuple of Counts
        One for each model, with leading axis (R,); every resample has N examples.

    Raises
    ------
    InputError
        For too few resamples, and as `Confusion.count` does.
    """
    if resamples < 1 or seed < 0:
        raise InputError(
            f"resamples must be at least 1 and seed at least 0; got {resamples} and {seed}"
        )
    combinations = _combine(predictions, y, group, class_names, group_names)
    rng = np.random.default_rng(seed)
    features, distinct = combinations.effect.shape
    size = max(1, _CHUNK // max(features, distinct))
    for start in range(0, resamples, size):
        times = multinomial(combinations.times, min(size, resamples - start), rng)
        sums = np.ascontiguousarray((combinations.effect @ times).T)
        n, *rest = np.moveaxis(sums.reshape(len(sums), -1, *combinations.shape), 1, 0)
        yield tuple(
            Counts(n, correct, predicted, combinations.known)
            for correct, predicted in zip(rest[::2], rest[1::2], strict=True)
        )


def _combine(
    predictions: Sequence[Labels],
    y: Labels,
    group: Labels,
    class_names: Sequence[str],
    group_names: Sequence[str],
) -> _Combinations:
    n, known, n_classes = len(y), len(group_names), len(class_names)
    row, n_rows = group_rows(as_codes("groups", group, n, group_names, UNKNOWN), known)
    columns = [row, as_codes("true classes", y, n, class_names)]
    columns += [as_codes("predicted classes", p, n, class_names) for p in predictions]
    dims = (n_rows, *[n_classes] * (len(columns) - 1))
    codes, times = np.unique(np.ravel_multi_index(columns, dims), return_counts=True)
    order = np.argsort(times, kind="stable")
    row, true, *predicted = np.unravel_index(codes[order], dims)

    everyone = np.arange(len(codes))
    cell = row * n_classes + true
    parts = [(cell, everyone)]
    for pred in predicted:
        right = np.flatnonzero(pred == true)
        parts += [(cell[right], right), (row * n_classes + pred, everyone)]
    size = n_rows * n_classes
    feature = np.concatenate([i * size + rows for i, (rows, _) in enumerate(parts)])
    entries = (np.ones(len(feature), np.int32), (feature, np.concatenate([c for _, c in parts])))
    effect = sparse.csc_array(entries, shape=(len(parts) * size, len(codes)))
    return _Combinations(times[order], effect, (n_rows, n_classes), known)


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
    np.add.at(drawn, (extra, np.repeat(np.arange(size), missing)), np.int32(1))
    return drawn


def _poisson(times: Array, thinning: float, size: int, rng: np.random.Generator) -> Array:
    """Draw Poisson counts of mean ``thinning * times``, int32 (K, size); `times` ascending."""
    drawn = np.empty((len(times), size), np.int32)
    large = np.searchsorted(times, _LARGEST_TABLE, side="right")
    for count in np.unique(times[:large]):
        start, stop = np.searchsorted(times, [count, count + 1])
        drawn[start:stop] = _poisson_by_table(thinning * count, (stop - start, size), rng)
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


@functools.lru_cache(maxsize=_LARGEST_TABLE)
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


def bootstrap(
    statistics: Callable[..., dict[str, Array]], chunks: Iterator[tuple[Counts, ...]]
) -> dict[str, Interval]:
    """Return the interval of every statistic of resampled counts.

    Parameters
    ----------
    statistics : callable
        One `Counts` per model, with leading axis (R,) -> name -> values (R, ...).
    chunks : iterator
        From `resample`.
    """
    parts = [statistics(*counts) for counts in chunks]
    return {name: percentile(np.concatenate([p[name] for p in parts])) for name in parts[0]}


def metric_intervals(
    predicted: Labels,
    y: Labels,
    group: Labels,
    class_names: Sequence[str],
    group_names: Sequence[str] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return a 95 % percentile interval for every metric of one model; as `resample` otherwise.

    A range or a worst case over many small cells is itself biased by sampling, and its interval
    with it: all resamples may show a larger gap than the data. Read it beside the cell sizes.
    """
    chunks = resample(
        [predicted], y, group, class_names, group_names, resamples=resamples, seed=seed
    )
    return bootstrap(lambda counts: evaluate(METRICS, counts), chunks)


def exact_mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p-value that right -> wrong is as likely as wrong -> right.

    >>> exact_mcnemar(5, 0), exact_mcnemar(0, 0)
    (0.0625, 1.0)
    """
    flips = lost + gained
    return float(stats.binomtest(lost, flips, 0.5).pvalue) if flips else 1.0


def holm(p: Array) -> Array:
    """Adjust p-values (K,) for testing all of them; NaN stays NaN and counts as no test.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted
