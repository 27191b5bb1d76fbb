"""Levels of sparsity over rounds and over a run."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairsparse.core import InputError
from fairsparse.masks.schedules import cubic, levels


@pytest.mark.parametrize(
    ("percent", "rounds"), [(50, 4), (70, 6), (80, 8), (90, 11), (95, 14), (98, 18), (99, 21)]
)
def test_rounds_at_a_fifth_each(percent: int, rounds: int) -> None:
    # the first r with 0.8^r <= 1 - sparsity, one fewer where the last would remove next to nothing
    assert rounds - 1 <= len(levels(percent / 100)) <= rounds


@given(st.floats(0.01, 0.999), st.floats(0.05, 0.9))
def test_levels_rise_to_the_exact_end_by_about_the_same_share(
    sparsity: float, fraction: float
) -> None:
    plan = levels(sparsity, fraction)
    assert plan[-1] == sparsity
    assert plan == sorted(set(plan))
    densities = [1.0, *(1 - s for s in plan)]
    removed = [1 - after / before for before, after in pairwise(densities)]
    assert removed[:-1] == pytest.approx([fraction] * (len(plan) - 1), rel=1e-6)
    if len(plan) > 1:
        # the last round removes at least a quarter of a usual one, and little more than one
        assert fraction / 4 - 1e-9 <= removed[-1] <= fraction * 1.25


def test_no_rounds_for_nothing_and_one_for_one_shot() -> None:
    assert levels(0.0) == []
    assert levels(0.5, 0.5) == [0.5]
    assert levels(0.1, 0.5) == [0.1]


def test_explicit_levels() -> None:
    assert levels(0.8, explicit=(0.3, 0.6)) == [0.3, 0.6, 0.8]
    assert levels(0.8, explicit=(0.8,)) == [0.8]
    for bad in ((0.5, 0.3), (0.3, 0.3), (0.0, 0.5), (0.5, 1.0)):
        with pytest.raises(InputError, match="rising sparsities"):
            levels(0.8, explicit=bad)


@given(st.floats(0, 0.99), st.floats(0, 1), st.floats(0, 1))
def test_cubic_rises_from_exactly_zero_to_exactly_the_end(final: float, p: float, q: float) -> None:
    assert cubic(0, final) == cubic(-1, final) == 0
    assert cubic(1, final) == cubic(2, final) == final
    low, high = sorted((p, q))
    assert cubic(low, final) <= cubic(high, final) + 1e-15 <= final + 2e-15


def test_cubic_half_way() -> None:
    assert cubic(0.5, 0.8) == pytest.approx(0.8 * 7 / 8)
