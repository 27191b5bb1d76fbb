"""Calibration by hand, against scikit-learn and SciPy, and what its intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve

from fairsparse.fairness.inference import calibration as measured


def drawn(n: int, cells: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    """Confidence and correctness of two models; the first's confidence is right in the long run."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(cells), n)
    rate = rng.beta(6, 1.5, n * cells)
    luck = rng.random(n * cells)
    again = np.where(rng.random(n * cells) < 0.8, luck, rng.random(n * cells))
    second = np.clip(rate - shift * (cell == 0), 0, 1)
    return np.stack([rate, rate]), np.stack([luck < rate, again < second]), cell


def test_sums_by_hand() -> None:
    confidence = np.array([[0.9, 0.6, 0.8, 0.5], [0.7, 0.6, 1.0, 0.5]])
    correct = np.array([[True, False, True, True], [True, True, False, True]])
    s = measured.cell_sums(confidence, correct, np.array([0, 0, 1, -1]), 3)
    assert s.n.tolist() == [2, 1, 0]
    np.testing.assert_allclose(s.mean[:, :2], [[(0.9 + 0.6 - 1) / 2, -0.2], [(1.3 - 2) / 2, 1.0]])
    assert np.isnan(s.mean[:, 2]).all()
    np.testing.assert_allclose(s.squares, [0.2**2 + 1, 1.2**2, 0])
    assert [x.tolist() for x in s.pairs] == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert measured.change_test(s)[1] == pytest.approx(2 * stats.norm.sf(1.0))
    assert np.isnan(measured.change_test(s)[2])


def test_ece_is_that_of_its_definition() -> None:
    (confidence, _), (correct, _), _ = drawn(3000, 1, 0)
    found, _ = measured.ece(confidence, correct, np.zeros(3000, int), 1)
    rate, mean = calibration_curve(correct, confidence, n_bins=measured.BINS)
    inside = np.histogram(confidence, np.linspace(0, 1, measured.BINS + 1))[0]
    expected = (np.abs(rate - mean) * inside[inside > 0]).sum() / 3000
    assert found[0] == pytest.approx(expected)


def test_the_floor_is_what_a_calibrated_model_has() -> None:
    found = []
    for seed in range(300):
        (confidence, _), (correct, _), cell = drawn(100, 2, seed)
        error, floor = measured.ece(confidence, correct, cell, 2)
        found.append([error, floor])
    error, floor = np.mean(found, axis=0)
    np.testing.assert_allclose(floor, error, rtol=0.1)
    one, _ = measured.ece(np.ones(5), np.ones(5, bool), np.zeros(5, int), 2)
    assert one[0] == 0
    assert np.isnan(one[1])


def test_confidence_that_differs_in_the_last_digits_is_the_same() -> None:
    confidence, correct, cell = drawn(200, 2, 0)
    noisy = np.stack([confidence[0], confidence[0] + 1e-7]).clip(0, 1)
    s = measured.cell_sums(noisy, correct[[0, 0]], cell, 2)
    assert measured.change_test(s).tolist() == [1, 1]


@pytest.mark.parametrize("n", [30, 200])
def test_intervals_cover_and_tests_keep_their_level(n: int) -> None:
    truth, _, _ = drawn(400_000, 1, 99)
    lost = 0.15
    second = (truth[1] - np.clip(truth[1] - lost, 0, 1)).mean()  # overconfidence of the first cell
    held, wrong, gaps = [], [], []
    for seed in range(400):
        s = measured.cell_sums(*drawn(n, 4, seed, lost), 4)
        first, change = measured.overconfidence(s, 0), measured.change(s)
        gap, shift = measured.gap_bounds(s, 1), measured.gap_change(s)
        expected = np.array([second, 0, 0, 0])
        held.append(
            [
                ((first.low <= 0) & (first.high >= 0)).mean(),
                ((change.low <= expected) & (change.high >= expected)).mean(),
                gap.low <= second <= gap.high,
                shift.low <= second <= shift.high,
            ]
        )
        wrong.append((measured.change_test(s)[1:] < 0.05).mean())
        same = measured.cell_sums(*drawn(n, 4, seed), 4)
        low, high = measured.gap_change(same)
        gaps.append(not low <= 0 <= high)
    # 400 splits: one that covers 95 % covers less than 92.5 % of them in 1 of 100 cases
    assert (np.mean(held, axis=0) >= 0.925).all()
    assert np.mean(wrong) <= 0.065
    assert np.mean(gaps) <= 0.08


def test_a_gap_that_opens_is_found() -> None:
    s = measured.cell_sums(*drawn(2000, 3, 0, 0.2), 3)
    low, high = measured.gap_change(s)
    assert 0 < low < np.diff(measured.calibration_gap(s)) < high
    assert measured.change_test(s)[0] < 1e-6


def test_an_empty_group_leaves_the_gap_undefined() -> None:
    confidence, correct, cell = drawn(50, 2, 0)
    s = measured.cell_sums(confidence, correct, cell, 3)
    assert np.isnan(measured.calibration_gap(s)).all()
    assert np.isnan(measured.gap_change(s)).all()
    assert np.isnan(measured.gap_bounds(s, 0)).all()
