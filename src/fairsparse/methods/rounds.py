"""Pruning the dense network round by round, then fine-tuning: what methods of rounds share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.masks.select import Scope
from fairsparse.methods.base import Floor, Levels, Method, Outcome, Sparsity, options
from fairsparse.methods.refine import Refinement, refine
from fairsparse.methods.stages import Dense, Round, stored
from fairsparse.training import Loop, Trainer, state_of
from fairsparse.types import InputError

Choose = Callable[[MaskSet, float], tuple[MaskSet, dict[str, Any]]]
"""(masks of the round before, sparsity) -> (masks, JSON-able facts)."""


@options
class Rounds(Method):
    """A method that removes weights of the dense network in rounds; subclasses say which."""

    label: ClassVar[str]
    sparsity: Sparsity = 0.9
    fraction: Annotated[float, Field(gt=0, lt=1, description="removed a round")] = 0.2
    levels: Levels = ()
    scope: Annotated[Scope, Field(description="one ranking, equal layers, or ERK")] = "global"
    finetune: Annotated[
        float, Field(ge=0, le=1, description="share of the schedule, after the last round; 0: none")
    ] = 1.0
    lr_factor: Annotated[
        float, Field(gt=0, le=1, description="of the recipe's rates, after the last round")
    ] = 0.1
    refinement: Annotated[
        Refinement | None, Field(description="train what is left as Ballot does")
    ] = None
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def check(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `cells` do not allow."""
        super().check(model, cells)
        if self.refinement is not None and not self.finetune:
            raise InputError(
                f"{self.label}: refinement says how what is left is trained, and finetune is 0: it"
                " is not trained; use finetune above 0, or leave refinement out"
            )

    def in_rounds(
        self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense, choose: Choose
    ) -> Outcome:
        """Prune `model` level by level, or take the stored rounds, and fine-tune it.

        `choose` may train `model`; its masks are applied after it.
        """
        key = self.rounds_key(trainer, self.label)
        masks = MaskSet.dense(self.weights(model))
        rounds: list[dict[str, Any]] = []
        path: list[MaskSet] = []
        for level in levels(self.sparsity, self.fraction, self.levels):
            key = trainer.stages.key(key, level)

            def make(level: float = level, parent: MaskSet = masks) -> Round:
                chosen, facts = choose(parent, level)
                chosen.apply_(model)
                return Round(chosen, state_of(model), {"sparsity": chosen.sparsity, **facts})

            done = stored(trainer, key, make, label=self.stage(level))
            masks = done.masks
            model.load_state_dict(done.state)
            rounds.append(done.log)
            path.append(masks)
        if self.finetune:
            done = stored(
                trainer,
                trainer.stages.key(key, "finetune"),
                lambda: self._finetune(model, data, trainer, dense, masks),
            )
            model.load_state_dict(done.state)
            last = rounds.pop() if rounds else {"sparsity": masks.sparsity}
            rounds.append({**last, **done.log})
        return Outcome(masks, rounds=rounds, path=path)

    def stage(self, level: float) -> str:
        """Name of a round in the history and in the timings."""
        return f"{self.label} round {level:.4g}"

    def _finetune(
        self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense, masks: MaskSet
    ) -> Round:
        start = dense.total - max(1, round(self.finetune * dense.total))
        stage = f"{self.label} {self.sparsity:.4g}"
        loop = Loop(trainer, model, data.train, stage=stage, masks=masks, start=start)
        loop.base_factor = self.lr_factor
        log = refine(loop, data, dense, self.refinement or Refinement.off())
        return Round(masks, state_of(model), log)
