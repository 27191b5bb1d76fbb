"""Whether confidence can be trusted, and as much for one cell as for another.

*Overconfidence* of a cell is the mean confidence in what was predicted, less accuracy: above zero
where a model is surer than it is right. The *expected calibration error* (ECE) is the mean of its
size over bins of confidence [1]_; it is above zero for a model that is perfectly calibrated too,
and the more so the fewer examples there are, so the value that such a model would be expected to
have stands beside it. The *calibration gap* is the range of overconfidence over groups: how
differently the same confidence has to be read.

References
----------
.. [1] Guo et al., "On calibration of modern neural networks", ICML 2017.
.. [2] Zou and Donner, "Construction of confidence limits about effect measures", 2008 (MOVER).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from fairsparse.fairness.inference.multiplicity import range_bounds
from fairsparse.fairness.inference.paired import (
    Bounds,
    Pairs,
    difference,
    paired_drop,
    quantile,
    wilson,
)
from fairsparse.fairness.measure.counts import Array, gap, share
from fairsparse.fairness.measure.metric import Metric, Together, declaring
from fairsparse.registry import Registry

GAP = "calibration_gap"
CALIBRATIONS: Registry[Metric] = Registry("calibration metric")
"""Metrics of both models' `Sums` over groups -> (2,)."""
BINS = 15
"""Of confidence, of equal width."""
_SAME = 1e-5  # the same model, run by two programs, differs by less


class Sums(NamedTuple):
    """Sums over each of K cells, of two models on the same examples.

    ``over`` (2, K) sums confidence less correctness, ``squares`` (K,) its change squared; ``sure``
    and ``sure_squares`` (2, K) are of confidence, ``shift`` and ``shift_squares`` (K,) of its
    change.
    """

    n: Array
    over: Array
    squares: Array
    sure: Array
    sure_squares: Array
    shift: Array
    shift_squares: Array
    pairs: Pairs

    @property
    def mean(self) -> Array:
        """Overconfidence of both models, (2, K); NaN where a cell is empty."""
        return share(self.over, np.broadcast_to(self.n, self.over.shape))


def cell_sums(confidence: Array, correct: Array, cell: Array, size: int) -> Sums:
    """Sum what is needed over cells.

    Parameters
    ----------
    confidence : (2, N)
        Probability that each model gives to what it predicts.
    correct : (2, N) of bool
    cell : (N,) of int
        Codes below `size`; -1 in none.
    size : int
    """
    here = cell >= 0
    at = cell[here]
    sure = confidence[:, here].astype(np.float64)
    right = correct[:, here]
    over = sure - right
    shift = sure[1] - sure[0]
    shift[np.abs(shift) < _SAME] = 0
    before, after = right

    def total(values: Array) -> Array:
        return np.bincount(at, weights=values, minlength=size)

    def count(chosen: Array) -> Array:
        return np.bincount(at[chosen], minlength=size)

    return Sums(
        np.bincount(at, minlength=size),
        np.stack([total(o) for o in over]),
        total((shift - after + before.astype(float)) ** 2),
        np.stack([total(s) for s in sure]),
        np.stack([total(s**2) for s in sure]),
        total(shift),
        total(shift**2),
        Pairs(
            count(before & after),
            count(before & ~after),
            count(~before & after),
            count(~before & ~after),
        ),
    )


def _mean(total: Array, squares: Array, n: Array, z: float) -> tuple[Array, Bounds]:
    """A mean and Student's interval of it, at the level that the normal quantile `z` has."""
    mean = share(total, n)
    variance = np.maximum(share(squares, n) - mean**2, 0)
    free = np.maximum(n - 1, 1)
    half = stats.t.ppf(stats.norm.cdf(z), free) * np.sqrt(variance / free)
    return mean, Bounds(mean - half, mean + half)


def overconfidence(s: Sums, model: int, z: float | None = None) -> Bounds:
    """Interval of a model's overconfidence, (K,), from those of confidence and accuracy [2]_.

    The two are taken for unrelated. They rise and fall together, so it is a little too wide; it
    also holds where all predictions of a cell are right.
    """
    z = quantile() if z is None else z
    hits = s.pairs.both + (s.pairs.lost if model == 0 else s.pairs.gained)
    sure = _mean(s.sure[model], s.sure_squares[model], s.n, z)
    return difference(*sure, share(hits, s.n), wilson(hits, s.n, z), 0.0)


def change(s: Sums, z: float | None = None) -> Bounds:
    """Interval of the second model's overconfidence less the first's, (K,), paired."""
    z = quantile() if z is None else z
    drop, (low, high) = s.pairs.drop, paired_drop(s.pairs, z)
    return difference(*_mean(s.shift, s.shift_squares, s.n, z), -drop, Bounds(-high, -low), 0.0)


def change_test(s: Sums) -> Array:
    """Two-sided p-value (K,) that swapping the models of an example makes no difference.

    Of the sum of changes with random signs, taken for normal with the variance that it has.
    """
    z = share(np.abs(s.over[1] - s.over[0]), np.sqrt(s.squares))
    return np.where(s.n > 0, np.where(s.squares > 0, 2 * stats.norm.sf(z), 1.0), np.nan)


def gap_bounds(s: Sums, model: int) -> Bounds:
    """Interval of the calibration gap, from all pairs of groups at once: conservative."""

    def bounds(z: float) -> Bounds:
        return Bounds(*(b[None] for b in overconfidence(s, model, z)))

    return range_bounds(s.mean[model][None], bounds)


@declaring(CALIBRATIONS, Metric)(GAP, "calibration gap", "lower", "group", Together(gap_bounds))
def calibration_gap(s: Sums) -> Array:
    """Largest difference between groups in mean confidence less accuracy."""
    return gap(s.mean)


def gap_change(s: Sums) -> Bounds:
    """Interval of the change of the calibration gap: all that those of both gaps allow.

    Resampling does not cover it where one model's groups are alike and the other's are not.
    """
    before, after = (gap_bounds(s, model) for model in (0, 1))
    return Bounds(after.low - before.high, after.high - before.low)


def ece(confidence: Array, correct: Array, cell: Array, size: int) -> tuple[Array, Array]:
    """Expected calibration error by cell, and what a calibrated model would be expected to have.

    Parameters
    ----------
    confidence, correct, cell : (N,)
    size : int
        Cells; codes of -1 are in none.

    Returns
    -------
    tuple of ndarray, (size,)
        NaN for a cell without examples.

    Examples
    --------
    >>> error, floor = ece(np.full(4, 0.75), np.array([1, 1, 1, 0]), np.zeros(4, int), 1)
    >>> error.tolist(), floor.round(3).tolist()
    ([0.0], [0.173])
    """
    here = cell >= 0
    bins = np.minimum((confidence[here] * BINS).astype(np.int64), BINS - 1)
    at = cell[here] * BINS + np.maximum(bins, 0)
    p = confidence[here].astype(np.float64)

    def total(values: Array) -> Array:
        return np.bincount(at, weights=values, minlength=size * BINS).reshape(size, BINS)

    n = np.bincount(cell[here], minlength=size)
    error = share(np.abs(total(p - correct[here])).sum(1), n)
    floor = share(np.sqrt(2 / np.pi * total(p * (1 - p))).sum(1), n)
    return error, floor
