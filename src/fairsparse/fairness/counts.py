"""Integer counts of who was predicted what: all that a metric may look at.

A rate without examples is NaN, and NaN propagates: numpy's reductions do so in any order, Python's
``max`` and ``min`` do not, so rates are reduced by numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fairsparse.types import UNKNOWN, InputError

Array: TypeAlias = npt.NDArray[Any]
Labels: TypeAlias = Array | Tensor | Sequence[int]
Kind = Literal["all", "class", "group", "class x group", "outcome x group"]


def as_codes(what: str, values: Labels, n: int, names: Sequence[str], lowest: int = 0) -> Array:
    """Return `values` as int64 (N,), or raise `InputError` unless they are `n` codes of `names`."""
    codes = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if codes.shape != (n,) or n == 0 or codes.dtype.kind not in "iu":
        raise InputError(
            f"{what} must be whole numbers, one for each of the {n} examples, and at least one;"
            f" got {codes.dtype} of shape {codes.shape}"
        )
    low, high = int(codes.min()), int(codes.max())
    if low < lowest or high >= len(names):
        raise InputError(
            f"{what} go from {low} to {high}; allowed are {lowest} .. {len(names) - 1}"
            f" ({len(names)} names): check the codes against the names"
        )
    return codes.astype(np.int64, copy=False)


def group_rows(group: Array, known: int) -> tuple[Array, int]:
    """Return each example's row of a table, and the number of rows.

    Rows are the known groups (one row for everyone when there are none), then the unknown group if
    any example has it.
    """
    if known == 0:
        return np.zeros_like(group), 1
    unknown = group == UNKNOWN
    return np.where(unknown, known, group), known + int(unknown.any())


def share(part: Array, whole: Array) -> Array:
    """Divide counts; NaN where `whole` is not positive: no number is invented for an empty cell."""
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0)


def fold(counts: Array, known: int, kind: Kind) -> Array:
    """Sum counts (..., G', C) by group and class into the cells of `kind`, (..., K).

    The unknown group counts in ``all`` and ``class`` and in no other kind. ``outcome x group``
    holds the cells whose rate of a prediction is compared: class 1 of two classes, else all.
    """
    match kind:
        case "all":
            return counts.sum((-2, -1))[..., None]
        case "class":
            return counts.sum(-2)
        case "group":
            return counts[..., :known, :].sum(-1)
    first = 1 if kind == "outcome x group" and counts.shape[-1] == 2 else 0
    cells = counts[..., :known, first:].swapaxes(-1, -2)  # (..., C, G): class by class
    return cells.reshape(*counts.shape[:-2], -1)


def cell_names(
    kind: Kind, class_names: Sequence[str], group_names: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the cells of `kind`, in the order of `fold`."""
    match kind:
        case "all":
            return ("all",)
        case "class":
            return tuple(class_names)
        case "group":
            return tuple(group_names)
    first = 1 if kind == "outcome x group" and len(class_names) == 2 else 0
    return tuple(f"{c} | {g}" for c in class_names[first:] for g in group_names)


@dataclass(frozen=True)
class Counts:
    """What all metrics need to know about one model; leading axes are resamples.

    Parameters
    ----------
    n, correct, predicted : ndarray of int, shape (..., G', C)
        Examples of a group and true class; those of them predicted correctly; examples of a group
        predicted as a class.
    known : int
        Number of named groups; the rows after them are not compared.
    """

    n: Array
    correct: Array
    predicted: Array
    known: int

    @classmethod
    def of(cls, table: Array, known: int) -> Counts:
        """Reduce confusion tables (..., G', C, C) to the counts."""
        return cls(table.sum(-1), np.diagonal(table, axis1=-2, axis2=-1), table.sum(-2), known)

    @classmethod
    def count(
        cls, row: Array, true: Array, predicted: Array, shape: tuple[int, int], known: int
    ) -> Counts:
        """Count examples (N,) from codes, without a table of all pairs of classes."""

        def table(of: Array) -> Array:
            return np.bincount(of, minlength=shape[0] * shape[1]).reshape(shape)

        cell = row * shape[1] + true
        right = predicted == true
        return cls(table(cell), table(cell[right]), table(row * shape[1] + predicted), known)

    @property
    def grouped(self) -> bool:
        """Whether there are groups to compare, that is, two."""
        return self.known >= 2

    def accuracy(self, kind: Kind) -> Array:
        """Accuracy in each cell of `kind`, (..., K)."""
        return share(fold(self.correct, self.known, kind), fold(self.n, self.known, kind))

    def outcomes(self, part: Array, whole: Array) -> tuple[Array, Array]:
        """Counts (..., G', C) by compared class and named group, each (..., F, G).

        Compared are class 1 of two classes, else all.
        """
        whole = np.broadcast_to(whole, part.shape)
        first = 1 if part.shape[-1] == 2 else 0
        part, whole = (x[..., : self.known, first:].swapaxes(-1, -2) for x in (part, whole))
        return part, whole

    @property
    def positives(self) -> tuple[Array, Array]:
        """True positives and those of the class, (..., F, G)."""
        return self.outcomes(self.correct, self.n)

    @property
    def negatives(self) -> tuple[Array, Array]:
        """False positives and those of the other classes, (..., F, G)."""
        others = self.n.sum(-1, keepdims=True) - self.n
        return self.outcomes(self.predicted - self.correct, others)

    def outcome_gaps(self, part: Array, whole: Array) -> Array:
        """Range over groups of part / whole (..., G', C), by compared class: (..., F)."""
        first = 1 if part.shape[-1] == 2 else 0
        at = (..., slice(self.known), slice(first, None))
        return gap(share(part[at], np.broadcast_to(whole, part.shape)[at]), axis=-2)

    @cached_property
    def tpr_gaps(self) -> Array:
        """Range over groups of the true positive rate of each compared class, (..., F)."""
        return self.outcome_gaps(self.correct, self.n)

    @cached_property
    def fpr_gaps(self) -> Array:
        """Range over groups of the false positive rate of each compared class, (..., F)."""
        others = self.n.sum(-1, keepdims=True) - self.n
        return self.outcome_gaps(self.predicted - self.correct, others)


def gap(rates: Array, axis: int = -1) -> Array:
    """Largest minus smallest rate; NaN if any of them is NaN."""
    return rates.max(axis) - rates.min(axis)


class CellAccuracy(NamedTuple):
    """Accuracy of one cell, NaN where it has no examples."""

    name: str
    n: int
    accuracy: float


@dataclass(frozen=True)
class Confusion:
    """Counts of group, true and predicted class; tables of shards add up.

    Parameters
    ----------
    table : ndarray of int64, shape (G', C, C)
        ``[group, true, predicted]``; the named groups (one row for everyone when there are none),
        then the unknown group if present.
    class_names, group_names : tuple of str
    unknown : bool
        Whether the last row is the unknown group.
    """

    table: Array
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    unknown: bool = False

    @classmethod
    def count(
        cls,
        predicted: Labels,
        y: Labels,
        group: Labels,
        class_names: Sequence[str],
        group_names: Sequence[str] = (),
    ) -> Confusion:
        """Count examples from codes, each (N,); a group of -1 is unknown.

        Raises
        ------
        InputError
            Without examples, for lengths that differ, and for codes without a name.
        """
        n, n_classes, known = len(y), len(class_names), len(group_names)
        true = as_codes("true classes", y, n, class_names)
        pred = as_codes("predicted classes", predicted, n, class_names)
        row, n_rows = group_rows(as_codes("groups", group, n, group_names, UNKNOWN), known)
        cell = (row * n_classes + true) * n_classes + pred
        table = np.bincount(cell, minlength=n_rows * n_classes**2)
        table = table.reshape(n_rows, n_classes, n_classes)
        return cls(table, tuple(class_names), tuple(group_names), n_rows > max(1, known))

    def __add__(self, other: Confusion) -> Confusion:
        names = (self.class_names, self.group_names)
        if names != (other.class_names, other.group_names):
            raise InputError(
                "confusion tables with different class or group names cannot be added:"
                f" {names} and {(other.class_names, other.group_names)}; count with the same names"
            )
        big, small = (self, other) if self.unknown else (other, self)
        table = big.table.copy()
        table[: len(small.table)] += small.table
        return Confusion(table, *names, big.unknown)

    @property
    def counts(self) -> Counts:
        """The counts that metrics take."""
        return Counts.of(self.table, len(self.group_names))


def cell_accuracies(
    counts: Counts, class_names: Sequence[str], group_names: Sequence[str], kind: Kind
) -> tuple[CellAccuracy, ...]:
    """Examples and accuracy of each cell of `kind`, from counts (G', C)."""
    names = cell_names(kind, class_names, group_names)
    n = fold(counts.n, len(group_names), kind)
    rows = zip(names, n.tolist(), counts.accuracy(kind).tolist(), strict=True)
    return tuple(CellAccuracy(*row) for row in rows)
