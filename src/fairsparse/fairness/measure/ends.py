"""Which cells make a range or an extreme, and how many examples they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from fairsparse.fairness.measure.counts import Array, Counts, cell_names, compared, fold, share
from fairsparse.fairness.measure.degradations import DEGRADATIONS, drops
from fairsparse.fairness.measure.metric import Metric, Rates, Together, evaluate
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Outcomes


class Ends(TypedDict):
    """The cells with the lowest and the highest value of a range; of an extreme, one of them.

    ``few`` is whether either has fewer examples than cells must have to be tested: what few people
    make says little of others.
    """

    lowest: str | None
    lowest_n: int | None
    highest: str | None
    highest_n: int | None
    few: bool


@dataclass(frozen=True)
class _Values:
    """What is compared: values (F, K) of families of cells, examples behind each, and names."""

    values: Array
    n: Array
    names: Sequence[Sequence[str]]

    def ends(self, family: int, low: bool, high: bool, least: int) -> Ends:
        row, n = self.values[family], self.n[family]
        at = [int(row.argmin()) if low else None, int(row.argmax()) if high else None]
        cells = [None if i is None else self.names[family][i] for i in at]
        sizes = [None if i is None else int(n[i]) for i in at]
        few = any(size is not None and size < least for size in sizes)
        return Ends(
            lowest=cells[0], lowest_n=sizes[0], highest=cells[1], highest_n=sizes[1], few=few
        )


def ends(outcomes: Outcomes, least: int) -> dict[str, Ends]:
    """The cells that make each range and extreme of one model, or of two on the same examples.

    Keys are those of `fairsparse.fairness.inference.estimates.estimate`; what is no range and what
    is undefined has none. Of an average of two ranges they are the ends of the wider one.
    """
    names = (outcomes.class_names, outcomes.group_names)
    sizes = outcomes.unweighted.counts
    found: dict[str, Ends] = {}
    for name in evaluate(METRICS, outcomes.counts[0]):
        metric = METRICS[name]
        if not isinstance(metric.interval, Rates):
            continue
        for role, *counts in zip(("reference", "candidate"), outcomes.counts, sizes, strict=False):
            found |= _of_rates(f"{role} {name}", metric, tuple(counts), names, least)
    if len(outcomes.counts) == 2:
        for name in evaluate(DEGRADATIONS, *outcomes.counts):
            if isinstance(DEGRADATIONS[name].interval, Together):
                models = (*outcomes.counts, sizes[0])
                found |= _of_drops(DEGRADATIONS[name], models, names, least)
    return found


def _of_rates(
    key: str,
    metric: Metric,
    counts: tuple[Counts, ...],
    names: tuple[Sequence[str], Sequence[str]],
    least: int,
) -> dict[str, Ends]:
    """Of the rates that a metric compares; the second of `counts` has the examples."""
    rates = metric.interval
    assert isinstance(rates, Rates)
    (hits, n), (_, sizes) = map(rates.counts, counts)
    of = _Values(share(hits, n), sizes, _names(metric, n.shape, names))
    if np.isnan(of.values).any():
        return {}
    spread = np.ptp(of.values, axis=-1)
    if rates.reduce == "mean range":
        half = len(spread) // 2
        best = int((spread[:half] + spread[half:]).argmax())
        family = best if spread[best] >= spread[best + half] else best + half
    else:
        family = int(spread.argmax())
    return {key: of.ends(family, True, rates.reduce != "smallest", least)}


def _of_drops(
    metric: Metric,
    models: tuple[Counts, ...],
    names: tuple[Sequence[str], Sequence[str]],
    least: int,
) -> dict[str, Ends]:
    """Of drops from the first of `models` to the second; the third has the examples."""
    before, after, sizes = models
    kind = compared(metric.cells, before.groups)
    values = drops(before, after, kind)[None]
    if np.isnan(values).any():
        return {}
    n = fold(sizes.n, sizes.groups, kind)[None]
    of = _Values(values, n, [cell_names(kind, *names)])
    # what is a range is zero where all cells lost alike; what is a largest drop is not
    is_range = metric.function(before, after) == np.ptp(values)
    return {metric.name: of.ends(0, bool(is_range), True, least)}


def _names(metric: Metric, shape: Any, names: tuple[Sequence[str], Sequence[str]]) -> Any:
    """Names (F, K) of the cells whose rates a metric compares, by what they are shares of."""
    classes, groups = names
    kind = compared(metric.cells, len(groups))
    plain = cell_names(kind, *names)
    if shape == (1, len(plain)):
        return [plain]
    some = classes[1:] if len(classes) == 2 else classes
    if kind == "group":
        return [[f"{g}, predicted {c}" for g in groups] for c in some]
    true = [[f"{c} | {g}" for g in groups] for c in some]
    others = [classes[0] if len(classes) == 2 else f"not {c}" for c in some]
    return [*true, *([f"{c} | {g}" for g in groups] for c in others)]
