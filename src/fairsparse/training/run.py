"""What methods share of a run: its parts, the dense network, and stages stored when finished."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from fairsparse.core import Batch, Predictions
from fairsparse.data.task import Split, TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.spread import Spread, spread
from fairsparse.masks.maskset import MaskSet
from fairsparse.training.loop import Loop
from fairsparse.training.memory import lower_peak, peak_gib
from fairsparse.training.trainer import State, Trainer, state_of


@dataclass(frozen=True)
class Dense:
    """The trained dense network all methods of a run start from."""

    states: dict[int, State]
    """Step -> state; the last step is the end of training."""
    total: int
    """Steps of the schedule, T."""
    val: Spread
    """Accuracy and inequality on the validation split."""
    answers: Callable[[], Tensor] = field(default=lambda: torch.empty(0), repr=False)
    """Its logits on the training split, (N, C), computed when first asked for."""

    @property
    def final(self) -> State:
        return self.states[self.total]

    def start_of_last(self, share: float) -> int:
        """Step at which the last `share` of the schedule starts, at the latest its last step."""
        return self.total - max(1, round(share * self.total))


@dataclass
class Round:
    """A finished stage of a method: its masks, the model at the end, JSON-able facts.

    `points` are states by their steps, where later stages need them.
    """

    masks: MaskSet
    state: State
    log: dict[str, Any]
    points: dict[int, State] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What a method is given: all but the test split.

    The model holds the trained dense weights; methods prune and train it in place.
    """

    model: nn.Module
    data: TrainData
    trainer: Trainer
    dense: Dense

    @property
    def cells(self) -> Cells:
        return self.trainer.cells

    def predict(self, split: Split) -> Predictions:
        """Logits of the network as it is now, in the split's order."""
        return self.trainer.predict(self.model, split)

    def spread(self, split: Split) -> Spread:
        """Accuracy and inequality of the network as it is now."""
        return spread(self.cells, self.predict(split))

    def cell_batches(
        self, count: int, size: int, *purpose: object
    ) -> Iterator[tuple[int, Iterator[Batch]]]:
        """Each cell that cal has examples of, with `count` batches of `size` of its examples.

        They are drawn with replacement, by the seed and the `purpose`.
        """
        trainer, cal = self.trainer, self.data.cal
        index = self.cells.index(cal.y, cal.group)
        for k in index[index >= 0].unique().tolist():
            members = (index == k).nonzero()[:, 0]
            generator = trainer.generator(*purpose, k)
            drawn = members[torch.randint(len(members), (count, size), generator=generator)]
            yield k, (trainer.to_device(cal.batch(row)) for row in drawn)

    def validated(self, reached: Spread) -> dict[str, Any]:
        """What a log says of a network that reached this on validation."""
        return {
            "val_accuracy": reached.accuracy,
            "val_variance": reached.variance,
            "val_range": reached.range,
            "val_drop": self.dense.val.accuracy - reached.accuracy,
        }

    def loop(
        self,
        stage: str,
        masks: MaskSet | None = None,
        start: int = 0,
        stop: int | None = None,
        snapshots: Collection[int] = (),
    ) -> Loop:
        """A `Loop` that trains the network on the training split."""
        train = self.data.train
        return Loop(self.trainer, self.model, train, stage, masks, start, stop, snapshots)

    def chain(self, *parts: Any) -> Chain:
        """Stages that follow from the dense network; `parts` are what their keys name first."""
        key = self.trainer.parent
        return Chain(self, self.trainer.stages.key(key, *parts) if parts else key)


class Chain:
    """Stages of a run that follow from one another: the key of each names all before it."""

    def __init__(self, run: Run, key: str) -> None:
        self.run, self.key = run, key

    def stage(self, *parts: Any, make: Callable[[], Round], label: str | None = None) -> Round:
        """Take the next stage from the store, or make it; the network ends up in its state.

        The JSON-able `parts` tell it from others that could follow the same one; `label` is as for
        `stored`.
        """
        self.key = self.run.trainer.stages.key(self.key, *parts)
        done = stored(self.run.trainer, self.key, make, label=label)
        self.run.model.load_state_dict(done.state)
        return done

    def branch(self) -> Chain:
        """A chain of its own that goes on from here."""
        return Chain(self.run, self.key)


def rewind_step(share: float | None, total: int) -> int:
    """Step to rewind to: ``share * total``, or the default ``max(500, 1.6 %)``, at most 10 %.

    The default is where iterative pruning becomes stable (Frankle et al. 2020, arXiv:1912.05671);
    the cap keeps most of a short schedule for training the ticket.

    >>> rewind_step(None, 60000), rewind_step(None, 1000), rewind_step(0.0, 1000)
    (960, 100, 0)
    """
    if share is not None:
        return round(share * total)
    return min(max(500, round(0.016 * total)), total // 10)


def train_dense(
    model: nn.Module, data: TrainData, trainer: Trainer, snapshots: Collection[int] = ()
) -> Dense:
    """Train `model` to the end of the schedule, or take the stored run; `model` ends up trained.

    A stored run that lacks one of the asked-for states is trained again, with the same result.
    """
    total = trainer.total_steps(data.train)
    wanted = {0, total, *snapshots}

    def make() -> Round:
        states = Loop(trainer, model, data.train, stage="dense", snapshots=wanted).finish()
        return Round(MaskSet.dense(dict(model.named_parameters())), state_of(model), {}, states)

    done = stored(trainer, trainer.stages.key(trainer.parent, "dense"), make, needs=wanted)
    model.load_state_dict(done.state)

    @cache
    def answers() -> Tensor:
        trained = copy.deepcopy(model)  # what became of it does not matter
        trained.load_state_dict(done.state)
        return trainer.predict(trained, data.train).logits

    val = spread(trainer.cells, trainer.predict(model, data.val))
    return Dense(done.points, total, val, answers)


def stored(
    trainer: Trainer,
    key: str,
    make: Callable[[], Round],
    needs: Collection[int] = (),
    label: str | None = None,
) -> Round:
    """Return the stage stored under `key`, or make it and store it.

    Its seconds and its peak memory are counted under `label`, by default the name of the first
    training in it. They, history and step counts are taken from the store too, so an interrupted
    run that is started again, or one that shares stages, reports what it would cost by itself.
    """
    entry = trainer.stages.load(key)
    if entry is not None:
        tensors, meta = entry
        parts = parted(tensors)
        points = {int(step): parts[f"point-{step}"] for step in meta["points"]}
        stage = Round(MaskSet(parts["mask"]), parts["model"], meta["log"], points)
        if set(needs) <= stage.points.keys():
            trainer.history += meta["history"]
            trainer.steps += meta["steps"]
            _count(trainer, meta["label"], meta["seconds"], meta.get("peak_gib"))
            return stage
    before, steps, began = len(trainer.history), trainer.steps, time.perf_counter()
    lower_peak(trainer.device)
    stage = make()
    seconds, history = time.perf_counter() - began, trainer.history[before:]
    peak = peak_gib(trainer.device)
    label = label or (history[0]["stage"] if history else key)
    _count(trainer, label, seconds, peak)
    meta = {
        "log": stage.log,
        "points": sorted(stage.points),
        "history": history,
        "steps": trainer.steps - steps,
        "label": label,
        "seconds": seconds,
        "peak_gib": peak,
    }
    later = {f"point-{step}": state for step, state in stage.points.items()}
    trainer.stages.save(key, joined({"model": stage.state, "mask": stage.masks, **later}), meta)
    return stage


def _count(trainer: Trainer, label: str, seconds: float, peak: float | None) -> None:
    # the retries of a round share its name
    trainer.seconds[label] = trainer.seconds.get(label, 0.0) + seconds
    if peak is not None:
        trainer.memory[label] = max(trainer.memory.get(label, 0.0), peak)


def joined(parts: Mapping[str, Mapping[str, Tensor]]) -> State:
    """Several states as one, in which names begin with those of their parts."""
    return {f"{part}/{name}": t for part, state in parts.items() for name, t in state.items()}


def parted(tensors: State) -> dict[str, State]:
    """The parts that `joined` made one of, but for those that were empty."""
    parts: dict[str, State] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor
    return parts
