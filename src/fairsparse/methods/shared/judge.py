"""Holding pruning rounds to a fairness budget on the validation split."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from fairsparse.fairness.measure.counts import Counts
from fairsparse.fairness.measure.outcomes import Outcomes
from fairsparse.fairness.steering.budget import Budget
from fairsparse.methods.method import Key
from fairsparse.training import Run

Limit = Annotated[
    Budget | None,
    Field(description="what a round may cost the cells on validation; see below"),
    Key.NEVER,
]


class Judge:
    """Measures the networks of rounds against the dense network.

    It accepts rounds and computes none, so stages of runs that differ in their budget are shared.
    Without a budget nothing is measured; the network of `run` is still the dense one.
    """

    def __init__(self, budget: Budget | None, run: Run) -> None:
        self.budget, self.run = budget, run
        self.dense = self._counts() if budget is not None else None

    def __call__(self) -> dict[str, Any]:
        """What a round's log says of the budget; empty without one."""
        if self.budget is None or self.dense is None:
            return {}
        gap = float(self.budget.of(self.dense, self._counts(), self.run.cells.definition))
        return {"gap": gap, "gap_limit": self.budget.limit, "feasible": self.budget.keeps(gap)}

    def _counts(self) -> Counts:
        data = self.run.data
        logits, y, group = self.run.predict(data.val)
        names = (data.class_names, data.group_names)
        return Outcomes.of([logits.argmax(1)], y, group, *names).counts[0]
