"""The one training loop: epochs one can step through."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.data.task import Split
from fairsparse.masks.maskset import BoundMasks, MaskSet
from fairsparse.training.recipe import augment, optimizer_for
from fairsparse.training.repeatable import State, derive, state_of
from fairsparse.types import Batch, InputError, LossFn

if TYPE_CHECKING:
    from fairsparse.training.trainer import Trainer


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


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy of a batch."""
    return F.cross_entropy(logits, batch.y)


class Loop:
    """One training run, an epoch at a time: iterate, and change what you need in between.

    Iterating yields an `EpochLog` after each epoch. Between epochs the caller may set `loss`,
    `lr_factor` and `masks`, or `restore` an earlier state; `base_factor` scales all rates too. Data
    order and augmentation depend on the seed and the step alone, so a run that starts at step k
    sees what the full run saw from k.

    Parameters
    ----------
    trainer : Trainer
    model : nn.Module
        Trained in place.
    train : Split
    stage : str
        Name in the history.
    masks : MaskSet, optional
        Applied before the first and after every step; pruned weights get no gradient.
    start, stop : int
        Steps at which to enter and to leave the schedule; `stop` is its end by default.
    order : str
        Name of the data order; another name gives another order.
    warm : int
        Steps over which the learning rate rises linearly after `start`, besides the schedule.
    snapshots : collection of int
        Steps at which to copy the state into `states`; 0 is the state before the first step.
    """

    def __init__(
        self,
        trainer: Trainer,
        model: nn.Module,
        train: Split,
        *,
        stage: str,
        masks: MaskSet | None = None,
        start: int = 0,
        stop: int | None = None,
        warm: int = 0,
        order: str = "order",
        snapshots: Collection[int] = (),
    ) -> None:
        self.trainer, self.train, self.stage = trainer, train, stage
        self.total = trainer.total_steps(train)
        self.stop = self.total if stop is None else stop
        self.order = order
        if not 0 <= start < self.total:
            raise ValueError(f"start is {start}; the schedule has {self.total} steps")
        trainer.place(model)
        self.model = model
        self.optimizer = optimizer_for(trainer.recipe, model)
        self.loss: LossFn = cross_entropy
        self.lr_factor = self.base_factor = 1.0
        self.step, self.start, self.warm = start, start, warm
        self.snapshots = set(snapshots)
        self.states: dict[int, State] = {}
        self._masks: MaskSet | None = None
        self._bound: BoundMasks | None = None
        self.masks = masks

    @property
    def masks(self) -> MaskSet | None:
        return self._masks

    @masks.setter
    def masks(self, masks: MaskSet | None) -> None:
        """New masks are applied at once, to the weights and to the optimizer's memory of them."""
        self._masks = masks
        self._bound = masks.bind(self.model) if masks is not None else None
        if self._bound is not None:
            self._bound.weights_()
            self._bound.state_(self.optimizer)

    def restore(self, state: State) -> None:
        """Go back to an earlier state of the weights and forget all momentum."""
        self.model.load_state_dict(state)
        self.optimizer.state.clear()
        if self._bound is not None:
            self._bound.weights_()

    def __iter__(self) -> Iterator[EpochLog]:
        trainer, accelerator = self.trainer, self.trainer.accelerator
        if self.step in self.snapshots:
            self.states[self.step] = state_of(self.model)
        # wrapping and its clean-up collect all garbage, which outlasts a short run of one process
        spread = accelerator.use_distributed
        wrapped = accelerator.prepare_model(self.model) if spread else self.model
        per_epoch = trainer.steps_per_epoch(self.train)
        try:
            while self.step < self.stop:
                log = self._epoch(wrapped, self.step // per_epoch, per_epoch)
                trainer.history.append(asdict(log))
                yield log
        finally:
            if spread:
                accelerator.free_memory()

    def _epoch(self, wrapped: nn.Module, epoch: int, per_epoch: int) -> EpochLog:
        trainer, recipe = self.trainer, self.trainer.recipe
        torch.manual_seed(derive(trainer.seed, "forward", epoch))
        order = torch.randperm(len(self.train), generator=trainer.generator(self.order, epoch))
        ranks = trainer.accelerator.num_processes
        rank = trainer.accelerator.process_index
        cells = trainer.cells
        total = torch.zeros(3, device=trainer.device)
        right = torch.zeros(2, len(cells), device=trainer.device)
        self.model.train()
        done, rate = 0, 0.0
        while self.step < min(self.stop, (epoch + 1) * per_epoch):
            at = (self.step % per_epoch) * recipe.batch_size * ranks
            index = order[at : at + recipe.batch_size * ranks][rank::ranks]
            batch = self._batch(index)
            rate = self.base_factor * self.lr_factor * recipe.learning_rate(self.step, self.total)
            if self.warm:
                rate *= min(1.0, (self.step - self.start + 1) / self.warm)
            with trainer.autocast():
                logits = wrapped(batch.x)
            logits = logits.float()
            loss = self.loss(logits, batch)
            self._update(loss, rate)
            self.step += 1
            trainer.steps += 1
            done += 1
            with torch.no_grad():
                n = total.new_tensor(len(index))
                total += torch.stack([loss.detach() * n, (logits.argmax(1) == batch.y).sum(), n])
                hits = cells.hard(logits, batch.y)
                right += torch.stack(cells.sums(hits, cells.index(batch.y, batch.group)))
            if self.step in self.snapshots:
                self.states[self.step] = state_of(self.model)
            if trainer.progress and (done % 10 == 0 or self.step == self.stop):
                trainer.progress(
                    self.stage, self.step, self.total, asdict(self._log(epoch, rate, total, right))
                )
        log = self._log(epoch, rate, total, right)
        if not math.isfinite(log.loss):
            raise InputError(
                f"{self.stage}: the loss became {log.loss} in epoch {epoch}; lower the learning"
                f" rate (now {rate:.2g}), warm up, or set grad_clip"
            )
        return log

    def _batch(self, index: Tensor) -> Batch:
        train = self.train
        x = train.raw(index).to(self.trainer.device)
        if self.trainer.recipe.augment:
            generator = self.trainer.generator("augment", self.step)
            x = augment(x, self.trainer.recipe.augment, generator)
        return self.trainer.to_device(Batch(train.prepare(x), train.y[index], train.group[index]))

    def _update(self, loss: Tensor, rate: float) -> None:
        recipe, accelerator = self.trainer.recipe, self.trainer.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        accelerator.backward(loss)
        if self._bound is not None:
            self._bound.grads_()
        if recipe.grad_clip:
            accelerator.clip_grad_norm_(self.model.parameters(), recipe.grad_clip)
        self.optimizer.step()
        if self._bound is not None:
            self._bound.weights_()

    def _log(self, epoch: int, rate: float, total: Tensor, right: Tensor) -> EpochLog:
        statistic = torch.where(right[1] > 0, right[0] / right[1], torch.inf)
        worst = int(statistic.argmin())
        known = bool(right[1].any())
        return EpochLog(
            self.stage,
            epoch,
            self.step,
            float(total[0] / total[2]),
            float(total[1] / total[2]),
            float(statistic[worst]) if known else None,
            self.trainer.cells.names[worst] if known else None,
            rate,
        )
