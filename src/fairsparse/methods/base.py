"""What a method is: its options, what it is told and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.methods.stages import Dense
from fairsparse.registry import Registry
from fairsparse.training import Trainer
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
        if self.accuracy_only and cells.definition.of_predictions:
            name = next(name for name in METHODS if METHODS[name] is type(self))
            raise InputError(
                f"method '{name}' evens out errors and cannot reach the fairness notion"
                f" '{cells.notion}', which is about predictions; use 'group' or"
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
