"""What is read off a loop: sums over an epoch's batches, their log, and where the loop stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fairsparse.core import Batch
from fairsparse.fairness.cells import Cells
from fairsparse.masks.maskset import MaskSet


@dataclass(frozen=True)
class EpochLog:
    """What one epoch of training looked like, on the training batches."""

    stage: str
    """What was being trained, such as ``dense`` or ``lth 0.90``."""
    epoch: int
    step: int
    """Steps of the whole schedule that were done."""
    loss: float
    accuracy: float
    worst: float | None
    """Lowest statistic of any cell with examples in the epoch; None when no cell had any."""
    worst_cell: str | None
    lr: float


@dataclass
class Tally:
    """Running sums of the epoch that is being trained."""

    total: Tensor
    """Loss, right answers, examples: (3,)."""
    right: Tensor
    """Statistic and examples of each cell, (2, K)."""
    steps: int = 0
    rate: float = 0.0
    """Learning rate of the last step."""

    @classmethod
    def empty(cls, cells: int, device: torch.device) -> Tally:
        return cls(torch.zeros(3, device=device), torch.zeros(2, cells, device=device))

    @torch.no_grad()
    def add(self, cells: Cells, loss: Tensor, logits: Tensor, batch: Batch, rate: float) -> None:
        """Take in a step's mean loss, logits (B, C), batch and learning rate."""
        n = self.total.new_tensor(len(batch.y))
        self.total += torch.stack([loss.detach() * n, (logits.argmax(1) == batch.y).sum(), n])
        hits = cells.hard(logits, batch.y)
        self.right += torch.stack(cells.sums(hits, cells.index(batch.y, batch.group)))
        self.steps += 1
        self.rate = rate

    def log(self, cells: Cells, stage: str, epoch: int, step: int) -> EpochLog:
        statistic = torch.where(self.right[1] > 0, self.right[0] / self.right[1], torch.inf)
        worst = int(statistic.argmin())
        loss, accuracy = (float(part / self.total[2]) for part in self.total[:2])
        lowest, name = None, None
        if bool(self.right[1].any()):
            lowest, name = float(statistic[worst]), cells.names[worst]
        return EpochLog(stage, epoch, step, loss, accuracy, lowest, name, self.rate)


@dataclass(frozen=True)
class Point:
    """Where a loop stands: all that decides how it goes on, copied."""

    step: int
    weights: dict[str, Tensor]
    """Parameters and buffers of the model, by name."""
    memory: dict[Tensor, dict[str, Any]]
    """Parameter -> what the optimizer remembers of it."""
    masks: MaskSet | None
    tally: Tally | None
    """Of an epoch that is not finished."""
    history: list[dict[str, Any]]
