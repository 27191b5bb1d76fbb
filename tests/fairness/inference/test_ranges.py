"""Ranges over cells: what sampling makes of them, and intervals that hold for all pairs."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from fairsparse.fairness.inference import multiplicity
from fairsparse.fairness.inference.paired import wilson


@pytest.mark.parametrize("cells", [2, 3, 5, 10, 100])
def test_quantile_of_all_pairs_is_the_studentized_range(cells: int) -> None:
    draws = np.ptp(np.random.default_rng(0).normal(size=(400_000 // cells, cells)), axis=1)
    found = multiplicity.pairs_quantile(cells) * 2**0.5
    assert (draws <= found).mean() == pytest.approx(0.95, abs=0.006)
    if cells <= 10:  # the published tables
        tabled = {2: 2.772, 3: 3.314, 5: 3.858, 10: 4.474}[cells]
        assert found == pytest.approx(tabled, abs=1e-3)
    assert multiplicity.pairs_quantile(cells, 4) > multiplicity.pairs_quantile(cells)


def test_floor_is_what_sampling_makes() -> None:
    rng = np.random.default_rng(0)
    n = np.array([50, 200, 1000, 80, 300])
    drawn = rng.binomial(n, 0.8, (20_000, 5)) / n
    hits = np.round(0.8 * n)
    expected = pytest.approx(np.ptp(drawn, axis=1).mean(), rel=0.02)
    assert multiplicity.floor(hits[None], n[None]) == expected
    assert multiplicity.floor(np.stack([n, hits, n]), np.stack([n] * 3)) == expected
    assert multiplicity.floor(n[None], n[None]) == 0
    assert np.isnan(multiplicity.floor(np.array([[3, 0]]), np.array([[5, 0]])))


@pytest.mark.parametrize("hits", [1, 5, 7])
def test_the_floor_of_single_people_is_that_of_coins(hits: int) -> None:
    p = hits / 10
    cells = (np.arange(10) < hits).astype(float)[None]
    expected = 1 - p**10 - (1 - p) ** 10  # the range is 1 unless all are alike
    assert multiplicity.floor(cells, np.ones((1, 10))) == pytest.approx(expected)


def test_means_of_two_ranges_are_within_both() -> None:
    hits, n = np.array([[80, 60, 70], [30, 50, 40]]), np.full((2, 3), 100)
    low, high = multiplicity.mean_range(hits, n)
    each = [
        multiplicity.range_bounds(h[None] / 100, lambda z, h=h: wilson(h[None], n[:1], z), 2)
        for h in hits
    ]
    assert low == pytest.approx(sum(e.low for e in each) / 2)
    assert high == pytest.approx(sum(e.high for e in each) / 2)


def test_two_cells_have_the_interval_of_their_difference() -> None:
    hits, n = np.array([[90, 60]]), np.array([[100, 90]])
    found = multiplicity.rate_range(hits, n)
    expected = confint_proportions_2indep(90, 100, 60, 90, compare="diff", method="newcomb")
    assert [float(b) for b in found] == pytest.approx(expected, abs=1e-4)
    alike = multiplicity.rate_range(np.array([[90, 89]]), np.array([[100, 100]]))
    assert alike.low == 0


@pytest.mark.parametrize("rates", [[0.85] * 6, [0.9, 0.9, 0.9, 0.85, 0.85, 0.7]])
def test_the_true_range_is_covered(rates: list[float]) -> None:
    rng, n = np.random.default_rng(1), np.full((1, 6), 60)
    truth = max(rates) - min(rates)
    inside = []
    for hits in rng.binomial(60, rates, (400, 6)):
        low, high = multiplicity.rate_range(hits[None], n)
        inside.append(low <= truth <= high)
    assert np.mean(inside) >= 0.94


def test_the_worst_of_several_families_counts() -> None:
    hits, n = np.array([[95, 90, 85], [90, 50, 40]]), np.full((2, 3), 100)
    both = multiplicity.rate_range(hits, n)
    alone = multiplicity.rate_range(hits[1:], n[1:])
    assert both.low < alone.low < 0.5 < alone.high < both.high  # the same rates, more compared


def test_an_extreme_holds_for_all_cells() -> None:
    hits, n = np.array([40, 45, 30]), np.array([50, 50, 50])
    found = multiplicity.extreme(lambda z: wilson(hits, n, z), 3, largest=False)
    z = stats.norm.ppf((1 + 0.95 ** (1 / 3)) / 2)
    assert found.low == pytest.approx(wilson(hits, n, z).low[2])
    assert found.high == pytest.approx(wilson(hits, n, z).high[2])
