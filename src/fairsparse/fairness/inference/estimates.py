"""Every metric of one model or two with its 95 % interval, each by what covers it.

`fairsparse.fairness.measure.metric` has the kinds of intervals. The change of a range or minimum
over cells has BCa where both models' stand out from sampling. Elsewhere no resampling covers it: it
has all that the intervals of both models allow, which is wide and covers. The p-value of a change
is the level at which its interval, as that of a normal estimate, reaches zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import numpy as np
from scipy import stats

from fairsparse.fairness.inference import multiplicity
from fairsparse.fairness.inference.intervals import (
    Interval,
    acceleration,
    bca,
    leave_one_out,
    percentile,
    resample,
)
from fairsparse.fairness.inference.paired import (
    LEVEL,
    Bounds,
    Pairs,
    agreeing,
    exact,
    level_at_zero,
    mcnemar,
    paired_drop,
    quantile,
    wilson,
)
from fairsparse.fairness.measure.counts import Array, Counts, share
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import (
    Corrected,
    Metric,
    Rates,
    Score,
    Together,
    Unbounded,
    evaluate,
    exists,
)
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Outcomes

How = Literal["score", "corrected", "BCa", "all cells at once", "both models joined", "none"]
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


class Inference(NamedTuple):
    """What is known of the metrics of two models.

    ``p`` has the two-sided p-value of each metric's change, not adjusted; ``covariance`` is of
    these changes, (m, m), in their order.
    """

    estimates: dict[str, Estimate]
    p: dict[str, float]
    covariance: Array


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
    return infer(outcomes, resamples=resamples, seed=seed).estimates


def infer(outcomes: Outcomes, *, resamples: int = 2000, seed: int = 0) -> Inference:
    """Estimate as `estimate` does, and test the changes."""
    samples = _Samples.of(outcomes, resamples, seed)
    pairs = samples.pairs(outcomes) if len(outcomes.predicted) == 2 else None
    estimates: dict[str, Estimate] = {}
    changes: dict[str, float] = {}
    for name in evaluate(METRICS, outcomes.counts[0]):
        metric, outstanding = METRICS[name], True
        for role, counts in zip(ROLES, outcomes.counts, strict=False):
            estimates[f"{role} {name}"], stands_out = _of_model(samples, metric, role, counts)
            outstanding &= stands_out
        if pairs is not None:
            roles = [estimates[f"{role} {name}"] for role in ROLES]
            change = _of_change(samples, metric, pairs, None if outstanding else roles)
            estimates[f"change {name}"] = change
            exactly = samples.sizes is None
            changes[name] = _p_value(metric, change, pairs if exactly else None)
    if pairs is not None:
        groups = len(outcomes.group_names)
        for name in evaluate(DEGRADATIONS, *outcomes.counts):
            estimates[name] = _of_drops(samples, DEGRADATIONS[name], pairs, groups)
    return Inference(estimates, changes, samples.covariance([f"change {m}" for m in changes]))


@dataclass(frozen=True)
class _Samples:
    """Every statistic of the data, of the resamples (R,), and its acceleration, by name."""

    point: dict[str, float]
    drawn: dict[str, Array]
    skew: dict[str, float]
    sizes: _Sizes | None = None

    @classmethod
    def of(cls, outcomes: Outcomes, resamples: int, seed: int) -> _Samples:
        """Draw resamples, and leave out each example."""
        sizes = None if outcomes.sample is None else _Sizes(outcomes)
        parts = []
        for counts in resample(outcomes, resamples=resamples, seed=seed):
            parts.append(_statistics(counts))
            if sizes is not None:
                sizes.add(counts)
        drawn = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        point = {name: float(value) for name, value in _statistics(outcomes.counts).items()}
        if sizes is not None:
            _correct(point, drawn)
        return cls(point, drawn, _accelerations(leave_one_out(outcomes)), sizes)

    def within(
        self, name: str, bounds: Interval | Bounds, how: How, floor: float = math.nan
    ) -> Estimate:
        """The estimate of a statistic with this interval."""
        missing = float(np.isnan(self.drawn[name]).mean())
        low, high = float(bounds.low), float(bounds.high)
        return Estimate(
            value=self.point[name], low=low, high=high, dropped=missing, how=how, floor=floor
        )

    def pairs(self, outcomes: Outcomes) -> Pairs:
        """What two models did, (G', C), in as many examples as make the drop vary as it does."""
        pairs = outcomes.pairs
        if self.sizes is None:
            return pairs
        n, flips = pairs.n.sum(), (pairs.lost + pairs.gained).sum()
        spread = float(flips / n) - self.point["change accuracy"] ** 2
        variance = float(self.drawn["change accuracy"].var())
        size = spread / variance if variance > 0 else self.sizes.clusters
        return Pairs(*(x * (self.sizes.shrink * size / n) for x in pairs))

    def covariance(self, names: Sequence[str]) -> Array:
        """Of statistics over the resamples, (K, K); zero for one that is undefined in some."""
        drawn = np.stack([self.drawn[name] for name in names]) if names else np.empty((0, 1))
        centred = drawn - drawn.mean(1, keepdims=True)
        return np.nan_to_num(centred @ centred.T / max(1, drawn.shape[1] - 1))

    def bootstrapped(self, name: str, floor: float = math.nan) -> Estimate:
        """The estimate of a statistic with the BCa interval."""
        bounds = bca(self.drawn[name], self.point[name], self.skew.get(name, 0.0))
        return self.within(name, bounds, "BCa", floor)

    def otherwise(self, name: str, kind: object) -> Estimate:
        """The estimate of a statistic with the BCa interval, or with none where none covers."""
        if isinstance(kind, Unbounded):
            return self.within(name, Bounds(np.array(np.nan), np.array(np.nan)), "none")
        return self.bootstrapped(name)

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


def _of_model(
    samples: _Samples, metric: Metric, role: str, counts: Counts
) -> tuple[Estimate, bool]:
    """A metric of one model, whose counts these are; whether resampling covers it."""
    name, kind = f"{role} {metric.name}", metric.interval
    if isinstance(kind, Corrected):
        return samples.variance(role, metric, kind), True
    if not isinstance(kind, (Rates, Score)):
        return samples.otherwise(name, kind), True
    hits, n = _rates(kind, counts)
    if samples.sizes is not None:
        hits, n = samples.sizes.effective(name, hits, n)
    if isinstance(kind, Score):
        return samples.within(name, wilson(hits.sum(), n.sum()), "score"), True
    if kind.reduce == "smallest":
        bounds = multiplicity.extreme(lambda z: exact(hits, n, z), hits.size, largest=False)
        floor = math.nan
    else:
        bounds, floor = kind.bounds(hits, n), kind.floor(hits, n)
    stands_out = _stands_out(samples.point[name], floor, samples.drawn[name])
    # the range of two is a difference, which has an interval in closed form
    if stands_out and (hits.shape[-1] > 2 or math.isnan(floor)):
        return samples.bootstrapped(name, floor), True
    return samples.within(name, bounds, _TOGETHER, floor), stands_out


def _rates(kind: Rates | Score, counts: Counts) -> tuple[Array, Array]:
    """Hits and examples of what an interval is of."""
    if isinstance(kind, Rates):
        return kind.counts(counts)
    hits, n = (x.sum((-2, -1))[..., None, None] for x in (counts.correct, counts.n))
    return hits, n


class _Sizes:
    """How many independent examples would make each rate vary as it does over resamples."""

    def __init__(self, outcomes: Outcomes) -> None:
        assert outcomes.sample is not None
        self.drawn, self.sums = 0, {}  # type: ignore[var-annotated]
        self.total = float(outcomes.sample.weight.sum())
        clusters = len(np.unique(outcomes.sample.cluster))
        ratio = quantile() / stats.t.ppf(stats.norm.cdf(quantile()), max(1, clusters - 1))
        self.clusters, self.shrink = clusters, float(ratio) ** 2

    def add(self, counts: Sequence[Counts]) -> None:
        """Take in resamples, with leading axis (R,)."""
        self.drawn += len(counts[0].n)
        for role, one in zip(ROLES, counts, strict=False):
            for metric in METRICS:
                kind = METRICS[metric].interval
                if isinstance(kind, (Rates, Score)) and exists(METRICS[metric], one):
                    rate = np.nan_to_num(share(*_rates(kind, one)))
                    sums = self.sums.get(f"{role} {metric}", (0, 0))
                    parts = (rate.sum(0), (rate**2).sum(0))
                    self.sums[f"{role} {metric}"] = tuple(map(sum, zip(sums, parts, strict=True)))

    def effective(self, name: str, hits: Array, n: Array) -> tuple[Array, Array]:
        """Counts of the rates of a metric, scaled to effective examples."""
        first, second = (x / self.drawn for x in self.sums[name])
        rate, variance = share(hits, n), np.maximum(second - first**2, 0)
        overall = self.sums[f"{name.split()[0]} accuracy"]
        mean, square = (float(x.sum()) / self.drawn for x in overall)
        worth = mean * (1 - mean) / (square - mean**2) if square > mean**2 else self.clusters
        size = n * (worth / self.total)
        binomial = rate * (1 - rate)
        np.divide(binomial, variance, out=size, where=(variance > 0) & (binomial > 0))
        size = np.where(n > 0, size * self.shrink, 0)
        return np.nan_to_num(rate * size), size


def _correct(point: dict[str, float], drawn: dict[str, Array]) -> None:
    """Take from variances over classes what sampling clusters adds, which resamples tell."""
    kinds = (METRICS[m].interval for m in METRICS)
    for kind in {kind for kind in kinds if isinstance(kind, Corrected)}:
        roles = [role for role in ROLES if f"{role} {kind.plain}" in drawn]
        for role in roles:
            plain, corrected = (f"{role} {m}" for m in (kind.plain, kind.corrected))
            bias = float(drawn[plain].mean()) - point[plain]
            drawn[corrected], point[corrected] = drawn[plain] - bias, point[plain] - bias
        if len(roles) == 2:
            before, after = (f"{role} {kind.corrected}" for role in roles)
            drawn[f"change {kind.corrected}"] = drawn[after] - drawn[before]
            point[f"change {kind.corrected}"] = point[after] - point[before]


def _of_change(
    samples: _Samples, metric: Metric, pairs: Pairs, roles: Sequence[Estimate] | None
) -> Estimate:
    """The change of a metric; `roles` are both models' where resampling does not cover it."""
    name, kind = f"change {metric.name}", metric.interval
    if isinstance(kind, Score):
        everyone = Pairs(*(x.sum() for x in pairs))
        drop = paired_drop(everyone)
        if samples.sizes is None:
            p = mcnemar(everyone.lost, everyone.gained)
            drop = agreeing(drop, everyone.drop, p, 1 - LEVEL)
        return samples.within(name, Bounds(-drop.high, -drop.low), "score")
    if isinstance(kind, Corrected):
        return samples.variance("change", metric, kind)
    if roles is None:
        return samples.otherwise(name, kind)
    # all that the two intervals allow: as one estimate is biased, errors do not add up in squares
    before, after = roles
    bounds = Bounds(
        np.array(after["low"] - before["high"]), np.array(after["high"] - before["low"])
    )
    return samples.within(name, bounds, "both models joined")


def _p_value(metric: Metric, change: Estimate, pairs: Pairs | None) -> float:
    """Two-sided p-value of no change; NaN where there is no interval, or another metric's does.

    Where `pairs` are independent, accuracy has McNemar's.
    """
    kind, value = metric.interval, change["value"]
    if isinstance(kind, Score) and pairs is not None:
        return float(mcnemar(pairs.lost.sum(), pairs.gained.sum()))
    told = metric.of_inequality or isinstance(kind, Score)
    if not told or math.isnan(change["low"]):
        return math.nan
    return level_at_zero(value, change["low"], change["high"])


def _of_drops(samples: _Samples, metric: Metric, pairs: Pairs, groups: int) -> Estimate:
    """A metric of how unequally a drop falls."""
    if isinstance(metric.interval, Together):
        return samples.within(metric.name, metric.interval.bounds(pairs, groups), _TOGETHER)
    return samples.otherwise(metric.name, metric.interval)


def _statistics(counts: Sequence[Counts]) -> dict[str, Array]:
    values = [evaluate(METRICS, c) for c in counts]
    named = {f"{role} {m}": v[m] for role, v in zip(ROLES, values, strict=False) for m in v}
    if len(counts) == 2:
        before, after = values
        named |= {f"change {name}": after[name] - before[name] for name in before}
        named |= evaluate(DEGRADATIONS, *counts)
    return named


def _accelerations(chunks: Iterator[tuple[tuple[Counts, ...], Array]]) -> dict[str, float]:
    parts = [(_statistics(counts), times) for counts, times in chunks]
    if not parts:
        return {}
    times = np.concatenate([t for _, t in parts])
    return {
        name: acceleration(np.concatenate([p[name] for p, _ in parts]), times)
        for name in parts[0][0]
    }


def _stands_out(value: float, floor: float, samples: Array) -> bool:
    """Whether resampling covers a range or minimum: neither sampling nor one of many made it."""
    defined = samples[~np.isnan(samples)]
    least = multiplicity.STANDS_OUT * np.nan_to_num(floor)
    if np.isnan(value) or len(defined) == 0 or value < least:
        return False
    return bool(0 < defined.std() >= abs(defined.mean() - value) / _BIASED)
