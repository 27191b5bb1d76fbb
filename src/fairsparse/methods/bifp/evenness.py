"""How unequal the cells are, as a term in the loss of every batch, whatever the batch contains."""

from __future__ import annotations

import torch
from torch import Tensor

from fairsparse.core import Batch, LossFn
from fairsparse.data.task import Split
from fairsparse.fairness.steering.penalties import Form, deviation_loss
from fairsparse.training import Trainer, cross_entropy


class Evenness:
    """The deviation of the cells' surrogate statistics; calling it also follows them.

    Of each example ``u = sigmoid(kappa * margin)`` stands for being right, with the margin in
    log-odds. The term is ``F(c)`` of the cells' running means c, and its slope at c times

        ``a_k - c_k``, with ``a_k = c_k + 1/B sum_{i in k} (u_i - c_k) / P_k``

    the estimate of cell k's mean from a batch of B examples. P_k, the share of all training
    examples that are in the cell, does not depend on the batch: the estimate is right on average,
    and a cell that the batch does not contain stays at its running mean.

    Parameters
    ----------
    trainer : Trainer
        Its cells are compared.
    train : Split
    kappa : float
    form, tau
        As in `deviation_loss`, which is F.
    memory : float in [0, 1)
        Share of the past in the sums behind c, at each batch that contains the cell.
    """

    def __init__(
        self,
        trainer: Trainer,
        train: Split,
        kappa: float = 1.0,
        form: Form = "absolute",
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
