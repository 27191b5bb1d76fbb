"""Cells: whose statistics are compared, as one integer per example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from fairsparse.registry import nearest
from fairsparse.types import UNKNOWN, InputError

Notion = Literal[
    "class", "group", "class-group", "equalized-odds", "equal-opportunity", "demographic-parity"
]


@dataclass(frozen=True)
class Cells:
    """A partition of the examples whose statistics ought to be equal.

    ============================  =======================  ======================  ===============
    notion                        cell                     statistic               compared within
    ============================  =======================  ======================  ===============
    ``class`` (CWV, MCD)          class                    P(correct)              all
    ``group`` (accuracy gap)      group                    P(correct)              all
    ``class-group``               class x group            P(correct)              all
    ``equalized-odds``            class x group            P(correct)              the same class
    ``equal-opportunity``         group, class 1 only      P(correct)              all
    ``demographic-parity``        group                    P(predicted 1)          all
    ============================  =======================  ======================  ===============

    Parameters
    ----------
    notion : str
    class_names, group_names : tuple of str

    Raises
    ------
    InputError
        For an unknown notion, a group notion on a task without groups, or one of the last two
        notions on a task with more than two classes.
    """

    notion: Notion
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.notion not in get_args(Notion):
            raise InputError(
                f"unknown fairness notion '{self.notion}'{nearest(self.notion, get_args(Notion))};"
                f" known: {', '.join(get_args(Notion))}"
            )
        if self.notion != "class" and len(self.group_names) < 2:
            raise InputError(
                f"fairness notion '{self.notion}' compares groups, but the task has"
                f" {len(self.group_names)}; name a sensitive attribute or use 'class'"
            )
        binary = self.notion in ("equal-opportunity", "demographic-parity")
        if binary and len(self.class_names) != 2:
            raise InputError(
                f"fairness notion '{self.notion}' needs 2 classes, the task has"
                f" {len(self.class_names)}; use 'equalized-odds' or 'group'"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each cell, length K."""
        match self.notion:
            case "class":
                return self.class_names
            case "class-group" | "equalized-odds":
                return tuple(f"{c} | {g}" for c in self.class_names for g in self.group_names)
            case _:
                return self.group_names

    @property
    def families(self) -> Tensor:
        """Family of each cell, int64 (K,): a cell is compared with the cells of its family."""
        n = len(self.names)
        if self.notion == "equalized-odds":
            return torch.arange(n) // len(self.group_names)
        return torch.zeros(n, dtype=torch.int64)

    def index(self, y: Tensor, group: Tensor) -> Tensor:
        """Return the cell of each example, int64 (B,); -1 where it belongs to none.

        >>> cells = Cells("class-group", ("no", "yes"), ("a", "b"))
        >>> cells.index(torch.tensor([0, 1, 1]), torch.tensor([1, 0, -1])).tolist()
        [1, 2, -1]
        """
        match self.notion:
            case "class":
                return y
            case "class-group" | "equalized-odds":
                cell = y * len(self.group_names) + group
                return torch.where(group >= 0, cell, UNKNOWN)
            case "equal-opportunity":
                return torch.where(y == 1, group, UNKNOWN)
            case _:
                return group

    def soft(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return each example's differentiable statistic in [0, 1], shape (B,)."""
        p = logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
        if self.notion == "demographic-parity":
            return p[:, 1]
        return p.gather(1, y[:, None])[:, 0]

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the log-odds of each example's soft statistic, shape (B,).

        With two classes this is the difference of the logits.
        """
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        at = torch.ones_like(y) if self.notion == "demographic-parity" else y
        others = z.scatter(1, at[:, None], -torch.inf)
        return z.gather(1, at[:, None])[:, 0] - others.logsumexp(1)

    def hard(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return each example's measured statistic, 0 or 1 as float32, shape (B,)."""
        predicted = logits.argmax(1)
        return (predicted == (1 if self.notion == "demographic-parity" else y)).float()

    def means(self, values: Tensor, index: Tensor) -> Tensor:
        """Mean of `values` (B,) in each cell, (K,); NaN in a cell without examples."""
        total, n = self.sums(values, index)
        return total / n  # 0 / 0 is NaN: no number is invented for an empty cell

    def sums(self, values: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of `values` (B,) and number of examples in each cell, both (K,) of values' dtype."""
        known = index >= 0
        zero = values.new_zeros(len(self))
        total = zero.index_add(0, index[known], values[known])
        return total, zero.index_add(0, index[known], torch.ones_like(values[known]))


def describe(names: Sequence[str], empty: Tensor) -> str:
    """Return the names where `empty` (K,) is true, comma-separated, at most eight of them."""
    missing = [names[int(i)] for i in empty.nonzero()[:, 0]]
    more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    return ", ".join(missing[:8]) + more
