"""Holding pruning rounds to a fairness budget on the validation split."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.budget import Budget
from fairsparse.fairness.counts import Counts
from fairsparse.fairness.outcomes import Outcomes
from fairsparse.training import Trainer

Limit = Annotated[
    Budget | None, Field(description="what a round may cost the cells on validation; see below")
]


class Judge:
    """Measures the networks of rounds against the dense network.

    It accepts rounds and computes none, so stages of runs that differ in their budget are shared.

    Parameters
    ----------
    budget : Budget or None
        Without one, nothing is measured.
    model : nn.Module
        The dense network.
    data : TrainData
        Of which the validation split is predicted.
    trainer : Trainer
    """

    def __init__(
        self, budget: Budget | None, model: nn.Module, data: TrainData, trainer: Trainer
    ) -> None:
        self.budget, self.data, self.trainer = budget, data, trainer
        self.dense = self._counts(model) if budget is not None else None

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """What a round's log says of the budget; empty without one."""
        if self.budget is None or self.dense is None:
            return {}
        found = self.budget.of(self.dense, self._counts(model), self.trainer.cells.definition)
        gap = float(found)
        return {"gap": gap, "gap_limit": self.budget.limit, "feasible": self.budget.keeps(gap)}

    def _counts(self, model: nn.Module) -> Counts:
        logits, y, group = self.trainer.predict(model, self.data.val)
        names = (self.data.class_names, self.data.group_names)
        return Outcomes.of([logits.argmax(1)], y, group, *names).counts[0]
