"""Equalized loss: training in which every cell's loss is drawn to the loss over all."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fairsparse.core import Batch
from fairsparse.fairness.cells import Cells
from fairsparse.methods.base import METHODS, Facts, options
from fairsparse.methods.constraints import (
    DualRate,
    Multipliers,
    by_name,
    cell_means,
    excess,
    extremes,
    measure,
)
from fairsparse.methods.pruned import Pruned, Schedule
from fairsparse.methods.stages import Round, Run
from fairsparse.training import cross_entropy, state_of


@METHODS.register("equalized-loss")
@options
class EqualizedLoss(Pruned):
    """Prune gradually, then fine-tune with the distances between the cells' losses in the loss."""

    reference: ClassVar[str] = "Tran et al. 2022, arXiv:2205.13574"
    facts: ClassVar[Facts] = Facts("either", "cells", "2; 1 + finetune when one-shot")
    accuracy_only: ClassVar[bool] = True
    schedule: Schedule = "gradual"
    ramp: Annotated[
        float, Field(gt=0, lt=1, description="share of a gradual schedule; constraints follow it")
    ] = 0.3
    dual_rate: DualRate = 0.01

    def make(self, run: Run) -> Round:
        """Prune the network and fine-tune it while the multipliers rise."""
        cells = run.cells
        lagrangian = Lagrangian(cells, self.dual_rate, run.trainer.device)
        *_, masks = self.train(run, lagrangian, while_pruning=False)
        after = measure(cells, run.predict(run.data.train))
        gaps = excess(after.loss, after.share)
        log = {
            "sparsity": masks.sparsity,
            "constrained_steps": lagrangian.steps,
            "max_multiplier": float(lagrangian.multipliers.values.max()),
            "max_loss_gap": extremes(gaps.abs())[0],
            "loss_range": extremes(gaps)[1],
            "multipliers": by_name(cells, lagrangian.multipliers.values),
            "loss_gaps": by_name(cells, gaps),
        }
        return Round(masks, state_of(run.model), log)


class Lagrangian:
    """``L + sum_k multiplier_k |L_k - L|``; calling it first raises the multipliers [1]_.

    Over the cells of the batch: the multipliers of other cells stay as they are. Distances are
    never negative, so a multiplier never falls.

    Parameters
    ----------
    cells : Cells
    rate : float
        Step of the multipliers.
    device : torch.device, optional

    References
    ----------
    .. [1] Tran et al., "Pruning has a disparate impact on model accuracy", NeurIPS 2022,
       arXiv:2205.13574; in the form compared with in arXiv:2310.20673.
    """

    def __init__(self, cells: Cells, rate: float, device: torch.device | None = None) -> None:
        self.cells, self.steps = cells, 0
        self.multipliers = Multipliers(len(cells), rate, device)

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss of a batch."""
        self.steps += 1
        losses = F.cross_entropy(logits, batch.y, reduction="none")
        overall = cross_entropy(logits, batch)
        means, seen = cell_means(self.cells, losses, self.cells.index(batch.y, batch.group))
        gaps = (means - overall).abs() * seen
        self.multipliers.ascend(gaps.detach(), seen)
        return overall + (self.multipliers.values * gaps).sum()
