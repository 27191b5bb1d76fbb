"""Correlations of maps, their means by cell, their intervals, and the sample they rest on."""

from __future__ import annotations

import numpy as np
import pytest

from fairsparse.core import InputError
from fairsparse.explain.agreement import agreement, correlation, stratified, weighted_mean


def maps(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4, 5)).astype(np.float32)


def test_correlation_is_pearsons() -> None:
    a, b = maps(6), maps(6, 1)
    wanted = [np.corrcoef(p.ravel(), q.ravel())[0, 1] for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(a, b), wanted, rtol=1e-6)
    np.testing.assert_allclose(correlation(a, 3 * a + 1), 1, rtol=1e-6)
    np.testing.assert_allclose(correlation(a, -a), -1)


def test_what_is_left_out_does_not_count() -> None:
    a, b = maps(3), maps(3, 1)
    a[0, 0], b[1, :, 2] = np.nan, np.nan
    found = correlation(a, b)
    assert found[0] == pytest.approx(np.corrcoef(a[0, 1:].ravel(), b[0, 1:].ravel())[0, 1])
    keep = [0, 1, 3, 4]
    wanted = np.corrcoef(a[1][:, keep].ravel(), b[1][:, keep].ravel())[0, 1]
    assert found[1] == pytest.approx(wanted)


@pytest.mark.parametrize("flat", [0.0, 0.1, 7.0])
def test_a_constant_map_has_no_correlation(flat: float) -> None:
    a = maps(2)
    b = a.copy()
    b[0] = np.float32(flat)
    found = correlation(a, b)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(1)
    assert np.isnan(correlation(b, a)[0])


def test_tiny_maps_have_a_correlation() -> None:
    a, b = maps(3), maps(3, 1)
    np.testing.assert_allclose(correlation(1e-12 * a, b), correlation(a, b), rtol=1e-4)


def test_means_by_cell_by_hand() -> None:
    a = np.array([[0.0, 1, 2]] * 6)
    b = np.array([[0, 1, 2], [2, 1, 0], [0, 1, 2], [1, 1, 1], [1, 2, 3], [0, 1, 0]], float)
    weights = [1, 3, 1, 1, 1, 1]
    found = agreement(
        {"dense": a, "pruned": b},
        ["x", "x", "x", "y", "y", "y"],
        groups={"sex": ["f", "m", None, "f", "f", "m"]},
        weights=weights,
    )
    assert found.examples["pruned"].tolist() == pytest.approx([1, -1, 1, np.nan, 1, 0], nan_ok=True)
    assert found.examples["sex"].tolist() == ["f", "m", "unknown", "f", "f", "m"]
    cells = found.cells.set_index(["attribute", "cell"])
    every = cells.loc[("all", "all")]
    assert (every["n"], every["constant"]) == (6, 1)
    assert every["correlation"] == pytest.approx((1 - 3 + 1 + 1 + 0) / 7)
    assert every["shift"] == pytest.approx(1 - every["correlation"])
    assert cells.loc[("class", "x"), "correlation"] == pytest.approx((1 - 3 + 1) / 5)
    assert cells.loc[("class", "y"), "correlation"] == pytest.approx(0.5)
    assert cells.loc[("sex", "f"), "constant"] == 1
    assert cells.loc[("sex", "m"), "correlation"] == pytest.approx(-3 / 4)
    assert cells.loc[("class x sex", "y | f"), "correlation"] == pytest.approx(1)
    assert np.isnan(cells.loc[("sex", "m"), "low"])  # two examples tell nothing
    assert set(cells["network"]) == {"pruned"}


def test_the_same_networks_agree_entirely() -> None:
    a = maps(20)
    found = agreement({"dense": a, "same": a, "other": maps(20, 1)}, np.arange(20) % 2).cells
    same = found[found["network"] == "same"]
    assert same[["correlation", "low", "high"]].to_numpy() == pytest.approx(1)
    other = found[found["network"] == "other"]
    assert (other["low"] < other["correlation"]).all()
    assert (other["correlation"] < other["high"]).all()


def test_intervals_cover_skewed_correlations() -> None:
    rng = np.random.default_rng(0)
    hit, runs, true = 0, 300, 0.6
    for _ in range(runs):
        values = 1 - 2 * rng.beta(1, 4, 30)  # mean 1 - 2/5
        low, high = weighted_mean(values, np.ones(30), 400, rng)[1:]
        hit += low <= true <= high
    assert hit / runs > 0.92  # three standard errors below 0.95 + what 400 draws cost


def test_an_interval_reaches_further_where_the_tail_is() -> None:
    values = np.array([0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.3, 0.6])
    mean = weighted_mean(values, np.ones(10), 2000, np.random.default_rng(0))
    assert mean.value - mean.low > 1.5 * (mean.high - mean.value)


def test_weights_put_an_unequal_sample_right() -> None:
    rng = np.random.default_rng(1)
    strata = np.repeat([0, 1, 2], [9000, 900, 100])
    values = np.array([0.8, 0.2, -0.5])[strata] + 0.1 * rng.normal(size=10000)
    hit = 0
    for _ in range(100):
        index, weights = stratified(strata, 300, rng)
        assert weights.sum() == pytest.approx(10000)
        mean = weighted_mean(values[index], weights, 200, rng)
        hit += mean.low <= values.mean() <= mean.high
    assert hit >= 90


def test_small_cells_are_taken_whole() -> None:
    rng = np.random.default_rng(0)
    strata = np.repeat([4, 7, 9, 11], [3, 50, 10, 100])
    index, weights = stratified(strata, 53, rng)
    assert len(index) == 53 == len(set(index.tolist()))
    assert [(strata[index] == k).sum() for k in (4, 7, 9, 11)] == [3, 20, 10, 20]
    assert {k: set(weights[strata[index] == k]) for k in (4, 7)} == {4: {1}, 7: {2.5}}
    index, weights = stratified(strata, 10_000, rng)
    assert index.tolist() == list(range(163))
    assert set(weights) == {1}
    assert len(stratified(np.arange(30), 7, rng)[0]) == 7


@pytest.mark.parametrize(
    ("given", "y", "options", "message"),
    [
        ({"a": maps(2)}, [0, 1], {}, "at least two networks, got 1"),
        ({"a": maps(2), "b": maps(2)}, [0, 1], {"reference": "c"}, "no maps of 'c'"),
        ({"a": maps(2), "b": maps(3)}, [0, 1], {}, "b has 3 maps and y 2 labels"),
        ({"a": maps(2), "b": maps(2)[:, :2]}, [0, 1], {}, "cannot be compared"),
        ({"a": maps(2), "b": maps(2)}, [0, 1], {"weights": [1, 0]}, "2 positive numbers"),
    ],
)
def test_bad_maps_are_refused(given: dict, y: list, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        agreement(given, y, **options)
