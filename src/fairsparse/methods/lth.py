"""Lottery tickets: iterative magnitude pruning with rewinding."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from fairsparse.core import InputError
from fairsparse.fairness.cells import Cells
from fairsparse.masks.grouping import as_selected, parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.masks.selection import Scope
from fairsparse.methods.method import (
    METHODS,
    Facts,
    Floor,
    Fraction,
    Levels,
    Method,
    Outcome,
    Sparsity,
    options,
)
from fairsparse.methods.shared.criterion import Criterion, Grouping, masks_of
from fairsparse.methods.shared.judge import Judge, Limit
from fairsparse.training import Round, Run, rewind_step, state_of
from fairsparse.training.refinement import Refinement, refine, unfold_


@METHODS.register("lth")
@options
class LotteryTicket(Method):
    """Train, remove the smallest weights, rewind the rest, repeat: the standard lottery ticket.

    ``weights`` goes back to the dense run's weights and schedule at the rewind step; ``lr`` keeps
    the trained weights and goes back in the schedule alone; ``none`` fine-tunes the trained
    weights at a tenth of the learning rates. Another `criterion` than magnitude ranks the trained
    weights of each round by it; an n:m `grouping` is reached in a single round.
    """

    reference: ClassVar[str] = "Frankle & Carbin 2019, arXiv:1803.03635; Renda et al. 2020"
    facts: ClassVar[Facts] = Facts("either", "option", "1 + rounds; 11 rounds at 90 %")
    sparsity: Sparsity = 0.9
    rewind: Literal["weights", "lr", "none"] = "weights"
    rewind_at: Annotated[
        float | None, Field(ge=0, lt=1, description="share of the schedule; default: stable start")
    ] = None
    fraction: Fraction = 0.2
    levels: Levels = ()
    criterion: Criterion = "magnitude"
    grouping: Grouping = "weight"
    scope: Scope = "global"
    refinement: Annotated[
        Refinement | None, Field(description="train each ticket as Ballot does")
    ] = None
    budget: Limit = None
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def snapshots(self, total: int) -> set[int]:
        """The rewind step."""
        return {rewind_step(self.rewind_at, total)}

    def check_options(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` does not allow."""
        if self.levels and parse(as_selected(self.grouping)):
            raise InputError(
                f"lth: a {self.grouping} pattern has one sparsity and is reached in a single round;"
                " leave levels out, or use grouping weight or filter"
            )

    def run(self, run: Run) -> Outcome:
        """Prune and train the network in place, round by round."""
        chain = run.chain(self.name, self.rounds_settings())
        judge = Judge(self.budget, run)
        masks = MaskSet.dense(self.weights(run.model))
        last: dict[str, Any] = {}
        rounds: list[dict[str, Any]] = []
        path: list[MaskSet] = []
        for level in self.plan():
            done = chain.stage(level, make=partial(self._round, run, masks, level, last))
            masks, last = done.masks, done.log
            rounds.append({**done.log, **judge()})
            path.append(masks)
        within = not rounds or rounds[-1].get("feasible", True)
        return Outcome(masks, "feasible" if within else "gap_infeasible", rounds, path)

    def plan(self) -> list[float]:
        """Sparsities of the rounds."""
        plan = levels(self.sparsity, self.fraction, self.levels)
        # there is no n:m pattern at the sparsities on the way
        return plan[-1:] if parse(as_selected(self.grouping)) else plan

    def _round(self, run: Run, parent: MaskSet, level: float, last: dict[str, Any]) -> Round:
        step = rewind_step(self.rewind_at, run.dense.total)
        masks = masks_of(self, run, level, parent)
        if self.rewind == "weights":
            run.model.load_state_dict(run.dense.states[step])
        else:
            unfold_(run.model, last)
        loop = run.loop(f"lth {level:.4g}", masks, step)
        if self.rewind == "none":
            loop.base_factor = 0.1
        strength, reach = last.get("next_strength"), last.get("reach")
        log = refine(loop, run, self.refinement, strength, reach=reach)
        return Round(masks, state_of(run.model), {"sparsity": masks.sparsity, **log})
