"""The intervals of how unequally a drop falls: each from its own cells, all at once."""

from __future__ import annotations

import numpy as np
import pytest

from fairsparse.fairness.inference.multiplicity import each_quantile
from fairsparse.fairness.inference.paired import Pairs, difference, excess_drop, paired_drop
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import Together

# both right, lost, gained, neither: two groups and those of unknown group, by two classes
TABLES = np.random.default_rng(0).integers(5, 60, (4, 3, 2))


def bounds(name: str, tables: np.ndarray, groups: int) -> list[float]:
    interval = DEGRADATIONS[name].interval
    assert isinstance(interval, Together)
    return [float(b) for b in interval.bounds(Pairs(*tables), groups)]


@pytest.mark.parametrize(
    ("name", "cells", "groups"),
    [
        ("class_degradation_range", TABLES.sum(1), 2),  # of an unknown group, but of a class
        ("performance_degradation_fairness", TABLES[:, :2].sum(2), 2),
    ],
)
def test_a_range_of_two_drops_has_the_interval_of_their_difference(
    name: str, cells: np.ndarray, groups: int
) -> None:
    one, other = (Pairs(*cells[:, k]) for k in np.argsort(-Pairs(*cells).drop))
    low, high = difference(one.drop, paired_drop(one), other.drop, paired_drop(other), 0.0)
    assert bounds(name, TABLES, groups) == pytest.approx([max(low, 0), high], abs=1e-4)


@pytest.mark.parametrize("name", ["max_cell_drop", "max_excess_drop"])
@pytest.mark.parametrize("groups", [2, 0])
def test_a_largest_drop_has_the_largest_bounds_of_all_its_cells(name: str, groups: int) -> None:
    tables = TABLES if groups else TABLES[:, :1]
    everyone, per_cell = Pairs(*tables.sum((1, 2))[:, None]), name == "max_cell_drop"
    if not groups:
        cells = Pairs(*tables[:, 0])
    elif per_cell:
        cells = Pairs(*tables[:, :2].reshape(4, 4))
    else:
        cells = Pairs(*tables[:, :2].sum(2))
    z = each_quantile(len(cells.n))
    each = paired_drop(cells, z) if per_cell else excess_drop(cells, everyone, z)[1]
    assert bounds(name, tables, groups) == pytest.approx([each.low.max(), each.high.max()])
