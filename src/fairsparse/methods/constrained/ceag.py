"""CEAG: fine-tuning under a bound on how much more a cell may lose than the whole."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fairsparse.core import Batch
from fairsparse.fairness.cells import Cells
from fairsparse.methods.constrained.constraints import (
    DualRamp,
    DualRate,
    Lagrangian,
    Measured,
    Recent,
    by_name,
    excess,
    extremes,
    measure,
    rows,
)
from fairsparse.methods.method import METHODS, Facts, options
from fairsparse.methods.shared.pruning import Pruned, Schedule
from fairsparse.training import Round, Run, state_of


@METHODS.register("ceag")
@options
class Ceag(Pruned):
    """Prune gradually, then fine-tune so that no cell loses much more accuracy than the whole.

    The excess accuracy gap of a cell, ``psi = (its loss of accuracy) - (the loss over all)``, is
    held to at most `eps` by Lagrange multipliers.
    """

    reference: ClassVar[str] = "Hashemizadeh et al., ICLR 2024, arXiv:2310.20673"
    facts: ClassVar[Facts] = Facts("either", "cells", "2; 1 + finetune when one-shot")
    accuracy_only: ClassVar[bool] = True
    schedule: Schedule = "gradual"
    ramp: DualRamp = 0.3
    eps: Annotated[float, Field(ge=0, le=1, description="largest excess gap allowed")] = 0.01
    dual_rate: DualRate = 0.01
    memory: Annotated[
        int, Field(ge=1, description="recent examples of a cell by which its accuracy is judged")
    ] = 40

    def make(self, run: Run) -> Round:
        """Prune the network and fine-tune it under the constraints."""
        cells, train, device = run.cells, run.data.train, run.trainer.device
        before = measure(cells, run.predict(train))
        options = self.eps, self.dual_rate, self.memory
        lagrangian = ExcessLagrangian(cells, before, *options, device)
        epochs: list[dict[str, Any]] = []
        for masks in self.train(run, lagrangian, while_pruning=False):
            epochs.append({"sparsity": masks.sparsity, **lagrangian.now(lagrangian.psi)})
        after = measure(cells, run.predict(train))
        psi = excess(before.accuracy - after.accuracy, before.share)
        now = lagrangian.now(psi)
        log = {
            "sparsity": masks.sparsity,
            "constrained_steps": lagrangian.steps,
            **now,
            "met_in_training": now["max_psi"] is not None and now["max_psi"] <= self.eps,
            "multipliers": by_name(cells, lagrangian.multipliers),
            "psi": by_name(cells, psi),
            "epochs": epochs,
        }
        return Round(masks, state_of(run.model), log)


class ExcessLagrangian(Lagrangian):
    """Cross-entropy plus multipliers times excess gaps.

    The multipliers follow measured accuracies, the network follows losses in their place. A cell's
    multiplier moves when the batch contains the cell and its buffer, of `memory` examples, is
    full. `dense` is measured on the training split.
    """

    def __init__(
        self,
        cells: Cells,
        dense: Measured,
        eps: float,
        rate: float,
        memory: int,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(cells, rate, device)
        self.eps = eps
        self.accuracy, loss, self.share = (t.to(device) for t in dense)
        self.offset = excess(loss, self.share).nan_to_num()
        self.recent = Recent(len(cells) + 1, memory, device)
        self.psi = torch.full((len(cells),), torch.nan, device=device)

    def gaps(self, beyond: Tensor) -> Tensor:
        """``(L_k - L) - (L_k - L of dense)``."""
        return beyond - self.offset

    def violation(self, gaps: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """``psi - eps``, by the outcomes in the buffers."""
        right = (logits.argmax(1) == batch.y).float()
        self.recent.push(rows(self.cells, batch.y, batch.group), right)
        self.psi = excess(self.accuracy - self.recent.means(), self.share)
        return self.psi - self.eps

    def now(self, psi: Tensor) -> dict[str, Any]:
        """The largest multiplier, the largest psi (K,), and their range."""
        largest, span = extremes(psi)
        multiplier = float(self.multipliers.max())
        return {"max_multiplier": multiplier, "max_psi": largest, "psi_range": span}
