"""The fairness terms a search for scores can have in its loss, steered by the calibration split."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Batch, InputError, LossFn, Predictions
from fairsparse.data.task import Split
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.penalties import (
    FairLoss,
    PushForm,
    directed_term,
    directions,
    gap_loss,
    streaming_weights,
    weighted_sum,
)
from fairsparse.masks.modes import call_with
from fairsparse.training import Trainer, cross_entropy
from fairsparse.training.refinement.options import Refinement

TermName = Literal["none", "dp", "eo", "cells", "adversarial"]

Chosen = Annotated[TermName, Field(description="fairness term in the loss")]
Weight = Annotated[float, Field(ge=0, description="weight of the term")]
Cost = Annotated[PushForm, Field(description="cost of a logit, of terms dp and eo")]
Gap = Annotated[FairLoss, Field(description="gap of term cells")]

_NOTIONS = {"dp": "demographic-parity", "eo": "equal-opportunity"}
_HIDDEN = 32
_HEAD_LR = 1e-2


def check_term(name: str, kind: TermName, cells: Cells, refinement: Refinement | None) -> None:
    """Raise `InputError` when a term cannot act on the cells, or a form would steer the loss too.

    `name` is the method's.
    """
    if kind in ("dp", "eo") and len(cells.class_names) != 2:
        raise InputError(
            f"term '{kind}' moves how often class 1 of 2 is predicted, the task has"
            f" {len(cells.class_names)} classes; use term 'cells'"
        )
    if kind in ("dp", "eo", "adversarial") and len(cells.group_names) < 2:
        raise InputError(
            f"term '{kind}' needs at least 2 groups, the task has {len(cells.group_names)}; name a"
            " sensitive attribute or use term 'cells'"
        )
    if kind != "none" and refinement is not None and refinement.form != "none":
        raise InputError(
            f"{name}: term '{kind}' and refinement form '{refinement.form}' would both steer the"
            " loss; set term to none, or refinement.form to none"
        )


class Term:
    """A loss: `loss` in the first epoch and, if `steered`, what `update` gives in each other."""

    loss: LossFn = staticmethod(cross_entropy)
    steered = True

    def update(self, held_out: Predictions) -> LossFn:
        """Return the loss for the next epoch, given predictions on the calibration split."""
        return self.loss

    def facts(self) -> dict[str, Any]:
        """JSON-able facts for the log."""
        return {}


class Directed(Term):
    """Pushes the groups' rates of predicting class 1 together: ``dp``, or ``eo`` in class 1 alone.

    The direction follows the gap on the calibration split, so the gap is not pushed past zero for
    longer than an epoch; the first epoch, before anything is known, has the plain loss.
    """

    def __init__(
        self, kind: TermName, form: PushForm, lam: float, trainer: Trainer, train: Split
    ) -> None:
        cells = trainer.cells
        self.cells = Cells(_NOTIONS[kind], cells.class_names, cells.group_names)
        self.form, self.lam = form, lam
        self.share = self.cells.shares(train.y, train.group)
        self.push = torch.zeros_like(self.share)
        self.turns = 0

    def update(self, held_out: Predictions) -> LossFn:
        cells = self.cells
        index = cells.index(held_out.y, held_out.group)
        # of the cells' examples, how many are predicted 1, whichever the notion
        total, counts = cells.sums(held_out.logits.argmax(1).float(), index)
        push = directions(total / counts, counts)
        self.turns += int(float((push * self.push).sum()) < 0)
        self.push = push

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            d, share = push.to(logits.device), self.share.to(logits.device)
            term = directed_term(logits, cells.index(batch.y, batch.group), d, share, self.form)
            return cross_entropy(logits, batch) + self.lam * term

        return loss

    def facts(self) -> dict[str, Any]:
        return {"push": self.push.tolist(), "turns": self.turns}


class Evened(Term):
    """Lowers the gap between the run's cells: ``lam * gap_loss`` at the calibration split's means.

    The gap's slope in each cell's mean is held for an epoch and spread over the cell's examples,
    so a batch need not contain every cell.
    """

    def __init__(self, gap: FairLoss, lam: float, trainer: Trainer, train: Split) -> None:
        self.cells, self.gap, self.lam = trainer.cells, gap, lam
        self.share = self.cells.shares(train.y, train.group)

    def update(self, held_out: Predictions) -> LossFn:
        cells = self.cells
        index = cells.index(held_out.y, held_out.group)
        means = cells.means(cells.soft(held_out.logits, held_out.y), index)
        measured = (~means.isnan()).to(means.dtype)
        loss_of = partial(gap_loss, kind=self.gap)
        slope = streaming_weights(loss_of, means, measured, cells.families)
        weights = self.lam * slope / self.share.clamp_min(1e-9)

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            w = weights.to(logits.device)
            gap = weighted_sum(w, cells, logits, batch.y, batch.group)
            return cross_entropy(logits, batch) + gap / len(batch.y)

        return loss


class Adversary(Term):
    """``CE - lam * min(CE_group, H)``: what a head that guesses the group can learn is taken away.

    The head sees the logits and learns a step ahead on detached ones, from the examples whose
    group is known. H is the entropy of their groups, the head's loss when it can only guess; at H
    nothing is left to hide, and no network is rewarded for fooling the head beyond that.
    """

    steered = False

    def __init__(self, lam: float, trainer: Trainer, train: Split) -> None:
        self.lam, self.trainer = lam, trainer
        self.head = self._guesser()
        self.optimizer = torch.optim.Adam(self.head.parameters(), _HEAD_LR)
        counts = torch.bincount(train.group[train.group >= 0]).double()
        self.entropy = float(torch.special.entr(counts / counts.sum()).sum())
        self.loss = self._loss

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        has_group = batch.group >= 0
        self._learn(logits.detach(), batch.group, has_group)
        fixed = {name: p.detach() for name, p in self.head.named_parameters()}
        guess = call_with(self.head, fixed, logits)
        lost = _mean_over(guess, batch.group, has_group).clamp_max(self.entropy)
        return cross_entropy(logits, batch) - self.lam * lost

    def _guesser(self) -> nn.Module:
        cells, generator = self.trainer.cells, self.trainer.generator("group head")
        first = nn.Linear(len(cells.class_names), _HIDDEN)
        head = nn.Sequential(first, nn.ReLU(), nn.Linear(_HIDDEN, len(cells.group_names)))
        with torch.no_grad():
            for p in head.parameters():
                bound = p.shape[-1] ** -0.5 if p.dim() > 1 else 0.0
                p.uniform_(-bound, bound, generator=generator)
        return head.to(self.trainer.device)

    def _learn(self, logits: Tensor, group: Tensor, has_group: Tensor) -> None:
        self.head.to(logits.device)
        self.optimizer.zero_grad()
        _mean_over(self.head(logits), group, has_group).backward()
        for p in self.head.parameters():
            # one head for all processes, whichever of them have groups in this batch
            p.grad = self.trainer.accelerator.reduce(p.grad, reduction="mean")
        self.optimizer.step()


def _mean_over(guess: Tensor, group: Tensor, has_group: Tensor) -> Tensor:
    lost = F.cross_entropy(guess, group.clamp_min(0), reduction="none")
    return (lost * has_group).sum() / has_group.sum().clamp_min(1)


def make_term(
    kind: TermName, form: PushForm, gap: FairLoss, lam: float, trainer: Trainer, train: Split
) -> Term | None:
    """The term of that kind, or None for the plain loss."""
    if kind == "none" or lam == 0:
        return None
    if kind == "cells":
        return Evened(gap, lam, trainer, train)
    if kind == "adversarial":
        return Adversary(lam, trainer, train)
    return Directed(kind, form, lam, trainer, train)
