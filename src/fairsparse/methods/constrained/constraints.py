"""Training under one constraint for each cell: multipliers, recent outcomes, gaps over all.

Rows are the K cells and, last, the examples that belong to no cell: they count in what holds over
all examples and have no constraint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fairsparse.core import Batch, Predictions
from fairsparse.fairness.cells import Cells, sums
from fairsparse.training import cross_entropy

DualRamp = Annotated[
    float, Field(gt=0, lt=1, description="share of a gradual schedule; constraints follow it")
]
DualRate = Annotated[
    float, Field(ge=0, description="step of the multipliers; 0 keeps them at 0: the plain loss")
]


class Measured(NamedTuple):
    """What a model does on one split, by row: share of right answers, mean cross-entropy, share.

    All are (K + 1,); the first two are NaN in a row without examples, the shares sum to 1.
    """

    accuracy: Tensor
    loss: Tensor
    share: Tensor


def measure(cells: Cells, predictions: Predictions) -> Measured:
    """Measure every row on the whole of a split."""
    logits, y, group = predictions
    index, k = rows(cells, y, group), len(cells) + 1
    right, n = sums((logits.argmax(1) == y).double(), index, k)
    loss, _ = sums(F.cross_entropy(logits.double(), y, reduction="none"), index, k)
    return Measured((right / n).float(), (loss / n).float(), (n / n.sum()).float())


def rows(cells: Cells, y: Tensor, group: Tensor) -> Tensor:
    """Row of each example, int64 (B,): its cell, or K where it belongs to none."""
    index = cells.index(y, group)
    return torch.where(index < 0, len(cells), index)


def excess(gaps: Tensor, share: Tensor) -> Tensor:
    """Gap of each cell less the gap over all examples, (K,); NaN where there is none.

    The gap over all is the mean of the rows' gaps by their shares of the training split. Rows
    that were not measured (NaN) are left out of it.

    >>> excess(torch.tensor([0.5, 0.1, 0.1]), torch.tensor([0.25, 0.25, 0.5])).tolist()
    [0.30000001192092896, -0.10000000149011612]
    """
    measured = ~gaps.isnan()
    weight = torch.where(measured, share, 0)
    overall = torch.where(measured, gaps * share, 0).sum() / weight.sum()
    return (gaps - overall)[:-1]


def raised(multipliers: Tensor, step: Tensor, seen: Tensor) -> Tensor:
    """Multipliers (K,) after a step of ascent, ``max(0, multiplier + step)`` where `seen` is true.

    What `step` holds elsewhere does not matter, and those multipliers stay.
    """
    return torch.where(seen, (multipliers + step).clamp_min(0), multipliers)


class Lagrangian(ABC):
    """``L + sum_k multiplier_k gap_k`` over the cells of a batch; calling it first moves them.

    Subclasses say what the gap of a cell is, and by how much it violates its constraint. `rate` is
    the step of the multipliers.
    """

    def __init__(self, cells: Cells, rate: float, device: torch.device | None = None) -> None:
        self.cells, self.rate, self.steps = cells, rate, 0
        self.multipliers = torch.zeros(len(cells), device=device)

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss of a batch; multipliers of cells that it lacks stay as they are."""
        self.steps += 1
        losses = F.cross_entropy(logits, batch.y, reduction="none")
        overall = cross_entropy(logits, batch)
        means, seen = cell_means(self.cells, losses, self.cells.index(batch.y, batch.group))
        gaps = self.gaps(means - overall) * seen
        violation = self.violation(gaps.detach(), logits.detach(), batch)
        step, told = self.rate * violation, seen & ~violation.isnan()
        self.multipliers = raised(self.multipliers, step, told)
        return overall + (self.multipliers * gaps).sum()

    @abstractmethod
    def gaps(self, beyond: Tensor) -> Tensor:
        """The gap of each cell, (K,), whose mean loss is `beyond` (K,) above that of the batch."""

    @abstractmethod
    def violation(self, gaps: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """What each multiplier rises by at rate 1, (K,); NaN where it cannot be told."""


class Recent:
    """The last `size` values of each of `n` rows, in cyclic buffers."""

    def __init__(self, n: int, size: int, device: torch.device | None = None) -> None:
        self._values = torch.zeros(n, size, device=device)
        self._taken = torch.zeros(n, dtype=torch.int64, device=device)

    def push(self, index: Tensor, values: Tensor) -> None:
        """Take in `values` (B,) of the rows `index` (B,), in their order.

        Of a row with more than `size` values in the batch the last ones stay.
        """
        n, size = self._values.shape
        index, order = index.sort(stable=True)
        counts = torch.bincount(index, minlength=n)
        place = torch.arange(len(index), device=index.device) - (counts.cumsum(0) - counts)[index]
        stays = place >= counts[index] - size
        slot = (self._taken[index] + place) % size
        self._values[index[stays], slot[stays]] = values[order][stays]
        self._taken += counts

    def means(self) -> Tensor:
        """Mean of each row's values, (n,); NaN until `size` have been seen."""
        size = self._values.shape[1]
        return torch.where(self._taken >= size, self._values.mean(1), torch.nan)


def cell_means(cells: Cells, values: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of `values` (B,) over each cell of a batch, and which cells it contains, both (K,).

    A cell without examples has mean 0 and no gradient, so that no NaN enters a loss.
    """
    total, n = cells.sums(values, index)
    return total / n.clamp_min(1), n > 0


def by_name(cells: Cells, values: Tensor) -> dict[str, float | None]:
    """Cell -> value as JSON can hold it: None for NaN."""
    pairs = zip(cells.names, values.tolist(), strict=True)
    return {name: None if value != value else value for name, value in pairs}


def extremes(values: Tensor) -> tuple[float | None, float | None]:
    """Largest of the values that are not NaN, and their range; None where all are NaN."""
    values = values[~values.isnan()]
    if not len(values):
        return None, None
    return float(values.max()), float(values.max() - values.min())
