"""Fairness metrics, exact, from integer counts.

Every metric is a function of three counts per group and true class, so the same few lines measure
one model and ten thousand resamples of it: leading axes are carried along. Variance and range over
classes are after [1]_, equal opportunity and equalized odds [2]_. With more than two classes, a
rate of one class against the rest is compared for each class, and the largest range counts.

What is said of a metric stands in its declaration and nowhere else; reports have metrics in the
order of declarations. In formulas a is accuracy, by class c or group g.

References
----------
.. [1] Tian et al., "Analysis and applications of class-wise robustness in adversarial training",
   arXiv 2105.14240.
.. [2] Hardt, Price and Srebro, "Equality of opportunity in supervised learning", arXiv 1610.02413.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from fairsparse.fairness.measure.counts import (
    Array,
    CellAccuracy,
    Counts,
    Kind,
    cell_names,
    compared,
    fold,
    gap,
    share,
)
from fairsparse.fairness.measure.metric import (
    FRACTION,
    Corrected,
    Metric,
    Rates,
    Score,
    declaring,
    evaluate,
)
from fairsparse.fairness.measure.outcomes import Confusion
from fairsparse.registry import Registry

METRICS: Registry[Metric] = Registry("metric", sort=False)
metric = declaring(METRICS, Metric)


def _by(kind: Kind, reduce: Literal["range", "smallest"] = "range") -> Rates:
    """Accuracies of the cells of a kind; of classes where there are no groups."""

    def counts(c: Counts) -> tuple[Array, Array]:
        cells = compared(kind, c.groups)
        correct, n = (fold(x, c.groups, cells)[..., None, :] for x in (c.correct, c.n))
        return correct, n

    return Rates(counts, reduce)


def _of_groups(*rates: Callable[[Counts], tuple[Array, Array]]) -> Rates:
    """Rates of compared classes in each group."""

    def counts(c: Counts) -> tuple[Array, Array]:
        hits, n = zip(*(rate(c) for rate in rates), strict=True)
        return np.concatenate(hits, -1).swapaxes(-1, -2), np.concatenate(n, -1).swapaxes(-1, -2)

    return Rates(counts)


_PREDICTED, _POSITIVES = _of_groups(Counts.predictions), _of_groups(Counts.positives)
_ODDS = _of_groups(Counts.positives, Counts.negatives)
_AVERAGE = Rates(_ODDS.counts, "mean range")
_VARIANCE = Corrected("cwv", "cwv_corrected")
_CONTROLS: Final = ("controls",)
_ALL: Final = ("sweep", "controls")


@metric("accuracy", "accuracy", "higher", "all", Score(), listed=_ALL, column="accuracy\n%")
def _accuracy(c: Counts) -> Array:
    """Share of correct predictions."""
    return c.accuracy("all")[..., 0]


@metric(
    "cwv",
    "variance over classes (CWV)",
    "lower",
    "class",
    _VARIANCE,
    FRACTION,
    column="CWV\nx 1e4",
)
def _cwv(c: Counts) -> Array:
    """Population variance of accuracy over classes.

    ``(1/C) sum_c (a_c - mean a)^2``
    """
    return c.accuracy("class").var(-1)


@metric("cwv_corrected", "CWV less sampling", "lower", "class", _VARIANCE, FRACTION, least=2)
def _cwv_corrected(c: Counts) -> Array:
    """Variance of accuracy over classes less what sampling alone adds; may be negative.

    ``cwv - (1 - 1/C) mean_c a_c (1 - a_c) / (n_c - 1)``
    """
    a, n = c.accuracy("class"), fold(c.n, c.groups, "class")
    noise = share(a * (1 - a), n - 1).mean(-1)
    return a.var(-1) - (1 - 1 / a.shape[-1]) * noise


@metric(
    "mcd",
    "range over classes (MCD)",
    "lower",
    "class",
    _by("class"),
    listed=_ALL,
    column="MCD\npoints",
)
def _mcd(c: Counts) -> Array:
    """Accuracy of the best served class minus that of the worst served.

    ``max_c a_c - min_c a_c``
    """
    return gap(c.accuracy("class"))


@metric(
    "worst_class_accuracy",
    "worst class",
    "higher",
    "class",
    _by("class", "smallest"),
    column="worst\nclass %",
)
def _worst_class_accuracy(c: Counts) -> Array:
    """Accuracy of the worst served class."""
    return c.accuracy("class").min(-1)


@metric(
    "accuracy_gap", "accuracy gap", "lower", "group", _by("group"), listed=_ALL, column="group\ngap"
)
def _accuracy_gap(c: Counts) -> Array:
    """Range of accuracy over groups.

    ``max_g a_g - min_g a_g``
    """
    return gap(c.accuracy("group"))


@metric("average_odds", "average odds gap", "lower", "class x group", _AVERAGE, listed=())
def _average_odds(c: Counts) -> Array:
    """Mean of the ranges over groups of true and false positive rate; largest class."""
    return ((c.tpr_gaps + c.fpr_gaps) / 2).max(-1)


@metric(
    "demographic_parity", "demographic parity gap", "lower", "group", _PREDICTED, listed=_CONTROLS
)
def _demographic_parity(c: Counts) -> Array:
    """Range over groups of P(predicted 1); of several classes the largest such range.

    ``max_g p_g - min_g p_g`` of ``p_g = P(predicted 1 | g)``
    """
    return gap(share(*c.predictions()), axis=-2).max(-1)


@metric(
    "equal_opportunity", "equal opportunity gap", "lower", "outcome x group", _POSITIVES, listed=()
)
def _equal_opportunity(c: Counts) -> Array:
    """Range over groups of the true positive rate; of several classes the largest range.

    ``max_g TPR_g - min_g TPR_g`` of ``TPR_g = P(predicted 1 | true 1, g)``
    """
    return c.tpr_gaps.max(-1)


@metric("equalized_odds", "equalized odds gap", "lower", "class x group", _ODDS, column="odds\ngap")
def _equalized_odds(c: Counts) -> Array:
    """Larger of the ranges over groups of true and false positive rate; largest class."""
    return np.maximum(c.tpr_gaps, c.fpr_gaps).max(-1)


@metric(
    "worst_cell_accuracy",
    "worst cell",
    "higher",
    "class x group",
    _by("class x group", "smallest"),
    without_groups="repeated",
    listed=(),
)
def _worst_cell_accuracy(c: Counts) -> Array:
    """Accuracy of the worst served class within a group; of a class where there are no groups."""
    return c.accuracy(compared("class x group", c.groups)).min(-1)


@metric("worst_group_accuracy", "worst group", "higher", "group", _by("group", "smallest"))
def _worst_group_accuracy(c: Counts) -> Array:
    """Accuracy of the worst served group."""
    return c.accuracy("group").min(-1)


def lacking(
    counts: Counts, class_names: Sequence[str], group_names: Sequence[str], metric: Metric
) -> tuple[str, ...]:
    """Return the names of the cells that hold too few examples for a metric."""
    kind = compared(metric.cells, counts.groups)
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
    """What one model's predictions measure."""

    n: int
    n_unknown: int  # whose group is unknown though groups are named
    values: dict[str, float]  # by metric; accuracies and rates are fractions; NaN where undefined
    undefined: dict[str, tuple[str, ...]]  # metric that is NaN -> cells with too few examples
    by_class: tuple[CellAccuracy, ...]
    by_group: tuple[CellAccuracy, ...]
    by_cell: tuple[CellAccuracy, ...]  # class x group

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
    names, groups = (class_names, group_names), len(group_names)

    def by(kind: Kind) -> tuple[CellAccuracy, ...]:
        n, accuracy = fold(counts.n, groups, kind), counts.accuracy(kind)
        rows = zip(cell_names(kind, *names), n.tolist(), accuracy.tolist(), strict=True)
        return tuple(CellAccuracy(*row) for row in rows)

    return FairnessReport(
        n=int(counts.n.sum()),
        n_unknown=int(counts.n[groups:].sum()) if groups else 0,
        values=values,
        undefined={k: lacking(counts, *names, METRICS[k]) for k in values if np.isnan(values[k])},
        by_class=by("class"),
        by_group=by("group"),
        by_cell=by("class x group"),
    )
