"""Equalized loss: training in which every cell's loss is drawn to the loss over all."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fairsparse.core import Batch
from fairsparse.methods.constrained.constraints import (
    DualRamp,
    DualRate,
    Lagrangian,
    by_name,
    excess,
    extremes,
    measure,
)
from fairsparse.methods.method import METHODS, Facts, options
from fairsparse.methods.shared.pruning import Pruned, Schedule
from fairsparse.training import Round, Run, state_of


@METHODS.register("equalized-loss")
@options
class EqualizedLoss(Pruned):
    """Prune gradually, then fine-tune with the distances between the cells' losses in the loss."""

    reference: ClassVar[str] = "Tran et al. 2022, arXiv:2205.13574"
    facts: ClassVar[Facts] = Facts("either", "cells", "2; 1 + finetune when one-shot")
    accuracy_only: ClassVar[bool] = True
    schedule: Schedule = "gradual"
    ramp: DualRamp = 0.3
    dual_rate: DualRate = 0.01

    def make(self, run: Run) -> Round:
        """Prune the network and fine-tune it while the multipliers rise."""
        cells = run.cells
        lagrangian = DistanceLagrangian(cells, self.dual_rate, run.trainer.device)
        *_, masks = self.train(run, lagrangian, while_pruning=False)
        after = measure(cells, run.predict(run.data.train))
        gaps = excess(after.loss, after.share)
        log = {
            "sparsity": masks.sparsity,
            "constrained_steps": lagrangian.steps,
            "max_multiplier": float(lagrangian.multipliers.max()),
            "max_loss_gap": extremes(gaps.abs())[0],
            "loss_range": extremes(gaps)[1],
            "multipliers": by_name(cells, lagrangian.multipliers),
            "loss_gaps": by_name(cells, gaps),
        }
        return Round(masks, state_of(run.model), log)


class DistanceLagrangian(Lagrangian):
    """``L + sum_k multiplier_k |L_k - L|``, whose multipliers rise by the same distances.

    Distances are never negative, so a multiplier never falls. The form is the one that CEAG's
    authors compare with, arXiv:2310.20673.
    """

    def gaps(self, beyond: Tensor) -> Tensor:
        """``|L_k - L|``."""
        return beyond.abs()

    def violation(self, gaps: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """The gaps themselves."""
        return gaps
