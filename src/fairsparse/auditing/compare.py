"""Who is served worse by one model than by another: an audit of two, by one attribute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fairsparse.auditing.engine import Audit, audit_codes
from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.findings import Contrast
from fairsparse.auditing.inputs.contents import of_network
from fairsparse.auditing.inputs.labels import CLASS, aligned
from fairsparse.core import UNKNOWN, Predictions
from fairsparse.fairness.inference.estimates import ROLES, Estimate
from fairsparse.fairness.measure.counts import Array, Codes
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.ends import Ends
from fairsparse.fairness.measure.metrics import FairnessReport, lacking, measure_counts, plain
from fairsparse.fairness.measure.outcomes import Outcomes
from fairsparse.record import CellChange, MetricChange

GROUP, CANDIDATE = "group", "candidate"


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
        Every class, then every named group, then every class within a group.
    degradation_ends : dict
        Degradation metric that is a range or an extreme -> `Ends`, the cells that make it.
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
    degradation_ends: dict[str, Ends]
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON can hold it, NaN as None."""
        fields = {field: getattr(self, field) for field in self.__dataclass_fields__}
        for role in ("reference", "candidate"):
            fields[role] = fields[role].to_dict()
        return plain(fields)


def compare(
    reference: Codes,
    candidate: Codes,
    y: Codes,
    group: Codes,
    class_names: Sequence[str],
    group_names: Sequence[str] = (),
    **settings: Any,
) -> Comparison:
    """Compare two models' predicted classes on the same examples, as `audit` does.

    Parameters
    ----------
    reference, candidate : ndarray or Tensor of int, shape (N,)
        Predicted classes, ``0 .. C-1``.
    y, group : ndarray or Tensor of int, shape (N,)
        True classes; groups ``0 .. G-1``, -1 where unknown.
    class_names, group_names : sequence of str
    **settings
        Of `Settings`: margin, least, resamples, seed, alpha.

    Raises
    ------
    InputError
        Without examples, for lengths that differ, for codes without a name, and for settings out
        of range.
    """
    given = aligned({"y": y, "reference": reference, "candidate": candidate, "group": group})
    facts = (given["y"], given["group"], class_names, group_names)
    models = [given["reference"], given[CANDIDATE]]
    return _comparison(models, facts, Settings.of(settings))


def compare_networks(
    reference: Predictions,
    candidate: Predictions,
    class_names: Sequence[str],
    group_names: Sequence[str] = (),
    **settings: Any,
) -> Comparison:
    """Compare two networks by their logits on the same examples.

    Their confidence is tested with the rest, as in an audit of the run that holds them. Other
    parameters and errors are those of `compare`.
    """
    facts = (reference.y, reference.group, class_names, group_names)
    scored = [of_network(p.logits.numpy())[0] for p in (reference, candidate)]
    sure = [s.confidence for s in scored]
    return _comparison([s.largest for s in scored], facts, Settings.of(settings), sure)


def _comparison(
    predicted: Sequence[Codes],
    facts: tuple[Codes, Codes, Sequence[str], Sequence[str]],
    settings: Settings,
    confidence: Sequence[Array] = (),
) -> Comparison:
    """Of reference and candidate, and of their confidence if it is known for all examples."""
    both = Outcomes.of(predicted, *facts)
    group = np.where(both.row < len(both.group_names), both.row, UNKNOWN)
    attributes = {GROUP: (group, both.group_names)} if both.group_names else {}
    examples = Examples(both.true, both.class_names, attributes)
    defined = not any(np.isnan(c).any() for c in confidence)
    sure = dict(zip(("reference", CANDIDATE), confidence, strict=False)) if defined else {}
    first, second = both.predicted
    return view(audit_codes(first, {CANDIDATE: second}, examples, settings, confidence=sure))


def view(audit: Audit) -> Comparison:
    """What an audit of one candidate, by one attribute at most, says."""
    (contrasts,) = audit.contrasts.values()
    rows = {row["measure"]: row for row in audit.measures.to_dict("records")}
    *_, last = contrasts  # the attribute, if there is one
    before, after = contrasts[last].counts
    names = (audit.class_names, audit.attributes.get(GROUP, ()))

    def of(metric: str) -> Contrast:
        return contrasts[rows[metric]["attribute"] if metric in rows else last]

    def changed(metric: str) -> MetricChange:
        known, told = of(metric).ends, of(metric).estimates
        roles = {role: told[f"{role} {metric}"] for role in (*ROLES, "change")}
        tests = {p: rows.get(metric, {}).get(p, np.nan) for p in ("p", "p_adjusted")}
        ends = {f"{r}_ends": known[k] for r in ROLES if (k := f"{r} {metric}") in known}
        return cast(MetricChange, {**roles, **ends, **tests})

    degradation = {name: of(name).estimates[name] for name in DEGRADATIONS if name in rows}
    reports = [measure_counts(counts, *names) for counts in (before, after)]
    return Comparison(
        n=audit.n,
        churn=float(audit.overall["churn"].iloc[0]),
        reference=reports[0],
        candidate=reports[1],
        metrics={metric: changed(metric) for metric in reports[0].values},
        degradation=degradation,
        undefined={
            name: lacking(before, *names, DEGRADATIONS[name])
            for name, one in degradation.items()
            if np.isnan(one["value"])
        },
        cells=tuple(_cells(audit, len(names[1]))),
        degradation_ends={n: e for n in degradation if (e := of(n).ends.get(n)) is not None},
        resamples=audit.settings.resamples,
        seed=audit.settings.seed,
    )


def _cells(audit: Audit, groups: int) -> Iterator[CellChange]:
    """Cells of classes, named groups, and classes within them, in the audit's order."""
    classes = len(audit.class_names)
    for kind, size in ((CLASS, classes), (GROUP, groups), (f"{CLASS} x {GROUP}", classes * groups)):
        rows = audit.cells[audit.cells["attribute"] == kind].head(size)
        for row in rows.rename(columns={"attribute": "kind", "cell": "name"}).to_dict("records"):
            yield cast(CellChange, {key: row[key] for key in CellChange.__annotations__})
