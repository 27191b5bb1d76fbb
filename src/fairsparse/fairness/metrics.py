"""Fairness metrics, exact, from integer counts.

Every metric is a function of three counts per group and true class, so the same few lines measure
one model and ten thousand resamples of it: leading axes are carried along. Variance and range over
classes are after [1]_, equal opportunity and equalized odds [2]_, performance degradation [3]_, and
excess drops [4]_. Combined error variance and symmetric distance error are after [5]_, as
fractions, with half an error and one example added to each count. With more than two classes, a
rate of one class against the rest is compared for each class, and the largest range counts.

References
----------
.. [1] Tian et al., "Analysis and applications of class-wise robustness in adversarial training",
   arXiv 2105.14240.
.. [2] Hardt, Price and Srebro, "Equality of opportunity in supervised learning", arXiv 1610.02413.
.. [3] Dai et al., on bi-level fair pruning, arXiv 2312.10181.
.. [4] Hashemizadeh et al., "Balancing act: constraining disparate impact in sparse models",
   arXiv 2310.20673.
.. [5] Blakeney et al., "Simon says: evaluating and mitigating bias in pruned neural networks with
   knowledge distillation", arXiv 2106.07849.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fairsparse.fairness.counts import (
    Array,
    CellAccuracy,
    Counts,
    Kind,
    cell_accuracies,
    cell_names,
    fold,
    gap,
    share,
)
from fairsparse.fairness.outcomes import Confusion
from fairsparse.registry import Registry


@dataclass(frozen=True)
class Metric:
    """A number computed from counts.

    Parameters
    ----------
    function : callable
        `Counts` (for a degradation: of reference and candidate) -> (...).
    summary : str
        One sentence for people.
    better : {"higher", "lower"}
    needs : {"any", "groups"}
        Whether the metric exists only where there are two named groups.
    cells : str
        Kind of the cells that must hold examples; without groups, classes stand in.
    least : int
        How many examples each of them must hold.
    rates : callable, optional
        `Counts` -> hits and examples, each (..., F, K), of the rates whose range over K, or whose
        minimum, the metric is; of several families F it is that of the largest.
    """

    function: Callable[..., Array]
    summary: str
    better: Literal["higher", "lower"]
    needs: Literal["any", "groups"]
    cells: Kind
    least: int = 1
    rates: Callable[[Counts], tuple[Array, Array]] | None = None


METRICS: Registry[Metric] = Registry("metric")
DEGRADATIONS: Registry[Metric] = Registry("degradation metric")


def metric(
    name: str,
    better: Literal["higher", "lower"],
    cells: Kind,
    *,
    needs: Literal["any", "groups"] = "any",
    least: int = 1,
    registry: Registry[Metric] = METRICS,
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Return a decorator that registers a function of counts as a metric."""

    def add(function: Callable[..., Array]) -> Callable[..., Array]:
        summary = " ".join((function.__doc__ or "").split())
        registry.register(name)(Metric(function, summary, better, needs, cells, least))
        return function

    return add


def evaluate(registry: Registry[Metric], *counts: Counts) -> dict[str, Array]:
    """Compute every metric that exists for these counts: name -> (...)."""
    return {
        name: registry[name].function(*counts)
        for name in registry
        if registry[name].needs == "any" or counts[0].grouped
    }


@metric("accuracy", "higher", "all")
def _accuracy(c: Counts) -> Array:
    """Share of correct predictions."""
    return c.accuracy("all")[..., 0]


@metric("cwv", "lower", "class")
def _cwv(c: Counts) -> Array:
    """Population variance of accuracy over classes."""
    return c.accuracy("class").var(-1)


@metric("cwv_corrected", "lower", "class", least=2)
def _cwv_corrected(c: Counts) -> Array:
    """Variance of accuracy over classes less what sampling alone adds; may be negative."""
    a, n = c.accuracy("class"), fold(c.n, c.known, "class")
    noise = share(a * (1 - a), n - 1).mean(-1)
    return a.var(-1) - (1 - 1 / a.shape[-1]) * noise


def rate_metric(
    name: str,
    better: Literal["higher", "lower"],
    cells: Kind,
    needs: Literal["any", "groups"],
    function: Callable[[Counts], Array] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that makes a metric of rates: their minimum if higher is better, or else
    their range; `function` is a faster way to the same number."""

    def add(rates: Callable[..., Any]) -> Callable[..., Any]:
        def of_rates(c: Counts) -> Array:
            found = share(*rates(c))
            return found.min((-1, -2)) if better == "higher" else gap(found).max(-1)

        summary = " ".join((rates.__doc__ or "").split())
        done = Metric(function or of_rates, summary, better, needs, cells, 1, rates)
        METRICS.register(name)(done)
        return rates

    return add


def _by(c: Counts, kind: Kind) -> tuple[Array, Array]:
    correct, n = (fold(x, c.known, kind)[..., None, :] for x in (c.correct, c.n))
    return correct, n


@rate_metric("mcd", "lower", "class", "any")
def _mcd(c: Counts) -> tuple[Array, Array]:
    """Accuracy of the best served class minus that of the worst served."""
    return _by(c, "class")


@rate_metric("worst_class_accuracy", "higher", "class", "any")
def _worst_class_accuracy(c: Counts) -> tuple[Array, Array]:
    """Accuracy of the worst served class."""
    return _by(c, "class")


@rate_metric("worst_group_accuracy", "higher", "group", "groups")
def _worst_group_accuracy(c: Counts) -> tuple[Array, Array]:
    """Accuracy of the worst served group."""
    return _by(c, "group")


@rate_metric("worst_cell_accuracy", "higher", "class x group", "any")
def _worst_cell_accuracy(c: Counts) -> tuple[Array, Array]:
    """Accuracy of the worst served class within a group; of a class where there are no groups."""
    return _by(c, "class x group" if c.grouped else "class")


@rate_metric("accuracy_gap", "lower", "group", "groups")
def _accuracy_gap(c: Counts) -> tuple[Array, Array]:
    """Range of accuracy over groups."""
    return _by(c, "group")


@rate_metric(
    "demographic_parity",
    "lower",
    "group",
    "groups",
    lambda c: c.outcome_gaps(c.predicted, c.n.sum(-1, keepdims=True)).max(-1),
)
def _demographic_parity(c: Counts) -> tuple[Array, Array]:
    """Range over groups of P(predicted 1); of several classes the largest such range."""
    return c.outcomes(c.predicted, c.n.sum(-1, keepdims=True))


@rate_metric(
    "equal_opportunity", "lower", "outcome x group", "groups", lambda c: c.tpr_gaps.max(-1)
)
def _equal_opportunity(c: Counts) -> tuple[Array, Array]:
    """Range over groups of the true positive rate; of several classes the largest range."""
    return c.positives


@rate_metric(
    "equalized_odds",
    "lower",
    "class x group",
    "groups",
    lambda c: np.maximum(c.tpr_gaps, c.fpr_gaps).max(-1),
)
def _equalized_odds(c: Counts) -> tuple[Array, Array]:
    """Larger of the ranges over groups of true and false positive rate; largest class."""
    hits, n = zip(c.positives, c.negatives, strict=True)
    return np.concatenate(hits, -2), np.concatenate(n, -2)


@metric("average_odds", "lower", "class x group", needs="groups")
def _average_odds(c: Counts) -> Array:
    """Mean of the ranges over groups of true and false positive rate; largest class."""
    return ((c.tpr_gaps + c.fpr_gaps) / 2).max(-1)


def drops(reference: Counts, candidate: Counts, kind: Kind) -> Array:
    """Accuracy of the reference minus the candidate's in each cell of `kind`, (..., K)."""
    return reference.accuracy(kind) - candidate.accuracy(kind)


def excess_drops(reference: Counts, candidate: Counts, kind: Kind) -> Array:
    """Drop of each cell minus the overall drop, (..., K)."""
    return drops(reference, candidate, kind) - drops(reference, candidate, "all")


@metric("performance_degradation_fairness", "lower", "group", needs="groups", registry=DEGRADATIONS)
def _performance_degradation_fairness(reference: Counts, candidate: Counts) -> Array:
    """Range over groups of the drop in accuracy."""
    return gap(drops(reference, candidate, "group"))


@metric("class_degradation_range", "lower", "class", registry=DEGRADATIONS)
def _class_degradation_range(reference: Counts, candidate: Counts) -> Array:
    """Range over classes of the drop in accuracy."""
    return gap(drops(reference, candidate, "class"))


@metric("max_cell_drop", "lower", "class x group", registry=DEGRADATIONS)
def _max_cell_drop(reference: Counts, candidate: Counts) -> Array:
    """Largest drop in accuracy of a class within a group; of a class where there are no groups."""
    kind: Kind = "class x group" if reference.grouped else "class"
    return drops(reference, candidate, kind).max(-1)


@metric("max_excess_drop", "lower", "group", registry=DEGRADATIONS)
def _max_excess_drop(reference: Counts, candidate: Counts) -> Array:
    """Largest drop of a group, or of a class where there are no groups, beyond the overall."""
    kind: Kind = "group" if reference.grouped else "class"
    return excess_drops(reference, candidate, kind).max(-1)


def _relative(reference: Counts, candidate: Counts) -> tuple[Array, Array]:
    """Relative changes of each class's false positive and false negative rate, smoothed."""

    def rates(c: Counts) -> tuple[Array, Array]:
        n, correct = fold(c.n, c.known, "class"), fold(c.correct, c.known, "class")
        others = n.sum(-1, keepdims=True) - n
        false = fold(c.predicted, c.known, "class") - correct
        return share(false + 0.5, others + 1), share(n - correct + 0.5, np.where(n > 0, n + 1, 0))

    (fpr, fnr), (fpr_now, fnr_now) = rates(reference), rates(candidate)
    return fpr_now / fpr - 1, fnr_now / fnr - 1


@metric("cev", "lower", "class", registry=DEGRADATIONS)
def _cev(reference: Counts, candidate: Counts) -> Array:
    """Variance over classes of the relative changes of false positive and false negative rate."""
    return sum((x.var(-1) for x in _relative(reference, candidate)), np.array(0.0))


@metric("sde", "lower", "class", registry=DEGRADATIONS)
def _sde(reference: Counts, candidate: Counts) -> Array:
    """Mean over classes of how far the relative changes of the two error rates lie apart."""
    fpr, fnr = _relative(reference, candidate)
    return np.abs(fnr - fpr).mean(-1)


def lacking(
    counts: Counts, class_names: Sequence[str], group_names: Sequence[str], metric: Metric
) -> tuple[str, ...]:
    """Return the names of the cells that hold too few examples for a metric."""
    grouped = counts.grouped or metric.cells == "all"
    kind: Kind = metric.cells if grouped else "class"
    names = cell_names(kind, class_names, group_names)
    sizes = fold(counts.n, len(group_names), kind)
    return tuple(name for name, n in zip(names, sizes, strict=True) if n < metric.least)


def plain(value: Any) -> Any:
    """Return nested values as JSON can hold them: NaN becomes None, tuples become lists.

    >>> plain({"cwv": float("nan"), "n": (1, 2)})
    {'cwv': None, 'n': [1, 2]}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if value != value else value


@dataclass(frozen=True)
class FairnessReport:
    """What one model's predictions measure.

    Parameters
    ----------
    n, n_unknown : int
        Examples, and those of them whose group is unknown though groups are named.
    values : dict
        Metric name -> value; accuracies and rates are fractions; NaN where undefined.
    undefined : dict
        Name of a metric that is NaN -> names of the cells that hold too few examples for it.
    by_class, by_group, by_cell : tuple of CellAccuracy
        Examples and accuracy by class, by named group, and by class x group.
    """

    n: int
    n_unknown: int
    values: dict[str, float]
    undefined: dict[str, tuple[str, ...]]
    by_class: tuple[CellAccuracy, ...]
    by_group: tuple[CellAccuracy, ...]
    by_cell: tuple[CellAccuracy, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it, NaN as None."""
        return plain({field: getattr(self, field) for field in self.__dataclass_fields__})


def measure(confusion: Confusion) -> FairnessReport:
    """Measure one model's predictions with every metric that exists for them.

    >>> table = Confusion.count([0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], ["no", "yes"], ["a", "b"])
    >>> report = measure(table)
    >>> report.values["accuracy_gap"], report.undefined["equal_opportunity"]
    (0.5, ('yes | a',))
    """
    return measure_counts(confusion.counts, confusion.class_names, confusion.group_names)


def measure_counts(
    counts: Counts, class_names: Sequence[str], group_names: Sequence[str]
) -> FairnessReport:
    """Measure counts (G', C), as `measure` does."""
    values = {name: float(value) for name, value in evaluate(METRICS, counts).items()}
    names = (class_names, group_names)

    def by(kind: Kind) -> tuple[CellAccuracy, ...]:
        return cell_accuracies(counts, *names, kind)

    known = len(group_names)
    return FairnessReport(
        n=int(counts.n.sum()),
        n_unknown=int(counts.n[known:].sum()) if known else 0,
        values=values,
        undefined={k: lacking(counts, *names, METRICS[k]) for k in values if np.isnan(values[k])},
        by_class=by("class"),
        by_group=by("group"),
        by_cell=by("class x group"),
    )
