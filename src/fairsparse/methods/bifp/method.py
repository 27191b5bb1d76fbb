"""BiFP: masks and weights are learned together, under a fairness term for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fairsparse.core import Batch, InputError, LossFn, Scores
from fairsparse.data.task import Split
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.penalties import DeviationForm, deviation_loss
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import Scope
from fairsparse.methods.bifp.bilevel import Bilevel, ImplicitForm
from fairsparse.methods.method import METHODS, Facts, Floor, Later, Sparsity, options
from fairsparse.methods.shared.criterion import Grouping, coupling
from fairsparse.methods.shared.one_stage import OneStage
from fairsparse.training import Loop, Round, Run, Trainer, cross_entropy, in_turn, state_of


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
        DeviationForm, Field(description="of the gap: itself, its square, what exceeds `tau`")
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
        """Refuse shares that exceed the schedule."""
        if self.search is not None and self.search + self.finetune > 1:
            raise InputError(
                f"bifp: search {self.search:g} and finetune {self.finetune:g} are shares of one"
                " schedule and may add up to 1; lower one of them"
            )

    def make(self, run: Run) -> Round:
        """Learn masks and weights, then train the weights on under the masks that were learned."""
        trainer, total = run.trainer, run.dense.total
        stop = max(1, total - round(self.finetune * total))
        share = 1 - self.finetune if self.search is None else self.search
        start = max(0, stop - max(1, round(share * total)))
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
        scores, momentum = net.scores.values(), self.mask_momentum
        upper.optimizer = torch.optim.SGD(scores, self.mask_lr, momentum=momentum)
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
            return self.highest(couple(scores), self.sparsity)

        return choose


class Evenness:
    """The deviation of the cells' surrogate statistics; calling it also follows them.

    Of each example ``u = sigmoid(kappa * margin)`` stands for being right, with the margin in
    log-odds. The term is ``F(c)`` of the cells' running means c, and its slope at c times

        ``a_k - c_k``, with ``a_k = c_k + 1/B sum_{i in k} (u_i - c_k) / P_k``

    the estimate of cell k's mean from a batch of B examples. P_k, the share of all training
    examples that are in the cell, does not depend on the batch: the estimate is right on average,
    and a cell that the batch does not contain stays at its running mean.

    F is `deviation_loss` of `form` and `tau`; `memory` in [0, 1) is the share of the past in the
    sums behind c, at each batch that contains the cell.
    """

    def __init__(
        self,
        trainer: Trainer,
        train: Split,
        kappa: float = 1.0,
        form: DeviationForm = "absolute",
        tau: float = 0.0,
        memory: float = 0.9,
    ) -> None:
        self.trainer, self.cells = trainer, trainer.cells
        self.kappa, self.form, self.tau, self.memory = kappa, form, tau, memory
        share = self.cells.shares(train.y, train.group)
        self.share = share.clamp_min(1e-9).to(trainer.device)
        self.families = trainer.cells.families.to(trainer.device)
        self.sums = torch.zeros(2, len(trainer.cells), device=trainer.device)

    @property
    def means(self) -> Tensor:
        """Running mean of each cell, (K,); NaN where no batch has contained it."""
        return self.sums[0] / self.sums[1]

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The term for a batch with these logits."""
        cells = self.cells
        index = cells.index(batch.y, batch.group)
        u = (self.kappa * cells.margin(logits, batch.y)).sigmoid()
        self._follow(torch.stack(cells.sums(u.detach(), index)))
        means = self.means.requires_grad_()
        if not bool(self.sums[1].any()):
            return 0 * u.sum()
        value = deviation_loss(means, self.families, self.form, self.tau)
        (slope,) = torch.autograd.grad(value, means)
        at = index.clamp_min(0)
        away = (u - means.detach()[at]) * (slope / self.share)[at]
        return value.detach() + torch.where(index >= 0, away, 0).sum() / len(u)

    def _follow(self, sums: Tensor) -> None:
        # one memory for all processes
        sums = self.trainer.accelerator.reduce(sums, reduction="sum")
        self.sums = torch.where(sums[1] > 0, self.memory * self.sums + sums, self.sums)

    def added(self, lam: float) -> LossFn:
        """Cross-entropy plus `lam` times the term; the cross-entropy itself when `lam` is 0."""
        if lam == 0:
            return cross_entropy
        return lambda logits, batch: cross_entropy(logits, batch) + lam * self(logits, batch)
