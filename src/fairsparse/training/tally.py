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
    """What one epoch of training looked like, on the training batches.

    Attributes
    ----------
    stage : str
        What was being trained, such as ``dense`` or ``lth 0.90``.
    epoch, step : int
        Counted over the whole schedule; `step` is the number of steps done.
    loss, accuracy : float
    worst : float or None
        Lowest statistic of any cell with examples in the epoch; None when no cell had any.
    worst_cell : str or None
    lr : float
    """

    stage: str
    epoch: int
    step: int
    loss: float
    accuracy: float
    worst: float | None
    worst_cell: str | None
    lr: float


@dataclass
class Tally:
    """Running sums of the epoch that is being trained.

    Attributes
    ----------
    total : Tensor, shape (3,)
        Loss, right answers, examples.
    right : Tensor, shape (2, K)
        Statistic and examples of each cell.
    steps : int
    rate : float
        Learning rate of the last step.
    """

    total: Tensor
    right: Tensor
    steps: int = 0
    rate: float = 0.0

    @classmethod
    def empty(cls, cells: int, device: torch.device) -> Tally:
        return cls(torch.zeros(3, device=device), torch.zeros(2, cells, device=device))

    def copy(self) -> Tally:
        return Tally(self.total.clone(), self.right.clone(), self.steps, self.rate)

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
        measured = bool(self.right[1].any())
        return EpochLog(
            stage,
            epoch,
            step,
            float(self.total[0] / self.total[2]),
            float(self.total[1] / self.total[2]),
            float(statistic[worst]) if measured else None,
            cells.names[worst] if measured else None,
            self.rate,
        )


@dataclass(frozen=True)
class Point:
    """Where a loop stands: all that decides how it goes on, copied.

    Attributes
    ----------
    step : int
    weights : dict
        Parameters and buffers of the model, by name.
    memory : dict
        Parameter -> what the optimizer remembers of it.
    masks : MaskSet or None
    tally : Tally or None
        Sums of an epoch that is not finished.
    history : list of dict
        The trainer's.
    """

    step: int
    weights: dict[str, Tensor]
    memory: dict[Tensor, dict[str, Any]]
    masks: MaskSet | None
    tally: Tally | None
    history: list[dict[str, Any]]
