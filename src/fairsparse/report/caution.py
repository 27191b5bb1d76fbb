"""What stands against a verdict: where it holds, a smaller gap does not say that anybody is served.

Gaps also shrink where a network serves everybody badly, or gives a class up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairsparse.fairness.measure.counts import HARDLY, Counts
from fairsparse.record import Record
from fairsparse.registry import listing
from fairsparse.report.phrases import is_dense, percent, points
from fairsparse.report.sweep.sweep import Row

TOLERANCE = 0.01
"""Loss of accuracy beyond which a smaller gap is no gain, where a method promises nothing."""


def cautions(
    counts: Sequence[Counts], models: Sequence[str], class_names: Sequence[str]
) -> list[str]:
    """Clauses on models that serve badly, by their counts; the first is what others are held to.

    That it is hardly better than guessing, a tenth of the way to being always right; and which
    classes a model predicts for less than a tenth of those who belong to them.
    """
    clauses = []
    if not counts[0].skill > HARDLY:
        mean, guess = np.nanmean(counts[0].accuracy("class")), 1 / len(class_names)
        clauses.append(
            f"{models[0]} is hardly better than guessing (mean accuracy of the classes"
            f" {percent(float(mean), 1)}, by guessing {percent(guess, 1)})"
        )
    for model, one in zip(models, counts, strict=True):
        gone = [f"“{class_names[c]}”" for c in np.flatnonzero(one.given_up).tolist()]
        if gone:
            clauses.append(f"{model} hardly ever predicts {listing(gone, 3)}")
    return clauses


def of_row(row: Row) -> str:
    """The first such clause on any run of a method at a sparsity; empty where there is none."""
    return next((clause for run in row.runs.values() for clause in of_run(run)), "")


def of_run(record: Record) -> list[str]:
    """The same of a run's networks, and whether accuracy fell beyond the tolerance."""
    roles, groups = ("dense", "sparse"), len(record.data.group_names)
    counts = [Counts.of(np.array(record.counts[role]), groups) for role in roles]
    names = [f"the {role} network" for role in roles]
    if is_dense(record):
        return cautions(counts[:1], names[:1], record.data.class_names)
    clauses = cautions(counts, names, record.data.class_names)
    promised = record.method.options.get("tolerance")
    allowed = TOLERANCE if promised is None else promised
    fell = -(record.audit.metrics["accuracy"]["change"]["value"] or 0.0)
    if fell > allowed:
        clauses.append(f"accuracy fell by {points(fell)}, and {points(allowed)} are tolerated")
    elif record.status in ("eps_infeasible", "collapsed"):
        clauses.append("accuracy fell beyond the tolerance on validation")
    return clauses
