"""Adjusted p-values: by hand, by the procedure that they stand for, and as statsmodels has them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from fairsparse.fairness.inference.multiplicity import benjamini_hochberg, holm


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


def test_a_test_that_was_not_made_counts_for_nothing() -> None:
    p = np.array([0.02, math.nan, 0.01, math.nan])
    assert holm(p) == pytest.approx([0.02, math.nan, 0.02, math.nan], nan_ok=True)
    assert benjamini_hochberg(p) == pytest.approx([0.02, math.nan, 0.02, math.nan], nan_ok=True)
    none = np.full(2, math.nan)
    assert np.isnan(holm(none)).all()
    assert np.isnan(benjamini_hochberg(none)).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_adjustments_are_statsmodels(p: list[float]) -> None:
    for ours, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        assert ours(np.array(p)) == pytest.approx(multipletests(p, method=method)[1])
