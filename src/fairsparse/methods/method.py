"""What a method is: its options, what it is told and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked
from torch import nn

from fairsparse.core import InputError, Scores
from fairsparse.fairness.cells import Cells
from fairsparse.masks.criteria import registry, scorers
from fairsparse.masks.criteria.registry import CRITERIA, CriterionName
from fairsparse.masks.grouping import as_selected
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.schedules import levels
from fairsparse.masks.selection import Scope, select
from fairsparse.masks.structure.channels import check_channels
from fairsparse.masks.structure.graph import traced
from fairsparse.registry import Registry
from fairsparse.training import Run
from fairsparse.training.refinement import Refinement
from fairsparse.training.refinement.offsets import last_bias
from fairsparse.training.refinement.pressure import check_form


class Key(Enum):
    """Marks an option of which the keys of stages say less than its value."""

    NEVER = "it accepts rounds and computes none: no key names it"
    PLAN = "it says which rounds there are: the keys of rounds name their levels alone"


@dataclass(frozen=True)
class Later:
    """Marks an option that came after a method's first release.

    Keys name it only where it is not `default`, which is how the method was before: stages from
    then keep their keys.
    """

    default: Any


Sparsity = Annotated[
    float, Field(ge=0, lt=1, description="zero prunable weights / prunable weights"), Key.PLAN
]
Fraction = Annotated[float, Field(gt=0, lt=1, description="removed a round"), Key.PLAN]
Levels = Annotated[
    tuple[float, ...],
    Field(description="sparsities of the rounds; those at or above the target are left out"),
    Key.PLAN,
]
Floor = Annotated[
    float, Field(ge=0, lt=1, description="share of each layer kept whatever its scores")
]
Refined = Annotated[Refinement | None, Field(description="train what is left as Ballot does")]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def options(cls: type[T]) -> type[T]:
    """Decorate a method: keyword-only frozen fields, checked by their annotations."""
    decorate = checked(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
    return cast(type[T], decorate(cls))


@dataclass(frozen=True)
class Outcome:
    """What a method returns; the model it was given now holds the pruned weights.

    The status is ``feasible``, or why the goal was not met: ``eps_infeasible`` (the accuracy
    tolerance), ``gap_infeasible`` (the fairness budget), ``collapsed``.
    """

    masks: MaskSet
    status: str = "feasible"
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """One JSON-able entry per pruning round."""
    path: list[MaskSet] = field(default_factory=list)
    """The masks of all rounds, for methods that promise nested ones."""


@dataclass(frozen=True)
class Facts:
    """What tells methods apart at a glance."""

    structure: Literal["none", "unstructured", "structured", "either"]
    """What is removed, as `STRUCTURE` of the catalog words it."""
    attribute: Literal["never", "option", "cells", "training", "inference"]
    """When the group of an example has to be known, as `ATTRIBUTE` of the catalog words it."""
    cost: str
    """In dense trainings, the first dense one included; options are named as in a formula."""


class Method(ABC):
    """A way to reach a sparse network; a frozen dataclass whose fields are its configuration.

    Subclasses set `reference` and `facts` and describe themselves in the first line of their
    docstring; registering them sets `name`. `accuracy_only` marks those that act on errors,
    whatever the classes predicted. Of the options declared here a subclass makes those its fields
    that it has; `check` looks at them, and the values here are those of a method without them.
    """

    name: ClassVar[str]
    reference: ClassVar[str] = ""
    facts: ClassVar[Facts]
    accuracy_only: ClassVar[bool] = False
    groups: ClassVar[tuple[str, ...]] = ()
    sparsity: float
    criterion: CriterionName = "magnitude"
    levels: tuple[float, ...] = ()
    scope: Scope = "global"
    grouping: str = "weight"
    floor: float = 0.0
    refinement: Refinement | None = None
    prune_first: bool = False
    prune_last: bool = False

    @abstractmethod
    def run(self, run: Run) -> Outcome:
        """Prune and train the network of `run` in place."""

    def snapshots(self, total: int) -> set[int]:
        """Steps of the dense run whose states the method needs, besides the first and the last.

        Steps that do not fit a schedule of `total` steps are an `InputError`.
        """
        return set()

    def check(self, model: nn.Module, cells: Cells) -> None:
        """Raise `InputError`, before any training, when the method cannot act on these."""
        if self.accuracy_only and cells.definition.of_predictions:
            raise InputError(
                f"method '{self.name}' evens out errors and cannot reach the fairness notion"
                f" '{cells.notion}', which is about predictions; use 'group' or"
                " 'equalized-odds', or a method with refinement form 'penalty'"
            )
        registry.check(self.criterion, self.scope, as_selected(self.grouping))
        if self.grouping == "channel":
            check_channels(model)
        if CRITERIA[self.criterion].traced:
            traced(model)
        self.check_options(model, cells)
        self.highest(scorers.magnitude(self.weights(model)), self.sparsity)
        levels(self.sparsity, explicit=self.levels)
        if self.refinement is not None:
            check_form(self.refinement, cells)
            if self.refinement.offsets:
                last_bias(model)

    def check_options(self, model: nn.Module, cells: Cells) -> None:  # noqa: B027
        """Raise `InputError` for options that exclude each other, or that these do not allow."""

    @property
    def may_fall_short(self) -> bool:
        """Whether an outcome that is not feasible may be less sparse than was asked for."""
        return False

    def settings(self) -> dict[str, Any]:
        """All options as JSON-able values."""
        return asdict(cast(Any, self))

    def flat_settings(self) -> dict[str, Any]:
        """All options, those of `groups` beside the others, as they were before the groups."""
        settings = self.settings()
        for group in self.groups:
            settings |= settings.pop(group)
        return settings

    def key_settings(self) -> dict[str, Any]:
        """The options that a stage's key names, as their marks say."""
        marks = _marks(type(self))
        return {
            name: value
            for name, value in self.flat_settings().items()
            if Key.NEVER not in marks.get(name, ()) and Later(value) not in marks.get(name, ())
        }

    def rounds_settings(self) -> dict[str, Any]:
        """As `key_settings`, without which rounds there are: runs that differ in it share them."""
        return {**self.key_settings(), **dict.fromkeys(self.plan_options())}

    @classmethod
    def plan_options(cls) -> set[str]:
        """The options that say which rounds there are."""
        return {name for name, marks in _marks(cls).items() if Key.PLAN in marks}

    def weights(self, model: nn.Module) -> dict[str, Any]:
        """The weights of `model` this method may prune, by name."""
        return prunable(model, first=self.prune_first, last=self.prune_last)

    def highest(self, scores: Scores, sparsity: float, within: MaskSet | None = None) -> MaskSet:
        """Masks of the highest scores, by the method's scope, floor and grouping."""
        scope, floor, grouping = self.scope, self.floor, as_selected(self.grouping)
        return select(scores, sparsity, within=within, scope=scope, floor=floor, grouping=grouping)


def _marks(method: type[Method]) -> dict[str, list[Any]]:
    return {name: info.metadata for name, info in cast(Any, method).__pydantic_fields__.items()}


class Methods(Registry[type[Method]]):
    """The methods by name, which a method learns when it is registered."""

    def register(self, name: str) -> Callable[[type[Method]], type[Method]]:
        add = super().register(name)

        def named(method: type[Method]) -> type[Method]:
            method.name = name
            return add(method)

        return named


METHODS = Methods("method")
