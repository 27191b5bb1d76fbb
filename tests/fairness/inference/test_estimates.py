"""Which interval each metric gets, and that it covers what it says."""

import math

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from fairsparse.fairness.inference.estimates import estimate, infer
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
    assert how["change mcd"] == "both models joined"
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
            if e["how"] == "none":
                continue
            assert e["low"] <= 0 <= e["high"], name


def test_an_empty_cell_leaves_its_metrics_undefined() -> None:
    outcomes = Outcomes.of([[0, 1, 1]], [0, 1, 1], [-1] * 3, ["r", "s", "t"])
    found = estimate(outcomes, resamples=50)
    for metric in ("cwv", "mcd", "worst_class_accuracy"):
        e = found[f"reference {metric}"]
        assert math.isnan(e["value"])
        assert math.isnan(e["low"])
        assert e["dropped"] == 1


def test_accuracy_has_mcnemars_test() -> None:
    before, after, y = drawn(([0.9] * 3, [0.75] * 3), 30, 1)
    found = infer(Outcomes.of([before, after], y, np.full(90, -1), ["r", "s", "t"]), resamples=50)
    lost, gained = ((before == y) & (after != y)).sum(), ((before != y) & (after == y)).sum()
    assert found.p["accuracy"] == mcnemar(lost, gained)


def test_a_change_is_tested_by_its_interval() -> None:
    before, after, y = drawn(([0.9] * 5, [0.9] * 4 + [0.3]), 300, 1)
    found = infer(Outcomes.of([before, after], y, np.full(1500, -1), TEN[:5]), resamples=400)
    for metric, p in found.p.items():
        change = found.estimates[f"change {metric}"]
        if metric in ("cwv", "mcd", "worst_class_accuracy"):
            assert p < 1e-4, metric  # 400 draws are no bound
        if not math.isnan(p):
            assert (p < 0.05) == (not change["low"] <= 0 <= change["high"]), metric
    assert math.isnan(found.p["cwv_corrected"]), "one hypothesis is tested once"
    order = list(found.p)
    drop = found.covariance[order.index("accuracy"), order.index("accuracy")]
    right = (after == y).astype(float) - (before == y)
    assert drop == pytest.approx(right.var() / 1500, rel=0.2)


def test_a_spread_that_is_the_same_has_not_changed() -> None:
    """The worst class moves from one to another; a test of exchange would see a change."""
    n, good, bad = 200, 190, 110
    y = np.repeat(np.arange(6), n)
    right = np.arange(6 * n) % n
    first = np.where(right < np.where(y == 5, bad, good), y, (y + 1) % 6)
    second = np.where(right < np.where(y == 1, bad, good), y, (y + 1) % 6)
    found = infer(Outcomes.of([first, second], y, np.full(6 * n, -1), TEN[:6]), resamples=300)
    assert found.p["cwv"] == pytest.approx(1)
    assert found.p["mcd"] == pytest.approx(1)


def test_changes_of_extremes_are_covered() -> None:
    """20 classes alike, of which one falls: percentiles would hold the truth in 70 %."""
    inside = []
    for seed in range(60):
        before, after, y = drawn(([0.9] * 20, [0.9] * 19 + [0.6]), 100, seed)
        outcomes = Outcomes.of([before, after], y, np.full(len(y), -1), [str(k) for k in range(20)])
        found = estimate(outcomes, resamples=200, seed=seed)
        for metric, true in (("mcd", 0.3), ("worst_class_accuracy", -0.3)):
            change = found[f"change {metric}"]
            inside.append(change["low"] <= true <= change["high"])
    assert np.mean(inside) >= 0.93


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.08, 0.02)])
def test_average_odds_of_groups_alike_are_covered(weights: tuple[float, ...]) -> None:
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y, group = rng.integers(0, 2, 3000), rng.choice(len(weights), 3000, p=weights)
        models = [np.where(rng.random(3000) < 0.15, 1 - y, y) for _ in range(2)]
        names = [str(g) for g in range(len(weights))]
        found = estimate(Outcomes.of(models, y, group, ["n", "y"], names), resamples=60, seed=seed)
        inside.append(found["reference average_odds"]["low"] <= 0)
        change = found["change average_odds"]
        inside.append(change["low"] <= 0 <= change["high"])
        assert found["cev"]["how"] == found["sde"]["how"] == "none"
        assert math.isnan(found["cev"]["low"])
    assert np.mean(inside) >= 0.93
