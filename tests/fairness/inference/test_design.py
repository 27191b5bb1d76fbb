"""Clusters and weights: against the sandwich of another library, brute force, and simulation."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from fairsparse.fairness.inference.design import Sample, effective
from fairsparse.fairness.inference.estimates import estimate, infer
from fairsparse.fairness.inference.intervals import resample
from fairsparse.fairness.inference.paired import Pairs, flip_test, mcnemar
from fairsparse.fairness.measure.outcomes import Outcomes

N, PEOPLE = 3000, 300


def people(seed: int = 0, spread: float = 0.15) -> tuple[np.ndarray, ...]:
    """Which person each example is of, their group, and whether two models are right."""
    rng = np.random.default_rng(seed)
    person = np.sort(rng.integers(0, PEOPLE, N))
    group = (rng.random(PEOPLE) < 0.4).astype(np.int64)[person]
    base = rng.beta(3, 0.6, PEOPLE)
    rates = (np.clip(base + rng.normal(0, spread, PEOPLE), 0, 1) for _ in range(2))
    return person, group, *(rng.random(N) < rate[person] for rate in rates)


def plain(cell: np.ndarray, size: int, before: np.ndarray, after: np.ndarray) -> Pairs:
    masks = (before & after, before & ~after, ~before & after, ~before & ~after)
    return Pairs(*(np.bincount(cell[m], minlength=size) for m in masks))


def spread(pairs: Pairs) -> np.ndarray:
    """Variance of drops that independent examples would have."""
    return ((pairs.lost + pairs.gained) / pairs.n - pairs.drop**2) / pairs.n


@pytest.mark.parametrize("weighted", [False, True])
def test_drops_vary_as_the_sandwich_says(weighted: bool) -> None:
    person, group, before, after = people()
    weight = np.random.default_rng(1).uniform(0.5, 3, N) if weighted else np.ones(N)
    lost = before.astype(float) - after
    found = effective(group, 2, (before, after), Sample(person, weight))
    for g in (0, 1):
        mine = group == g
        fit = sm.WLS(lost[mine], np.ones(mine.sum()), weights=weight[mine]).fit(
            cov_type="cluster", cov_kwds={"groups": person[mine], "use_correction": False}
        )
        assert found.pairs.drop[g] == pytest.approx(fit.params[0])
        clusters = len(np.unique(person[mine]))
        expected = fit.bse[0] ** 2 * clusters / (clusters - 1)
        assert spread(found.pairs)[g] == pytest.approx(expected, rel=0.03)  # Student's quantile
        other = spread(found.others)[1 - g]
        assert other == pytest.approx(spread(found.pairs)[g], rel=1e-6)


def test_the_others_of_a_cell_that_cuts_through_clusters() -> None:
    person, _, before, after = people(2)
    cell = np.random.default_rng(0).integers(0, 3, N)
    found = effective(cell, 3, (before, after), Sample(person, np.ones(N)))
    for k in range(3):
        rest = (cell != k).astype(np.int64) - 1  # the others as a cell of their own
        alone = effective(rest, 1, (before, after), Sample(person, np.ones(N)))
        assert found.others.drop[k] == pytest.approx(alone.pairs.drop[0])
        assert found.others.n[k] == pytest.approx(alone.pairs.n[0], rel=1e-9)


def test_people_with_one_example_each_are_independent() -> None:
    _, group, before, after = people()
    found = effective(group, 2, (before, after), Sample(np.arange(N), np.ones(N)))
    counts = plain(group, 2, before, after)
    assert found.pairs.n == pytest.approx(counts.n, rel=0.01)
    assert found.pairs.drop == pytest.approx(counts.drop)
    assert found.p == pytest.approx(flip_test(counts.lost, counts.gained), abs=0.02)


def test_few_clusters_that_changed_prove_little() -> None:
    before = np.ones(200, bool)
    after = np.repeat([False] * 4 + [True] * 16, 10)
    one = effective(
        np.zeros(200, int), 1, (before, after), Sample(np.arange(200) // 10, np.ones(200))
    )
    assert one.p[0] == pytest.approx(max(2 * 0.5**4, one.p[0]))
    assert one.p[0] >= 0.125  # four people changed: their signs alone could be chance
    assert mcnemar(np.array(40), np.array(0)) < 1e-10
    unchanged = effective(
        np.zeros(200, int), 1, (before, before), Sample(np.arange(200) // 10, np.ones(200))
    )
    assert unchanged.p[0] == 1
    assert unchanged.pairs.n[0] < 20  # no more than the people that there are


def test_resamples_take_whole_clusters() -> None:
    person, group, before, after = people(3)
    y = np.zeros(N, np.int64)
    models = [np.where(right, 0, 1) for right in (before, after)]
    outcomes = Outcomes.of(models, y, group, ["n", "y"], ["a", "b"])
    sample = Sample(person, np.ones(N))
    drawn = resample(replace(outcomes, sample=sample), resamples=3000)
    rate = np.concatenate([c[0].correct.sum((1, 2)) / c[0].n.sum((1, 2)) for c in drawn])
    rng = np.random.default_rng(5)
    rows = [np.flatnonzero(person == p) for p in np.unique(person)]
    brute = []
    for _ in range(1500):
        chosen = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        brute.append(before[chosen].mean())
    assert rate.mean() == pytest.approx(np.mean(brute), abs=0.002)
    assert rate.std() == pytest.approx(np.std(brute), rel=0.08)
    assert rate.std() > 1.5 * np.sqrt(before.mean() * (1 - before.mean()) / N)


def test_intervals_of_clustered_pictures_cover() -> None:
    inside, names = [], ("reference accuracy", "change accuracy", "reference accuracy_gap")
    for seed in range(80):
        person, group, before, after = people(seed)
        models = [np.where(right, 0, 1) for right in (before, after)]
        outcomes = Outcomes.of(models, np.zeros(N, np.int64), group, ["n", "y"], ["a", "b"])
        found = estimate(replace(outcomes, sample=Sample(person, np.ones(N))), resamples=150)
        true = (_accuracy(), 0.0, 0.0)
        inside.append(
            [
                found[n]["low"] - 1e-9 <= t <= found[n]["high"]
                for n, t in zip(names, true, strict=True)
            ]
        )
    assert (np.mean(inside, 0) >= 0.89).all(), np.mean(inside, 0)


def _accuracy() -> float:
    rng = np.random.default_rng(99)
    return float(np.clip(rng.beta(3, 0.6, 400_000) + rng.normal(0, 0.15, 400_000), 0, 1).mean())


def test_weights_are_as_many_copies() -> None:
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 2, (2, 400))
    first, second = (np.where(rng.random(400) < r, y, 1 - y) for r in (0.9, 0.8))
    times = rng.integers(1, 4, 400)
    names = (["n", "y"], ["a", "b"])
    weighted = replace(
        Outcomes.of([first, second], y, group, *names),
        sample=Sample(np.arange(400), times.astype(float)),
    )
    copied = Outcomes.of(
        *(
            [np.repeat(p, times) for p in (first, second)],
            *(np.repeat(x, times) for x in (y, group)),
        ),
        *names,
    )
    mine, theirs = (infer(o, resamples=400) for o in (weighted, copied))
    for name, one in theirs.estimates.items():
        if "corrected" not in name:
            assert mine.estimates[name]["value"] == pytest.approx(one["value"]), name
    widths = [
        r.estimates["reference accuracy"]["high"] - r.estimates["reference accuracy"]["low"]
        for r in (mine, theirs)
    ]
    assert widths[0] > widths[1]  # copies would be taken for people
