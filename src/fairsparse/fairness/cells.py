"""Cells: whose statistics are compared, as one integer per example."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fairsparse.core import InputError
from fairsparse.fairness.notions import NOTIONS, Notion


@dataclass(frozen=True)
class Cells:
    """A partition of the examples whose statistics ought to be equal, by a notion in `NOTIONS`.

    Raises
    ------
    InputError
        For an unknown notion, a notion of groups on a task without groups, or a notion of two
        classes on a task with more.
    """

    notion: str
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.definition.grouped and len(self.group_names) < 2:
            raise InputError(
                f"fairness notion '{self.notion}' compares groups, but the task has"
                f" {len(self.group_names)}; name a sensitive attribute or use 'class'"
            )
        if self.definition.binary and len(self.class_names) != 2:
            raise InputError(
                f"fairness notion '{self.notion}' needs 2 classes, the task has"
                f" {len(self.class_names)}; use 'equalized-odds' or 'group'"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def definition(self) -> Notion:
        """What the notion compares."""
        return NOTIONS[self.notion]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each cell, length K."""
        return self.definition.names(self.class_names, self.group_names)

    @property
    def families(self) -> Tensor:
        """Family of each cell, int64 (K,): a cell is compared with the cells of its family."""
        return self.definition.families(len(self), len(self.group_names))

    def index(self, y: Tensor, group: Tensor) -> Tensor:
        """Return the cell of each example, int64 (B,); -1 where it belongs to none.

        >>> cells = Cells("class-group", ("no", "yes"), ("a", "b"))
        >>> cells.index(torch.tensor([0, 1, 1]), torch.tensor([1, 0, -1])).tolist()
        [1, 2, -1]
        """
        return self.definition.index(y, group, len(self.group_names))

    def counts(self, y: Tensor, group: Tensor) -> Tensor:
        """Number of examples in each cell, int64 (K,)."""
        index = self.index(y, group)
        return torch.bincount(index[index >= 0], minlength=len(self))

    def shares(self, y: Tensor, group: Tensor) -> Tensor:
        """Share of all examples, those in no cell included, that are in each cell, (K,)."""
        return self.counts(y, group) / len(y)

    def soft(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return each example's differentiable statistic in [0, 1], shape (B,)."""
        p = logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
        return p.gather(1, self.definition.target(y)[:, None])[:, 0]

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the log-odds of each example's soft statistic, shape (B,).

        With two classes this is the difference of the logits.
        """
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        target = self.definition.target(y)[:, None]
        others = z.scatter(1, target, -torch.inf)
        return z.gather(1, target)[:, 0] - others.logsumexp(1)

    def hard(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return each example's measured statistic, 0 or 1 as float32, shape (B,)."""
        return (logits.argmax(1) == self.definition.target(y)).float()

    def means(self, values: Tensor, index: Tensor) -> Tensor:
        """Mean of `values` (B,) in each cell, (K,); NaN in a cell without examples."""
        return torch.div(*self.sums(values, index))  # 0 / 0 is NaN: no number is invented

    def sums(self, values: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of `values` (B,) and number of examples in each cell, both (K,) of values' dtype."""
        return sums(values, index, len(self))


def sums(values: Tensor, index: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Sum of `values` (B,) and number of examples at each `index` (B,) of 0 .. n - 1, both (n,).

    Examples at a negative index are left out. Both results have the dtype of `values`.
    """
    inside = index >= 0
    zero = values.new_zeros(n)
    total = zero.index_add(0, index[inside], values[inside])
    return total, zero.index_add(0, index[inside], torch.ones_like(values[inside]))
