"""Notions of fairness: which statistic ought to be equal, and between which cells.

A new one is one registration; configuration, training, budgets, reports and docs follow from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from fairsparse.core import UNKNOWN
from fairsparse.fairness.measure.counts import Array, Counts, Kind, cell_names, fold, share
from fairsparse.registry import Registry, one_of


@dataclass(frozen=True)
class Notion:
    """What ought to be equal, and between whom.

    Its methods follow from the fields; a subclass overrides what they cannot say.

    Attributes
    ----------
    sentence : str
        What is compared between whom, after the words "what is to be equal:".
    kind : str
        Of the cells.
    gap : str
        The metric that reports show as its gap.
    of_class : int or None
        The true class whose examples alone belong to cells; of cells of kind group.
    within_class : bool
        Whether cells are compared with those of their class alone; of cells of kind class x group.
    of_predictions : bool
        Whether the statistic is P(predicted 1), which methods that act on errors cannot reach,
        instead of P(correct).
    constraint : str
        What thresholds for each group even out, in fairlearn's words.
    """

    sentence: str
    kind: Literal["class", "group", "class x group"]
    gap: str
    of_class: int | None = None
    within_class: bool = False
    of_predictions: bool = False
    constraint: str = "equalized_odds"

    @property
    def grouped(self) -> bool:
        """Whether groups are compared, of which there have to be two."""
        return self.kind != "class"

    @property
    def audited_kind(self) -> Kind:
        """Kind of the cells of audits that are these cells, or among which they are."""
        return self.kind if self.of_class is None else "class x group"

    @property
    def binary(self) -> bool:
        """Whether there have to be exactly two classes."""
        return self.of_class is not None or self.of_predictions

    @property
    def needs(self) -> str:
        """What a task has to have, in words."""
        parts = ["groups"] * self.grouped + ["2 classes"] * self.binary
        return " and ".join(parts) or "nothing"

    def names(self, class_names: Sequence[str], group_names: Sequence[str]) -> tuple[str, ...]:
        """Name of each cell, length K."""
        return cell_names(self.kind, class_names, group_names)

    def families(self, n: int, n_groups: int) -> Tensor:
        """Family of each of the n cells, int64 (n,): cells of one family are compared."""
        return torch.arange(n) // (n_groups if self.within_class else n)

    def index(self, y: Tensor, group: Tensor, n_groups: int) -> Tensor:
        """Cell of each example, int64 (B,); -1 where it belongs to none."""
        cell = y if self.kind == "class" else group
        if self.kind == "class x group":
            cell = torch.where(group >= 0, y * n_groups + group, UNKNOWN)
        return cell if self.of_class is None else torch.where(y == self.of_class, cell, UNKNOWN)

    def target(self, y: Tensor) -> Tensor:
        """The class whose prediction each example's statistic counts, int64 (B,)."""
        return torch.ones_like(y) if self.of_predictions else y

    def accuracy(self, counts: Counts) -> Array:
        """Accuracy in each cell, (..., K)."""
        return share(self._fold(counts, counts.correct), self._fold(counts, counts.n))

    def statistics(self, counts: Counts) -> Array:
        """Statistic of each cell, (..., F, K): F families of K cells that are compared."""
        hits = counts.correct
        if self.of_predictions:  # of class 0, those that are predicted 1 are the errors
            hits = np.stack([(counts.n - hits)[..., 0], hits[..., 1]], -1)
        rates = share(self._fold(counts, hits), self._fold(counts, counts.n))
        families = counts.n.shape[-1] if self.within_class else 1
        return rates.reshape(*rates.shape[:-1], families, -1)

    def _fold(self, counts: Counts, values: Array) -> Array:
        """Sum values (..., G', C) into the cells, (..., K)."""
        if self.of_class is not None:
            values = values[..., self.of_class, None]
        return fold(values, counts.groups, self.kind)


NOTIONS: Registry[Notion] = Registry("fairness notion", sort=False)
NotionName = Annotated[str, one_of(NOTIONS)]

for _name, _notion in {
    "class": Notion(
        "accuracy is compared between classes; CWV is its variance over classes, and MCD its range",
        kind="class",
        gap="cwv",
    ),
    "group": Notion("accuracy is compared between groups", kind="group", gap="accuracy_gap"),
    "class-group": Notion(
        "accuracy is compared between all classes within all groups",
        kind="class x group",
        gap="worst_cell_accuracy",
    ),
    "equalized-odds": Notion(
        "accuracy is compared between the groups of the same class",
        kind="class x group",
        gap="equalized_odds",
        within_class=True,
    ),
    "equal-opportunity": Notion(
        "the true positive rate is compared between groups",
        kind="group",
        gap="equal_opportunity",
        of_class=1,
        constraint="true_positive_rate_parity",
    ),
    "demographic-parity": Notion(
        "the rate of positive predictions is compared between groups, whatever the truth",
        kind="group",
        gap="demographic_parity",
        of_predictions=True,
        constraint="demographic_parity",
    ),
}.items():
    NOTIONS.register(_name)(_notion)
