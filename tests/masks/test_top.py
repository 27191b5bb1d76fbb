"""Exactly the k largest, whatever ties there are and wherever the threshold is computed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairsparse.masks.grouping import cpu_threshold, device_threshold, top


def by_sorting(values: list[float], keep: int) -> list[bool]:
    first = sorted(range(len(values)), key=lambda i: (-values[i], i))[: max(keep, 0)]
    return [i in first for i in range(len(values))]


numbers = st.lists(
    st.one_of(st.integers(-2, 2).map(float), st.floats(width=32, allow_nan=False)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(numbers, st.floats(0, 1), st.sampled_from([torch.float32, torch.float64]))
def test_keeps_what_sorting_keeps(values: list[float], share: float, kind: torch.dtype) -> None:
    keep = round(share * len(values))
    tensor = torch.tensor(values, dtype=kind)
    before = tensor.clone()
    kept = top(tensor, keep)
    assert kept.tolist() == by_sorting(values, keep)
    assert torch.equal(tensor, before)


@settings(max_examples=100, deadline=None)
@given(numbers, st.floats(0, 1))
def test_both_thresholds_are_the_same_number(values: list[float], share: float) -> None:
    keep = max(1, round(share * len(values)))
    tensor = torch.tensor(values)
    assert float(device_threshold(tensor, keep)) == cpu_threshold(tensor, keep)
    assert cpu_threshold(tensor, keep) == sorted(tensor.tolist())[-keep]


@pytest.mark.parametrize("keep", [-3, 0])
def test_nothing_is_kept_of_nothing(keep: int) -> None:
    assert top(torch.arange(4.0), keep).tolist() == [False] * 4


@pytest.mark.parametrize("keep", [1, 1000, 49_999, 50_000, 99_999, 100_000])
def test_many_numbers_with_ties(keep: int) -> None:
    values = torch.randint(5000, (100_000,), generator=torch.Generator().manual_seed(0)).float()
    kept = top(values, keep)
    assert int(kept.sum()) == keep
    order = values.sort(descending=True, stable=True).indices[:keep]
    assert bool(kept[order].all())
