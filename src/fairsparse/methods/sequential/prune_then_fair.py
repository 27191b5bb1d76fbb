"""Pruning first: a plainly pruned network, equalized under masks that stay."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from fairsparse.core import InputError
from fairsparse.fairness.cells import Cells
from fairsparse.masks.grouping import as_selected, parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.methods.method import METHODS, Facts, Key, Levels, Outcome, options
from fairsparse.methods.sequential.sequential import Curve, Sequential, in_sequence
from fairsparse.methods.stages import Round, Run
from fairsparse.training import cross_entropy, state_of


@METHODS.register("prune-then-fair")
@options
class PruneThenFair(Sequential):
    """Remove weights and fine-tune plainly, then train what is left to be less unequal.

    ``one-shot`` removes the weights at once or, with a `fraction` or `levels`, in rounds of
    removing and fine-tuning. The masks stay as they are in the fair stage.
    """

    reference: ClassVar[str] = "Baseline of Dai et al. 2023, arXiv:2312.10181"
    facts: ClassVar[Facts] = Facts("either", "cells", "1 + rounds finetune + fair_share")
    fraction: Annotated[
        float | None,
        Field(gt=0, lt=1, description="removed a round, when one-shot; default: all in one round"),
        Key.PLAN,
    ] = None
    levels: Levels = ()

    def check_options(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` or `cells` do not allow."""
        super().check_options(model, cells)
        if self.fraction is None and not self.levels:
            return
        single = "" if self.schedule == "one-shot" else f"schedule '{self.schedule}'"
        if parse(as_selected(self.grouping)):
            single = f"grouping {self.grouping}"
        if single:
            raise InputError(
                f"{self.name}: fraction and levels ask for several rounds, and {single} has one;"
                " leave them out, or use schedule 'one-shot' with grouping weight or filter"
            )

    def plan(self) -> list[float]:
        """Sparsities of the plain rounds."""
        if self.fraction is None and not self.levels:
            return [self.sparsity]
        return levels(self.sparsity, self.fraction or 0.2, self.levels)

    def run(self, run: Run) -> Outcome:
        """Prune the network, fine-tune it, and train it fairly, in place."""
        chain = run.chain("plain rounds", self.pruning_settings())
        masks = MaskSet.dense(self.weights(run.model))
        done: list[Round] = []
        for level in self.plan():
            done.append(chain.stage(level, make=partial(self._round, run, level, masks)))
            masks = done[-1].masks
        last = self.name, self.fair_settings()
        done.append(chain.stage(*last, make=partial(self._fair, run, masks)))
        return Outcome(masks, rounds=in_sequence(done), path=[stage.masks for stage in done])

    def _round(self, run: Run, level: float, parent: MaskSet) -> Round:
        curve = Curve(run)
        if self.schedule == "gradual":
            *_, masks = curve.follow(self.train(run, cross_entropy))
        else:
            loop = self.one_shot(run, level, parent)
            for _ in curve.follow(loop):
                pass
            assert loop.masks is not None
            masks = loop.masks
        log = {"sparsity": masks.sparsity, **curve.facts()}
        return Round(masks, state_of(run.model), log)

    def _fair(self, run: Run, masks: MaskSet) -> Round:
        log = self.fair(run, f"{self.name} {self.sparsity:g} fair", masks)
        return Round(masks, state_of(run.model), {"sparsity": masks.sparsity, **log})
