"""Every metric of one model or two with its 95 % interval, each by what covers it.

=====================================  ===========================================================
quantity                               interval
=====================================  ===========================================================
accuracy, and its change               Wilson's, and Newcombe's for the same examples
CWV, and its change                    bootstrap of the corrected variance, which has no bias
ranges and minima over cells           BCa where they stand out from sampling; else all pairs, or
                                       all cells, at once: conservative
changes of these                       BCa where both stand out, else percentile: conservative
how unequally a drop falls             all pairs, or all cells, at once
others                                 BCa
=====================================  ===========================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, TypedDict

import numpy as np

from fairsparse.fairness import ranges
from fairsparse.fairness.counts import Array, Counts
from fairsparse.fairness.degradations import DEGRADATIONS
from fairsparse.fairness.intervals import (
    Interval,
    acceleration,
    bca,
    leave_one_out,
    percentile,
    resample,
    swap,
)
from fairsparse.fairness.metric import Corrected, Rates, Score, Together, evaluate
from fairsparse.fairness.metrics import METRICS
from fairsparse.fairness.outcomes import Outcomes
from fairsparse.fairness.paired import Bounds, Pairs, exact, paired_drop, wilson

How = Literal["score", "corrected", "BCa", "percentile", "all cells at once"]
ROLES = ("reference", "candidate")
_BIASED = 0.25
"""Resamples that lie further than this many deviations off were pulled there by cells alike."""


class Estimate(TypedDict):
    """A value with its 95 % interval.

    ``dropped`` is the share of resamples in which it was undefined, ``how`` names the interval, and
    ``floor`` is the range that sampling alone is expected to make, NaN where it is no range.
    """

    value: float
    low: float
    high: float
    dropped: float
    how: How
    floor: float


def estimate(outcomes: Outcomes, *, resamples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """Estimate every metric of one model, or of two on the same examples.

    Parameters
    ----------
    outcomes : Outcomes
        Of one model or two.
    resamples, seed : int
        As `resample` takes them.

    Returns
    -------
    dict
        ``reference m`` for every metric m, and for two models ``candidate m``, ``change m``, and
        every degradation metric.

    Raises
    ------
    InputError
        As `resample` does.
    """
    counts, pairs = outcomes.counts, outcomes.pairs if len(outcomes.predicted) == 2 else None
    drawn = _bootstrap(resample(outcomes, resamples=resamples, seed=seed))
    skew = _accelerations(leave_one_out(outcomes))
    point = {name: float(value) for name, value in _statistics(counts).items()}

    def bootstrapped(name: str, corrected: bool) -> tuple[Interval, How]:
        if corrected:
            return bca(drawn[name], point[name], skew.get(name, 0.0)), "BCa"
        return percentile(drawn[name]), "percentile"

    found: dict[str, Estimate] = {}

    def add(name: str, bounds: Interval | Bounds, how: How, *, floor: float = math.nan) -> None:
        missing = float(np.isnan(drawn[name]).mean())
        low, high = float(bounds.low), float(bounds.high)
        found[name] = Estimate(
            value=point[name], low=low, high=high, dropped=missing, how=how, floor=floor
        )

    for metric in evaluate(METRICS, counts[0]):
        kind, outstanding = METRICS[metric].interval, True
        for role, c in zip(ROLES, counts, strict=False):
            name = f"{role} {metric}"
            if isinstance(kind, Score):
                add(name, wilson(c.correct.sum(), c.n.sum()), "score")
            elif isinstance(kind, Corrected):
                add(name, _variance(drawn, point, role, kind, metric == kind.plain), "corrected")
            elif not isinstance(kind, Rates):
                add(name, *bootstrapped(name, True))
            else:
                hits, n = kind.counts(c)
                together, floor = _all_cells(hits, n, METRICS[metric].better == "higher")
                stands = _stands_out(point[name], floor, hits, drawn[name])
                outstanding &= stands
                if stands:
                    add(name, *bootstrapped(name, True), floor=floor)
                else:
                    add(name, together, _TOGETHER, floor=floor)
        if pairs is None:
            continue
        name = f"change {metric}"
        if isinstance(kind, Score):
            drop = paired_drop(Pairs(*(x.sum() for x in pairs)))
            add(name, Bounds(-drop.high, -drop.low), "score")
        elif isinstance(kind, Corrected):
            add(name, _variance(drawn, point, "change", kind, False), "corrected")
        else:
            add(name, *bootstrapped(name, outstanding))
    if pairs is not None:
        for metric in evaluate(DEGRADATIONS, *counts):
            kind = DEGRADATIONS[metric].interval
            if isinstance(kind, Together):
                add(metric, kind.bounds(pairs, counts[0].known), _TOGETHER)
            else:
                add(metric, *bootstrapped(metric, True))
    return found


def change_tests(outcomes: Outcomes, *, draws: int = 2000, seed: int = 0) -> dict[str, float]:
    """Two-sided p-value of every metric's change, by swapping two models on half the examples.

    Exact but for the number of draws; NaN where a metric is undefined.
    """
    values = _statistics(outcomes.counts)
    measured = {name: float(v) for name, v in values.items() if name[:7] == "change "}
    beyond = dict.fromkeys(measured, 1)
    for drawn in swap(outcomes, draws=draws, seed=seed):
        before, after = (evaluate(METRICS, c) for c in drawn)
        for name, value in measured.items():
            metric = name.removeprefix("change ")
            apart = np.abs(after[metric] - before[metric])
            beyond[name] += int((apart >= abs(value) - 1e-12).sum())
    return {
        name.removeprefix("change "): beyond[name] / (draws + 1) if value == value else math.nan
        for name, value in measured.items()
    }


_TOGETHER: How = "all cells at once"


def _statistics(counts: Sequence[Counts]) -> dict[str, Array]:
    values = [evaluate(METRICS, c) for c in counts]
    found = {f"{role} {m}": v[m] for role, v in zip(ROLES, values, strict=False) for m in v}
    if len(counts) == 2:
        before, after = values
        found |= {f"change {name}": after[name] - before[name] for name in before}
        found |= evaluate(DEGRADATIONS, *counts)
    return found


def _bootstrap(chunks: Iterator[tuple[Counts, ...]]) -> dict[str, Array]:
    parts = [_statistics(counts) for counts in chunks]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _accelerations(chunks: Iterator[tuple[tuple[Counts, ...], Array]]) -> dict[str, float]:
    parts = [(_statistics(counts), times) for counts, times in chunks]
    if not parts:
        return {}
    times = np.concatenate([t for _, t in parts])
    return {
        name: acceleration(np.concatenate([p[name] for p, _ in parts]), times)
        for name in parts[0][0]
    }


def _variance(
    drawn: dict[str, Array], point: dict[str, float], role: str, of: Corrected, positive: bool
) -> Interval:
    """Interval of a variance over classes, or its change, around the value without bias.

    The corrected variance of resamples scatters about the variance of the data, as that of the data
    does about the true one.
    """
    corrected, plain = (f"{role} {m}" for m in (of.corrected, of.plain))
    low, high, dropped = percentile(drawn[corrected] - point[plain])
    shift = point[corrected]
    least = 0.0 if positive else -np.inf
    return Interval(np.maximum(shift + low, least), np.maximum(shift + high, least), dropped)


def _all_cells(hits: Array, n: Array, smallest: bool) -> tuple[Bounds, float]:
    """Interval of the range of rates (F, K), or of their minimum, for all cells at once."""
    if not smallest:
        return ranges.rate_range(hits, n), ranges.floor(hits, n)
    cells = hits.size
    bounds = ranges.extreme(lambda z: exact(hits, n, z), cells, largest=False)
    return bounds, np.nan


def _stands_out(value: float, floor: float, hits: Array, samples: Array) -> bool:
    """Whether resampling covers a range or minimum: neither sampling nor one of many made it."""
    if hits.shape[-1] == 2 and not np.isnan(floor):
        return False  # the range of two is a difference, which has an interval in closed form
    defined = samples[~np.isnan(samples)]
    if np.isnan(value) or len(defined) == 0 or value < ranges.STANDS_OUT * np.nan_to_num(floor):
        return False
    return bool(0 < defined.std() >= abs(defined.mean() - value) / _BIASED)
