"""Who is served worse by one model than by another: a paired comparison of their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, cast, get_args

import numpy as np

from fairsparse.fairness.counts import (
    Array,
    Labels,
    as_codes,
    cell_names,
    fold,
    share,
)
from fairsparse.fairness.degradations import DEGRADATIONS
from fairsparse.fairness.estimates import Estimate, estimate, tally
from fairsparse.fairness.intervals import holm
from fairsparse.fairness.metrics import FairnessReport, lacking, measure_counts, plain
from fairsparse.fairness.paired import (
    Pairs,
    benjamini_hochberg,
    excess_drop,
    excess_test,
    mcnemar,
    paired_drop,
)

CellKind = Literal["class", "group", "class x group"]


class MetricChange(TypedDict):
    """A metric of both models, and candidate minus reference."""

    reference: Estimate
    candidate: Estimate
    change: Estimate


class CellChange(TypedDict):
    """What changed for one cell.

    ``reference`` and ``candidate`` are accuracies, ``drop`` is their difference with its paired
    interval ``low`` .. ``high``, ``excess_drop`` is the drop beyond the overall one, with its
    interval; ``gained`` counts wrong -> right and ``lost`` right -> wrong. ``p`` is McNemar's exact
    p-value of the flips, ``excess_p`` that of a permutation test of the excess drop; both have
    Holm's adjustment, and the excess also Benjamini and Hochberg's (``excess_q``), over the cells
    of the same kind.
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
    excess_low: float
    excess_high: float
    gained: int
    lost: int
    p: float
    p_adjusted: float
    excess_p: float
    excess_p_adjusted: float
    excess_q: float


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
    n, known, names = len(y), len(group_names), (class_names, group_names)
    was, now, true = (as_codes("classes", v, n, class_names) for v in (reference, candidate, y))
    (before, after), pairs = tally([was, now], true, group, *names)
    assert pairs is not None
    estimates = estimate([was, now], true, group, *names, resamples=resamples, seed=seed)
    degradation = {name: estimates[name] for name in DEGRADATIONS if name in estimates}
    before_report, after_report = (measure_counts(c, *names) for c in (before, after))
    return Comparison(
        n=n,
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
            name: lacking(before, *names, DEGRADATIONS[name])
            for name, found in degradation.items()
            if np.isnan(found["value"])
        },
        cells=tuple(
            cell
            for kind in get_args(CellKind)
            for cell in changes(
                kind,
                cell_names(kind, *names),
                Pairs(*(fold(x, known, kind) for x in pairs)),
                Pairs(*(fold(x, known, "all") for x in pairs)),
            )
        ),
        resamples=resamples,
        seed=seed,
    )


def changes(kind: Any, names: Sequence[str], pairs: Pairs, everyone: Pairs) -> list[CellChange]:
    """What changed for each of the cells (K,) of one kind; `everyone` is of shape (1,)."""
    found = change_columns(pairs, everyone)
    for test in ("p", "excess_p"):
        found[f"{test}_adjusted"] = holm(found[test])
    found["excess_q"] = benjamini_hochberg(found["excess_p"])
    rows = zip(names, *(column.tolist() for column in found.values()), strict=True)
    return [
        cast(CellChange, {"kind": kind, **dict(zip(["name", *found], row, strict=True))})
        for row in rows
    ]


def change_columns(pairs: Pairs, everyone: Pairs) -> dict[str, Array]:
    """Counts, rates, intervals and p-values of cells (K,), not adjusted for their number."""
    n = pairs.n
    drop = paired_drop(pairs)
    excess, bounds = excess_drop(pairs, everyone)
    return {
        "n": n,
        "reference": share(pairs.both + pairs.lost, n),
        "candidate": share(pairs.both + pairs.gained, n),
        "drop": pairs.drop,
        "low": drop.low,
        "high": drop.high,
        "excess_drop": excess,
        "excess_low": bounds.low,
        "excess_high": bounds.high,
        "gained": pairs.gained,
        "lost": pairs.lost,
        "p": np.where(n > 0, mcnemar(pairs.lost, pairs.gained), np.nan),
        "excess_p": excess_test(pairs, everyone),
    }
