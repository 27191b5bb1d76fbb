"""Pruning first: a plainly pruned network, equalized under masks that stay."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.masks.grouping import parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.methods.base import METHODS, Facts, Levels, Outcome, options
from fairsparse.methods.criterion import as_selected
from fairsparse.methods.sequential import Curve, Sequential, in_sequence
from fairsparse.methods.stages import Dense, Round, stored
from fairsparse.training import Loop, Trainer, cross_entropy, state_of
from fairsparse.types import InputError


@METHODS.register("prune-then-fair")
@options
class PruneThenFair(Sequential):
    """Remove weights and fine-tune plainly, then train what is left to be less unequal.

    ``one-shot`` removes the weights at once or, with a `fraction` or `levels`, in rounds of
    removing and fine-tuning. The masks stay as they are in the fair stage.
    """

    label: ClassVar[str] = "prune-then-fair"
    reference: ClassVar[str] = "Baseline of Dai et al. 2023, arXiv:2312.10181"
    facts: ClassVar[Facts] = Facts("either", "cells", "1 + rounds finetune + fair_share")
    fraction: Annotated[
        float | None,
        Field(gt=0, lt=1, description="removed a round, when one-shot; default: all in one round"),
    ] = None
    levels: Levels = ()

    def check(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` or `cells` do not allow."""
        super().check(model, cells)
        if self.fraction is None and not self.levels:
            return
        single = "" if self.schedule == "one-shot" else f"schedule '{self.schedule}'"
        if parse(as_selected(self.grouping)):
            single = f"grouping {self.grouping}"
        if single:
            raise InputError(
                f"{self.label}: fraction and levels ask for several rounds, and {single} has one;"
                " leave them out, or use schedule 'one-shot' with grouping weight or filter"
            )

    def plan(self) -> list[float]:
        """Sparsities of the plain rounds."""
        if self.fraction is None and not self.levels:
            return [self.sparsity]
        return levels(self.sparsity, self.fraction or 0.2, self.levels)

    def run(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Outcome:
        """Prune `model`, fine-tune it, and train it fairly, in place."""
        key = trainer.stages.key(trainer.parent, "plain rounds", self.pruning_settings())
        masks = MaskSet.dense(self.weights(model))
        done: list[Round] = []
        for level in self.plan():
            key = trainer.stages.key(key, level)

            def make(level: float = level, parent: MaskSet = masks) -> Round:
                return self._round(model, data, trainer, dense, level, parent)

            done.append(stored(trainer, key, make))
            masks = done[-1].masks
            model.load_state_dict(done[-1].state)
        key = trainer.stages.key(key, self.label, self.fair_settings())
        done.append(stored(trainer, key, lambda: self._fair(model, data, trainer, dense, masks)))
        model.load_state_dict(done[-1].state)
        return Outcome(masks, rounds=in_sequence(done), path=[stage.masks for stage in done])

    def _round(
        self,
        model: nn.Module,
        data: TrainData,
        trainer: Trainer,
        dense: Dense,
        level: float,
        parent: MaskSet,
    ) -> Round:
        curve = Curve(trainer, data, dense)
        if self.schedule == "gradual":
            *_, masks = curve.follow(model, self.train(model, data, trainer, dense, cross_entropy))
        else:
            loop = self.one_shot(model, data, trainer, dense, level, parent)
            for _ in curve.follow(model, loop):
                pass
            assert loop.masks is not None
            masks = loop.masks
        log = {"sparsity": masks.sparsity, **curve.facts(model)}
        return Round(masks, state_of(model), log)

    def _fair(
        self,
        model: nn.Module,
        data: TrainData,
        trainer: Trainer,
        dense: Dense,
        masks: MaskSet,
    ) -> Round:
        start, stage = self.fair_start(dense), f"{self.label} {self.sparsity:g} fair"
        loop = Loop(trainer, model, data.train, stage=stage, masks=masks, start=start)
        log = self.fair(loop, data, dense)
        return Round(masks, state_of(model), {"sparsity": masks.sparsity, **log})
