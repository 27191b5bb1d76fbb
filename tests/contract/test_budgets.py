"""What every measure of a budget promises: what pruning cost the cells, in one number."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch

from contract.registries import check_settings, promises, registries
from fairsparse import Cells, Predictions
from fairsparse.fairness.steering.budget import Budget

MEASURES = registries()["budget measure"]
CLASSES, GROUPS = ("no", "yes"), ("a", "b")
NOTIONS = ("class", "group", "class-group", "equalized-odds", "equal-opportunity")


class Promise(NamedTuple):
    """Whether it is of the change, and not of the sparse network alone; its bounds."""

    of_change: bool
    low: float
    high: float


# A measure without an entry fails every test below.
SETTINGS = {
    "excess-drop": Promise(True, -2, 2),
    "cell-drop": Promise(True, -1, 1),
    "range": Promise(False, 0, 1),
    "variance": Promise(False, 0, 0.25),
}


def promise(measure: str) -> Promise:
    return promises("budget measure", measure, SETTINGS, "test_budgets.py")


def people(right: float, seed: int, harmed: float = 0.0) -> Predictions:
    """Two networks' answers differ by `seed`; class "yes" of group "b" loses `harmed` more."""
    y, group = torch.arange(800) % 2, torch.arange(800) // 2 % 3 - 1
    draws = torch.rand(800, generator=torch.Generator().manual_seed(seed))
    wrong = draws > right - harmed * ((y == 1) & (group == 1))
    predicted = torch.where(wrong, 1 - y, y)
    return Predictions(torch.nn.functional.one_hot(predicted, 2).float(), y, group)


def value(measure: str, dense: Predictions, sparse: Predictions, notion: str) -> float:
    cells = Cells(notion, CLASSES, GROUPS)  # type: ignore[arg-type]
    bounded = Budget(1.0, measure).bounded(dense, sparse, cells, resamples=20)  # type: ignore[arg-type]
    if not math.isnan(bounded.value):
        assert promise(measure).low <= bounded.value <= promise(measure).high
    return bounded.value


def test_the_table_is_complete() -> None:
    check_settings("budget measure", MEASURES, SETTINGS, "test_budgets.py")


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("notion", NOTIONS)
def test_what_harms_one_cell_more_costs_more(measure: str, notion: str) -> None:
    perfect, dense = people(1.0, 0), people(0.9, 0)
    assert value(measure, perfect, perfect, notion) == 0
    same = value(measure, dense, dense, notion)
    assert (same == 0) == promise(measure).of_change
    costs = [value(measure, dense, people(0.9, 1, harmed), notion) for harmed in (0.2, 0.5, 0.9)]
    assert costs == sorted(set(costs))
    assert same < costs[0]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("notion", NOTIONS)
def test_order_does_not_matter_and_an_empty_cell_has_no_number(measure: str, notion: str) -> None:
    dense, sparse = people(0.9, 0), people(0.8, 1)
    order = torch.randperm(800, generator=torch.Generator().manual_seed(2))

    def some(of: Predictions, index: torch.Tensor) -> Predictions:
        return Predictions(*(part[index] for part in of))

    expected = value(measure, dense, sparse, notion)
    assert value(measure, some(dense, order), some(sparse, order), notion) == expected
    without = (dense.y == 0) & (dense.group != 1) if notion != "group" else dense.group != 1
    assert math.isnan(value(measure, some(dense, without), some(sparse, without), notion))


@pytest.mark.parametrize("measure", MEASURES)
def test_it_can_be_asked_for(measure: str) -> None:
    assert Budget.parse(f"{measure}=0.1").measure == measure
    assert (MEASURES[measure].__doc__ or "").strip().endswith(".")
