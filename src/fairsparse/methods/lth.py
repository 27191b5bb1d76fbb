"""Lottery tickets: iterative magnitude pruning with rewinding."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.masks.grouping import parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.masks.select import Scope
from fairsparse.methods.base import (
    METHODS,
    Facts,
    Floor,
    Levels,
    Method,
    Outcome,
    Sparsity,
    options,
)
from fairsparse.methods.budget import Judge, Limit
from fairsparse.methods.criterion import Criterion, Grouping, as_selected, check, masks_of
from fairsparse.methods.fold import unfold_
from fairsparse.methods.refine import Refinement, refine
from fairsparse.methods.stages import Dense, Round, rewind_step, stored
from fairsparse.training import Loop, Trainer, state_of
from fairsparse.types import InputError


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
    fraction: Annotated[float, Field(gt=0, lt=1, description="removed a round")] = 0.2
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

    def check(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` does not allow."""
        super().check(model, cells)
        check(self, model)
        if self.levels and parse(as_selected(self.grouping)):
            raise InputError(
                f"lth: a {self.grouping} pattern has one sparsity and is reached in a single round;"
                " leave levels out, or use grouping weight or filter"
            )

    def run(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Outcome:
        """Prune and train `model` in place, round by round."""
        k = rewind_step(self.rewind_at, dense.total)
        key = self.rounds_key(trainer, "lth")
        masks = MaskSet.dense(self.weights(model))
        judge = Judge(self.budget, model, data, trainer)
        rounds: list[dict[str, Any]] = []
        path: list[MaskSet] = []
        last: dict[str, Any] = {}
        plan = levels(self.sparsity, self.fraction, self.levels)
        if parse(as_selected(self.grouping)):
            plan = plan[-1:]  # there is no such pattern at the sparsities on the way
        for level in plan:
            key = trainer.stages.key(key, level)

            def make(
                level: float = level, parent: MaskSet = masks, last: dict[str, Any] = last
            ) -> Round:
                return self._round(model, data, trainer, dense, parent, level, k, last)

            done = stored(trainer, key, make)
            masks, last = done.masks, done.log
            model.load_state_dict(done.state)
            rounds.append({**done.log, **judge(model)})
            path.append(masks)
        within = not rounds or rounds[-1].get("feasible", True)
        return Outcome(masks, "feasible" if within else "gap_infeasible", rounds, path)

    def _round(
        self,
        model: nn.Module,
        data: TrainData,
        trainer: Trainer,
        dense: Dense,
        parent: MaskSet,
        level: float,
        k: int,
        last: dict[str, Any],
    ) -> Round:
        masks = masks_of(self, model, data, trainer, level, parent)
        if self.rewind == "weights":
            model.load_state_dict(dense.states[k])
        else:
            unfold_(model, last)
        loop = Loop(trainer, model, data.train, stage=f"lth {level:.4g}", masks=masks, start=k)
        if self.rewind == "none":
            loop.base_factor = 0.1
        log: dict[str, Any] = refine(
            loop,
            data,
            dense,
            self.refinement or Refinement.off(),
            last.get("next_strength"),
            reach=last.get("reach"),
        )
        return Round(masks, state_of(model), {"sparsity": masks.sparsity, **log})
