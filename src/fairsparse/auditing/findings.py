"""The tables of an audit: measures, cells, and what can be said of each, adjusted together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.fairness.inference.estimates import Estimate, change_tests, estimate
from fairsparse.fairness.inference.multiplicity import benjamini_hochberg, holm
from fairsparse.fairness.inference.paired import (
    Pairs,
    excess_drop,
    excess_test,
    mcnemar,
    no_worse,
    paired_drop,
)
from fairsparse.fairness.measure.counts import Array, Counts, cell_names, share
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import Score
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Outcomes

LABEL = "unknown"
"""The name of the row of those whose group is not known."""


@dataclass(frozen=True)
class Contrast:
    """Two models on the same examples, by the groups of one attribute or by classes alone.

    Parameters
    ----------
    counts : tuple of Counts
        Of reference and candidate.
    estimates : dict
        Of both models, their changes, and degradations, as `estimate` names them.
    p : dict
        Metric -> p-value of its change, not adjusted.
    """

    counts: tuple[Counts, ...]
    estimates: dict[str, Estimate]
    p: dict[str, float]

    @classmethod
    def of(cls, outcomes: Outcomes, settings: Settings) -> Contrast:
        """Estimate and test every metric of two models."""
        draws, seed = settings.resamples, settings.seed
        assert outcomes.combinations  # before two threads ask for them
        with ThreadPoolExecutor(1) as pool:  # neither intervals nor tests wait for the other
            tests = pool.submit(change_tests, outcomes, draws=draws, seed=seed + 1)
            estimates = estimate(outcomes, resamples=draws, seed=seed)
            p = tests.result()
        flips = outcomes.pairs
        exact = float(mcnemar(flips.lost.sum(), flips.gained.sum()))
        p |= {metric: exact for metric in p if isinstance(METRICS[metric].interval, Score)}
        return cls(outcomes.counts, estimates, p)


def overall(both: Outcomes) -> dict[str, Any]:
    """How often two models agree, and how they part."""
    (_, true, (first, second)), times = both.distinct
    n, size = len(both.true), len(both.class_names)
    same = float(times[first == second].sum() / n)
    said = [np.bincount(codes, times, size).astype(np.int64) for codes in (first, second)]
    chance = float(said[0] @ said[1] / n**2)
    wrong = (first != true) & (second != true) & (first != second)
    return {
        "n": n,
        "churn": 1 - same,
        "kappa": (same - chance) / (1 - chance) if chance < 1 else math.nan,
        "lost": int(both.pairs.lost.sum()),
        "gained": int(both.pairs.gained.sum()),
        "both_wrong_differently": int(times[wrong].sum()),
    }


def contrasts(
    both: Outcomes,
    examples: Examples,
    crossed: Mapping[str, tuple[Array, tuple[str, ...]]],
    settings: Settings,
) -> tuple[dict[str, Contrast], pd.DataFrame]:
    """Contrasts by class and by each attribute, and the cells of these and of crossings.

    `both` are the outcomes of two models, by no attribute. Cells are every class, group, crossed
    group, and class within a group of one attribute.
    """
    done = {CLASS: Contrast.of(both, settings)}
    frames = [_cells(CLASS, both.class_names, both.pairs.fold(0, "class"), both.pairs, settings)]
    for attribute, groups in crossed.items():
        outcomes = both.by(*groups)
        names, pairs = outcomes.group_names, outcomes.pairs
        labels = (*names, f"{LABEL} group" if LABEL in names else LABEL)[: outcomes.shape[0]]
        by_row = Pairs(*(x.sum(1) for x in pairs))  # a last row for the unknown
        frames.append(_cells(attribute, labels, by_row, pairs, settings))
        if attribute in examples.attributes:
            done[attribute] = Contrast.of(outcomes, settings)
            kind = f"{CLASS} x {attribute}"
            inner = pairs.fold(len(names), "class x group")
            labels = cell_names("class x group", both.class_names, names)
            frames.append(_cells(kind, labels, inner, pairs, settings))
    return done, pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def _cells(
    kind: str, names: tuple[str, ...], pairs: Pairs, table: Pairs, settings: Settings
) -> pd.DataFrame:
    """Counts, rates, intervals and p-values of cells (K,), not adjusted for their number.

    `table` (G', C) holds all examples.
    """
    everyone = table.fold(0, "all")
    n = pairs.n
    drop = paired_drop(pairs)
    excess, bounds = excess_drop(pairs, everyone)
    small = n < settings.least
    tests = {
        "p": mcnemar(pairs.lost, pairs.gained),
        "excess_p": excess_test(pairs, everyone),
        "p_no_worse": no_worse(pairs, settings.margin),
    }
    return pd.DataFrame(
        {
            "attribute": kind,
            "cell": names,
            "n": n,
            "reference": share(pairs.both + pairs.lost, n),
            "candidate": share(pairs.both + pairs.gained, n),
            "drop": pairs.drop,
            "low": drop.low,
            "high": drop.high,
            "excess_drop": excess,
            "excess_low": bounds.low,
            "excess_high": bounds.high,
            "gained": pairs.gained,
            "lost": pairs.lost,
            **{test: np.where(small, np.nan, p) for test, p in tests.items()},
        }
    )


def measures(contrasts: Mapping[str, Contrast]) -> list[dict[str, Any]]:
    """Every measure of classes, and of each attribute's groups."""
    rows: list[dict[str, Any]] = []
    for attribute, contrast in contrasts.items():
        for registry, name in ((METRICS, "change {}"), (DEGRADATIONS, "{}")):
            rows += [
                _measure(attribute, metric, contrast)
                for metric in registry
                if name.format(metric) in contrast.estimates
                and registry[metric].told_of(groups=attribute != CLASS)
            ]
    return rows


def _measure(attribute: str, metric: str, contrast: Contrast) -> dict[str, Any]:
    """The row of a metric: reference, candidate and change; of a degradation one number."""
    roles = {role: f"{role} {metric}" for role in ("reference", "candidate", "change")}
    if metric not in METRICS:
        roles = {"candidate": metric}
    row: dict[str, Any] = {"attribute": attribute, "measure": metric}
    for role, name in roles.items():
        one = contrast.estimates[name]
        row |= {role: one["value"], f"{role}_low": one["low"], f"{role}_high": one["high"]}
    one = contrast.estimates[roles["candidate"]]
    return {**row, "floor": one["floor"], "how": one["how"], "p": contrast.p.get(metric, math.nan)}


LOST_MORE = "lost more than others"
FINDINGS = (LOST_MORE, "lost", "gained", "no worse", "data do not tell", "too few", "empty")
"""What a cell's row may say, and nothing else."""


def adjust(
    measures: pd.DataFrame, cells: pd.DataFrame, calibration: pd.DataFrame, settings: Settings
) -> None:
    """Adjust all p-values of an audit, in place, and say what they tell of each cell."""
    tests = [cells["p"], cells["excess_p"], calibration["p"]]
    # half of alpha is for the measures, whose drawn p-values cannot be as small as those of cells
    measures["p_adjusted"] = np.minimum(1, 2 * holm(measures["p"].to_numpy(float)))
    whole = np.minimum(1, 2 * holm(np.concatenate([t.to_numpy(float) for t in tests])))
    flips, excess, sure = np.split(whole, np.cumsum([len(t) for t in tests])[:-1])
    cells["p_adjusted"], cells["excess_p_adjusted"] = flips, excess
    calibration["p_adjusted"] = sure
    cells["excess_q"] = benjamini_hochberg(cells["excess_p"].to_numpy())
    cells["p_no_worse_adjusted"] = holm(cells["p_no_worse"].to_numpy())
    changed = cells["p_adjusted"] < settings.alpha
    cells["finding"] = np.select(
        [
            cells["n"] == 0,
            cells["n"] < settings.least,
            (cells["excess_p_adjusted"] < settings.alpha) & (cells["excess_drop"] > 0),
            changed & (cells["drop"] > 0),
            changed & (cells["drop"] < 0),
            cells["p_no_worse_adjusted"] < settings.alpha,
        ],
        ["empty", "too few", LOST_MORE, "lost", "gained", "no worse"],
        "data do not tell",
    )
