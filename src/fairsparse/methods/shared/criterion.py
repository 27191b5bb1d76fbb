"""How methods that take a criterion and a grouping turn them into masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field

from fairsparse.core import InputError, Scores
from fairsparse.masks.criteria import registry
from fairsparse.masks.criteria.registry import CRITERIA, CriterionName, Evidence
from fairsparse.masks.grouping import as_selected, parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.structure.channels import channels
from fairsparse.masks.structure.removal import shared
from fairsparse.methods.method import Later, Method
from fairsparse.training import Run, cross_entropy

_EXAMPLES = 512
_BATCH = 64


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


Criterion = Annotated[
    CriterionName, Field(description="what a weight is worth; see methods.md"), Later("magnitude")
]
Grouping = Annotated[
    str,
    BeforeValidator(_grouping, json_schema_input_type=str | int),
    Field(
        description="`weight`, `filter`, `channel` (filters that are added up go together), or n:m"
        " such as `2:4`"
    ),
    Later("weight"),
]


def masks_of(method: Method, run: Run, sparsity: float, within: MaskSet | None = None) -> MaskSet:
    """The masks that a method's criterion, grouping, scope and floor choose for the network.

    Criteria that need data see up to 512 random examples of cal, other ones at each sparsity.
    """
    trainer, cal = run.trainer, run.data.cal
    batches = []
    if CRITERIA[method.criterion].needs != "nothing":
        order = torch.randperm(len(cal), generator=trainer.generator("criterion", sparsity))
        chosen = order[:_EXAMPLES].tensor_split(max(1, min(_EXAMPLES, len(order)) // _BATCH))
        batches = [trainer.to_device(cal.batch(index)) for index in chosen]
    noise = trainer.generator("random criterion", sparsity)
    return registry.choose(
        method.criterion,
        Evidence(run.model, method.weights(run.model), batches, cross_entropy, noise),
        sparsity,
        within=within,
        scope=method.scope,
        floor=method.floor,
        grouping=as_selected(method.grouping),
        adjust=coupling(method.grouping, run),
    )


def coupling(grouping: str, run: Run) -> Callable[[Scores], Scores]:
    """What is done to scores before they are ranked: with ``channel``, filters share theirs."""
    if grouping != "channel":
        return lambda scores: scores
    few = run.trainer.to_device(run.data.cal.batch(torch.arange(2)))
    units = channels(run.model, few.x)
    return lambda scores: shared(units, scores)
