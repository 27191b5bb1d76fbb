"""BiFP: masks and weights are learned together, under a fairness term for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from fairsparse.core import InputError, Scores
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.penalties import Form
from fairsparse.masks.grouping import as_selected
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import Scope, select
from fairsparse.masks.structure.channels import check_channels
from fairsparse.methods.bifp.bilevel import Bilevel, ImplicitForm
from fairsparse.methods.bifp.evenness import Evenness
from fairsparse.methods.method import METHODS, Facts, Floor, Later, OneStage, Sparsity, options
from fairsparse.methods.shared.criterion import Grouping, coupling
from fairsparse.methods.stages import Round, Run
from fairsparse.training import Loop, in_turn, state_of


@METHODS.register("bifp")
@options
class Bifp(OneStage):
    """Learn masks and weights in turn, from the dense network, with a fairness term in both.

    Each iteration trains the weights on one batch or several, under the masks of the highest
    scores, and the scores on another. With `lambda_mask` and `lambda_weight` 0 it is BiP, without
    fairness.
    """

    reference: ClassVar[str] = "Dai et al. 2023, arXiv:2312.10181; Zhang et al. 2022 (BiP)"
    facts: ClassVar[Facts] = Facts("either", "cells", "1 + 2 search + finetune")
    sparsity: Sparsity = 0.9
    search: Annotated[
        float | None,
        Field(gt=0, le=1, description="share of the schedule; default: what finetune leaves"),
    ] = None
    lower_steps: Annotated[
        int,
        Field(ge=1, le=100, description="steps of the weights for each step of the scores"),
        Later(1),
    ] = 1
    finetune: Annotated[
        float, Field(ge=0, lt=1, description="share of the schedule after it, masks fixed")
    ] = 0.0
    lr_factor: Annotated[float, Field(gt=0, le=1, description="of the recipe's rates")] = 1.0
    mask_lr: Annotated[
        float, Field(gt=0, description="peak learning rate of the scores, on the recipe's schedule")
    ] = 0.1
    mask_momentum: Annotated[float, Field(ge=0, lt=1, description="of the scores' SGD")] = 0.9
    implicit: Annotated[
        float, Field(ge=0, description="1/gamma: how far weights follow masks; 0: edge-popup")
    ] = 1e-4
    implicit_form: Annotated[
        ImplicitForm,
        Field(description="as derived, or as BiP's released code computes it"),
        Later("derived"),
    ] = "derived"
    lambda_mask: Annotated[float, Field(ge=0, description="fairness term of the scores")] = 1.0
    lambda_weight: Annotated[float, Field(ge=0, description="fairness term of the weights")] = 1.0
    form: Annotated[
        Form, Field(description="of the gap: itself, its square, what exceeds `tau`")
    ] = "absolute"
    tau: Annotated[float, Field(ge=0, le=1, description="gap that form hinge allows")] = 0.01
    kappa: Annotated[float, Field(gt=0, description="steepness of the surrogate accuracy")] = 1.0
    memory: Annotated[
        float, Field(ge=0, lt=1, description="share of the past in the cells' running means")
    ] = 0.9
    grouping: Grouping = "weight"
    scope: Annotated[Scope, Field(description="one ranking, equal layers, or ERK")] = "global"
    recalibrate: Annotated[int, Field(ge=0, description="batches for BatchNorm; 0: off")] = 20
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def check_options(self, model: nn.Module, cells: Cells) -> None:
        """Refuse shares that exceed the schedule, and a model whose channels cannot be followed."""
        if self.search is not None and self.search + self.finetune > 1:
            raise InputError(
                f"bifp: search {self.search:g} and finetune {self.finetune:g} are shares of one"
                " schedule and may add up to 1; lower one of them"
            )
        if self.grouping == "channel":
            check_channels(model)

    @property
    def share(self) -> float:
        """Share of the schedule in which masks and weights are learned."""
        return 1 - self.finetune if self.search is None else self.search

    def make(self, run: Run) -> Round:
        """Learn masks and weights, then train the weights on under the masks that were learned."""
        trainer, total = run.trainer, run.dense.total
        stop = max(1, total - round(self.finetune * total))
        start = max(0, stop - max(1, round(self.share * total)))
        net, lower, upper = self.loops(run, start, stop)
        first, before = net.masks(), trainer.steps
        for _ in in_turn(lower, upper, ahead=self.lower_steps):
            pass
        iterations = trainer.steps - before - (stop - start)
        masks = net.masks()
        masks.apply_(run.model)
        if stop < total:
            loop = run.loop(f"{lower.stage} finetune", masks, stop)
            loop.base_factor, loop.loss = lower.base_factor, lower.loss
            loop.finish()
        trainer.recalibrate(run.model, run.data.train, self.recalibrate)
        kept = sum(int((first[n] & masks[n]).sum()) for n in masks)
        log = {
            "sparsity": masks.sparsity,
            "iterations": iterations,
            "finetune_steps": total - stop,
            "exchanged": 1 - kept / masks.n_kept,
            **run.validated(run.spread(run.data.val)),
        }
        return Round(masks, state_of(run.model), log)

    def loops(self, run: Run, start: int, stop: int) -> tuple[Bilevel, Loop, Loop]:
        """The network with its scores, and the loops over weights and scores, to be run in turn."""
        trainer, train = run.trainer, run.data.train
        trainer.place(run.model)
        choose = self._choose(run)
        net = Bilevel(run.model, self.weights(run.model), choose, self.implicit, self.implicit_form)
        term = Evenness(trainer, train, self.kappa, self.form, self.tau, self.memory)
        stage = f"bifp {self.sparsity:g}"
        lower = Loop(trainer, net.lower, train, stage=stage, start=start, stop=stop)
        lower.base_factor, lower.loss = self.lr_factor, term.added(self.lambda_weight)
        upper = Loop(trainer, net.upper, train, stage=f"{stage} scores", start=start, stop=stop)
        upper.order = "scores"
        upper.optimizer = torch.optim.SGD(
            net.scores.values(), self.mask_lr, momentum=self.mask_momentum
        )
        upper.base_factor = self.mask_lr / trainer.recipe.lr
        upper.loss = term.added(self.lambda_mask)
        return net, lower, upper

    def _choose(self, run: Run) -> Callable[[Scores], MaskSet]:
        """How masks follow from scores: the highest, exactly as many as the sparsity leaves."""
        couple = coupling(self.grouping, run)

        def choose(scores: Scores) -> MaskSet:
            if not all(bool(score.isfinite().all()) for score in scores.values()):
                raise InputError(
                    "bifp: the scores are no longer finite; lower mask_lr (now"
                    f" {self.mask_lr:g}) or the learning rate, warm up, or set grad_clip"
                )
            return select(
                couple(scores),
                self.sparsity,
                scope=self.scope,
                floor=self.floor,
                grouping=as_selected(self.grouping),
            )

        return choose
