"""What an audit needs of scores by class, so that a large file of them need not be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from fairsparse.auditing.inputs.labels import TOLERANCE
from fairsparse.fairness.measure.counts import Array


@dataclass(frozen=True)
class Rows:
    """How many rows have a fault, which is the first, and what is seen there."""

    count: int = 0
    first: int = 0
    value: float = 0.0

    def then(self, later: Rows, offset: int) -> Rows:
        """These and those of a later piece, which begins at row `offset`."""
        if not self.count:
            return Rows(later.count, later.first + offset, later.value)
        return Rows(self.count + later.count, self.first, self.value)


@dataclass(frozen=True)
class Scored:
    """Scores (N, C), reduced.

    Parameters
    ----------
    largest : ndarray of int32, shape (N,)
        The class with the largest score, the first of several.
    confidence : ndarray of float32, shape (N,)
        Share of the chosen class in the sum of scores: of the predicted class where predictions are
        given, else of the largest. NaN where scores are negative or zero, or have no such class.
    strange : Rows
        Those with a score that is not a number.
    off : Rows
        Those whose scores do not sum to 1, and their sum.
    """

    largest: Array
    confidence: Array
    strange: Rows
    off: Rows


def reduced(scores: Array, chosen: Array | None = None) -> Scored:
    """Reduce scores.

    Parameters
    ----------
    scores : ndarray of float, shape (N, C)
    chosen : ndarray of int, shape (N,), optional
        Column of the class that is predicted; -1 where there is none for it.

    >>> found = reduced(np.array([[0.25, 0.75], [1.0, 1.0]]))
    >>> found.largest.tolist(), found.confidence.tolist(), found.off
    ([1, 0], [0.75, 0.5], Rows(count=1, first=1, value=2.0))
    """
    strange = np.asarray(~np.isfinite(scores).all(1))
    largest = scores.argmax(1)
    total = scores.sum(1)
    column = largest if chosen is None else chosen
    of = np.take_along_axis(scores, np.maximum(column, 0)[:, None], 1)[:, 0]
    usable = (column >= 0) & ~strange & (total > 0) & (scores.min(1) >= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        confidence = np.where(usable, of / total, np.nan)
    off = np.asarray(np.abs(total - 1) > TOLERANCE)
    return Scored(
        largest.astype(np.int32),
        confidence.astype(np.float32),
        _rows(strange, total),
        _rows(off, total),
    )


def of_network(scores: Array) -> tuple[Scored, bool]:
    """Reduce what a network gives, probabilities or logits (N, C); and whether it gave logits.

    >>> of_network(np.array([[0.25, 0.75]]))[1], of_network(np.zeros((1, 2)))[0].confidence.tolist()
    (False, [0.5])
    """
    off = np.abs(scores.sum(1, dtype=np.float64) - 1)
    logits = bool(scores.min() < 0 or off.max() > TOLERANCE)
    with np.errstate(invalid="ignore"):  # of infinite scores
        shares = special.softmax(scores, axis=1) if logits else scores
    largest = scores.argmax(1)  # not of shares, which may be equal where logits are not
    done = reduced(shares.astype(np.float32), largest)
    return replace(done, largest=largest.astype(np.int32)), logits


def _rows(faulty: Array, value: Array) -> Rows:
    if not faulty.any():
        return Rows()
    first = int(faulty.argmax())
    return Rows(int(faulty.sum()), first, float(value[first]))


def together(parts: Sequence[Scored]) -> Scored:
    """Pieces one after another."""
    strange, off, n = Rows(), Rows(), 0
    for part in parts:
        strange, off = strange.then(part.strange, n), off.then(part.off, n)
        n += len(part.largest)
    return Scored(
        np.concatenate([part.largest for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        strange,
        off,
    )
