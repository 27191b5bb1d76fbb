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

Array: TypeAlias = npt.NDArray[Any]
Codes: TypeAlias = Array | Tensor | Sequence[int]
HARDLY = 0.1
"""Of what would be right: less than this is hardly anything."""
Kind = Literal["all", "class", "group", "class x group", "outcome x group"]


def as_array(values: Any) -> Array:
    """Values as an array, also those of a tensor, on whatever device it is."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def share(part: Array, whole: Array) -> Array:
    """Divide counts; NaN where `whole` is not positive: no number is invented for an empty cell."""
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0)


def compared(kind: Kind, groups: int) -> Kind:
    """The kind itself; classes in place of a kind of groups where there are no two."""
    return kind if groups >= 2 or kind == "all" else "class"


def fold(counts: Array, groups: int, kind: Kind) -> Array:
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
            return counts[..., :groups, :].sum(-1)
    first = 1 if kind == "outcome x group" and counts.shape[-1] == 2 else 0
    cells = counts[..., :groups, first:].swapaxes(-1, -2)  # (..., C, G): class by class
    return cells.reshape(*counts.shape[:-2], -1)


def cell_names(
    kind: Kind, class_names: Sequence[str], group_names: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the cells of `kind`, in the order of `fold`."""
    plain: dict[str, Sequence[str]] = {"all": ("all",), "class": class_names, "group": group_names}
    if kind in plain:
        return tuple(plain[kind])
    first = 1 if kind == "outcome x group" and len(class_names) == 2 else 0
    return tuple(f"{c} | {g}" for c in class_names[first:] for g in group_names)


@dataclass(frozen=True)
class Counts:
    """What all metrics need to know about one model, int (..., G', C); leading axes are resamples.

    Examples of a group and true class; those of them predicted correctly; examples of a group
    predicted as a class. Rows after the named ``groups`` are not compared.
    """

    n: Array
    correct: Array
    predicted: Array
    groups: int

    @classmethod
    def of(cls, table: Array, groups: int) -> Counts:
        """Reduce confusion tables (..., G', C, C) to the counts."""
        return cls(table.sum(-1), np.diagonal(table, axis1=-2, axis2=-1), table.sum(-2), groups)

    def accuracy(self, kind: Kind) -> Array:
        """Accuracy in each cell of `kind`, (..., K)."""
        return share(fold(self.correct, self.groups, kind), fold(self.n, self.groups, kind))

    @property
    def skill(self) -> Array:
        """Mean accuracy over the classes that occur, (...), where guessing is 0 and all right 1."""
        accuracy, classes = self.accuracy("class"), self.n.shape[-1]
        return (np.nanmean(accuracy, -1) * classes - 1) / (classes - 1)

    @property
    def given_up(self) -> Array:
        """Which classes are predicted for under a tenth of those who belong to them, (..., C)."""
        return self.predicted.sum(-2) < HARDLY * self.n.sum(-2)

    def _outcomes(self, part: Array, whole: Array) -> tuple[Array, Array]:
        """Counts (..., G', C) of named groups and compared classes: class 1 of two, else all."""
        first = 1 if part.shape[-1] == 2 else 0
        at = (..., slice(self.groups), slice(first, None))
        return part[at], np.broadcast_to(whole, part.shape)[at]

    def positives(self) -> tuple[Array, Array]:
        """True positives and those of the class, each (..., G, F)."""
        return self._outcomes(self.correct, self.n)

    def negatives(self) -> tuple[Array, Array]:
        """False positives and those of the other classes, each (..., G, F)."""
        others = self.n.sum(-1, keepdims=True) - self.n
        return self._outcomes(self.predicted - self.correct, others)

    def predictions(self) -> tuple[Array, Array]:
        """Those predicted as the class and everyone, each (..., G, F)."""
        return self._outcomes(self.predicted, self.n.sum(-1, keepdims=True))

    @cached_property
    def tpr_gaps(self) -> Array:
        """Range over groups of the true positive rate of each compared class, (..., F)."""
        return gap(share(*self.positives()), axis=-2)

    @cached_property
    def fpr_gaps(self) -> Array:
        """Range over groups of the false positive rate of each compared class, (..., F)."""
        return gap(share(*self.negatives()), axis=-2)


def gap(rates: Array, axis: int = -1) -> Array:
    """Largest minus smallest rate; NaN if any of them is NaN."""
    return rates.max(axis) - rates.min(axis)


class CellAccuracy(NamedTuple):
    """Accuracy of one cell, NaN where it has no examples."""

    name: str
    n: int
    accuracy: float
