"""Budgets: measures by hand and against those of audits, bounds against resampled rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairsparse.core import InputError, Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import evaluate
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Confusion
from fairsparse.fairness.notions import NOTIONS
from fairsparse.fairness.steering.budget import MEASURES, Budget

BINARY, THREE, GROUPS = ("no", "yes"), ("x", "y", "z"), ("a", "b", "c")


def value(measure: str, notion: str, dense: Confusion, sparse: Confusion) -> float:
    return float(Budget(0.0, measure).of(dense.counts, sparse.counts, NOTIONS[notion]))


def predictions(predicted: Any, y: Any, group: Any, classes: int) -> Predictions:
    logits = torch.nn.functional.one_hot(torch.as_tensor(predicted), classes).float()
    return Predictions(logits, torch.as_tensor(y), torch.as_tensor(group))


# Two classes by two groups. Dense is right on 9, 8, 6 and 7 of 10; sparse on 9, 6, 6 and 3.
def counted(right: list[int]) -> Confusion:
    table = np.zeros((2, 2, 2), np.int64)
    for i, r in enumerate(right):
        group, y = i % 2, i // 2
        table[group, y, y], table[group, y, 1 - y] = r, 10 - r
    return Confusion(table, BINARY, ("a", "b"))


@pytest.mark.parametrize(
    ("notion", "excess", "drop", "spread", "variance"),
    [
        # overall 30/40 -> 24/40, a drop of 0.15
        ("class", 0.05, 0.2, 15 / 20 - 9 / 20, 0.15**2),
        ("group", 0.15, 0.3, 15 / 20 - 9 / 20, 0.15**2),
        ("class-group", 0.25, 0.4, 0.6, np.var([0.9, 0.6, 0.6, 0.3])),
        ("equalized-odds", 0.25, 0.4, 0.3, 0.15**2),
        ("equal-opportunity", 0.25, 0.4, 0.3, 0.15**2),
        # predicted yes: 1 + 6 of 20 in a, 4 + 3 of 20 in b
        ("demographic-parity", 0.15, 0.3, 0.0, 0.0),
    ],
)
def test_forty_people_by_hand(
    notion: str, excess: float, drop: float, spread: float, variance: float
) -> None:
    dense, sparse = counted([9, 8, 6, 7]), counted([9, 6, 6, 3])
    found = [value(m, notion, dense, sparse) for m in MEASURES]
    assert found == pytest.approx([excess, drop, spread, variance], abs=1e-12)


def test_the_largest_family_counts() -> None:
    # no: 0.9 and 0.8; yes: 0.5 and 0.1
    sparse = counted([9, 8, 5, 1])
    assert NOTIONS["equalized-odds"].statistics(sparse.counts).tolist() == [[0.9, 0.8], [0.5, 0.1]]
    assert value("range", "equalized-odds", sparse, sparse) == pytest.approx(0.4)
    assert value("variance", "equalized-odds", sparse, sparse) == pytest.approx(0.04)


SAME: list[tuple[str, tuple[str, ...], bool, str, str]] = [
    ("class", THREE, True, "range", "mcd"),
    ("class", THREE, True, "variance", "cwv"),
    ("class", THREE, False, "excess-drop", "max_excess_drop"),
    ("class", THREE, False, "cell-drop", "max_cell_drop"),
    ("group", THREE, True, "range", "accuracy_gap"),
    ("group", THREE, True, "excess-drop", "max_excess_drop"),
    ("class-group", THREE, True, "cell-drop", "max_cell_drop"),
    ("equalized-odds", THREE, True, "range", "equal_opportunity"),
    ("equalized-odds", BINARY, True, "range", "equalized_odds"),
    ("equal-opportunity", BINARY, True, "range", "equal_opportunity"),
    ("demographic-parity", BINARY, True, "range", "demographic_parity"),
]


@given(st.integers(0, 2**32 - 1), st.sampled_from(SAME))
@settings(max_examples=80, deadline=None)
def test_measures_are_those_of_audits(
    seed: int, case: tuple[str, tuple[str, ...], bool, str, str]
) -> None:
    notion, classes, grouped, measure, metric = case
    rng = np.random.default_rng(seed)
    groups = GROUPS if grouped else ()
    y = rng.integers(0, len(classes), 300)
    group = rng.integers(-1, len(groups), 300) if grouped else np.full(300, -1)
    two = [rng.integers(0, len(classes), 300) for _ in range(2)]
    dense, sparse = (Confusion.count(p, y, group, classes, groups) for p in two)
    if metric in METRICS:
        expected = evaluate(METRICS, sparse.counts)[metric]
    else:
        expected = evaluate(DEGRADATIONS, dense.counts, sparse.counts)[metric]
    assert value(measure, notion, dense, sparse) == pytest.approx(float(expected), abs=1e-12)


def test_every_measure_is_zero_for_a_network_that_is_right_and_unchanged() -> None:
    right = counted([10, 10, 10, 10])
    for notion in NOTIONS:
        for measure in MEASURES:
            assert value(measure, notion, right, right) == 0


def test_a_cell_without_examples_leaves_the_measure_undefined() -> None:
    table = counted([9, 8, 6, 7]).table.copy()
    table[1, 1] = 0
    empty = Confusion(table, BINARY, ("a", "b"))
    for measure in MEASURES:
        assert math.isnan(value(measure, "class-group", empty, empty))
        assert not math.isnan(value(measure, "class", empty, empty))


def test_limits_are_exact() -> None:
    assert Budget(0.1).keeps(1 - 0.9)  # a hair more than 0.1 in binary
    assert Budget(0.0).keeps(0.0)
    assert not Budget(0.1).keeps(0.1001)
    assert not Budget(1.0).keeps(math.nan)


def rows(n: int = 240) -> tuple[np.ndarray, ...]:
    """Class 0 loses 5 % of its examples and gains none, class 1 loses 20 % and gains 5 %."""
    y = np.arange(n) % 2
    rank = np.arange(n) // 2 / (n // 2)
    lost = rank < np.where(y == 0, 0.05, 0.2)
    gained = rank >= np.where(y == 0, 1.0, 0.95)
    return y, np.where(gained, 1 - y, y), np.where(lost, 1 - y, y)


def test_the_bound_is_the_95th_percentile_of_resampled_rows() -> None:
    y, dense, sparse = rows()
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(8000):
        i = rng.integers(0, len(y), len(y))
        lost = (dense[i] == y[i]).astype(float) - (sparse[i] == y[i])
        drawn.append(max(lost[y[i] == k].mean() for k in (0, 1)) - lost.mean())
    cells, group = Cells("class", BINARY), np.full(len(y), -1)
    two = [predictions(p, y, group, 2) for p in (dense, sparse)]
    found = Budget(0.0).bounded(*two, cells, resamples=8000)
    assert found.value == pytest.approx(0.15 - (0.05 + 0.15) / 2)
    assert found.bound == pytest.approx(np.quantile(drawn, 0.95), abs=0.003)
    # a two-sided interval would end well above
    assert np.quantile(drawn, 0.975) > found.bound + 0.004


def test_equal_predictions_have_no_drop_however_they_are_resampled() -> None:
    y, dense, _ = rows()
    same = predictions(dense, y, np.full(len(y), -1), 2)
    assert Budget(0.0).bounded(same, same, Cells("class", BINARY), resamples=100) == (0.0, 0.0)


def test_a_cell_that_resamples_miss_has_a_value_and_no_bound() -> None:
    y = np.array([0] * 30 + [1])
    same = predictions(y, y, np.full(31, -1), 2)
    value, bound = Budget(1.0).bounded(same, same, Cells("class", BINARY), resamples=200)
    assert value == 0
    assert math.isnan(bound)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exces-drop=0.1", "unknown budget measure 'exces-drop' .did you mean 'excess-drop'"),
        ("excess-drop", "MEASURE=LIMIT, got 'excess-drop'"),
        ("range=much", "a number of at least 0, got 'much'"),
        ("range=-0.1", "a number of at least 0, got '-0.1'"),
        ("range=nan", "got 'nan'"),
        ("range=inf", "got 'inf'"),
        ("range=", "got ''"),
    ],
)
def test_what_is_no_budget(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        Budget.parse(text)
    assert "\n" not in str(error.value)


def test_budgets_are_read() -> None:
    assert Budget.parse("variance=2e-3") == Budget(0.002, "variance")
    assert Budget(0.5).measure == "excess-drop"
    for bad in ({"limit": -0.1}, {"limit": 0.1, "measure": "gap"}, {"measure": "range"}):
        with pytest.raises(ValueError):
            Budget(**bad)
