"""Closed forms against published numbers, other libraries, and enumeration."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from fairsparse.fairness.inference.paired import (
    Bounds,
    Pairs,
    agreeing,
    detectable,
    difference,
    exact,
    excess_drop,
    excess_test,
    flip_test,
    level_at_zero,
    mcnemar,
    paired_drop,
    score_drop,
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
@settings(deadline=None)
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


def test_few_flips_are_tested_exactly_and_many_by_mid_p() -> None:
    assert flip_test(np.array(3), np.array(11)) == mcnemar(np.array(3), np.array(11))
    lost, gained = 31, 14
    law = stats.binom(45, 0.5)
    expected = 2 * (sum(law.pmf(k) for k in range(gained)) + law.pmf(gained) / 2)
    assert flip_test(np.array(lost), np.array(gained)) == pytest.approx(expected)
    sizes = []
    for n in (25, 40, 90, 300):
        k = np.arange(n + 1)
        sizes.append(stats.binom.pmf(k, n, 0.5)[flip_test(k, n - k) <= 0.01].sum())
    assert np.mean(sizes) < 0.0105
    assert max(sizes) < 0.015


@given(st.tuples(*[st.integers(0, 40)] * 8))
@settings(deadline=None)
def test_an_excess_is_tested_by_the_level_at_which_its_interval_ends(counts: tuple) -> None:
    cell = pairs(*counts[:4])
    everyone = Pairs(*(a + b for a, b in zip(cell, pairs(*counts[4:]), strict=True)))
    value, _ = excess_drop(cell, everyone)
    p = excess_test(cell, everyone.minus(cell)).item()
    if not sum(counts[:4]):
        assert math.isnan(p)
    elif abs(value.item()) < 1e-12:
        assert p == pytest.approx(1)
    else:
        low, high = excess_drop(cell, everyone, stats.norm.isf(p / 2))[1]
        end = low if value.item() > 0 else high
        assert end.item() == pytest.approx(0, abs=1e-6)


def test_a_group_and_the_rest_carry_one_hypothesis() -> None:
    cells = Pairs(*map(np.array, ([100, 700], [790, 100], [110, 0], [0, 100])))
    first, second = excess_test(cells, Pairs(*(x[::-1] for x in cells)))
    assert first == pytest.approx(second, rel=1e-6)
    assert 0 < first < 1e-40


def test_groups_that_differ_in_difficulty_alone_lose_alike() -> None:
    """Two models of one law: a permutation of who flipped would reject two in five of these."""
    rng, n, rate = np.random.default_rng(0), np.array([4800, 200]), np.array([0.99, 0.6])
    # each person has a chance of their own, so the hard group also flips most
    share = np.array([_beta_flips(r) for r in rate])
    drawn = np.stack([rng.multinomial(n[k], share[k], 4000) for k in (0, 1)], axis=1)
    cells = Pairs(*np.moveaxis(drawn, -1, 0))
    everyone = Pairs(*(x.sum(-1, keepdims=True) for x in cells))
    p = excess_test(cells, everyone.minus(cells))
    assert (p <= 0.05).mean(0) == pytest.approx(0.05, abs=0.012)
    assert (p <= 0.01).mean(0).max() < 0.016


def _beta_flips(rate: float, spread: float = 1.7) -> list[float]:
    """Chances of both right, lost, gained, neither, where each chance is drawn from a Beta."""
    square = rate * (rate * spread + 1) / (spread + 1)  # E p^2
    return [square, rate - square, rate - square, 1 - 2 * rate + square]


def test_intervals_agree_with_the_test() -> None:
    ends = Bounds(np.array([-0.1, 0.01, -0.3, -0.2]), np.array([0.3, 0.2, 0.01, -0.1]))
    value, p = np.array([0.1, 0.1, -0.1, -0.15]), np.array([0.01, 0.2, 0.01, 0.3])
    low, high = agreeing(ends, value, p, 0.05)
    assert low.tolist() == [0, 0, -0.3, -0.2]
    assert high.tolist() == [0.3, 0.2, 0, 0]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 300), st.floats(1, 4))
@settings(deadline=None)
def test_score_intervals_end_where_the_score_test_does(
    lost: int, gained: int, rest: int, z: float
) -> None:
    n = lost + gained + rest
    if n == 0:
        return
    low, high = (x.item() for x in score_drop(pairs(rest, lost, gained, 0), z))
    assert low <= (lost - gained) / n <= high
    for end in (low, high):
        if abs(end) < 0.999:
            assert abs(_score(lost, gained, n, end)) == pytest.approx(z, rel=1e-3)


def _score(lost: int, gained: int, n: int, drop: float) -> float:
    """The score statistic, with the likeliest rates found by search."""

    def minus(q: float) -> float:
        parts = ((lost, q + drop), (gained, q), (n - lost - gained, 1 - 2 * q - drop))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in parts if k)

    least, most = max(0.0, -drop), (1 - drop) / 2
    q = optimize.minimize_scalar(
        minus, bounds=(least, most), method="bounded", options={"xatol": 1e-12}
    ).x
    return (lost - gained - n * drop) / math.sqrt(n * (2 * q + drop * (1 - drop)))


@given(st.floats(-5, 5), st.floats(0.01, 3))
@settings(deadline=None)
def test_an_interval_is_read_as_that_of_a_normal_estimate(value: float, deviation: float) -> None:
    ends = value - 1.959964 * deviation, value + 1.959964 * deviation
    expected = 2 * stats.norm.sf(abs(value) / deviation)
    assert level_at_zero(value, *ends) == pytest.approx(expected, rel=1e-4, abs=1e-300)
    assert math.isnan(level_at_zero(value, math.nan, math.nan)) or value == 0


def test_a_drop_that_is_called_detectable_is_detected() -> None:
    rng, n, churn = np.random.default_rng(0), 800, 0.1
    least = detectable(np.array(churn * n), np.array(n), stats.norm.isf(0.005)).item()
    lost, gained = (churn + least) / 2, (churn - least) / 2
    drawn = rng.multinomial(n, [lost, gained, 1 - churn], 4000)
    assert (flip_test(drawn[:, 0], drawn[:, 1]) <= 0.01).mean() == pytest.approx(0.8, abs=0.04)
    none = detectable(np.array([0, 0]), np.array([100, 0]), 1.96)
    assert none[0] == pytest.approx((1.96 + 0.8416) ** 2 / 100, rel=1e-3)
    assert math.isnan(none[1])


def test_no_examples_give_no_number() -> None:
    none, some = pairs(0, 0, 0, 0), pairs(5, 1, 1, 3)
    assert math.isnan(none.drop.item())
    assert all(math.isnan(b.item()) for b in exact(np.array([0]), np.array([0])))
    assert all(math.isnan(b.item()) for b in paired_drop(none))
    assert math.isnan(excess_drop(none, some)[0].item())
    assert math.isnan(excess_test(none, some).item())
