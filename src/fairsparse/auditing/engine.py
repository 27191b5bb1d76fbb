"""The audit: what changed between two classifiers, and for whom, with one family of tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fairsparse.auditing import findings
from fairsparse.auditing.basis import Basis
from fairsparse.auditing.calibration import COLUMNS, calibration
from fairsparse.auditing.cells import CellTable, Units, drawn_together
from fairsparse.auditing.examples import Examples, Settings, in_our_words
from fairsparse.auditing.findings import Contrast, Together
from fairsparse.auditing.inputs.labels import CLASS, Notation
from fairsparse.auditing.metricframe import metric_frame
from fairsparse.auditing.ranking import pairs, ranked
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
    ranking : DataFrame
        A row for each candidate, best first, as `ranked` has it.
    versus : DataFrame
        A row for every two candidates, as `pairs` has it.
    examples : Examples
    predicted : dict
        ``reference`` or candidate -> the classes it predicts, as codes (N,).
    basis : Basis
        How many examples could not be seen, and whether the reference is better than chance.
    notes : tuple of str
        What did not match, what was left out, and how labels were read.
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
    ranking: pd.DataFrame
    versus: pd.DataFrame
    examples: Examples
    predicted: dict[str, Array]
    basis: Basis
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

    @property
    def positive(self) -> str | None:
        """The positive one of two classes, of which are selection rates and equal opportunity."""
        return self.class_names[1] if len(self.class_names) == 2 else None

    def to_metricframe(
        self, model: str | None = None, attributes: Sequence[str] | None = None
    ) -> Any:
        """fairlearn's ``MetricFrame`` of one model by sensitive attributes.

        Parameters
        ----------
        model : str, optional
            ``reference`` or a candidate, the first of which is the default.
        attributes : sequence of str, optional
            Attributes, all of which are the default; several are intersected.

        Returns
        -------
        fairlearn.metrics.MetricFrame
            ``count`` and ``accuracy``, and of two classes ``selection_rate``,
            ``true_positive_rate`` and ``false_positive_rate`` of the positive one. Those whose
            group is not known are in the group ``unknown``. fairlearn takes a rate without
            examples for 0, where an audit has none.

        Raises
        ------
        InputError
            Without fairlearn, without attributes, and for names that there are not.
        """
        name = self.candidates[0] if model is None else model
        return metric_frame(self.examples, self.predicted, name, attributes)

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
    reference: Any = None,
    candidate: Any = None,
    y: Any = None,
    *,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    cluster: Any = None,
    weights: Any = None,
    **options: Any,
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
    cluster : array-like, shape (N,), optional
        The unit that each example was sampled with: a person with several pictures, an author, a
        session. Everything is then as sure as that many units make it.
    weights : array-like, shape (N,), optional
        How many examples of the population each stands for.
    **options
        Of `Settings`: margin, depth, least, resamples, seed, alpha, primary; of `Notation`:
        missing, positive, bins; and ``y_true``, ``y_pred`` and ``sensitive_features``, which are
        scikit-learn's and fairlearn's words for `y`, `candidate` and `groups`. A mapping ``y_pred``
        may hold ``reference`` too.

    Objects of pandas are matched by their index, where they have the same one in another order.

    Raises
    ------
    InputError
        For lengths and indices that differ, missing labels, classes without a name or in two
        notations, columns that are no groups, and options that there are not or out of range.

    Examples
    --------
    >>> result = audit([0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], groups=["a", "a", "b", "b"])
    >>> result.frame("group")["drop"].tolist()
    [0.0, 0.5]
    """
    ours = {"reference": reference, "candidate": candidate, "y": y, "groups": groups}
    outputs, y, groups = in_our_words(ours, options)
    sampling = {"cluster": cluster, "weights": weights}
    notation, settings = Notation.taken(options), Settings.of(options)
    examples, codes, sure = Examples.of(
        y, outputs, groups, class_names, notation=notation, **sampling
    )
    first = codes.pop("reference")
    return audit_codes(first, codes, examples, settings, confidence=sure)


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
    tested = tables[0].frame["n"].to_numpy() >= settings.least
    drawn = drawn_together(units, len(candidates), tested, settings.seed)
    sure = confidence or {}
    if sure and examples.sample is not None:
        sure, notes = {}, (*notes, UNSURE)
    one = _Measured([], [], [], [], {})
    for name, codes in candidates.items():
        one.add(name, (reference, codes), examples, crossed, settings, sure)
    none = pd.DataFrame(columns=list(COLUMNS))
    basis = Basis.of(reference, examples)
    sureness = pd.concat(one.calibrated, ignore_index=True) if one.calibrated else none
    blocks = [*one.blocks, Together(sureness["p"].to_numpy(float), None)]
    every, adjusted = findings.Adjustment(tables, *drawn, settings).adjust(blocks)
    table = pd.DataFrame(one.rows)
    table["p_adjusted"], sureness["p_adjusted"] = np.concatenate(adjusted[:-1]), adjusted[-1]
    every.insert(0, "candidate_name", np.repeat(list(candidates), len(tested)))
    ranking = ranked(every)
    return Audit(
        n=len(examples.y),
        class_names=examples.class_names,
        attributes={k: names for k, (_, names) in crossed.items()},
        settings=settings,
        candidates=tuple(ranking["candidate_name"]),
        measures=table,
        cells=every,
        overall=pd.DataFrame(one.overall),
        calibration=sureness,
        contrasts=one.contrasts,
        ranking=ranking,
        versus=pairs(units, list(candidates), tested, settings),
        examples=examples,
        predicted={"reference": reference, **candidates},
        basis=basis,
        notes=(*basis.notes, *notes, *examples.told),
    )


UNSURE = (
    "Confidence is not told: its intervals and tests are of independent examples without weights."
)


class _Measured(NamedTuple):
    """What was measured of candidates, by rows of tables."""

    rows: list[dict[str, Any]]
    overall: list[dict[str, Any]]
    calibrated: list[pd.DataFrame]
    blocks: list[Together]
    contrasts: dict[str, dict[str, Contrast]]

    def add(
        self,
        name: str,
        models: tuple[Array, Array],
        examples: Examples,
        crossed: Mapping[str, tuple[Array, tuple[str, ...]]],
        settings: Settings,
        confidence: Mapping[str, Array],
    ) -> None:
        """Measure a candidate; `models` are what the reference and it predict."""
        nobody = np.full(len(examples.y), UNKNOWN)
        both = Outcomes.of(models, examples.y, nobody, examples.class_names)
        both = replace(both, sample=examples.sample)
        self.overall.append({"candidate_name": name, **findings.overall(both)})
        self.contrasts[name] = findings.contrasts(both, examples, settings)
        measures, blocks = findings.measures(self.contrasts[name])
        if "reference" in confidence and name in confidence:
            shares = np.stack([confidence["reference"], confidence[name]])
            right = np.stack(both.predicted) == both.true
            frame, gaps = calibration(name, shares, right, examples, crossed, settings)
            self.calibrated.append(frame)
            measures += gaps
            blocks.append(Together(np.array([row["p"] for row in gaps], float), None))
        self.blocks.extend(blocks)
        self.rows.extend({"candidate_name": name, **row} for row in measures)


def _check_primary(primary: str | None, kinds: Sequence[str]) -> None:
    if primary is not None and primary not in kinds:
        raise InputError(
            f"primary '{primary}' is no attribute{nearest(primary, kinds)}; there are:"
            f" {', '.join(kinds)}"
        )
