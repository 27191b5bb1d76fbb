"""Which interval each metric gets, and that it covers what it says."""

import itertools
import math

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from fairsparse.fairness.inference.estimates import change_tests, estimate
from fairsparse.fairness.inference.paired import Pairs, mcnemar, paired_drop, wilson
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.outcomes import Outcomes

TEN = [str(k) for k in range(10)]


def drawn(rates: tuple[list[float], list[float]], n: int, seed: int) -> list[np.ndarray]:
    """Two models' predictions, right at these rates by class, mostly together, and the classes."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(rates[0])), n)
    same, other = rng.random((2, len(y)))
    luck = np.where(rng.random(len(y)) < 0.5, same, other)
    wrong = (y + rng.integers(1, len(rates[0]), len(y))) % len(rates[0])
    return [
        np.where(u < np.array(r)[y], y, wrong) for u, r in zip((same, luck), rates, strict=True)
    ] + [y]


def test_each_metric_has_the_interval_that_covers_it() -> None:
    before, after, y = drawn(([0.97, 0.5, *[0.75] * 7, 0.3], [0.85] * 10), 200, 0)
    outcomes = Outcomes.of([before, after], y, np.full(2000, -1), TEN)
    found = estimate(outcomes, resamples=300)
    how = {name: e["how"] for name, e in found.items()}
    assert how["reference accuracy"] == how["change accuracy"] == "score"
    assert how["reference cwv"] == how["change cwv"] == "corrected"
    assert how["reference mcd"] == "BCa"
    assert how["candidate mcd"] == "all cells at once"
    assert how["change mcd"] == "percentile"
    assert how["class_degradation_range"] == how["max_cell_drop"] == "all cells at once"
    assert found["candidate mcd"]["floor"] == pytest.approx(0.078, abs=0.003)  # 3.08 deviations
    assert math.isnan(found["candidate accuracy"]["floor"])
    right = (after == y).sum()
    assert found["candidate accuracy"]["low"] == pytest.approx(wilson(right, 2000).low)
    drop = paired_drop(Pairs(*(x.sum() for x in outcomes.pairs)))
    assert found["change accuracy"]["low"] == pytest.approx(-drop.high)


def test_two_groups_have_the_interval_of_their_difference() -> None:
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 2, 500), rng.integers(0, 2, 500)
    predicted = np.where(rng.random(500) < 0.1 + 0.2 * group, 1 - y, y)
    found = estimate(Outcomes.of([predicted], y, group, ["no", "yes"], ["a", "b"]), resamples=50)
    right, n = (np.bincount(group, weights=w) for w in ((predicted == y), np.ones(500)))
    rates = (right[0], n[0], right[1], n[1])
    expected = confint_proportions_2indep(*rates, compare="diff", method="newcomb")
    gap = found["reference accuracy_gap"]
    assert [gap["low"], gap["high"]] == pytest.approx(sorted(map(abs, expected)), abs=1e-4)


@pytest.mark.parametrize("n", [30, 200])
def test_equal_classes_are_covered(n: int) -> None:
    """A percentile interval never holds the zero of classes that are served alike."""
    zero = []
    for seed in range(40):
        before, after, y = drawn(([0.85] * 10, [0.8] * 10), n, seed)
        outcomes = Outcomes.of([before, after], y, np.full(len(y), -1), TEN)
        found = estimate(outcomes, resamples=200, seed=seed)
        zero.append([found[f"candidate {m}"]["low"] <= 1e-9 for m in ("cwv", "mcd")])
        assert found["candidate cwv"]["low"] >= 0
        assert found["class_degradation_range"]["low"] <= 0.2
    assert (np.mean(zero, axis=0) >= 0.9).all()


def test_seed_decides_everything() -> None:
    before, after, y = drawn(([0.9] * 10, [0.8] * 10), 20, 0)

    outcomes = Outcomes.of([before, after], y, np.full(len(y), -1), TEN)

    def run(seed: int) -> dict:
        return estimate(outcomes, resamples=100, seed=seed)

    assert str(run(3)) == str(run(3))
    assert str(run(3)) != str(run(4))


def test_identical_predictions_change_nothing() -> None:
    before, _, y = drawn(([0.9] * 10, [0.8] * 10), 20, 0)
    outcomes = Outcomes.of([before, before], y, np.full(len(y), -1), TEN)
    found = estimate(outcomes, resamples=100)
    for name, e in found.items():
        if name.startswith("change") or name in DEGRADATIONS:
            assert e["value"] == 0, name
            assert e["low"] <= 0 <= e["high"], name


def test_an_empty_cell_leaves_its_metrics_undefined() -> None:
    outcomes = Outcomes.of([[0, 1, 1]], [0, 1, 1], [-1] * 3, ["r", "s", "t"])
    found = estimate(outcomes, resamples=50)
    for metric in ("cwv", "mcd", "worst_class_accuracy"):
        e = found[f"reference {metric}"]
        assert math.isnan(e["value"])
        assert math.isnan(e["low"])
        assert e["dropped"] == 1


def test_swapping_agrees_with_mcnemar_and_with_all_swaps() -> None:
    before, after, y = drawn(([0.9] * 3, [0.75] * 3), 30, 1)
    none, names = np.full(90, -1), ["r", "s", "t"]
    found = change_tests(Outcomes.of([before, after], y, none, names), draws=20_000)
    lost = ((before == y) & (after != y)).sum()
    gained = ((before != y) & (after == y)).sum()
    assert found["accuracy"] == pytest.approx(mcnemar(lost, gained), abs=0.01)
    few = [[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 1, 1], [0, 1, 2, 0, 1, 0]]
    spreads = []
    for flip in itertools.product([False, True], repeat=6):
        a, b = np.where(flip, few[1], few[0]), np.where(flip, few[0], few[1])
        y_ = np.array(few[2])
        accuracies = [[(p == y_)[y_ == c].mean() for c in range(3)] for p in (a, b)]
        spreads.append(np.ptp(accuracies[1]) - np.ptp(accuracies[0]))
    expected = np.mean(np.abs(spreads) >= abs(spreads[0]) - 1e-12)
    found = change_tests(Outcomes.of(few[:2], few[2], np.full(6, -1), names), draws=20_000)
    assert found["mcd"] == pytest.approx(expected, abs=0.02)


def test_swaps_of_many_classes_are_swaps(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, y = drawn(([0.9] * 10, [0.85] * 9 + [0.6]), 40, 2)
    given = ([before, after], y, np.arange(400) % 2, TEN, ["a", "b"])
    whole = change_tests(Outcomes.of(*given), draws=4000)
    monkeypatch.setattr("fairsparse.fairness.measure.outcomes._MOST_DISTINCT", 5)
    reduced = change_tests(Outcomes.of(*given), draws=4000, seed=1)
    assert reduced == pytest.approx(whole, abs=0.05)


def test_swaps_move_predictions_whole() -> None:
    before, after, y = [0, 1, 1, 0, 1, 0], [1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 1]
    group = np.array([0, 0, 0, 1, 1, 1])
    moved = []
    for flip in itertools.product([False, True], repeat=6):
        models = np.where(flip, after, before), np.where(flip, before, after)
        gaps = [abs(m[group == 0].mean() - m[group == 1].mean()) for m in models]
        moved.append(abs(gaps[1] - gaps[0]))
    expected = np.mean(np.array(moved) >= moved[0] - 1e-12)
    assert 0.05 < expected < 0.95
    outcomes = Outcomes.of([before, after], y, group, ["no", "yes"], ["a", "b"])
    found = change_tests(outcomes, draws=20_000)
    assert found["demographic_parity"] == pytest.approx(expected, abs=0.02)
