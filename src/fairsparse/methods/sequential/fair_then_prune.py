"""Fairness first: an equalized dense network, pruned plainly."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairsparse.masks.maskset import MaskSet
from fairsparse.methods.method import METHODS, Facts, Outcome, options
from fairsparse.methods.sequential.sequential import Curve, Sequential, in_sequence
from fairsparse.methods.stages import Round, Run
from fairsparse.training import cross_entropy, state_of


@METHODS.register("fair-then-prune")
@options
class FairThenPrune(Sequential):
    """Train the dense network to be less unequal, then remove weights and fine-tune plainly.

    One of the two orders in which fairness and pruning are done separately, as a baseline for
    methods that do both at once.
    """

    reference: ClassVar[str] = "Baseline of Dai et al. 2023, arXiv:2312.10181"
    facts: ClassVar[Facts] = Facts("either", "cells", "1 + fair_share + finetune")
    fair_from: Annotated[
        Literal["scratch", "dense"],
        Field(description="the fair stage starts from the untrained network, or the trained one"),
    ] = "scratch"
    fair_lr_factor: Annotated[
        float, Field(gt=0, le=1, description="of the recipe's rates, in the fair stage")
    ] = 1.0

    def run(self, run: Run) -> Outcome:
        """Train the network fairly, prune it, and fine-tune it, in place."""
        chain = run.chain()
        fair = chain.stage("fair", self.fair_settings(), make=partial(self._fair, run))
        plain = self.name, self.sparsity, self.pruning_settings()
        done = chain.stage(*plain, make=partial(self._prune, run))
        return Outcome(done.masks, rounds=in_sequence([fair, done]))

    def _fair(self, run: Run) -> Round:
        if self.fair_from == "scratch":
            run.model.load_state_dict(run.dense.states[0])
        log = {"sparsity": 0.0, **self.fair(run, "fair dense")}
        return Round(MaskSet.dense(self.weights(run.model)), state_of(run.model), log)

    def _prune(self, run: Run) -> Round:
        curve = Curve(run)
        *_, masks = curve.follow(self.train(run, cross_entropy))
        log = {"sparsity": masks.sparsity, **curve.facts()}
        return Round(masks, state_of(run.model), log)
