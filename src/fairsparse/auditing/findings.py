"""The tables of an audit: measures, cells, and what can be said of each, adjusted together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from fairsparse.auditing.compare import change_columns
from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.labels import CLASS
from fairsparse.fairness.counts import Array, fold
from fairsparse.fairness.degradations import DEGRADATIONS
from fairsparse.fairness.estimates import Estimate, change_tests, estimate, tally
from fairsparse.fairness.intervals import holm
from fairsparse.fairness.metric import Score
from fairsparse.fairness.metrics import METRICS
from fairsparse.fairness.paired import Pairs, benjamini_hochberg, mcnemar, no_worse
from fairsparse.types import UNKNOWN

LABEL = "unknown"
"""The name of the row of those whose group is not known."""


def overall(reference: Array, candidate: Array, examples: Examples) -> dict[str, Any]:
    y, n = examples.y, len(examples.y)
    same = float((reference == candidate).mean())
    size = len(examples.class_names)
    chance = float(
        np.bincount(reference, minlength=size) @ np.bincount(candidate, minlength=size) / n**2
    )
    return {
        "n": n,
        "churn": 1 - same,
        "kappa": (same - chance) / (1 - chance) if chance < 1 else math.nan,
        "lost": int(((reference == y) & (candidate != y)).sum()),
        "gained": int(((reference != y) & (candidate == y)).sum()),
        "both_wrong_differently": int(
            ((reference != y) & (candidate != y) & (reference != candidate)).sum()
        ),
    }


def measures(
    name: str,
    reference: Array,
    candidate: Array,
    examples: Examples,
    flips: Mapping[str, Any],
    settings: Settings,
) -> pd.DataFrame:
    """Every measure of classes, and of each attribute's groups."""
    none = (np.full(len(examples.y), UNKNOWN), ())
    rows: list[dict[str, Any]] = []
    for attribute, (group, names) in {CLASS: none, **examples.attributes}.items():
        given = ([reference, candidate], examples.y, group, examples.class_names, names)
        draws, seed = settings.resamples, settings.seed
        with ThreadPoolExecutor(1) as pool:  # beside the intervals: neither waits for the other
            tests = pool.submit(
                change_tests, reference, candidate, *given[1:], draws=draws, seed=seed + 1
            )
            found = estimate(*given, resamples=draws, seed=seed)
            p = tests.result()
        for metric in METRICS:
            if metric in p and METRICS[metric].told_of(groups=attribute != CLASS):
                exact = isinstance(METRICS[metric].interval, Score)
                one = mcnemar(flips["lost"], flips["gained"]) if exact else p[metric]
                rows.append(_measure(name, attribute, metric, found, float(one)))
        for metric in DEGRADATIONS:
            if metric in found and DEGRADATIONS[metric].told_of(groups=attribute != CLASS):
                rows.append(_degradation(name, attribute, metric, found))
    return pd.DataFrame(rows)


def _measure(
    name: str, attribute: str, metric: str, found: Mapping[str, Estimate], p: float
) -> dict[str, Any]:
    row: dict[str, Any] = {"candidate_name": name, "attribute": attribute, "measure": metric}
    for role in ("reference", "candidate", "change"):
        one = found[f"{role} {metric}"]
        row |= {role: one["value"], f"{role}_low": one["low"], f"{role}_high": one["high"]}
    one = found[f"candidate {metric}"]
    return {**row, "floor": one["floor"], "how": one["how"], "p": p}


def _degradation(
    name: str, attribute: str, metric: str, found: Mapping[str, Estimate]
) -> dict[str, Any]:
    one = found[metric]
    return {
        "candidate_name": name,
        "attribute": attribute,
        "measure": metric,
        "candidate": one["value"],
        "candidate_low": one["low"],
        "candidate_high": one["high"],
        "how": one["how"],
        "p": math.nan,
    }


def cells(
    name: str,
    reference: Array,
    candidate: Array,
    examples: Examples,
    crossed: Mapping[str, tuple[Array, tuple[str, ...]]],
    settings: Settings,
) -> pd.DataFrame:
    """Every class, group, crossed group, and class within a group of one attribute."""
    y, classes = examples.y, examples.class_names
    frames = []
    none = (np.full(len(y), UNKNOWN), ())
    for attribute, (group, names) in {CLASS: none, **crossed}.items():
        _, pairs = tally([reference, candidate], y, group, classes, names)
        assert pairs is not None
        everyone = Pairs(*(fold(x, len(names), "all") for x in pairs))
        if attribute == CLASS:
            shown = {CLASS: (classes, Pairs(*(x[0] for x in pairs)))}
        else:
            unknown = LABEL if LABEL not in names else f"{LABEL} group"
            labels = (*names, unknown)[: len(pairs.both)]
            shown = {attribute: (labels, Pairs(*(x.sum(1) for x in pairs)))}
            if attribute in examples.attributes:
                inner = tuple(f"{c} | {g}" for g in names for c in classes)
                flat = Pairs(*(x[: len(names)].reshape(-1) for x in pairs))
                shown[f"{CLASS} x {attribute}"] = (inner, flat)
        for kind, (labels, of) in shown.items():
            if not labels:
                continue
            columns = change_columns(of, everyone)
            columns["p_no_worse"] = no_worse(of, settings.margin)
            small = of.n < settings.least
            for test in ("p", "excess_p", "p_no_worse"):
                columns[test] = np.where(small, np.nan, columns[test])
            frame = pd.DataFrame({"cell": labels, **columns})
            frame.insert(0, "attribute", kind)
            frames.append(frame)
    result = pd.concat(frames, ignore_index=True)
    result.insert(0, "candidate_name", name)
    return result


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
    found = np.select(
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
    cells["finding"] = found
