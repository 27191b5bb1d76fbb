"""The bootstrap on counts against a bootstrap of rows; tests against published numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fairsparse.fairness import intervals
from fairsparse.fairness.counts import Confusion, Counts
from fairsparse.fairness.intervals import (
    bootstrap,
    exact_mcnemar,
    holm,
    metric_intervals,
    multinomial,
    percentile,
    resample,
)
from fairsparse.fairness.metrics import DEGRADATIONS, METRICS, evaluate
from fairsparse.types import InputError

NAMES = ("rst", "ab")


def people(n: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Reference, candidate, true class and group: b is served worse, by the candidate above all."""
    rng = np.random.default_rng(seed)
    group = rng.choice([-1, 0, 1], n, p=[0.1, 0.5, 0.4])
    y = rng.integers(0, 3, n)
    wrong = rng.random((2, n)) < np.where(group == 1, [[0.2], [0.4]], [[0.15], [0.2]])
    noise = rng.integers(0, 3, n)
    return (*np.where(wrong, noise, y), y, group)


def statistics(reference: Counts, candidate: Counts) -> dict[str, np.ndarray]:
    before, after = evaluate(METRICS, reference), evaluate(METRICS, candidate)
    change = {f"change {name}": after[name] - before[name] for name in before}
    return before | change | evaluate(DEGRADATIONS, reference, candidate)


def collect(chunks) -> dict[str, np.ndarray]:
    parts = [statistics(*counts) for counts in chunks]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def row_bootstrap(resamples: int, seed: int, rows: tuple[np.ndarray, ...]) -> dict:
    rng = np.random.default_rng(seed)
    n = len(rows[0])
    parts = []
    for _ in range(resamples):
        take = rng.integers(0, n, n)
        reference, candidate, y, group = (a[take] for a in rows)
        counts = [Confusion.count(p, y, group, *NAMES).counts for p in (reference, candidate)]
        parts.append(statistics(*counts))
    return {name: np.array([part[name] for part in parts]) for name in parts[0]}


def test_same_law_as_resampling_rows() -> None:
    rows = people(400)
    by_rows = row_bootstrap(1000, 1, rows)
    by_counts = collect(resample(rows[:2], *rows[2:], *NAMES, resamples=4000, seed=2))
    assert by_counts.keys() == by_rows.keys()
    for name, values in by_counts.items():
        assert stats.ks_2samp(values, by_rows[name]).pvalue > 1e-3, name


@pytest.mark.parametrize("times", [[1] * 12, [1, 1, 2, 5, 40, 200, 900], [3] * 300, [1]])
def test_draws_are_multinomial(times: list[int]) -> None:
    times_, size = np.array(times), 20_000
    n = times_.sum()
    drawn = multinomial(times_, size, np.random.default_rng(0))
    assert (drawn.sum(0) == n).all()
    p = times_ / n
    error = np.sqrt(n * p * (1 - p) / size)
    assert (np.abs(drawn.mean(1) - n * p) <= 5 * error).all()
    covariance = n * (np.diag(p) - np.outer(p, p))
    spread = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / size)
    assert (
        np.abs(np.cov(drawn).reshape(covariance.shape) - covariance) <= 6 * spread + 1e-12
    ).all()
    if len(times) > 1:
        counts = np.bincount(drawn[0], minlength=n + 1)
        expected = stats.binom.pmf(np.arange(n + 1), n, p[0]) * size
        usual = expected > 5
        chi2 = ((counts - expected)[usual] ** 2 / expected[usual]).sum()
        assert stats.chi2.sf(chi2, usual.sum() - 1) > 1e-3


@pytest.mark.parametrize("mean", [0.0, 0.3, 1.0, 7.5, 128.0])
def test_table_draws_are_poisson(mean: float) -> None:
    shape = (200, 5000)
    drawn = intervals._poisson_by_table(mean, shape, np.random.default_rng(0))
    expected = stats.poisson.pmf(np.arange(256), mean) * drawn.size
    seen = np.bincount(drawn.ravel(), minlength=256)
    usual = expected > 5
    chi2 = ((seen - expected)[usual] ** 2 / expected[usual]).sum()
    assert seen[~usual].sum() < 50
    assert usual.sum() == 1 or stats.chi2.sf(chi2, usual.sum() - 1) > 1e-3


def test_undecided_slots_complete_the_law() -> None:
    # Values rarer than one slot come from undecided slots alone, and have to come at their rate.
    drawn = intervals._poisson_by_table(1.0, (4000, 5000), np.random.default_rng(1))
    rare = stats.poisson.sf(8, 1.0)  # less than one in 65536 slots
    assert rare * 65536 < 1
    expected = rare * drawn.size
    assert abs((drawn > 8).sum() - expected) < 4 * math.sqrt(expected)


def test_chunks_do_not_change_the_law_nor_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = people(300)
    given_ = (rows[:2], *rows[2:], *NAMES)
    whole = collect(resample(*given_, resamples=900, seed=0))
    monkeypatch.setattr(intervals, "_CHUNK", 10_000)
    chunks = list(resample(*given_, resamples=900, seed=0))
    assert len(chunks) > 3
    assert sum(len(reference.n) for reference, _ in chunks) == 900
    for name, values in collect(iter(chunks)).items():
        assert stats.ks_2samp(values, whole[name]).pvalue > 1e-3, name


def test_resamples_agree_with_the_tables_they_stand_for() -> None:
    rows = people(200)
    for reference, candidate in resample(rows[:2], *rows[2:], *NAMES, resamples=50):
        assert reference.n.shape == (50, 3, 3)  # resamples, groups and the unknown, classes
        np.testing.assert_array_equal(reference.n, candidate.n)
        for counts in (reference, candidate):
            assert (counts.n.sum((1, 2)) == 200).all()
            np.testing.assert_array_equal(counts.predicted.sum(-1), counts.n.sum(-1))
            assert (counts.correct <= np.minimum(counts.n, counts.predicted)).all()


def test_interval_of_an_accuracy_is_the_binomial_one() -> None:
    y = np.zeros(1000, np.int64)
    predicted = (np.arange(1000) < 300).astype(np.int64)  # 700 right
    found = metric_intervals(predicted, y, np.full(1000, -1), ("r", "s"), resamples=20_000)
    low, high, dropped = found["accuracy"]
    expected = stats.binom.ppf([0.025, 0.975], 1000, 0.7) / 1000
    assert [low, high] == pytest.approx(expected.tolist(), abs=0.0021)
    assert dropped == 0
    assert np.isnan(found["cwv"].low)
    assert found["cwv"].dropped == 1


def test_seed_decides_everything() -> None:
    rows = people(200)

    def run(seed: int) -> dict:
        return metric_intervals(rows[0], *rows[2:], *NAMES, resamples=100, seed=seed)

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_identical_predictions_have_a_zero_width_interval() -> None:
    reference, _, y, group = people(200)
    chunks = resample([reference, reference], y, group, *NAMES, resamples=200)
    for name, interval in bootstrap(statistics, chunks).items():
        if name.startswith("change") or name in DEGRADATIONS:
            assert interval == (0, 0, 0), name


def test_undefined_resamples_are_dropped_and_counted() -> None:
    samples = np.arange(1.0, 101)[:, None].repeat(3, 1)
    samples[:4, 1] = np.nan
    samples[:6, 2] = np.nan
    low, high, dropped = percentile(samples)
    assert dropped == pytest.approx([0, 0.04, 0.06])
    assert low == pytest.approx(
        [3.475, np.quantile(np.arange(5, 101), 0.025), math.nan], nan_ok=True
    )
    assert high == pytest.approx(
        [97.525, np.quantile(np.arange(5, 101), 0.975), math.nan], nan_ok=True
    )


def test_exact_mcnemar_by_hand() -> None:
    assert exact_mcnemar(1, 7) == pytest.approx(float(Fraction(2 * (1 + 8), 2**8)))
    assert exact_mcnemar(7, 1) == exact_mcnemar(1, 7)
    assert exact_mcnemar(4, 4) == 1
    assert exact_mcnemar(0, 10) == pytest.approx(2 / 1024)


def test_holm_by_hand() -> None:
    found = holm(np.array([0.01, np.nan, 0.04, 0.03, 0.005]))
    assert found == pytest.approx([0.03, math.nan, 0.06, 0.06, 0.02], nan_ok=True)
    assert holm(np.array([0.6, 0.9])) == pytest.approx([1, 1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_holm_rejects_as_the_step_down_does(p: list[float]) -> None:
    adjusted = holm(np.array(p))
    order = sorted(range(len(p)), key=lambda i: p[i])
    still = True
    for rank, i in enumerate(order):
        still = still and p[i] * (len(p) - rank) <= 0.05
        assert (adjusted[i] <= 0.05) == still


@pytest.mark.parametrize(("resamples", "seed"), [(0, 0), (10, -1)])
def test_bad_options_are_refused(resamples: int, seed: int) -> None:
    rows = people(20)
    with pytest.raises(InputError, match="resamples must be at least 1 and seed at least 0"):
        metric_intervals(rows[0], *rows[2:], *NAMES, resamples=resamples, seed=seed)
