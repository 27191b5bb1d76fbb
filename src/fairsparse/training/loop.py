"""The one training loop: epochs one can step through."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Batch, Diverged, InputError, LossFn
from fairsparse.data.task import Split
from fairsparse.masks.maskset import BoundMasks, MaskSet
from fairsparse.masks.structure.paths import check_paths
from fairsparse.training.recipe import optimizer_for
from fairsparse.training.tally import EpochLog, Point, Tally
from fairsparse.training.trainer import State, Trainer, derive, state_of


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy of a batch."""
    return F.cross_entropy(logits, batch.y)


class Loop:
    """One training run, an epoch at a time: iterate, and change what you need in between.

    Iterating yields an `EpochLog` after each epoch; `advance` goes on by any number of steps. In
    between the caller may set `loss`, `lr_factor` and `masks`, `restore` an earlier state, or go
    `back` to a `point` as if nothing had happened since; `base_factor` scales all rates too. Data
    order and augmentation depend on the seed, the name of the order and the step alone, so a run
    that starts at step k sees what the full run saw from k.

    Parameters
    ----------
    model : nn.Module
        Trained in place.
    stage : str
        Name in the history.
    masks : MaskSet, optional
        Applied before the first and after every step; pruned weights get no gradient.
    start, stop : int
        Steps at which to enter and to leave the schedule; `stop` is its end by default.
    snapshots : collection of int
        Steps at which to copy the state into `states`; 0 is the state before the first step.

    Attributes
    ----------
    order : str
        Name of the data order, to be set before the first step; another name gives another order.
    warm : int
        Steps over which the learning rate rises linearly after `start`, besides the schedule.
    index : Tensor of int64, shape (B,)
        Which examples of the training split the batch of the present step holds.
    """

    def __init__(
        self,
        trainer: Trainer,
        model: nn.Module,
        train: Split,
        stage: str,
        masks: MaskSet | None = None,
        start: int = 0,
        stop: int | None = None,
        snapshots: Collection[int] = (),
    ) -> None:
        self.trainer, self.train, self.stage = trainer, train, stage
        self.total = trainer.total_steps(train)
        self.stop = self.total if stop is None else stop
        self.order = "order"
        if not 0 <= start < self.total:
            raise ValueError(f"start is {start}; the schedule has {self.total} steps")
        trainer.place(model)
        self.model = model
        self.optimizer = optimizer_for(trainer.recipe, model)
        self.loss: LossFn = cross_entropy
        self.lr_factor = self.base_factor = 1.0
        self.step, self.start, self.warm = start, start, 0
        self.snapshots = set(snapshots)
        self.states: dict[int, State] = {}
        self.index = torch.empty(0, dtype=torch.int64)
        self._masks: MaskSet | None = None
        self._bound: BoundMasks | None = None
        self._tally: Tally | None = None
        self._good: State | None = None
        self._good_at = start
        self._shuffled = (-1, torch.empty(0, dtype=torch.int64))
        self.masks = masks

    @property
    def masks(self) -> MaskSet | None:
        return self._masks

    @masks.setter
    def masks(self, masks: MaskSet | None) -> None:
        """New masks are applied at once, to the weights and to the optimizer's memory of them.

        Masks that empty a layer or cut every path are an `InputError`: a collapse is told before
        it is trained.
        """
        if masks is not None:
            first = self.trainer.to_device(self.train.batch(torch.arange(1)))
            try:
                check_paths(self.model, masks, first.x)
            except InputError as error:
                raise InputError(f"{self.stage}: {error}") from None
        self._bind(masks)

    def _bind(self, masks: MaskSet | None) -> None:
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

    def point(self) -> Point:
        """Copy where the loop stands."""
        return Point(
            self.step,
            copy.deepcopy(self.model.state_dict()),
            {weight: copy.deepcopy(memory) for weight, memory in self.optimizer.state.items()},
            self._masks,
            copy.deepcopy(self._tally),
            list(self.trainer.history),
        )

    def back(self, point: Point) -> None:
        """Go to a `point` of this loop: weights, masks, momentum, step and history are its own.

        The steps trained since stay counted in the trainer's `steps`.
        """
        self.step = point.step
        self.model.load_state_dict(point.weights)
        self.optimizer.state.clear()
        for weight, memory in point.memory.items():
            self.optimizer.state[weight] = copy.deepcopy(memory)
        self._bind(point.masks)
        self._tally = copy.deepcopy(point.tally)
        self.trainer.history[:] = point.history

    def __iter__(self) -> Iterator[EpochLog]:
        return self._until(self.stop)

    def finish(self) -> dict[int, State]:
        """Train to `stop`; return the states at `snapshots`."""
        for _ in self:
            pass
        return self.states

    def advance(self, steps: int) -> None:
        """Train `steps` steps, or to `stop`; an epoch enters the history when it is whole."""
        for _ in self._until(min(self.stop, self.step + steps)):
            pass

    def _until(self, step: int) -> Iterator[EpochLog]:
        """Train to `step`, in epochs; yield the log of each that is whole."""
        with self._wrapped() as wrapped:
            while self.step < step:
                end = min(self.stop, self._epoch_end())
                self._seed()
                self._train(wrapped, min(step, end))
                if self.step == end:
                    yield self._close()

    @contextmanager
    def _wrapped(self) -> Iterator[nn.Module]:
        accelerator = self.trainer.accelerator
        if self.step == self.start and self.step in self.snapshots:
            self.states[self.step] = state_of(self.model)
        # wrapping and its clean-up collect all garbage, which outlasts a short run of one process
        spread = accelerator.use_distributed
        try:
            yield accelerator.prepare_model(self.model) if spread else self.model
        finally:
            if spread:
                accelerator.free_memory()

    def _epoch_end(self) -> int:
        per_epoch = self.trainer.steps_per_epoch(self.train)
        return (self.step // per_epoch + 1) * per_epoch

    def _seed(self) -> None:
        """Make the noise of the forward passes that follow that of this epoch."""
        epoch = self.step // self.trainer.steps_per_epoch(self.train)
        # an epoch that goes on draws new noise, but the same each time it goes on from here
        resumed = () if self._tally is None else (self.step,)
        torch.manual_seed(derive(self.trainer.seed, "forward", epoch, *resumed))

    def _train(self, wrapped: nn.Module, until: int) -> None:
        """Train to step `until` of the epoch in which the loop stands."""
        trainer, recipe = self.trainer, self.trainer.recipe
        per_epoch = trainer.steps_per_epoch(self.train)
        epoch = self.step // per_epoch
        order = self._examples(epoch)
        ranks, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
        if self._tally is None:
            self._tally = Tally.empty(len(trainer.cells), trainer.device)
        tally = self._tally
        size = recipe.batch_size * ranks
        places = [step % per_epoch * size for step in range(self.step, until)]
        indices = [order[at : at + size][rank::ranks] for at in places]
        self.model.train()
        for index, raw in zip(indices, trainer.read(self.train, indices), strict=True):
            self.index, draw = index, ("augment", self.step)
            batch = trainer.training_batch(self.train, index, *draw, raw=raw)
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
            tally.add(trainer.cells, loss, logits, batch, rate)
            if self.step in self.snapshots:
                self.states[self.step] = state_of(self.model)
            if trainer.progress and (tally.steps % 10 == 0 or self.step == self.stop):
                log = tally.log(trainer.cells, self.stage, epoch, self.step)
                trainer.progress(self.stage, self.step, self.total, asdict(log))

    def _close(self) -> EpochLog:
        """Put the epoch that ends at this step into the history."""
        assert self._tally is not None
        trainer, epoch = self.trainer, (self.step - 1) // self.trainer.steps_per_epoch(self.train)
        log = self._tally.log(trainer.cells, self.stage, epoch, self.step)
        self._tally = None
        broken = [name for name, p in self.model.named_parameters() if not bool(p.isfinite().all())]
        if broken or not math.isfinite(log.loss):
            finite = math.isfinite(log.loss)
            what = f"{broken[0]} is no longer finite" if finite else f"the loss became {log.loss}"
            raise Diverged(
                f"{self.stage}: {what} in epoch {epoch}; lower the learning rate (now"
                f" {log.lr:.2g}), warm up, or set grad_clip",
                self._good_at,
                self._good,
            )
        self._good, self._good_at = state_of(self.model), self.step
        trainer.history.append(asdict(log))
        return log

    def _examples(self, epoch: int) -> Tensor:
        """All examples in the order of that epoch, drawn once however often it is entered."""
        if self._shuffled[0] != epoch:
            generator = self.trainer.generator(self.order, epoch)
            self._shuffled = epoch, torch.randperm(len(self.train), generator=generator)
        return self._shuffled[1]

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


def in_turn(first: Loop, *others: Loop, ahead: int = 1) -> Iterator[list[EpochLog]]:
    """Train several loops, which start and stop together, in turn.

    A turn is `ahead` steps of the first loop, or what is left of its epoch, and one step of each
    other, on the last of the batches that its order has for them. Each step counts in the trainer's
    `steps`. Orders of different names give the loops batches that are independent of each other's.
    After each epoch, the logs of all loops are yielded.
    """
    loops = [first, *others]
    with ExitStack() as stack:
        wrapped = [stack.enter_context(loop._wrapped()) for loop in loops]
        while first.step < first.stop:
            end = min(first.stop, first._epoch_end())
            first._seed()
            while first.step < end:
                first._train(wrapped[0], min(end, first.step + ahead))
                for loop, model in zip(others, wrapped[1:], strict=True):
                    loop.step = first.step - 1
                    loop._train(model, first.step)
            yield [loop._close() for loop in loops]
