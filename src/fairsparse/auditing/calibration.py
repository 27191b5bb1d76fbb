"""What became of confidence: who is now told "sure" and is wrong more often than that says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from typing_extensions import TypedDict

from fairsparse.auditing.examples import Examples, Settings
from fairsparse.fairness.inference import calibration as measured
from fairsparse.fairness.inference.paired import level_at_zero
from fairsparse.fairness.measure.counts import Array

EVERYONE = "all"
Real = float | None


class CalibrationRow(TypedDict):
    """Confidence of both models in a group, or in all; null where there is no number.

    ``reference``, ``candidate`` and ``change`` are overconfidence: mean confidence less accuracy.
    """

    candidate_name: str
    attribute: str
    cell: str
    n: int
    reference_ece: Real
    candidate_ece: Real
    reference_floor: Real
    candidate_floor: Real
    reference: Real
    reference_low: Real
    reference_high: Real
    candidate: Real
    candidate_low: Real
    candidate_high: Real
    change: Real
    change_low: Real
    change_high: Real
    p: Real
    p_adjusted: Real


COLUMNS = tuple(CalibrationRow.__annotations__)[:-1]
"""Of a table whose p-values are not adjusted yet."""


def calibration(
    name: str,
    confidence: Array,
    correct: Array,
    examples: Examples,
    crossed: Mapping[str, tuple[Array, tuple[str, ...]]],
    settings: Settings,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Calibration of two models by group, and the rows of its gaps among the measures.

    Parameters
    ----------
    name : str
        Of the candidate.
    confidence, correct : (2, N)
        The probability that reference and candidate give to what they predict, and whether that
        is right.
    examples, crossed, settings
        As for an audit.

    Returns
    -------
    DataFrame
        A row for all and for each group, with `COLUMNS`: expected calibration error and what it
        would be for a calibrated model, overconfidence with its interval, the change of that.
    list of dict
        A row for each attribute, where there are two groups or more.
    """
    everyone = {EVERYONE: (np.zeros(len(examples.y), np.int64), (EVERYONE,))}
    frames, gaps = [], []
    for attribute, (codes, names) in {**everyone, **crossed}.items():
        size = len(names)
        if size == 0:
            continue
        sums = measured.cell_sums(confidence, correct, codes, size)
        small = sums.n < settings.least
        table: dict[str, Any] = {"cell": names, "n": sums.n}
        for i, role in enumerate(("reference", "candidate")):
            error, floor = measured.ece(confidence[i], correct[i], codes, size)
            low, high = measured.overconfidence(sums, i)
            table |= {f"{role}_ece": error, f"{role}_floor": floor}
            table |= {role: sums.mean[i], f"{role}_low": low, f"{role}_high": high}
        low, high = measured.change(sums)
        table |= {"change": sums.mean[1] - sums.mean[0], "change_low": low, "change_high": high}
        table["p"] = np.where(small, np.nan, measured.change_test(sums))
        frames.append(pd.DataFrame({"candidate_name": name, "attribute": attribute, **table}))
        if size > 1 and attribute in examples.attributes:
            gaps.append(_gap(attribute, sums))
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)], gaps


def _gap(attribute: str, sums: measured.Sums) -> dict[str, Any]:
    row: dict[str, Any] = {"attribute": attribute, "measure": measured.GAP}
    gaps = measured.calibration_gap(sums).tolist()
    for i, role in enumerate(("reference", "candidate")):
        low, high = measured.gap_bounds(sums, i)
        row |= {role: gaps[i]}
        row |= {f"{role}_low": float(low), f"{role}_high": float(high)}
    low, high = measured.gap_change(sums)
    return {
        **row,
        "change": row["candidate"] - row["reference"],
        "change_low": float(low),
        "change_high": float(high),
        "floor": math.nan,
        "how": "all cells at once",
        "p": level_at_zero(row["candidate"] - row["reference"], float(low), float(high)),
    }
