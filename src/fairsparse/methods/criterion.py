"""How methods that take a criterion and a grouping turn them into masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import torch
from pydantic import BeforeValidator, Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.masks import criteria
from fairsparse.masks.channels import channels, check_channels
from fairsparse.masks.criteria import CRITERIA, CriterionName, Evidence
from fairsparse.masks.graph import traced
from fairsparse.masks.grouping import parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.select import Scope
from fairsparse.masks.structure import shared
from fairsparse.training import Trainer, cross_entropy
from fairsparse.types import InputError, Scores

_EXAMPLES = 512
_BATCH = 64


def as_selected(grouping: str) -> str:
    """The grouping by which `select` counts: channels are filters whose scores are shared."""
    return "filter" if grouping == "channel" else grouping


def _grouping(value: Any) -> Any:
    # YAML reads 2:4 as two minutes and four seconds
    if isinstance(value, int) and not isinstance(value, bool) and value >= 60:
        value = f"{value // 60}:{value % 60}"
    if isinstance(value, str):
        try:
            parse(as_selected(value))
        except InputError as error:
            raise ValueError(str(error).replace("filter,", "filter, channel,")) from None
    return value


Criterion = Annotated[CriterionName, Field(description="what a weight is worth; see methods.md")]
Grouping = Annotated[
    str,
    BeforeValidator(_grouping),
    Field(
        description="`weight`, `filter`, `channel` (filters that are added up go together), or n:m"
        " such as `2:4`"
    ),
]


class Scored(Protocol):
    """The options that `masks_of` reads."""

    @property
    def criterion(self) -> CriterionName: ...
    @property
    def grouping(self) -> str: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def floor(self) -> float: ...

    def weights(self, model: nn.Module) -> dict[str, Any]:
        """The weights of `model` that may be pruned, by name."""


def masks_of(
    method: Scored,
    model: nn.Module,
    data: TrainData,
    trainer: Trainer,
    sparsity: float,
    within: MaskSet | None = None,
) -> MaskSet:
    """The masks that a method's criterion, grouping, scope and floor choose for `model` as it is.

    Criteria that need data see up to 512 random examples of cal, other ones at each sparsity.
    """
    batches = []
    if CRITERIA[method.criterion].needs != "nothing":
        order = torch.randperm(len(data.cal), generator=trainer.generator("criterion", sparsity))
        chosen = order[:_EXAMPLES].tensor_split(max(1, min(_EXAMPLES, len(order)) // _BATCH))
        batches = [trainer.to_device(data.cal.batch(index)) for index in chosen]

    return criteria.choose(
        method.criterion,
        Evidence(
            model,
            method.weights(model),
            batches,
            cross_entropy,
            trainer.generator("random criterion", sparsity),
        ),
        sparsity,
        within=within,
        scope=method.scope,
        floor=method.floor,
        grouping=as_selected(method.grouping),
        adjust=coupling(method.grouping, model, data, trainer),
    )


def coupling(
    grouping: str, model: nn.Module, data: TrainData, trainer: Trainer
) -> Callable[[Scores], Scores]:
    """What is done to scores before they are ranked: with ``channel``, filters share theirs."""
    if grouping != "channel":
        return lambda scores: scores
    few = trainer.to_device(data.cal.batch(torch.arange(2)))
    found = channels(model, few.x)
    return lambda scores: shared(found, scores)


def check(method: Scored, model: nn.Module) -> None:
    """Raise `InputError` for options that exclude each other, or that `model` does not allow."""
    criteria.check(method.criterion, method.scope, as_selected(method.grouping))
    if method.grouping == "channel":
        check_channels(model)
    if CRITERIA[method.criterion].needs == "inputs":
        traced(model)
