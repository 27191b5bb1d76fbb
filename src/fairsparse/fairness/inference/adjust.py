"""P-values adjusted for how many tests there are; NaN stays NaN and counts as no test.

References
----------
.. [1] Holm, "A simple sequentially rejective multiple test procedure", 1979.
.. [2] Benjamini and Hochberg, "Controlling the false discovery rate", 1995.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from fairsparse.fairness.measure.counts import Array


def holm(p: Array) -> Array:
    """Adjust p-values (K,) so that any false finding below a level has at most that chance [1]_.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


def benjamini_hochberg(p: Array) -> Array:
    """Adjust p-values (K,) so that findings below a level are false at that rate [2]_.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, np.nan])).round(6).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    tested = ~np.isnan(p)
    adjusted = np.full(len(p), np.nan)
    adjusted[tested] = stats.false_discovery_control(p[tested])
    return adjusted
