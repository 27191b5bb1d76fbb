"""Magnitude pruning: one-shot and fine-tuned, or gradual."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.masks import scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import cubic
from fairsparse.masks.select import Scope, select
from fairsparse.methods.base import (
    METHODS,
    Dense,
    Floor,
    Method,
    Outcome,
    Round,
    Sparsity,
    options,
    stored,
)
from fairsparse.methods.refine import Refinement, refine
from fairsparse.training import Loop, Trainer, state_of
from fairsparse.types import InputError


@METHODS.register("magnitude")
@options
class Magnitude(Method):
    """Remove the smallest weights of the dense network and fine-tune what is left.

    ``one-shot`` removes them at once and trains for `finetune` of the schedule, at `lr_factor` of
    its learning rates. ``gradual`` starts from the untrained network and raises the sparsity with
    the epochs, along the cubic of Zhu & Gupta, until `ramp` of the schedule.
    """

    reference: ClassVar[str] = "Han et al. 2015, arXiv:1506.02626; Zhu & Gupta 2017"
    sparsity: Sparsity = 0.9
    scope: Annotated[Scope, Field(description="one ranking, equal layers, or ERK")] = "global"
    schedule: Literal["one-shot", "gradual"] = "one-shot"
    finetune: Annotated[float, Field(gt=0, le=1, description="share of the schedule")] = 1.0
    lr_factor: Annotated[float, Field(gt=0, le=1, description="of the recipe's rates")] = 0.1
    ramp: Annotated[float, Field(gt=0, le=1, description="share of a gradual schedule")] = 0.75
    refinement: Annotated[
        Refinement | None, Field(description="train what is left as Ballot does")
    ] = None
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def snapshots(self, total: int) -> set[int]:
        """None beyond the first and the last; refuses options that exclude each other."""
        if self.schedule == "gradual" and self.refinement is not None:
            raise InputError(
                "magnitude: refinement trains under masks that stay, and schedule 'gradual' moves"
                " them; use schedule 'one-shot', or leave refinement out"
            )
        return set()

    def run(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Outcome:
        """Prune and fine-tune `model` in place."""
        key = trainer.stages.key(trainer.parent, "magnitude", self.settings())
        make = self._gradual if self.schedule == "gradual" else self._one_shot
        done = stored(trainer, key, lambda: make(model, data, trainer, dense))
        model.load_state_dict(done.state)
        return Outcome(done.masks, rounds=[done.log])

    def _one_shot(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Round:
        masks = self._select(model, self.sparsity)
        start = dense.total - max(1, round(self.finetune * dense.total))
        loop = Loop(
            trainer,
            model,
            data.train,
            stage=f"magnitude {self.sparsity:g}",
            masks=masks,
            start=start,
        )
        loop.base_factor = self.lr_factor
        log: dict[str, Any] = refine(loop, data, dense, self.refinement or Refinement.off())
        return Round(masks, state_of(model), {"sparsity": masks.sparsity, **log})

    def _gradual(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Round:
        model.load_state_dict(dense.states[0])
        loop = Loop(trainer, model, data.train, stage=f"gradual {self.sparsity:g}")
        masks = MaskSet.dense(self.weights(model))
        for log in loop:
            target = cubic(log.step / (self.ramp * loop.total), self.sparsity)
            if target > masks.sparsity:
                masks = loop.masks = self._select(model, target, masks)
        if masks.sparsity < self.sparsity:
            masks = self._select(model, self.sparsity, masks)
        masks.apply_(model)
        return Round(masks, state_of(model), {"sparsity": masks.sparsity})

    def _select(self, model: nn.Module, sparsity: float, within: MaskSet | None = None) -> MaskSet:
        scores = scorers.magnitude(self.weights(model))
        return select(scores, sparsity, within=within, scope=self.scope, floor=self.floor)
