"""The audit: what changed between two classifiers, and for whom, with one family of tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fairsparse.auditing import findings
from fairsparse.auditing.calibration import COLUMNS, calibration
from fairsparse.auditing.cells import CellTable, Units, drawn_together
from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.findings import LOST_MORE, Contrast, Together
from fairsparse.auditing.inputs.labels import CLASS, confidence
from fairsparse.core import UNKNOWN, InputError, Shown
from fairsparse.fairness.measure.counts import Array
from fairsparse.fairness.measure.outcomes import Outcomes
from fairsparse.registry import listing, nearest


@dataclass(frozen=True, repr=False, eq=False)
class Audit(Shown):
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
        attribute) and cell, as `CellChange` has it.
    overall : DataFrame
        A row for each candidate: churn, agreement (Cohen's kappa), flips.
    calibration : DataFrame
        Where reference and candidate gave probabilities: a row for each candidate and group, and
        for all, with both models' expected calibration error, the ``floor`` that a calibrated model
        would have, overconfidence with its interval, and the ``change`` of it with its interval, p
        and adjusted p-value.
    contrasts : dict
        Candidate -> ``class`` or attribute -> `Contrast`: counts of both models, and every
        estimate.
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
    calibration: pd.DataFrame
    contrasts: dict[str, dict[str, Contrast]]
    notes: tuple[str, ...] = ()

    def about(self) -> dict[str, str]:
        """Who was compared, on whom, and how often which finding was made."""
        counts = self.cells["finding"].value_counts().items()
        return {
            "candidates": listing(self.candidates),
            "examples": f"{self.n:,} of {len(self.class_names)} classes",
            "attributes": listing(list(self.attributes)) or "none; classes alone",
            "findings": ", ".join(f"{n:,} {finding}" for finding, n in counts),
        }

    @property
    def tests(self) -> int:
        """How many p-values the adjustment is for."""
        counted = self.cells[["p", "excess_p"]].notna().to_numpy().sum()
        return int(counted + self.measures["p"].notna().sum() + self.calibration["p"].notna().sum())

    def frame(self, attribute: str, candidate: str | None = None) -> pd.DataFrame:
        """Accuracy by cell of an attribute, with one row for each cell, as fairlearn has it."""
        name = candidate if candidate is not None else self.candidates[0]
        chosen = self.cells.query("candidate_name == @name and attribute == @attribute")
        if chosen.empty:
            attributes = sorted(set(self.cells["attribute"]))
            raise InputError(
                f"no cells of '{attribute}' for '{name}'; attributes: {', '.join(attributes)};"
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
        Of `Settings`: margin, depth, least, resamples, seed, alpha, primary.

    Raises
    ------
    InputError
        For lengths that differ, missing labels, classes without a name, and settings out of range.

    Examples
    --------
    >>> result = audit([0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], groups=["a", "a", "b", "b"])
    >>> result.frame("group")["drop"].tolist()
    [0.0, 0.5]
    """
    several = candidate if isinstance(candidate, Mapping) else {"candidate": candidate}
    outputs = {"reference": reference, **several}
    for name in ("reference", "y"):
        if name in several:
            raise InputError(f"a candidate cannot be called '{name}'; rename it")
    examples, codes = Examples.of(y, outputs, groups, class_names)
    sure = {k: c for k, v in outputs.items() if (c := confidence(v)) is not None}
    first = codes.pop("reference")
    return audit_codes(first, codes, examples, Settings(**settings), confidence=sure)


def audit_codes(
    reference: Array,
    candidates: Mapping[str, Array],
    examples: Examples,
    settings: Settings,
    notes: Sequence[str] = (),
    confidence: Mapping[str, Array] | None = None,
) -> Audit:
    """Audit predicted classes given as codes; `audit` is this for people's own arrays.

    `confidence` is what ``reference`` and candidates give to what they predict, (N,), where known.
    """
    crossed = examples.crossed(settings.depth)
    _check_primary(settings.primary, (CLASS, *crossed))
    models = (reference, *candidates.values())
    units = Units.of(examples, crossed, [codes == examples.y for codes in models])
    tables = [CellTable.of(units, i + 1, settings.least) for i in range(len(candidates))]
    tested = tables[0].pairs.n >= settings.least
    drawn = drawn_together(units, len(candidates), tested, settings.seed)
    sure, nobody = confidence or {}, np.full(len(examples.y), UNKNOWN)
    contrasts: dict[str, dict[str, Contrast]] = {}
    rows, overall, calibrated = [], [], []
    blocks: list[Together] = []
    for name, codes in candidates.items():
        both = Outcomes.of([reference, codes], examples.y, nobody, examples.class_names)
        overall.append({"candidate_name": name, **findings.overall(both)})
        contrasts[name] = findings.contrasts(both, examples, settings)
        measures, some = findings.measures(contrasts[name])
        if "reference" in sure and name in sure:
            shares = np.stack([sure["reference"], sure[name]])
            right = np.stack(both.predicted) == both.true
            frame, gaps = calibration(name, shares, right, examples, crossed, settings)
            calibrated.append(frame)
            measures += gaps
            some.append(Together(np.array([row["p"] for row in gaps], float), None))
        blocks += some
        rows += [{"candidate_name": name, **row} for row in measures]
    none = pd.DataFrame(columns=list(COLUMNS))
    sureness = pd.concat(calibrated, ignore_index=True) if calibrated else none
    blocks.append(Together(sureness["p"].to_numpy(float), None))
    every, adjusted = findings.Tests(tables, *drawn, settings).adjust(blocks)
    table = pd.DataFrame(rows)
    table["p_adjusted"], sureness["p_adjusted"] = np.concatenate(adjusted[:-1]), adjusted[-1]
    every.insert(0, "candidate_name", np.repeat(list(candidates), len(tested)))
    return Audit(
        n=len(examples.y),
        class_names=examples.class_names,
        attributes={k: names for k, (_, names) in crossed.items()},
        settings=settings,
        candidates=_ranked(every),
        measures=table,
        cells=every,
        overall=pd.DataFrame(overall),
        calibration=sureness,
        contrasts=contrasts,
        notes=tuple(notes),
    )


def _check_primary(primary: str | None, kinds: Sequence[str]) -> None:
    if primary is not None and primary not in kinds:
        raise InputError(
            f"primary '{primary}' is no attribute{nearest(primary, kinds)}; there are:"
            f" {', '.join(kinds)}"
        )


def _ranked(cells: pd.DataFrame) -> tuple[str, ...]:
    """Candidates by how many cells they leave behind, then by their largest extra drop."""
    names = cells["candidate_name"]
    behind = (cells["finding"] == LOST_MORE).groupby(names).sum()
    largest = cells["excess_drop"].where(cells["excess_p"].notna()).groupby(names).max()
    worst = largest.fillna(math.inf)
    return tuple(sorted(names.unique(), key=lambda name: (behind[name], worst[name])))
