"""Multipliers, recent outcomes and gaps over all, against answers worked out by hand."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fairsparse.core import Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.methods.constrained.constraints import (
    Recent,
    by_name,
    cell_means,
    excess,
    extremes,
    measure,
    raised,
    rows,
)

GROUPS = Cells("group", ("no", "yes"), ("a", "b"))
BOTH = torch.tensor([True, True])


def test_multipliers_reach_the_optimum_of_two_quadratics() -> None:
    # L_a = w^2/2 and L_b = (w-2)^2/2 of shares 3/4 and 1/4 have their joint minimum at 1/2, where
    # L_b - L = 3/2 (1 - w) is 3/4. Held to 0.3 it asks for w = 0.8, where L' = w - 1/2 = 0.3 and
    # the constraint's slope is -3/2: the multiplier is 0.2. That of a, whose L_a - L < 0, is 0.
    w = torch.tensor(0.0, requires_grad=True)
    multipliers = torch.zeros(2)
    for _ in range(2000):
        losses = torch.stack([w**2, (w - 2) ** 2]) / 2
        overall = losses @ torch.tensor([0.75, 0.25])
        gaps = losses - overall - 0.3
        multipliers = raised(multipliers, 0.1 * gaps.detach(), BOTH)
        (slope,) = torch.autograd.grad(overall + multipliers @ gaps, w)
        w = (w - 0.1 * slope).detach().requires_grad_(True)
    assert float(w.detach()) == pytest.approx(0.8, abs=1e-4)
    assert multipliers.tolist() == pytest.approx([0.0, 0.2], abs=1e-4)


def test_a_multiplier_stays_0_while_its_constraint_holds() -> None:
    multipliers = torch.zeros(2)
    for violation in ([-0.3, 0.0], [-0.001, -1.0]):
        multipliers = raised(multipliers, 0.5 * torch.tensor(violation), BOTH)
        assert multipliers.tolist() == [0.0, 0.0]


def test_a_multiplier_grows_linearly_with_a_constant_violation_and_shrinks_as_fast() -> None:
    multipliers, seen = torch.zeros(1), torch.tensor([True])
    for step in range(1, 6):
        multipliers = raised(multipliers, 0.1 * torch.tensor([0.3]), seen)
        assert float(multipliers) == pytest.approx(0.03 * step)
    for left in (0.1, 0.05, 0.0, 0.0):
        multipliers = raised(multipliers, 0.1 * torch.tensor([-0.5]), seen)
        assert float(multipliers) == pytest.approx(left, abs=1e-7)


@pytest.mark.parametrize("value", [5.0, -5.0, float("nan"), float("inf")])
def test_an_unseen_multiplier_stays(value: float) -> None:
    multipliers = raised(torch.zeros(2), torch.tensor([0.25, 0.5]), BOTH)
    step, seen = torch.tensor([0.25, value]), torch.tensor([True, False])
    assert raised(multipliers, step, seen).tolist() == [0.5, 0.5]


BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=12), max_size=12
)


@given(BATCHES, st.integers(1, 5))
def test_a_buffer_has_the_mean_of_the_last_values_of_its_row(
    batches: list[list[tuple[int, int]]], size: int
) -> None:
    recent = Recent(4, size)
    last: list[deque[int]] = [deque(maxlen=size) for _ in range(4)]
    for batch in batches:
        pairs = torch.tensor(batch, dtype=torch.int64).reshape(-1, 2)
        recent.push(pairs[:, 0], pairs[:, 1].float())
        for row, value in batch:
            last[row].append(value)
        for mean, values in zip(recent.means().tolist(), last, strict=True):
            if len(values) < size:
                assert mean != mean
            else:
                assert mean == pytest.approx(sum(values) / size)


def test_excess_is_over_all_examples_by_their_shares() -> None:
    # 0.5 * 0.2 + 0.3 * 0.6 + 0.2 * 0.1 = 0.3
    gaps, share = torch.tensor([0.2, 0.6, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    assert excess(gaps, share).tolist() == pytest.approx([-0.1, 0.3])
    # without the second row: (0.5 * 0.2 + 0.2 * 0.1) / 0.7
    gaps[1] = torch.nan
    first, second = excess(gaps, share).tolist()
    assert first == pytest.approx(0.2 - 0.12 / 0.7)
    assert second != second
    assert bool(excess(torch.full((3,), torch.nan), share).isnan().all())


def test_a_split_is_measured_cell_by_cell_and_over_all() -> None:
    # right with p = 3/4, wrong with p = 1/4, right with p = 1/2 + a little; the last in no cell
    logits = torch.tensor([[3.0, 1.0], [3.0, 1.0], [1.0, 3.0]]).log()
    y, group = torch.tensor([0, 1, 1]), torch.tensor([0, 0, -1])
    accuracy, loss, share = measure(GROUPS, Predictions(logits, y, group))
    assert accuracy.tolist() == pytest.approx([0.5, float("nan"), 1.0], nan_ok=True)
    four_thirds, four = 0.2876820724517809, 1.3862943611198906
    expected = [(four_thirds + four) / 2, float("nan"), four_thirds]
    assert loss.tolist() == pytest.approx(expected, nan_ok=True)
    assert share.tolist() == pytest.approx([2 / 3, 0.0, 1 / 3])


def test_an_example_of_no_cell_has_the_last_row() -> None:
    y, group = torch.tensor([0, 1, 1]), torch.tensor([1, -1, 0])
    assert rows(GROUPS, y, group).tolist() == [1, 2, 0]
    assert rows(Cells("equal-opportunity", ("no", "yes"), ("a", "b")), y, group).tolist() == [
        *(2, 2, 0)
    ]


def test_an_absent_cell_puts_no_nan_into_a_gradient() -> None:
    values = torch.tensor([1.0, 3.0, 100.0], requires_grad=True)
    means, seen = cell_means(GROUPS, values, torch.tensor([1, 1, -1]))
    assert means.tolist() == [0.0, 2.0]
    assert seen.tolist() == [False, True]
    (slope,) = torch.autograd.grad(means.sum(), values)
    assert slope.tolist() == [0.5, 0.5, 0.0]


def test_what_was_not_measured_is_logged_as_nothing() -> None:
    values: Tensor = torch.tensor([0.5, float("nan")])
    assert by_name(GROUPS, values) == {"a": 0.5, "b": None}
    assert extremes(values) == (0.5, 0.0)
    assert extremes(values[1:]) == (None, None)
    assert extremes(torch.tensor([-0.25, 0.5])) == (0.5, 0.75)
