"""What methods share of a run: the dense network, and stages that are stored when finished."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.spread import Spread, spread
from fairsparse.masks.maskset import MaskSet
from fairsparse.training import State, Trainer, state_of


@dataclass(frozen=True)
class Dense:
    """The trained dense network all methods of a run start from.

    Attributes
    ----------
    states : dict
        Step -> state; the last step is the end of training.
    total : int
        Steps of the schedule, T.
    val : Spread
        Accuracy and inequality on the validation split.
    answers : callable
        Its logits on the training split, (N, C), computed when first asked for.
    """

    states: dict[int, State]
    total: int
    val: Spread
    answers: Callable[[], Tensor] = field(default=lambda: torch.empty(0), repr=False)

    @property
    def final(self) -> State:
        return self.states[self.total]


def rewind_step(share: float | None, total: int) -> int:
    """Step to rewind to: ``share * total``, or the default ``max(500, 1.6 %)``, at most 10 %.

    The default is where iterative pruning becomes stable [1]_; the cap keeps most of a short
    schedule for training the ticket.

    >>> rewind_step(None, 60000), rewind_step(None, 1000), rewind_step(0.0, 1000)
    (960, 100, 0)

    References
    ----------
    .. [1] Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020,
       arXiv:1912.05671.
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
    key = trainer.stages.key(trainer.parent, "dense")

    def make() -> Round:
        states = trainer.fit(model, data.train, stage="dense", snapshots=wanted)
        return Round(MaskSet.dense(dict(model.named_parameters())), state_of(model), {}, states)

    done = stored(trainer, key, make, needs=wanted)
    model.load_state_dict(done.state)

    @cache
    def answers() -> Tensor:
        trained = copy.deepcopy(model)  # what became of it does not matter
        trained.load_state_dict(done.state)
        return trainer.predict(trained, data.train).logits

    val = spread(trainer.cells, trainer.predict(model, data.val))
    return Dense(done.points, total, val, answers)


@dataclass
class Round:
    """A finished stage of a method.

    Attributes
    ----------
    masks : MaskSet
    state : State
        The model at the end.
    log : dict
        JSON-able facts.
    points : dict
        Step -> state, where later stages need them.
    """

    masks: MaskSet
    state: State
    log: dict[str, Any]
    points: dict[int, State] = field(default_factory=dict)


def stored(
    trainer: Trainer,
    key: str,
    make: Callable[[], Round],
    needs: Collection[int] = (),
    label: str | None = None,
) -> Round:
    """Return the stage stored under `key`, or make it and store it.

    Its seconds are counted under `label`, by default the name of the first training in it.
    History and step counts are taken from the store too, so an interrupted run that is started
    again reports what an uninterrupted one does.
    """

    def spent(label: str, seconds: float) -> None:
        # the retries of a round share its name
        trainer.seconds[label] = trainer.seconds.get(label, 0.0) + seconds

    found = trainer.stages.load(key)
    if found is not None:
        tensors, meta = found
        parts: dict[str, State] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = tensor
        points = {int(step): parts[f"point-{step}"] for step in meta["points"]}
        if set(needs) <= points.keys():
            trainer.history += meta["history"]
            trainer.steps += meta["steps"]
            spent(meta["label"], meta["seconds"])
            return Round(MaskSet(parts["mask"]), parts["model"], meta["log"], points)
    history, steps, began = len(trainer.history), trainer.steps, time.perf_counter()
    made = make()
    if label is None:
        label = trainer.history[history]["stage"] if len(trainer.history) > history else key
    seconds = time.perf_counter() - began
    spent(label, seconds)
    tensors = {f"model/{name}": t for name, t in made.state.items()}
    tensors |= {f"mask/{name}": t for name, t in made.masks.items()}
    for step, state in made.points.items():
        tensors |= {f"point-{step}/{name}": t for name, t in state.items()}
    trainer.stages.save(
        key,
        tensors,
        {
            "log": made.log,
            "points": sorted(made.points),
            "history": trainer.history[history:],
            "steps": trainer.steps - steps,
            "label": label,
            "seconds": seconds,
        },
    )
    return made
