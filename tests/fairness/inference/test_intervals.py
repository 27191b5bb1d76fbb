"""The bootstrap on counts against a bootstrap of rows; tests against published numbers."""

import math

import numpy as np
import pytest
from scipy import stats

from fairsparse.core import InputError
from fairsparse.fairness.inference import intervals
from fairsparse.fairness.inference.intervals import (
    acceleration,
    bca,
    leave_one_out,
    multinomial,
    percentile,
    resample,
)
from fairsparse.fairness.measure import outcomes
from fairsparse.fairness.measure.counts import Counts
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import evaluate
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Confusion, Outcomes

NAMES = ("rst", "ab")


def people(n: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Reference, candidate, true class and group: b is served worse, by the candidate above all."""
    rng = np.random.default_rng(seed)
    group = rng.choice([-1, 0, 1], n, p=[0.1, 0.5, 0.4])
    y = rng.integers(0, 3, n)
    wrong = rng.random((2, n)) < np.where(group == 1, [[0.2], [0.4]], [[0.15], [0.2]])
    noise = rng.integers(0, 3, n)
    return (*np.where(wrong, noise, y), y, group)


def coded(rows: tuple[np.ndarray, ...]) -> Outcomes:
    return Outcomes.of(rows[:2], *rows[2:], *NAMES)


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
    by_counts = collect(resample(coded(rows), resamples=4000, seed=2))
    assert by_counts.keys() == by_rows.keys()
    for name, values in by_counts.items():
        assert stats.ks_2samp(values, by_rows[name]).pvalue > 1e-3, name


@pytest.mark.parametrize("times", [[1] * 12, [1, 1, 2, 5, 40, 200, 900, 1500], [3] * 300, [1]])
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
    whole = collect(resample(coded(rows), resamples=900, seed=0))
    monkeypatch.setattr(intervals, "_CHUNK", 10_000)
    chunks = list(resample(coded(rows), resamples=900, seed=0))
    assert len(chunks) > 3
    assert sum(len(reference.n) for reference, _ in chunks) == 900
    for name, values in collect(iter(chunks)).items():
        assert stats.ks_2samp(values, whole[name]).pvalue > 1e-3, name


def test_resamples_agree_with_the_tables_they_stand_for() -> None:
    rows = people(200)
    for reference, candidate in resample(coded(rows), resamples=50):
        assert reference.n.shape == (50, 3, 3)  # resamples, groups and the unknown, classes
        np.testing.assert_array_equal(reference.n, candidate.n)
        for counts in (reference, candidate):
            assert (counts.n.sum((1, 2)) == 200).all()
            np.testing.assert_array_equal(counts.predicted.sum(-1), counts.n.sum(-1))
            assert (counts.correct <= np.minimum(counts.n, counts.predicted)).all()


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


@pytest.mark.parametrize(("resamples", "seed"), [(0, 0), (10, -1)])
def test_bad_options_are_refused(resamples: int, seed: int) -> None:
    rows = people(20)
    with pytest.raises(InputError, match="resamples must be at least 1 and seed at least 0"):
        next(resample(coded(rows), resamples=resamples, seed=seed))


def test_many_classes_are_drawn_by_what_matters_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = people(400)
    whole = collect(resample(coded(rows), resamples=4000, seed=0))
    monkeypatch.setattr(outcomes, "_MOST_DISTINCT", 5)
    drawn = list(resample(coded(rows), resamples=4000, seed=1))
    assert all((c.n.sum((1, 2)) == 400).all() for pair in drawn for c in pair)
    reduced = collect(iter(drawn))
    within = {"accuracy", "cwv", "mcd", "accuracy_gap", "equal_opportunity", "worst_cell_accuracy"}
    for name in [*within, *(f"change {n}" for n in within), "max_cell_drop", "max_excess_drop"]:
        assert stats.ks_2samp(reduced[name], whole[name]).pvalue > 1e-3, name
    for name in ("demographic_parity", "equalized_odds", "change equalized_odds"):
        assert np.std(reduced[name]) == pytest.approx(np.std(whole[name]), rel=0.2), name
        assert reduced[name].mean() == pytest.approx(whole[name].mean(), abs=0.02), name
    assert list(leave_one_out(coded(rows))) == []


def test_leaving_one_out_is_a_count_less_one() -> None:
    rows = people(60)
    chunks = list(leave_one_out(coded(rows)))
    left = [
        (before.correct[k], after.predicted[k], int(times[k]))
        for (before, after), times in chunks
        for k in range(len(times))
    ]
    assert sum(times for *_, times in left) == 60
    seen: dict[bytes, int] = {}
    for i in range(60):
        rest = [np.delete(a, i) for a in rows]
        before, after = (Confusion.count(p, *rest[2:], *NAMES).counts for p in rest[:2])
        assert before.correct.shape == (3, 3), "a group or the unknown vanished: draw more people"
        key = np.concatenate([before.correct, after.predicted]).astype(np.int64).tobytes()
        seen[key] = seen.get(key, 0) + 1
    found: dict[bytes, int] = {}
    for correct, predicted, times in left:
        key = np.concatenate([correct, predicted]).astype(np.int64).tobytes()
        found[key] = found.get(key, 0) + times
    assert found == seen


def test_bca_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    data = rng.exponential(size=40)
    resamples = rng.choice(data, (20_000, 40))

    def ratio(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return x.std(axis) / x.mean(axis)

    left_out = np.array([ratio(np.delete(data, i)) for i in range(40)])
    skew = acceleration(left_out, np.ones(40, np.int64))
    low, high, _ = bca(ratio(resamples), float(ratio(data)), skew)
    theirs = stats.bootstrap(
        (data,), ratio, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    plain = percentile(ratio(resamples))
    assert [low, high] == pytest.approx([theirs.low, theirs.high], abs=0.02)
    assert abs(plain.low - theirs.low) > 0.02, "the case tells the two apart"
