"""What a method is, and what all methods share: the dense network and stored rounds."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast, dataclass_transform

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked
from torch import Tensor, nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.spread import Spread, spread
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.registry import Registry
from fairsparse.training import State, Trainer, state_of
from fairsparse.types import InputError

Sparsity = Annotated[
    float, Field(ge=0, lt=1, description="zero prunable weights / prunable weights")
]
Levels = Annotated[
    tuple[float, ...],
    Field(description="sparsities of the rounds; those at or above the target are left out"),
]
Floor = Annotated[
    float, Field(ge=0, lt=1, description="share of each layer kept whatever its scores")
]

_LATER = {"criterion": "magnitude", "grouping": "weight"}

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def options(cls: type[T]) -> type[T]:
    """Decorate a method: keyword-only frozen fields, checked by their annotations."""
    made = checked(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(cls)
    return cast(type[T], made)


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


@dataclass(frozen=True)
class Outcome:
    """What a method returns; the model it was given now holds the pruned weights.

    Attributes
    ----------
    masks : MaskSet
    status : str
        ``feasible``, or why the goal was not met: ``eps_infeasible`` (the accuracy tolerance),
        ``gap_infeasible`` (the fairness budget), ``collapsed``.
    rounds : list of dict
        One JSON-able entry per pruning round.
    path : list of MaskSet
        The masks of all rounds, for methods that promise nested ones.
    """

    masks: MaskSet
    status: str = "feasible"
    rounds: list[dict[str, Any]] = field(default_factory=list)
    path: list[MaskSet] = field(default_factory=list)


@dataclass(frozen=True)
class Facts:
    """What tells methods apart at a glance.

    Attributes
    ----------
    structure : {"none", "unstructured", "structured", "either"}
        What is removed; see `STRUCTURE`.
    attribute : {"never", "option", "cells", "training", "inference"}
        When the group of an example has to be known; see `ATTRIBUTE`.
    cost : str
        In dense trainings, the first dense one included; options are named as in a formula.
    """

    structure: Literal["none", "unstructured", "structured", "either"]
    attribute: Literal["never", "option", "cells", "training", "inference"]
    cost: str


STRUCTURE = {
    "none": "nothing is removed",
    "unstructured": "unstructured",
    "structured": "structured",
    "either": "unstructured, or structured by an option",
}
"""`Facts.structure` in words."""
ATTRIBUTE = {
    "never": "not needed",
    "option": "in training, where an option steers by cells or a term of groups",
    "cells": "in training, where its cells or term are of groups",
    "training": "in training",
    "inference": "in training and at inference",
}
"""`Facts.attribute` -> when the sensitive attribute has to be known, in words."""


class Method(ABC):
    """A way to reach a sparse network; a frozen dataclass whose fields are its configuration.

    Subclasses set `reference` and `facts` and describe themselves in the first line of their
    docstring. `accuracy_only` marks those that act on errors, whatever the classes predicted.
    `later` has the options that a method got after its first release, and the values under which
    keys do not name them.
    """

    reference: ClassVar[str] = ""
    facts: ClassVar[Facts]
    accuracy_only: ClassVar[bool] = False
    later: ClassVar[Mapping[str, Any]] = {}
    sparsity: float
    prune_first: bool = False
    prune_last: bool = False

    def snapshots(self, total: int) -> set[int]:
        """Steps of the dense run whose states the method needs, besides the first and the last."""
        return set()

    def check(self, model: nn.Module, cells: Cells) -> None:
        """Raise `InputError`, before any training, when the method cannot act on these."""
        if self.accuracy_only and cells.notion == "demographic-parity":
            name = next(name for name in METHODS if METHODS[name] is type(self))
            raise InputError(
                f"method '{name}' evens out errors and cannot reach the fairness notion"
                " 'demographic-parity', which is about predictions; use 'group' or"
                " 'equalized-odds', or a method with refinement form 'penalty'"
            )

    @abstractmethod
    def run(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Outcome:
        """Prune and train `model` in place.

        Parameters
        ----------
        model : nn.Module
            Holds the trained dense weights.
        data : TrainData
            Everything but the test split.
        trainer : Trainer
        dense : Dense
        """

    def settings(self) -> dict[str, Any]:
        """All options as JSON-able values."""
        return asdict(cast(Any, self))

    def key_settings(self) -> dict[str, Any]:
        """The options that a stage's key names.

        An option that came later counts only where it is set, so that stages from before it keep
        their keys. A budget never counts: it accepts rounds and computes none.
        """
        later = {**_LATER, **self.later}
        settings = {k: v for k, v in self.settings().items() if k != "budget"}
        return {k: v for k, v in settings.items() if k not in later or v != later[k]}

    def rounds_key(self, trainer: Trainer, name: str) -> str:
        """Key of the stages before the first round: everything but which levels follow."""
        levels = {"sparsity": None, "fraction": None, "levels": None}
        return trainer.stages.key(trainer.parent, name, {**self.key_settings(), **levels})

    def weights(self, model: nn.Module) -> dict[str, Any]:
        """The weights of `model` this method may prune, by name."""
        return prunable(model, first=self.prune_first, last=self.prune_last)


METHODS: Registry[type[Method]] = Registry("method")


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
    trained = copy.deepcopy(model)

    @cache
    def answers() -> Tensor:
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
