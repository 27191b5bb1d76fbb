"""Closed forms against published numbers, other libraries, and enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from fairsparse.fairness.inference.paired import (
    Pairs,
    difference,
    exact,
    excess_drop,
    excess_test,
    mcnemar,
    no_worse,
    paired_drop,
    wilson,
)


def pairs(*counts: int) -> Pairs:
    return Pairs(*(np.array([c]) for c in counts))


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 9), (9, 9), (263, 1000)])
def test_wilson_is_statsmodels(hits: int, n: int) -> None:
    found = wilson(np.array(hits), np.array(n))
    expected = proportion_confint(hits, n, method="wilson")
    assert [float(b) for b in found] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 9), (9, 9), (263, 1000)])
def test_the_exact_interval_is_scipys(hits: int, n: int) -> None:
    found = exact(np.array(hits), np.array(n))
    expected = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert [float(b) for b in found] == pytest.approx([expected.low, expected.high], abs=1e-9)


@pytest.mark.parametrize("counts", [(56, 70, 48, 80), (9, 10, 3, 10), (10, 10, 0, 20)])
def test_difference_of_independent_rates_is_statsmodels(counts: tuple[int, ...]) -> None:
    hits, n, other, m = map(np.array, counts)
    found = difference(hits / n, wilson(hits, n), other / m, wilson(other, m), 0.0)
    expected = confint_proportions_2indep(*counts, compare="diff", method="newcomb")
    assert [float(b) for b in found] == pytest.approx(expected, abs=1e-9)


# Newcombe 1998, table III, method 10
@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((54, 0, 0, 0), -0.0664, 0.0664),
    ],
)
def test_paired_drops_are_the_published(counts: tuple, low: float, high: float) -> None:
    found = paired_drop(pairs(*counts))
    assert [found.low.item(), found.high.item()] == pytest.approx([low, high], abs=2e-4)


@given(st.tuples(*[st.integers(0, 40)] * 4).filter(lambda c: sum(c) > 0))
def test_swapping_the_models_mirrors_the_interval(counts: tuple[int, ...]) -> None:
    both, lost, gained, neither = counts
    one, other = paired_drop(pairs(*counts)), paired_drop(pairs(both, gained, lost, neither))
    assert one.low.item() == pytest.approx(-other.high.item(), abs=1e-9)
    assert one.low.item() - 1e-9 <= (lost - gained) / sum(counts) <= one.high.item() + 1e-9


def test_excess_drop_by_hand() -> None:
    # a cell of 10 of 40 that loses 3, where all lose 4: .3 - .1, or .75 (.3 - 1/30)
    value, bounds = excess_drop(pairs(6, 3, 0, 1), pairs(30, 4, 0, 6))
    assert value.item() == pytest.approx(0.2)
    assert bounds.low.item() < 0.2 < bounds.high.item()
    rest = paired_drop(pairs(24, 1, 0, 5))
    cell = paired_drop(pairs(6, 3, 0, 1))
    low = 0.3 - 1 / 30 - math.hypot(0.3 - cell.low.item(), rest.high.item() - 1 / 30)
    assert bounds.low.item() == pytest.approx(0.75 * low)


def test_a_cell_of_everyone_has_no_excess() -> None:
    value, bounds = excess_drop(pairs(6, 3, 0, 1), pairs(6, 3, 0, 1))
    assert (value.item(), bounds.low.item(), bounds.high.item()) == (0, 0, 0)


@pytest.mark.parametrize(("lost", "gained"), [(1, 7), (7, 1), (4, 4), (0, 10), (0, 0), (50, 31)])
def test_mcnemar_is_statsmodels(lost: int, gained: int) -> None:
    expected = their_mcnemar([[5, lost], [gained, 9]], exact=True).pvalue if lost + gained else 1.0
    assert mcnemar(np.array(lost), np.array(gained)) == pytest.approx(min(expected, 1))


def test_excess_test_is_a_permutation_test() -> None:
    # 3 lost and 1 gained of 9, of which 4 are the cell's: all ways to choose the 4
    effect = np.array([1, 1, 1, -1, 0, 0, 0, 0, 0])
    mean = 4 * effect.sum() / 9
    sums = np.array([effect[list(c)].sum() for c in itertools.combinations(range(9), 4)])
    for mine in ((1, 0), (3, 0), (0, 1), (2, 1)):
        moved = abs(mine[0] - mine[1] - mean)
        expected = (np.abs(sums - mean) >= moved - 1e-9).mean()
        cell = pairs(4 - sum(mine), *mine, 0)
        assert excess_test(cell, pairs(5, 3, 1, 0)).item() == pytest.approx(expected)


def test_many_flips_are_tested_by_mean_and_variance_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, everyone = pairs(700, 37, 12, 251), pairs(7000, 250, 140, 2610)
    exact = excess_test(cell, everyone).item()
    monkeypatch.setattr("fairsparse.fairness.inference.paired._EXACT", 0)
    rough = excess_test(cell, everyone).item()
    assert exact == pytest.approx(rough, rel=0.1)
    assert 0.01 < exact < 0.2


def test_margins_are_tested_by_the_likeliest_rates() -> None:
    for both, lost, gained, neither in ((430, 6, 9, 55), (90, 5, 5, 0), (20, 2, 0, 3)):
        n = both + lost + gained + neither

        def minus(q: float, lost=lost, gained=gained, n=n) -> float:
            rest = 1 - 2 * q - 0.02
            return -(
                lost * math.log(q + 0.02)
                + gained * math.log(q)
                + (n - lost - gained) * math.log(rest)
            )

        q = optimize.minimize_scalar(minus, bounds=(1e-9, 0.48), options={"xatol": 1e-10}).x
        z = (lost - gained - 0.02 * n) / math.sqrt(n * (2 * q + 0.02 * 0.98))
        found = no_worse(pairs(both, lost, gained, neither), 0.02).item()
        assert found == pytest.approx(stats.norm.cdf(z), abs=1e-4)


def test_no_examples_give_no_number() -> None:
    none, some = pairs(0, 0, 0, 0), pairs(5, 1, 1, 3)
    assert math.isnan(none.drop.item())
    assert all(math.isnan(b.item()) for b in exact(np.array([0]), np.array([0])))
    assert all(math.isnan(b.item()) for b in paired_drop(none))
    assert math.isnan(excess_drop(none, some)[0].item())
    assert math.isnan(excess_test(none, some).item())
    assert math.isnan(no_worse(none, 0.01).item())
