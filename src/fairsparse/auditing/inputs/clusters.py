"""Clusters and weights of examples, and ids that look as if there were clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fairsparse.core import InputError
from fairsparse.fairness.inference.design import Sample
from fairsparse.fairness.measure.counts import as_array

_EXTENSION = r"\.[A-Za-z]\w{1,4}$"
_PART = r"^(?P<unit>.*[^\W_])[\W_]+[A-Za-z]{0,6}\d{1,6}$"
"""A unit, something between, and a number within the unit."""
_DATE = r"\d{2,4}[-/.]\d{1,2}[-/.]\d{1,4}.*"
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
    if (
        texts.str.fullmatch(_DATE).all()
        or unit.isna().any()
        or len(times) < _UNITS
        or n < _SIZE * len(times)
    ):
        return None
    if times.iloc[0] > _LARGEST * n:
        return None
    first, second = texts[unit == times.index[0]].iloc[:2]
    return (
        f"Ids such as '{first}' and '{second}' look like several rows of one unit"
        f" ({len(times):,} in {n:,} rows), which are not independent: name the column of units with"
        " --cluster, or intervals and tests are too sure."
    )


def sampled(cluster: Any, weights: Any, n: int) -> Sample | None:
    """How n examples were sampled, from their clusters (N,) and weights (N,), if there are any."""
    if cluster is None and weights is None:
        return None
    codes, weight = np.arange(n), np.ones(n)
    if cluster is not None:
        codes, names = pd.factorize(np.asarray(cluster, dtype=object), use_na_sentinel=True)
        if len(codes) != n or (codes < 0).any():
            raise InputError(
                f"cluster must name one for each of the {n:,} examples; got {len(codes):,}, of"
                f" which {int((codes < 0).sum()):,} are missing; an example on its own is a cluster"
            )
        if len(names) < 2:
            raise InputError(f"cluster: all examples are in '{names[0]}'; give the column of units")
    if weights is not None:
        try:
            weight = np.asarray(as_array(weights), float)
        except (TypeError, ValueError):
            raise InputError("weights must be numbers, one for each example") from None
        if weight.shape != (n,) or not (np.isfinite(weight) & (weight > 0)).all():
            wrong = "" if weight.shape != (n,) else f", of which {weight.min():g} is the least"
            raise InputError(
                f"weights must be finite numbers above 0, one for each of the {n:,} examples; got"
                f" {weight.shape}{wrong}; leave out examples that are not to count"
            )
    return Sample(codes.astype(np.int64), weight)
