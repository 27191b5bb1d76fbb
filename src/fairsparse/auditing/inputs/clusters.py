"""Ids that look as if several rows were of one person, author or session."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

_EXTENSION = r"\.[A-Za-z]\w{1,4}$"
_PART = r"^(?P<unit>.*[^\W_])[\W_]+[A-Za-z]{0,6}\d{1,6}$"
"""A unit, something between, and a number within the unit."""
_UNITS, _SIZE, _LARGEST = 10, 1.5, 0.5


def suspicion(ids: Any) -> str | None:
    """A line that asks for clusters where ids, a pandas Index (N,), look like it; else None.

    There have to be ten units or more, of 1.5 rows on average, none of which has half of all rows.

    >>> suspicion(pd.Index([f"p{i // 3:03}_{i % 3}.jpg" for i in range(60)]))[:41]
    "Ids such as 'p000_0.jpg' and 'p000_1.jpg'"
    >>> suspicion(pd.Index([f"img_{i:04}.jpg" for i in range(60)])) is None
    True
    """
    texts = pd.Series(np.asarray(ids, dtype=object)).astype(str)
    unit = texts.str.replace(_EXTENSION, "", regex=True).str.extract(_PART)["unit"]
    times = unit.value_counts()
    n = len(texts)
    if unit.isna().any() or len(times) < _UNITS or n < _SIZE * len(times):
        return None
    if times.iloc[0] > _LARGEST * n:
        return None
    first, second = texts[unit == times.index[0]].iloc[:2]
    return (
        f"Ids such as '{first}' and '{second}' look like several rows of one unit"
        f" ({len(times):,} in {n:,} rows), which are not independent: name the column of units with"
        " --cluster, or intervals and tests are too sure."
    )
