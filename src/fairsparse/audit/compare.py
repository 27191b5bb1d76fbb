"""Who is served worse by one model than by another: a paired comparison of their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, cast, get_args

import numpy as np

from fairsparse.fairness.counts import (
    Array,
    Confusion,
    Counts,
    Labels,
    as_codes,
    cell_names,
    fold,
    group_rows,
)
from fairsparse.fairness.intervals import (
    Interval,
    bootstrap,
    exact_mcnemar,
    holm,
    resample,
)
from fairsparse.fairness.metrics import (
    DEGRADATIONS,
    METRICS,
    FairnessReport,
    drops,
    evaluate,
    excess_drops,
    lacking,
    measure,
    plain,
)
from fairsparse.types import UNKNOWN

CellKind = Literal["class", "group", "class x group"]


class Estimate(TypedDict):
    """A value, its 95 % interval, and the share of resamples in which it was undefined."""

    value: float
    low: float
    high: float
    dropped: float


class MetricChange(TypedDict):
    """A metric of both models, and candidate minus reference."""

    reference: Estimate
    candidate: Estimate
    change: Estimate


class CellChange(TypedDict):
    """What changed for one cell.

    ``reference`` and ``candidate`` are accuracies, ``drop`` is their difference with its paired
    interval ``low`` .. ``high``, ``excess_drop`` is the drop beyond the overall one; ``gained``
    counts wrong -> right and ``lost`` right -> wrong; ``p`` is McNemar's exact p-value, and
    ``p_adjusted`` Holm's over the cells of the same kind.
    """

    kind: CellKind
    name: str
    n: int
    reference: float
    candidate: float
    drop: float
    low: float
    high: float
    excess_drop: float
    gained: int
    lost: int
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same examples.

    Parameters
    ----------
    n : int
    churn : float
        Share of the examples on which the predictions differ.
    reference, candidate : FairnessReport
    metrics : dict
        Metric -> `MetricChange`.
    degradation : dict
        Degradation metric -> `Estimate`.
    undefined : dict
        Degradation metric that is NaN -> names of the cells without examples.
    cells : tuple of CellChange
        Every class, then every group, then every class within a group.
    resamples, seed : int
        Of the intervals.
    """

    n: int
    churn: float
    reference: FairnessReport
    candidate: FairnessReport
    metrics: dict[str, MetricChange]
    degradation: dict[str, Estimate]
    undefined: dict[str, tuple[str, ...]]
    cells: tuple[CellChange, ...]
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON can hold it, NaN as None."""
        fields = {field: getattr(self, field) for field in self.__dataclass_fields__}
        for role in ("reference", "candidate"):
            fields[role] = fields[role].to_dict()
        return plain(fields)


def compare(
    reference: Labels,
    candidate: Labels,
    y: Labels,
    group: Labels,
    class_names: Sequence[str],
    group_names: Sequence[str] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models' predicted classes on the same examples.

    Parameters
    ----------
    reference, candidate : ndarray or Tensor of int, shape (N,)
        Predicted classes, ``0 .. C-1``.
    y, group : ndarray or Tensor of int, shape (N,)
        True classes; groups ``0 .. G-1``, -1 where unknown.
    class_names, group_names : sequence of str
    resamples : int, at least 1
        Of the paired bootstrap behind every interval.
    seed : int, at least 0

    Raises
    ------
    InputError
        Without examples, for lengths that differ, for codes without a name, and for a number of
        resamples or a seed out of range.
    """
    names = (class_names, group_names)
    before = Confusion.count(reference, y, group, *names)
    after = Confusion.count(candidate, y, group, *names)
    chunks = resample([reference, candidate], y, group, *names, resamples=resamples, seed=seed)
    intervals = bootstrap(_statistics, chunks)
    point = _statistics(before.counts, after.counts)
    estimates = {
        name: Estimate(
            value=float(value),
            low=float(intervals[name].low),
            high=float(intervals[name].high),
            dropped=float(intervals[name].dropped),
        )
        for name, value in point.items()
        if value.ndim == 0
    }
    n, n_classes = len(y), len(class_names)
    was, now, true = (as_codes("classes", v, n, class_names) for v in (reference, candidate, y))
    row, n_rows = group_rows(as_codes("groups", group, n, group_names, UNKNOWN), len(group_names))

    def count(flipped: Array) -> Array:
        cell = (row * n_classes + true)[flipped]
        return np.bincount(cell, minlength=n_rows * n_classes).reshape(n_rows, n_classes)

    gained = count((was != true) & (now == true))
    lost = count((was == true) & (now != true))
    degradation = {name: estimates[name] for name in DEGRADATIONS if name in estimates}
    before_report, after_report = measure(before), measure(after)
    return Comparison(
        n=before_report.n,
        churn=float((was != now).mean()),
        reference=before_report,
        candidate=after_report,
        metrics={
            name: MetricChange(
                reference=estimates[f"reference {name}"],
                candidate=estimates[f"candidate {name}"],
                change=estimates[f"change {name}"],
            )
            for name in before_report.values
        },
        degradation=degradation,
        undefined={
            name: lacking(before, DEGRADATIONS[name])
            for name, estimate in degradation.items()
            if np.isnan(estimate["value"])
        },
        cells=tuple(
            cell
            for kind in get_args(CellKind)
            for cell in _cells(kind, before, after, gained, lost, intervals[kind])
        ),
        resamples=resamples,
        seed=seed,
    )


def _statistics(reference: Counts, candidate: Counts) -> dict[str, Array]:
    before, after = evaluate(METRICS, reference), evaluate(METRICS, candidate)
    return {
        **{f"reference {name}": before[name] for name in before},
        **{f"candidate {name}": after[name] for name in after},
        **{f"change {name}": after[name] - before[name] for name in before},
        **evaluate(DEGRADATIONS, reference, candidate),
        **{kind: drops(reference, candidate, kind) for kind in get_args(CellKind)},
    }


def _cells(
    kind: CellKind,
    before: Confusion,
    after: Confusion,
    gained: Array,
    lost: Array,
    drop: Interval,
) -> list[CellChange]:
    old, new, known = before.counts, after.counts, len(before.group_names)
    n = fold(old.n, known, kind)
    right, wrong = fold(gained, known, kind), fold(lost, known, kind)
    tests = [exact_mcnemar(int(b), int(c)) for b, c in zip(wrong, right, strict=True)]
    p = np.where(n > 0, tests, np.nan)
    columns = {
        "name": cell_names(kind, before.class_names, before.group_names),
        "n": n.tolist(),
        "reference": old.accuracy(kind).tolist(),
        "candidate": new.accuracy(kind).tolist(),
        "drop": drops(old, new, kind).tolist(),
        "low": drop.low.tolist(),
        "high": drop.high.tolist(),
        "excess_drop": excess_drops(old, new, kind).tolist(),
        "gained": right.tolist(),
        "lost": wrong.tolist(),
        "p": p.tolist(),
        "p_adjusted": holm(p).tolist(),
    }
    rows = zip(*columns.values(), strict=True)
    return [
        cast(CellChange, {"kind": kind, **dict(zip(columns, row, strict=True))}) for row in rows
    ]
