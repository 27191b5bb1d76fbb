"""Families of tests: against Holm, against brute force, and with bands that cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fairsparse.fairness.inference.family import Family, correlated
from fairsparse.fairness.inference.multiplicity import holm


def exchangeable(size: int, rho: float) -> np.ndarray:
    return np.full((size, size), rho) + (1 - rho) * np.eye(size)


def test_draws_have_the_correlation_that_is_asked_for() -> None:
    covariance = np.array([[4.0, 1.5, 0], [1.5, 1, 0], [0, 0, 0]])
    drawn = correlated(covariance, 0)
    expected = [[1, 0.75, 0], [0.75, 1, 0], [0, 0, 1]]  # what is fixed has a column of its own
    assert np.corrcoef(drawn.T) == pytest.approx(np.array(expected), abs=0.03)
    assert drawn.std(0) == pytest.approx(np.ones(3), abs=0.03)
    assert np.array_equal(drawn, correlated(covariance, 0))
    assert not np.array_equal(drawn, correlated(covariance, 1))


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_independent_hypotheses_are_a_little_better_than_holm(p: list[float]) -> None:
    values = np.array(p)
    adjusted = Family.independent(values).adjusted()
    assert (adjusted <= holm(values) + 1e-12).all()
    first = values.argmin()
    sidak = -np.expm1(len(p) * np.log1p(-values[first])) if values[first] < 1 else 1
    assert adjusted[first] == pytest.approx(sidak)
    assert (adjusted >= values - 1e-12).all()


def test_a_hypothesis_that_is_there_twice_costs_nothing() -> None:
    drawn = correlated(np.ones((5, 5)), 0)
    p = np.full(5, 0.02)
    together = Family(p, drawn, np.arange(5))
    assert together.adjusted() == pytest.approx(p, abs=0.004)
    assert together.quantile(0.05) == pytest.approx(1.96, abs=0.04)
    assert Family.independent(p).quantile(0.05) == pytest.approx(stats.norm.isf(0.0051), abs=0.01)


def test_no_number_of_draws_bounds_a_p_value() -> None:
    family = Family(np.array([1e-30, 0.5, np.nan]), correlated(np.eye(3), 0), np.arange(3))
    adjusted = family.adjusted()
    assert adjusted[0] == pytest.approx(2e-30)
    assert np.isnan(adjusted[2])
    assert family.single_step()[0] == adjusted[0]


def test_stepping_down_is_westfall_and_youngs() -> None:
    rng = np.random.default_rng(1)
    drawn = rng.multivariate_normal(np.zeros(4), exchangeable(4, 0.6), 20_000).astype(np.float32)
    p = np.array([0.2, 0.004, 0.03, 0.0007])
    z = stats.norm.isf(p / 2)
    expected, least = np.empty(4), 0.0
    remaining = list(np.argsort(p))
    while remaining:
        highest = np.abs(drawn[:, remaining]).max(1)
        first = remaining.pop(0)
        least = max(least, (highest >= z[first]).mean())
        expected[first] = least
    assert Family(p, drawn, np.arange(4)).adjusted() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_false_findings_have_the_level_and_bands_cover(rho: float) -> None:
    size, rng = 12, np.random.default_rng(0)
    covariance = exchangeable(size, rho)
    drawn = correlated(covariance, 3)
    # as many as are known to vary together, and two of which that is not known
    column = np.append(np.arange(size - 2), [-1, -1])
    sample = rng.multivariate_normal(np.zeros(size), covariance, 20_000)
    band = Family(np.ones(size), drawn, column).quantile(0.05)
    assert (np.abs(sample).max(1) > band).mean() == pytest.approx(0.05, abs=0.008 + 0.03 * rho)
    rejected = [
        Family(2 * stats.norm.sf(np.abs(row)), drawn[:4000], column).adjusted().min() <= 0.05
        for row in sample[:600]
    ]
    assert np.mean(rejected) < 0.075


def test_a_family_that_may_reject_nothing_has_no_band() -> None:
    assert np.isnan(Family.independent(np.array([0.5])).quantile(0))
    assert np.isnan(Family.independent(np.array([np.nan])).quantile(0.05))
    assert Family.independent(np.array([0.5])).quantile(0.05) == pytest.approx(1.96, abs=1e-3)
