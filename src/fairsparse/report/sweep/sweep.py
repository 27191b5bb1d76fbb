"""Many runs on one data set: what varies between them, and means over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from fairsparse.core import InputError
from fairsparse.fairness.measure.metric import Unit
from fairsparse.record import Record
from fairsparse.report.phrases import Number, cells_of, is_dense, model_name

DENSE = "dense"


class Mean(NamedTuple):
    """A mean over n seeds and its 95 % t-interval, which is NaN for a single seed."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[Number]) -> Mean:
        """Mean of one value per seed; undefined when one of them is.

        >>> Mean.of([1.0, 3.0]).value, Mean.of([1.0, None]).value
        (2.0, nan)
        """
        x = np.array(list(values), dtype=float)  # None becomes NaN
        mean, half = float(x.mean()) if len(x) else math.nan, math.nan
        if len(x) > 1:
            quantile = float(stats.t.ppf(0.975, len(x) - 1))
            half = quantile * float(x.std(ddof=1)) / math.sqrt(len(x))
        return cls(mean, mean - half, mean + half, len(x))

    def within(self, unit: Unit) -> Mean:
        """The same without the part of its interval that is outside of what is possible."""
        if unit.value != "%":
            return self
        return self._replace(low=max(self.low, 0.0), high=min(self.high, 1.0))


@dataclass(frozen=True)
class Row:
    """The runs of one method at one sparsity, as asked, by seed.

    Where a method occurs with several sets of options, its label is numbered.
    """

    label: str
    sparsity: float
    runs: dict[int, Record]

    def values(self, metric: str) -> dict[int, Number]:
        """A metric on the test split, or a degradation metric, by seed."""
        audits = {seed: run.audit for seed, run in self.runs.items()}
        if metric in next(iter(audits.values())).degradation:
            return {seed: audit.degradation[metric]["value"] for seed, audit in audits.items()}
        return {seed: audit.candidate["values"].get(metric) for seed, audit in audits.items()}

    def mean(self, metric: str) -> Mean:
        """Mean of a metric over the seeds."""
        return Mean.of(self.values(metric).values())


@dataclass(frozen=True)
class Sweep:
    """Runs of several methods, sparsities and seeds."""

    rows: tuple[Row, ...]
    """Methods in the order in which they came, each by sparsity."""
    dense: dict[int, dict[str, Number]]
    """Seed -> metric -> value of the dense network of that seed."""
    options: dict[str, dict[str, Any]]
    """Label -> the method's options."""

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(row.label for row in self.rows))

    @property
    def sparsities(self) -> list[float]:
        return sorted({row.sparsity for row in self.rows})

    def at(self, sparsity: float) -> list[Row]:
        """The rows of one sparsity."""
        return [row for row in self.rows if row.sparsity == sparsity]

    def dense_mean(self, metric: str) -> Mean:
        """Mean of a metric of the dense networks over the seeds."""
        return Mean.of(values.get(metric) for values in self.dense.values())


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options with dotted names.

    >>> flat({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    dotted: dict[str, Any] = {}
    for key, value in options.items():
        nested = isinstance(value, Mapping)
        dotted |= flat(value, f"{prefix}{key}.") if nested else {prefix + str(key): value}
    return dotted


def _same_study(records: Sequence[Record]) -> None:
    """Refuse runs that differ in more than method, sparsity and seed: a mean would hide it.

    Splits drawn by another seed are of the same study, and have other content.
    """
    values: dict[str, list[str]] = {}
    for record in records:
        parts = {name: record.config.get(name, {}) for name in ("data", "model", "training")}
        own = flat(parts)
        drawn = own.pop("data.seed", None)
        own[f"data of seed {drawn}, fingerprint"] = record.data.fingerprint
        for name, value in own.items():
            values.setdefault(name, []).append(str(value))
    for name, given in values.items():
        absent = ["not set"] * (len(given) < len(records) and not name.endswith("fingerprint"))
        several = list(dict.fromkeys(given + absent))
        if len(several) > 1:
            raise InputError(
                f"a comparison report takes runs of one study, got {name} {' and '.join(several)};"
                " make one report for each"
            )


def gather(records: Sequence[Record]) -> Sweep:
    """Sort records into a `Sweep`; the same run given twice counts once.

    Raises
    ------
    InputError
        Without records, and for records of several data sets, models or notions of equality, or
        of other settings of these or of training: what is averaged are seeds of one study.
    """
    if not records:
        raise InputError("a comparison report needs at least one record, got none")
    kinds = {
        "data sets": {r.data.name for r in records},
        "models": {model_name(r) for r in records},
        "fairness notions": {r.cells for r in records},
        "classes": {" / ".join(r.data.class_names) for r in records},
        "groups": {" / ".join(r.data.group_names) for r in records},
    }
    for what, names in kinds.items():
        if len(names) > 1:
            raise InputError(
                f"a comparison report takes records of one kind, got {what}"
                f" {', '.join(sorted(names))}; make one report for each"
            )
    _same_study(records)
    variants: dict[str, list[dict[str, Any]]] = {}
    rows: dict[str, dict[float, Row]] = {}
    dense: dict[int, dict[str, Number]] = {}
    options: dict[str, dict[str, Any]] = {}
    for record in records:
        name, asked = record.method.name, record.sparsity.asked
        mine = {k: v for k, v in record.method.options.items() if k != "sparsity"}
        # runs of one method with other options are another method here, not more seeds
        others = variants.setdefault(name, [])
        if mine not in others:
            others.append(mine)
        number = others.index(mine) + 1
        label = name if number == 1 else f"{name}-{number}"
        dense.setdefault(record.seed, record.audit.reference["values"])
        by_sparsity = rows.setdefault(label, {})
        if not is_dense(record):
            by_sparsity.setdefault(asked, Row(label, asked, {})).runs[record.seed] = record
            options[label] = mine
    ordered = [some[asked] for some in rows.values() for asked in sorted(some)]
    return Sweep(tuple(ordered), dense, options)


def cell_means(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Accuracy of every cell: its name, examples, and `Mean` of the dense and of every row.

    The examples are those of each seed's test split, as a set, for seeds may split differently.
    """
    one_per_seed = {seed: run for row in rows for seed, run in row.runs.items()}
    runs = {DENSE: one_per_seed, **{row.label: row.runs for row in rows}}
    cells = {label: [cells_of(run) for run in some.values()] for label, some in runs.items()}
    roles = {label: "reference" if label == DENSE else "candidate" for label in runs}
    return [
        {
            "name": first["name"],
            "sizes": {run[k]["n"] for some in cells.values() for run in some},
            "means": {m: Mean.of(run[k][roles[m]] for run in cells[m]) for m in cells},
        }
        for k, first in enumerate(cells[DENSE][0])
    ]


def paired(a: Row, b: Row, metric: str) -> Mean:
    """Mean over the seeds both have of a metric of `a` minus that of `b`."""
    of_a, of_b = a.values(metric), b.values(metric)
    pairs = [(of_a[seed], of_b[seed]) for seed in of_a if seed in of_b]
    return Mean.of(None if x is None or y is None else x - y for x, y in pairs)
