"""Pruning the dense network round by round, then fine-tuning: what methods of rounds share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from fairsparse.core import InputError
from fairsparse.fairness.cells import Cells
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.masks.selection import Scope
from fairsparse.methods.method import (
    Floor,
    Fraction,
    Levels,
    Method,
    Outcome,
    Refined,
    Sparsity,
    options,
)
from fairsparse.training import Round, Run, state_of
from fairsparse.training.refinement import refine

LastRate = Annotated[
    float, Field(gt=0, le=1, description="of the recipe's rates, after the last round")
]
Choose = Callable[[MaskSet, float], tuple[MaskSet, dict[str, Any]]]
"""(masks of the round before, sparsity) -> (masks, JSON-able facts)."""


@options
class Rounds(Method):
    """A method that removes weights of the dense network in rounds; subclasses say which."""

    sparsity: Sparsity = 0.9
    fraction: Fraction = 0.2
    levels: Levels = ()
    scope: Annotated[Scope, Field(description="one ranking, equal layers, or ERK")] = "global"
    finetune: Annotated[
        float, Field(ge=0, le=1, description="share of the schedule, after the last round; 0: none")
    ] = 1.0
    lr_factor: LastRate = 0.1
    refinement: Refined = None
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def check_options(self, model: nn.Module, cells: Cells) -> None:
        """Refuse to refine a training that there is none of."""
        if self.refinement is not None and not self.finetune:
            raise InputError(
                f"{self.name}: refinement says how what is left is trained, and finetune is 0: it"
                " is not trained; use finetune above 0, or leave refinement out"
            )

    def in_rounds(self, run: Run, choose: Choose) -> Outcome:
        """Prune the network level by level, or take the stored rounds, and fine-tune it.

        `choose` may train the network; its masks are applied after it.
        """
        chain = run.chain(self.name, self.rounds_settings())
        masks = MaskSet.dense(self.weights(run.model))
        rounds: list[dict[str, Any]] = []
        path: list[MaskSet] = []
        for level in levels(self.sparsity, self.fraction, self.levels):
            make = partial(_chosen, run, choose, masks, level)
            done = chain.stage(level, make=make, label=self.stage(level))
            masks = done.masks
            rounds.append(done.log)
            path.append(masks)
        if self.finetune:
            done = chain.stage("finetune", make=partial(self._finetune, run, masks))
            last = rounds.pop() if rounds else {"sparsity": masks.sparsity}
            rounds.append({**last, **done.log})
        return Outcome(masks, rounds=rounds, path=path)

    def stage(self, level: float) -> str:
        """Name of a round in the history and in the timings."""
        return f"{self.name} round {level:.4g}"

    def _finetune(self, run: Run, masks: MaskSet) -> Round:
        start = run.dense.start_of_last(self.finetune)
        loop = run.loop(f"{self.name} {self.sparsity:.4g}", masks, start)
        loop.base_factor = self.lr_factor
        log = refine(loop, run, self.refinement)
        return Round(masks, state_of(run.model), log)


def _chosen(run: Run, choose: Choose, parent: MaskSet, level: float) -> Round:
    masks, facts = choose(parent, level)
    masks.apply_(run.model)
    return Round(masks, state_of(run.model), {"sparsity": masks.sparsity, **facts})
