"""Fairness first: an equalized dense network, pruned plainly."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.masks.maskset import MaskSet
from fairsparse.methods.base import METHODS, Facts, Outcome, options
from fairsparse.methods.sequential import Curve, Sequential, in_sequence
from fairsparse.methods.stages import Dense, Round, stored
from fairsparse.training import Loop, Trainer, cross_entropy, state_of


@METHODS.register("fair-then-prune")
@options
class FairThenPrune(Sequential):
    """Train the dense network to be less unequal, then remove weights and fine-tune plainly.

    One of the two orders in which fairness and pruning are done separately, as a baseline for
    methods that do both at once.
    """

    label: ClassVar[str] = "fair-then-prune"
    reference: ClassVar[str] = "Baseline of Dai et al. 2023, arXiv:2312.10181"
    facts: ClassVar[Facts] = Facts("either", "cells", "1 + fair_share + finetune")
    fair_from: Annotated[
        Literal["scratch", "dense"],
        Field(description="the fair stage starts from the untrained network, or the trained one"),
    ] = "scratch"
    fair_lr_factor: Annotated[
        float, Field(gt=0, le=1, description="of the recipe's rates, in the fair stage")
    ] = 1.0

    def run(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Outcome:
        """Train `model` fairly, prune it, and fine-tune it, in place."""
        key = trainer.stages.key(trainer.parent, "fair", self.fair_settings())
        fair = stored(trainer, key, lambda: self._fair(model, data, trainer, dense))
        model.load_state_dict(fair.state)
        key = trainer.stages.key(key, self.label, self.sparsity, self.pruning_settings())
        done = stored(trainer, key, lambda: self._prune(model, data, trainer, dense))
        model.load_state_dict(done.state)
        return Outcome(done.masks, rounds=in_sequence([fair, done]))

    def _fair(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Round:
        if self.fair_from == "scratch":
            model.load_state_dict(dense.states[0])
        start = self.fair_start(dense)
        loop = Loop(trainer, model, data.train, stage="fair dense", start=start)
        log = self.fair(loop, data, dense)
        return Round(MaskSet.dense(self.weights(model)), state_of(model), {"sparsity": 0.0, **log})

    def _prune(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Round:
        curve = Curve(trainer, data, dense)
        tuned = self.train(model, data, trainer, dense, cross_entropy)
        *_, masks = curve.follow(model, tuned)
        log = {"sparsity": masks.sparsity, **curve.facts(model)}
        return Round(masks, state_of(model), log)
