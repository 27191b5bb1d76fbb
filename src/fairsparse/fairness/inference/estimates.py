"""Every metric of one model or two with its 95 % interval, each by what covers it.

`fairsparse.fairness.measure.metric` has the kinds of intervals. The change of a range or minimum
over cells has BCa where both models' stand out from sampling, else percentiles, which are
conservative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from fairsparse.fairness.inference import multiplicity
from fairsparse.fairness.inference.intervals import (
    Interval,
    acceleration,
    bca,
    leave_one_out,
    percentile,
    resample,
    swap,
)
from fairsparse.fairness.inference.paired import Bounds, Pairs, exact, paired_drop, wilson
from fairsparse.fairness.measure.counts import Array, Counts
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import Corrected, Metric, Rates, Score, Together, evaluate
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Outcomes

How = Literal["score", "corrected", "BCa", "percentile", "all cells at once"]
_TOGETHER: How = "all cells at once"
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
        As `resample` takes them, which raises `InputError` for others.

    Returns
    -------
    dict
        ``reference m`` for every metric m, and for two models ``candidate m``, ``change m``, and
        every degradation metric.
    """
    samples = _Samples.of(outcomes, resamples, seed)
    pairs = outcomes.pairs if len(outcomes.predicted) == 2 else None
    estimates: dict[str, Estimate] = {}
    for name in evaluate(METRICS, outcomes.counts[0]):
        metric, outstanding = METRICS[name], True
        for role, counts in zip(ROLES, outcomes.counts, strict=False):
            one = _of_model(samples, metric, role, counts)
            outstanding &= one["how"] != _TOGETHER
            estimates[f"{role} {name}"] = one
        if pairs is not None:
            estimates[f"change {name}"] = _of_change(samples, metric, pairs, outstanding)
    if pairs is not None:
        groups = len(outcomes.group_names)
        for name in evaluate(DEGRADATIONS, *outcomes.counts):
            estimates[name] = _of_drops(samples, DEGRADATIONS[name], pairs, groups)
    return estimates


@dataclass(frozen=True)
class _Samples:
    """Every statistic of the data, of the resamples (R,), and its acceleration, by name."""

    point: dict[str, float]
    drawn: dict[str, Array]
    skew: dict[str, float]

    @classmethod
    def of(cls, outcomes: Outcomes, resamples: int, seed: int) -> _Samples:
        """Draw resamples, and leave out each example."""
        drawn = _bootstrap(resample(outcomes, resamples=resamples, seed=seed))
        point = {name: float(value) for name, value in _statistics(outcomes.counts).items()}
        return cls(point, drawn, _accelerations(leave_one_out(outcomes)))

    def within(
        self, name: str, bounds: Interval | Bounds, how: How, floor: float = math.nan
    ) -> Estimate:
        """The estimate of a statistic with this interval."""
        missing = float(np.isnan(self.drawn[name]).mean())
        low, high = float(bounds.low), float(bounds.high)
        return Estimate(
            value=self.point[name], low=low, high=high, dropped=missing, how=how, floor=floor
        )

    def bootstrapped(self, name: str, floor: float = math.nan) -> Estimate:
        """The estimate of a statistic with the BCa interval."""
        bounds = bca(self.drawn[name], self.point[name], self.skew.get(name, 0.0))
        return self.within(name, bounds, "BCa", floor)

    def variance(self, role: str, metric: Metric, of: Corrected) -> Estimate:
        """The estimate of a variance over classes, or its change, around the value without bias.

        The corrected variance of resamples scatters about the variance of the data, as that of the
        data does about the true one.
        """
        corrected, plain = (f"{role} {m}" for m in (of.corrected, of.plain))
        low, high, dropped = percentile(self.drawn[corrected] - self.point[plain])
        shift = self.point[corrected]
        least = 0.0 if role in ROLES and metric.name == of.plain else -np.inf
        bounds = Interval(np.maximum(shift + low, least), np.maximum(shift + high, least), dropped)
        return self.within(f"{role} {metric.name}", bounds, "corrected")


def _of_model(samples: _Samples, metric: Metric, role: str, counts: Counts) -> Estimate:
    """A metric of one model, whose counts these are."""
    name, kind = f"{role} {metric.name}", metric.interval
    if isinstance(kind, Score):
        return samples.within(name, wilson(counts.correct.sum(), counts.n.sum()), "score")
    if isinstance(kind, Corrected):
        return samples.variance(role, metric, kind)
    if not isinstance(kind, Rates):
        return samples.bootstrapped(name)
    hits, n = kind.counts(counts)
    together, floor = _all_cells(hits, n, metric.better == "higher")
    if _stands_out(samples.point[name], floor, hits, samples.drawn[name]):
        return samples.bootstrapped(name, floor)
    return samples.within(name, together, _TOGETHER, floor)


def _of_change(samples: _Samples, metric: Metric, pairs: Pairs, outstanding: bool) -> Estimate:
    """The change of a metric; whether it stands out from sampling in both models."""
    name, kind = f"change {metric.name}", metric.interval
    if isinstance(kind, Score):
        drop = paired_drop(Pairs(*(x.sum() for x in pairs)))
        return samples.within(name, Bounds(-drop.high, -drop.low), "score")
    if isinstance(kind, Corrected):
        return samples.variance("change", metric, kind)
    if outstanding:
        return samples.bootstrapped(name)
    return samples.within(name, percentile(samples.drawn[name]), "percentile")


def _of_drops(samples: _Samples, metric: Metric, pairs: Pairs, groups: int) -> Estimate:
    """A metric of how unequally a drop falls."""
    if isinstance(metric.interval, Together):
        return samples.within(metric.name, metric.interval.bounds(pairs, groups), _TOGETHER)
    return samples.bootstrapped(metric.name)


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


def _statistics(counts: Sequence[Counts]) -> dict[str, Array]:
    values = [evaluate(METRICS, c) for c in counts]
    named = {f"{role} {m}": v[m] for role, v in zip(ROLES, values, strict=False) for m in v}
    if len(counts) == 2:
        before, after = values
        named |= {f"change {name}": after[name] - before[name] for name in before}
        named |= evaluate(DEGRADATIONS, *counts)
    return named


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


def _all_cells(hits: Array, n: Array, smallest: bool) -> tuple[Bounds, float]:
    """Interval of the range of rates (F, K), or of their minimum, for all cells at once."""
    if not smallest:
        return multiplicity.rate_range(hits, n), multiplicity.floor(hits, n)
    cells = hits.size
    bounds = multiplicity.extreme(lambda z: exact(hits, n, z), cells, largest=False)
    return bounds, np.nan


def _stands_out(value: float, floor: float, hits: Array, samples: Array) -> bool:
    """Whether resampling covers a range or minimum: neither sampling nor one of many made it."""
    if hits.shape[-1] == 2 and not np.isnan(floor):
        return False  # the range of two is a difference, which has an interval in closed form
    defined = samples[~np.isnan(samples)]
    least = multiplicity.STANDS_OUT * np.nan_to_num(floor)
    if np.isnan(value) or len(defined) == 0 or value < least:
        return False
    return bool(0 < defined.std() >= abs(defined.mean() - value) / _BIASED)
