"""The audit: what changed between two classifiers, and for whom, with one family of tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fairsparse.auditing.compare import change_columns
from fairsparse.auditing.labels import CLASS, attributes, column, encode, group_codes, predicted
from fairsparse.fairness.counts import Array, fold
from fairsparse.fairness.estimates import Estimate, change_tests, estimate, tally
from fairsparse.fairness.intervals import holm
from fairsparse.fairness.metrics import METRICS
from fairsparse.fairness.paired import Pairs, benjamini_hochberg, mcnemar, no_worse
from fairsparse.types import UNKNOWN, InputError

LABEL = "unknown"
"""The name of the row of those whose group is not known."""

_OF_CLASSES = ("accuracy", "cwv", "cwv_corrected", "mcd", "worst_class_accuracy")


@dataclass(frozen=True)
class Settings:
    """What an audit was asked for.

    Parameters
    ----------
    margin : float
        A cell is "no worse" where its drop is shown to be below this.
    depth : int
        Of how many sensitive attributes at most groups are crossed.
    least : int
        Cells with fewer examples are shown and not tested.
    resamples, seed : int
        Of intervals and tests that draw.
    alpha : float
        Of adjusted p-values.
    """

    margin: float = 0.01
    depth: int = 2
    least: int = 30
    resamples: int = 2000
    seed: int = 0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        for name, fits, allowed in (
            ("margin", 0 < self.margin < 1, "above 0 and below 1"),
            ("depth", self.depth >= 1, "at least 1"),
            ("least", self.least >= 1, "at least 1"),
            ("resamples", self.resamples >= 1, "at least 1"),
            ("seed", self.seed >= 0, "at least 0"),
            ("alpha", 0 < self.alpha < 1, "above 0 and below 1"),
        ):
            if not fits:
                raise InputError(f"{name} must be {allowed}; got {getattr(self, name)}")


@dataclass(frozen=True)
class Examples:
    """Labelled examples with the groups that people belong to.

    Parameters
    ----------
    y : ndarray of int64, shape (N,)
        True classes.
    class_names : tuple of str
    attributes : dict
        Attribute -> its groups as codes (N,), -1 where unknown, and their names.
    """

    y: Array
    class_names: tuple[str, ...]
    attributes: dict[str, tuple[Array, tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        crossings = {f"{a} x {b}" for a, b in itertools.permutations(self.attributes, 2)}
        for name in self.attributes:
            if name == CLASS or name.startswith(f"{CLASS} x ") or name in crossings:
                raise InputError(f"an attribute cannot be called '{name}'; rename it")

    def crossed(self, depth: int) -> dict[str, tuple[Array, tuple[str, ...]]]:
        """Every attribute, and every crossing of up to `depth` of them.

        A crossed group is known where all of its parts are; those without examples are left out.
        """
        found: dict[str, tuple[Array, tuple[str, ...]]] = {}
        for size in range(1, min(depth, len(self.attributes)) + 1):
            for chosen in itertools.combinations(self.attributes, size):
                parts = [self.attributes[name] for name in chosen]
                found[" x ".join(chosen)] = parts[0] if size == 1 else _cross(parts)
        return found


def _cross(parts: Sequence[tuple[Array, tuple[str, ...]]]) -> tuple[Array, tuple[str, ...]]:
    dims = tuple(len(names) for _, names in parts)
    known = np.logical_and.reduce([codes >= 0 for codes, _ in parts])
    if not known.any():
        return np.full(len(known), UNKNOWN), ()
    cell = np.ravel_multi_index([codes[known] for codes, _ in parts], dims)
    present, position = np.unique(cell, return_inverse=True)
    codes = np.full(len(known), UNKNOWN)
    codes[known] = position
    at = np.unravel_index(present, dims)
    names = (
        " | ".join(part[1][i] for part, i in zip(parts, row, strict=True))
        for row in zip(*at, strict=True)
    )
    return codes, tuple(names)


@dataclass(frozen=True)
class Audit:
    """What changed, for whom, and how sure that is.

    Attributes
    ----------
    n : int
        Examples that all models were compared on.
    class_names : tuple of str
    attributes : dict
        Attribute or crossing -> names of its groups.
    settings : Settings
    candidates : tuple of str
        As ranked: those that leave no cell behind first, then by worst extra drop.
    measures : DataFrame
        A row for each candidate, attribute and measure: ``reference``, ``candidate`` and ``change``
        with ``_low`` and ``_high``, the candidate's noise ``floor`` and ``how`` its interval
        came about, the ``p`` of the change and ``p_adjusted`` over all tests of the audit.
        Measures of how unequally a drop falls have a ``candidate`` alone.
    cells : DataFrame
        A row for each candidate, attribute (``class``, an attribute, a crossing, or class x
        attribute) and cell, as `CellChange` has it, with ``p_no_worse``, adjusted p-values over
        all tests of the audit, Benjamini and Hochberg's ``q`` of the excess, and a ``finding``.
    overall : DataFrame
        A row for each candidate: churn, agreement (Cohen's kappa), flips.
    notes : tuple of str
        What did not match, and what was left out.
    """

    n: int
    class_names: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]
    settings: Settings
    candidates: tuple[str, ...]
    measures: pd.DataFrame
    cells: pd.DataFrame
    overall: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def tests(self) -> int:
        """How many p-values the adjustment is for."""
        counted = self.cells[["p", "excess_p"]].notna().to_numpy().sum()
        return int(counted + self.measures["p"].notna().sum())

    def frame(self, attribute: str, candidate: str | None = None) -> pd.DataFrame:
        """Accuracy by cell of an attribute, with one row for each cell, as fairlearn has it."""
        name = candidate if candidate is not None else self.candidates[0]
        chosen = self.cells.query("candidate_name == @name and attribute == @attribute")
        if chosen.empty:
            known = sorted(set(self.cells["attribute"]))
            raise InputError(
                f"no cells of '{attribute}' for '{name}'; attributes: {', '.join(known)};"
                f" candidates: {', '.join(self.candidates)}"
            )
        return chosen.set_index("cell")[["n", "reference", "candidate", "drop", "excess_drop"]]


def audit(
    reference: Any,
    candidate: Any,
    y: Any,
    *,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    **settings: Any,
) -> Audit:
    """Compare classifiers on the same examples: overall, by class, by group and by crossing.

    Parameters
    ----------
    reference : array-like, shape (N,) or (N, C)
        Predicted classes of the model to compare with, or its scores by class.
    candidate : array-like, or mapping of name to array-like
        The same of one model or of several.
    y : array-like, shape (N,)
        True classes.
    groups : array-like, mapping or DataFrame, optional
        Of one attribute (N,), or attribute -> (N,); None or NaN where unknown.
    class_names : sequence, optional
        Every class, as `y` has it, in order; needed with scores. By default those that occur.
    **settings
        Of `Settings`: margin, depth, least, resamples, seed, alpha.

    Raises
    ------
    InputError
        For lengths that differ, missing labels, classes without a name, and settings out of range.

    Examples
    --------
    >>> found = audit([0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], groups=["a", "a", "b", "b"])
    >>> found.frame("group")["drop"].tolist()
    [0.0, 0.5]
    """
    true = column("y", y)
    several = candidate if isinstance(candidate, Mapping) else {"candidate": candidate}
    outputs = {"reference": reference, **several}
    if len(outputs) != 1 + len(several):
        raise InputError("a candidate cannot be called 'reference'; rename it")
    arrays = {name: predicted(name, value, class_names) for name, value in outputs.items()}
    for name, found in arrays.items():
        if len(found) != len(true):
            raise InputError(
                f"{name} has {len(found):,} predictions and y {len(true):,} labels; give one for"
                " each example, in the same order"
            )
    names, codes = encode({"y": true, **arrays}, class_names)
    given = attributes(groups, len(true))
    examples = Examples(codes["y"], names, {k: group_codes(v) for k, v in given.items()})
    rest = {name: codes[name] for name in several}
    return audit_codes(codes["reference"], rest, examples, Settings(**settings))


def audit_codes(
    reference: Array,
    candidates: Mapping[str, Array],
    examples: Examples,
    settings: Settings,
    notes: Sequence[str] = (),
) -> Audit:
    """Audit predicted classes given as codes; `audit` is this for people's own arrays."""
    crossed = examples.crossed(settings.depth)
    measures, cells, overall = [], [], []
    for name, codes in candidates.items():
        flips = _overall(reference, codes, examples)
        overall.append({"candidate_name": name, **flips})
        measures.append(_measures(name, reference, codes, examples, flips, settings))
        cells.append(_cells(name, reference, codes, examples, crossed, settings))
    table, rows = pd.concat(measures, ignore_index=True), pd.concat(cells, ignore_index=True)
    _adjust(table, rows, settings)
    rank = rows.groupby("candidate_name", sort=False).apply(
        lambda of: (_behind(of), _worst(of)), include_groups=False
    )
    order = tuple(sorted(candidates, key=lambda name: rank[name]))
    return Audit(
        n=len(examples.y),
        class_names=examples.class_names,
        attributes={k: names for k, (_, names) in crossed.items()},
        settings=settings,
        candidates=order,
        measures=table,
        cells=rows,
        overall=pd.DataFrame(overall),
        notes=tuple(notes),
    )


def _behind(cells: pd.DataFrame) -> int:
    return int((cells["finding"] == LOST_MORE).sum())


def _worst(cells: pd.DataFrame) -> float:
    worst = cells.loc[cells["excess_p"].notna(), "excess_drop"].max()
    return math.inf if math.isnan(worst) else float(worst)


def _overall(reference: Array, candidate: Array, examples: Examples) -> dict[str, Any]:
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


def _measures(
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
        of_classes = attribute == CLASS
        if of_classes:
            p["accuracy"] = float(mcnemar(flips["lost"], flips["gained"]))
        for metric in METRICS:
            if f"change {metric}" in found and (metric in _OF_CLASSES) == of_classes:
                rows.append(_measure(name, attribute, metric, found, p[metric]))
        for metric in ("cev", "sde", "class_degradation_range", "max_cell_drop", "max_excess_drop"):
            if of_classes or metric.startswith("max"):
                rows.append(_degradation(name, attribute, metric, found))
        if "performance_degradation_fairness" in found:
            rows.append(_degradation(name, attribute, "performance_degradation_fairness", found))
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


def _cells(
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


def _adjust(measures: pd.DataFrame, cells: pd.DataFrame, settings: Settings) -> None:
    """Adjust all p-values of an audit, and say what they tell of each cell."""
    flips, excess = cells["p"].to_numpy(), cells["excess_p"].to_numpy()
    # half of alpha is for the measures, whose drawn p-values cannot be as small as those of cells
    measures["p_adjusted"] = np.minimum(1, 2 * holm(measures["p"].to_numpy(float)))
    both = np.minimum(1, 2 * holm(np.concatenate([flips, excess])))
    cells["p_adjusted"], cells["excess_p_adjusted"] = np.split(both, 2)
    cells["excess_q"] = benjamini_hochberg(excess)
    cells["p_no_worse_adjusted"] = holm(cells["p_no_worse"].to_numpy())
    sure = cells["p_adjusted"] < settings.alpha
    found = np.select(
        [
            cells["n"] == 0,
            cells["n"] < settings.least,
            (cells["excess_p_adjusted"] < settings.alpha) & (cells["excess_drop"] > 0),
            sure & (cells["drop"] > 0),
            sure & (cells["drop"] < 0),
            cells["p_no_worse_adjusted"] < settings.alpha,
        ],
        ["empty", "too few", LOST_MORE, "lost", "gained", "no worse"],
        "data do not tell",
    )
    cells["finding"] = found
