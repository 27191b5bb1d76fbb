"""Candidates against each other: which is better, how sure that is, and what choosing one costs.

The first of several candidates owes its place to luck, too, and its own interval does not know
that it was chosen. The bands of an audit hold for all cells of all candidates at once, so what they
say of the chosen one stands.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairsparse.auditing.cells import Units
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.findings import LOST_MORE
from fairsparse.fairness.inference.family import Family
from fairsparse.fairness.inference.paired import LEVEL, agreeing, paired_drop


def ranked(cells: pd.DataFrame) -> pd.DataFrame:
    """Candidates by how many cells they leave behind, then by their largest extra drop.

    Returns
    -------
    DataFrame
        A row for each: ``behind``; the largest excess drop of a tested cell, ``worst``, between
        ``worst_low`` and ``worst_high`` whichever candidate is chosen; and the ranks that it may
        have by that, ``rank_low`` to ``rank_high``.
    """
    tested = cells[cells["excess_p"].notna()]
    rows = []
    for name in cells["candidate_name"].unique():
        mine = tested[tested["candidate_name"] == name]
        rows.append(
            {
                "candidate_name": name,
                "behind": int((mine["finding"] == LOST_MORE).sum()),
                "worst": mine["excess_drop"].max(),
                # the largest of all is above the lower end of each, and below the largest upper one
                "worst_low": mine["excess_band_low"].max(),
                "worst_high": mine["excess_band_high"].max(),
            }
        )
    table = pd.DataFrame(rows)
    low, high = (table[f"worst_{end}"].to_numpy(float)[:, None] for end in ("low", "high"))
    table["rank_low"] = 1 + (low > high.T).sum(1)
    table["rank_high"] = len(table) - (high < low.T).sum(1)
    order = table["worst"].fillna(math.inf)
    return table.assign(order=order).sort_values(["behind", "order"]).drop(columns="order")


def pairs(
    units: Units, names: Sequence[str], tested: np.ndarray, settings: Settings
) -> pd.DataFrame:
    """Every two candidates on the same examples: accuracy, and the cells in which one is better.

    Parameters
    ----------
    units : Units
    names : sequence of str
        Of the candidates.
    tested : ndarray of bool, shape (K,)
        Which cells, in the order of all kinds.
    settings : Settings

    Returns
    -------
    DataFrame
        A row for each pair: by how much ``second`` is more accurate than ``first``, with its
        interval and p-value; and the cells in which it is shown to be ``better`` or ``worse``. All
        tests of all pairs are one family of their own, at the level of the audit.
    """
    labels = [f"{kind.name}: {cell}" for kind in units.kinds for cell in kind.cells]
    rows, p, drops = [], [], []
    for (i, first), (j, second) in itertools.combinations(enumerate(names, 1), 2):
        whole = units.effective(units.everyone, j, i)
        each = [units.effective(kind, j, i) for kind in units.kinds]
        low, high = agreeing(paired_drop(whole.pairs), whole.pairs.drop, whole.p, 1 - LEVEL)
        row = {"first": first, "second": second, "change": -whole.pairs.drop[0]}
        rows.append(row | {"low": -high[0], "high": -low[0], "p": whole.p[0]})
        cells = np.concatenate([e.p for e in each])
        p.append(np.append(whole.p, np.where(tested, cells, np.nan)))
        drops.append(np.concatenate([e.pairs.drop for e in each]))
    if not rows:
        return pd.DataFrame(columns=["first", "second", "change", "low", "high", "p"])
    adjusted = Family.independent(np.concatenate(p)).adjusted().reshape(len(rows), -1)
    table = pd.DataFrame(rows)
    table["p_adjusted"] = adjusted[:, 0]
    for side, sign in (("better", -1), ("worse", 1)):
        table[side] = [
            [labels[k] for k in np.flatnonzero((a[1:] <= settings.alpha) & (sign * d > 0))]
            for a, d in zip(adjusted, drops, strict=True)
        ]
    return table
