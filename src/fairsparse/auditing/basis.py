"""What an audit stands on: which examples it could not see, and whether its reference is one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from fairsparse.auditing.examples import Examples
from fairsparse.core import UNKNOWN, InputError
from fairsparse.fairness.inference.design import Sample
from fairsparse.fairness.measure.counts import Array

LEVEL = 0.05
"""Of the test of the reference against chance."""


@dataclass(frozen=True)
class Basis:
    """What an audit stands on.

    Attributes
    ----------
    chance_p : float
        One-sided p-value of the reference's agreement with the true classes (Cohen's kappa) being
        chance; 1 where that cannot be told, as of a single class.
    unknown : int
        Examples whose group is unknown for one attribute or more.
    unknown_by : dict
        Attribute -> examples whose group is unknown.
    unmatched : int
        Examples that some of the files have and others lack, which were left out.
    allowed : int
        How many of these may be.
    audits : int or None
        Which audit of this test set it is, from 1; None without a ledger.
    """

    chance_p: float
    unknown: int = 0
    unknown_by: dict[str, int] = field(default_factory=dict)
    unmatched: int = 0
    allowed: int = 0
    audits: int | None = None

    @classmethod
    def of(cls, reference: Array, examples: Examples) -> Basis:
        """Of examples, and the classes (N,) that the reference predicts for them."""
        missing = {k: codes == UNKNOWN for k, (codes, _) in examples.attributes.items()}
        nobody = np.zeros(len(reference), bool)
        return cls(
            chance_p(reference, examples.y, len(examples.class_names), examples.sample),
            int(np.logical_or.reduce([nobody, *missing.values()]).sum()),
            {name: int(codes.sum()) for name, codes in missing.items()},
        )

    @property
    def at_chance(self) -> bool:
        """Whether the reference is not shown to be better than chance."""
        return not self.chance_p <= LEVEL

    @property
    def notes(self) -> tuple[str, ...]:
        """What readers have to know before anything else."""
        if not self.at_chance:
            return ()
        return (
            "The reference is not shown to do better than chance, so that nothing can be lost:"
            " check its classes, and whether its rows are those of the labels.",
        )


def chance_p(predicted: Array, true: Array, classes: int, sample: Sample | None = None) -> float:
    """One-sided p-value of agreement (Cohen's kappa) by chance, of codes (N,).

    Of a sample in clusters or with weights it is as if each cluster had been asked once, which is
    never surer than the clusters are.

    >>> true = np.array([0, 1] * 20)
    >>> chance_p(true, true, 2) < 1e-9, chance_p(1 - true, true, 2) > 0.5
    (True, True)
    >>> chance_p(0 * true, true, 2)
    1.0
    """
    weight = np.ones(len(true)) if sample is None else sample.weight / sample.weight.mean()
    units = weight if sample is None else np.bincount(sample.cluster, weight)
    n = float(weight.sum() ** 2 / (units**2).sum())
    said, are = (np.bincount(codes, weight, classes) / len(true) for codes in (predicted, true))
    expected = float(said @ are)
    variance = (expected + expected**2 - float((said * are) @ (said + are))) / n
    if variance <= 1e-15:
        return 1.0
    agreed = float(weight[predicted == true].sum() / len(true))
    return float(stats.norm.sf((agreed - expected) / math.sqrt(variance)))


def allowance(text: str | None) -> int | float | None:
    """Read ``--allow-unmatched``: a whole number of examples, or a share of them with a point.

    >>> allowance("12"), allowance("0.05"), allowance("1.0"), allowance(None)
    (12, 0.05, 1.0, None)
    """
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise InputError(
            f"--allow-unmatched takes a number of examples (20) or a share (0.02); got '{text}'"
        )
    return share


def allowed(unmatched: int, n: int, allow: int | float | None) -> int:
    """How many examples may be missing beside the `n` that were compared.

    Parameters
    ----------
    unmatched : int
        Examples that are missing.
    allow : int, float or None
        A number, or as a float a share of all; None refuses nothing here, and allows a gate none.

    Raises
    ------
    InputError
        Where more are missing than may be.
    """
    if allow is None:
        return 0
    total = unmatched + n
    most = math.floor(allow * total + 1e-9) if isinstance(allow, float) else allow
    if unmatched > most:
        raise InputError(
            f"{unmatched:,} of {total:,} examples are not in all files, and --allow-unmatched"
            f" {allow} allows {most:,}; complete the files, or allow more"
        )
    return most
