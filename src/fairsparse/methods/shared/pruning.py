"""Removing weights at once or along a cubic, as the first half of several methods."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fairsparse.core import InputError, LossFn
from fairsparse.fairness.cells import Cells
from fairsparse.masks.grouping import as_selected, parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import cubic
from fairsparse.masks.selection import Scope
from fairsparse.methods.method import Floor, Method, Sparsity, options
from fairsparse.methods.shared.criterion import Criterion, Grouping, masks_of
from fairsparse.methods.shared.one_stage import OneStage
from fairsparse.training import Loop, Run

Schedule = Annotated[
    Literal["one-shot", "gradual"],
    Field(description="remove the weights at once, or with the epochs along a cubic"),
]
Ramp = Annotated[
    float, Field(gt=0, le=1, description="share of a gradual schedule in which weights are removed")
]


@options
class Pruning(Method):
    """A method that removes the smallest weights, or those that another `criterion` ranks lowest.

    ``one-shot`` removes them from the dense network at once and trains for `finetune` of the
    schedule. ``gradual`` trains for all of it and raises the sparsity with the epochs, along the
    cubic of Zhu & Gupta, until `ramp` of it.
    """

    sparsity: Sparsity = 0.9
    criterion: Criterion = "magnitude"
    grouping: Grouping = "weight"
    scope: Annotated[Scope, Field(description="one ranking, equal layers, or ERK")] = "global"
    schedule: Schedule = "one-shot"
    finetune: Annotated[
        float, Field(gt=0, le=1, description="share of the schedule, when one-shot")
    ] = 1.0
    lr_factor: Annotated[float, Field(gt=0, le=1, description="of the recipe's rates")] = 0.1
    ramp: Ramp = 0.75
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def check_options(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` or `cells` do not allow."""
        if self.schedule == "gradual" and parse(as_selected(self.grouping)):
            raise InputError(
                f"{self.name}: a {self.grouping} pattern has one sparsity, and schedule 'gradual'"
                " passes through others; use schedule 'one-shot', or grouping weight or filter"
            )

    def train(
        self,
        run: Run,
        loss: LossFn,
        sparsity: float | None = None,
        within: MaskSet | None = None,
        *,
        while_pruning: bool = True,
    ) -> Iterator[MaskSet]:
        """Prune the network and train it with `loss`, from the weights it has.

        After each epoch the masks now applied are yielded; the last have exactly `sparsity`, by
        default the final one. Without `while_pruning`, the plain cross-entropy applies while a
        gradual schedule removes weights.
        """
        if self.schedule == "one-shot":
            loop = self.one_shot(run, sparsity, within)
            assert loop.masks is not None
            loop.loss = loss
            for _ in loop:
                yield loop.masks
            return
        loop = run.loop(f"{self.name} {self.sparsity:g}")
        loop.base_factor = self.lr_factor
        if while_pruning:
            loop.loss = loss
        for masks in self.gradual(loop, run):
            if loop.step >= self.ramp * loop.total:
                loop.loss = loss
            yield masks

    def one_shot(
        self, run: Run, sparsity: float | None = None, within: MaskSet | None = None
    ) -> Loop:
        """A loop over the end of the schedule, under masks of `sparsity`, by default the final."""
        level = self.sparsity if sparsity is None else sparsity
        masks = masks_of(self, run, level, within)
        loop = run.loop(f"{self.name} {level:g}", masks, run.dense.start_of_last(self.finetune))
        loop.base_factor = self.lr_factor
        return loop

    def gradual(self, loop: Loop, run: Run) -> Iterator[MaskSet]:
        """Run `loop`, removing weights after each epoch; yield the masks as they are then."""
        masks = MaskSet.dense(self.weights(run.model))
        for log in loop:
            target = cubic(log.step / (self.ramp * loop.total), self.sparsity)
            if target > masks.sparsity:
                masks = masks_of(self, run, target, masks)
                loop.masks = masks
            yield masks


@options
class Pruned(Pruning, OneStage):
    """A method of one stage; subclasses say how what is left is trained."""


def frozen(run: Run) -> Callable[[Tensor], Tensor]:
    """The network as it is now, as a function of its inputs: logits (B, C) without a gradient.

    In evaluation mode, whatever becomes of the network; it draws no random numbers.
    """
    kept = copy.deepcopy(run.model).eval().requires_grad_(False)
    run.trainer.place(kept)

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad(), run.trainer.autocast():
            return kept(x).float()

    return logits
