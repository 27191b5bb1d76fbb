"""What an audit needs of a file: labels as codes, and scores reduced, so that none is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import special

from fairsparse.auditing.inputs.labels import TOLERANCE, Coded, Coding
from fairsparse.fairness.measure.counts import Array


def coded_groups(codes: Array, names: Sequence[str], attributes: Sequence[str]) -> dict[str, Coded]:
    """The groups of all attributes together, by their name; none where there are no names."""
    name = " x ".join(attributes) or "group"
    return {name: Coded(codes.astype(np.int32), tuple(names))} if names else {}


@dataclass(frozen=True)
class ReducedScores:
    """Scores (N, C), reduced to three numbers each, (N,).

    ``largest`` is the class with the largest score, the first of several; ``confidence`` the share
    of the chosen class in the sum of scores, NaN where they are negative or zero, or have no such
    class; ``total`` their sum, NaN where a score is not a number.
    """

    largest: Array
    confidence: Array
    total: Array


@dataclass(frozen=True)
class Contents:
    """One model's predictions as a file holds them."""

    path: str
    n: int
    ids: Any = None  # a pandas Index
    truth: Coded | None = None
    prediction: Coded | None = None
    scores: ReducedScores | None = None
    classes: tuple[str, ...] = ()  # of the scores
    attributes: dict[str, Coded] = field(default_factory=dict)  # other columns, as asked for
    sampling: dict[str, Coded] = field(default_factory=dict)  # columns of clusters and weights
    others: tuple[str, ...] = ()  # names of all columns but those of classes and scores
    positive: str | None = None  # the positive one of its classes, where it says so
    notes: tuple[str, ...] = ()  # of what was read


def encoded(column: Any) -> Any:
    """An arrow column with each distinct value once."""
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    return column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)


def coded(pieces: Sequence[Any], missing: Iterable[str] = ()) -> Coded:
    """A column of labels in encoded pieces; words in `missing` are no labels."""
    coding = Coding(missing)
    codes = []
    for piece in pieces:
        table = coding.table(piece.dictionary.to_pylist())
        indices = piece.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
        codes.append(table[indices])
    return Coded(np.concatenate(codes), coding.names)


def reduced(scores: Array, chosen: Array | None = None) -> ReducedScores:
    """Reduce scores (N, C) by the columns of predicted classes, -1 where there is none.

    Without `chosen`, by the largest.

    >>> pair = reduced(np.array([[0.25, 0.75], [1.0, 1.0]]))
    >>> pair.largest.tolist(), pair.confidence.tolist(), pair.total.tolist()
    ([1, 0], [0.75, 0.5], [1.0, 2.0])
    """
    total = np.where(np.isfinite(scores).all(1), scores.sum(1), np.nan)
    largest = scores.argmax(1)
    column = largest if chosen is None else chosen
    of = np.take_along_axis(scores, np.maximum(column, 0)[:, None], 1)[:, 0]
    usable = (column >= 0) & (total > 0) & (scores.min(1) >= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        confidence = np.where(usable, of / total, np.nan)
    return ReducedScores(largest.astype(np.int32), confidence.astype(np.float32), total)


def of_network(scores: Array) -> tuple[ReducedScores, bool]:
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


def together(parts: Sequence[ReducedScores]) -> ReducedScores:
    """Pieces one after another."""
    rows = zip(*((p.largest, p.confidence, p.total) for p in parts), strict=True)
    return ReducedScores(*map(np.concatenate, rows))
