"""The criteria by name: what each computes, where it comes from, and what it has to see."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from fairsparse.core import Batch, InputError, LossFn, Scores
from fairsparse.masks.criteria import curvature, filters, flow, scorers
from fairsparse.masks.grouping import parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import exponential
from fairsparse.masks.selection import Scope, select
from fairsparse.registry import Registry, one_of

Needs = Literal["nothing", "shape", "inputs", "labels"]
_MAPS = 2  # ranks hardly depend on the examples, and each costs a decomposition
_STEPS = 100


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at: a model, those of its parameters to be ranked, examples.

    There is at least one batch for criteria that need any. The generator is for the criterion
    ``random`` alone, and `masks` say which weights are dead already.
    """

    model: nn.Module
    weights: Mapping[str, Tensor]
    batches: Sequence[Batch]
    loss: LossFn
    generator: torch.Generator
    masks: MaskSet | None = None


Score = Callable[[Evidence], Scores]


@dataclass(frozen=True)
class Criterion:
    """A way to score weights, higher is kept."""

    summary: str
    reference: str
    needs: Needs  # what of the data it looks at, besides the weights
    score: Score
    of_filters: bool = False  # whether it scores whole filters, each layer's by themselves
    traced: bool = False  # whether torch.fx has to trace the model, to see what layers pass on
    steps: int = 1  # in which it reaches a sparsity, scoring anew at each


CRITERIA: Registry[Criterion] = Registry("criterion", sort=False)
CriterionName = Annotated[str, one_of(CRITERIA)]


def criterion(
    name: str, reference: str, needs: Needs = "nothing", **facts: Any
) -> Callable[[Score], Score]:
    """Register a scorer; its first paragraph is the summary, `facts` the rest of a `Criterion`."""

    def add(score: Score) -> Score:
        summary = (inspect.getdoc(score) or "").split("\n\n")[0].replace("\n", " ")
        CRITERIA.register(name)(Criterion(summary, reference, needs, score, **facts))
        return score

    return add


def choose(
    name: CriterionName,
    evidence: Evidence,
    sparsity: float,
    *,
    within: MaskSet | None = None,
    scope: Scope = "global",
    floor: float = 0.0,
    grouping: str = "weight",
    adjust: Callable[[Scores], Scores] = lambda scores: scores,
) -> MaskSet:
    """Keep the weights that a criterion scores highest, exactly as many as `select` counts.

    Criteria of several steps (SynFlow) reach the sparsity along `exponential` from that of
    `within`, an n:m pattern in one; the masks of `evidence` are replaced by those of each step.
    `adjust` is applied to the scores before they are ranked, such as `structure.shared`; the other
    parameters are those of `select`. An `InputError` is that of `check`, of `select`, or of a
    criterion that cannot score this model.
    """
    check(name, scope, grouping)
    criterion = CRITERIA[name]
    steps = 1 if parse(grouping) else criterion.steps
    masks = within
    for level in exponential(within.sparsity if within is not None else 0.0, sparsity, steps):
        scores = adjust(criterion.score(replace(evidence, masks=masks)))
        masks = select(scores, level, within=masks, scope=scope, floor=floor, grouping=grouping)
    assert masks is not None
    return masks


def check(name: CriterionName, scope: Scope, grouping: str) -> None:
    """Raise `InputError` unless criterion, scope and grouping can work together."""
    pattern = parse(grouping)
    if not CRITERIA[name].of_filters:
        return
    if pattern or grouping == "weight":
        raise InputError(
            f"criterion {name} scores whole filters, and grouping is '{grouping}'; use grouping"
            " filter, or a criterion that tells single weights apart"
        )
    if scope == "global":
        raise InputError(
            f"criterion {name} compares the filters of one layer, and scope is 'global'; use scope"
            " layerwise or erk, or magnitude with grouping filter, which ranks across layers"
        )


@criterion("magnitude", "Han et al. 2015, arXiv:1506.02626")
def _magnitude(e: Evidence) -> Scores:
    """Absolute value of the weight."""
    return scorers.magnitude(e.weights)


@criterion("random", "-")
def _random(e: Evidence) -> Scores:
    """Uniform noise, the control."""
    return scorers.random(e.weights, e.generator)


@criterion("lamp", "Lee et al. 2021, arXiv:2010.07611")
def _lamp(e: Evidence) -> Scores:
    """Squared weight over the sum of the squares not smaller in its layer."""
    return scorers.lamp(e.weights)


@criterion("taylor", "Molchanov et al. 2019, arXiv:1906.10771", "labels")
def _taylor(e: Evidence) -> Scores:
    """Mean over batches of the squared change of the loss without the weight, to first order."""
    return scorers.taylor(e.model, e.weights, scorers.shares(e.batches), e.loss)


@criterion("snip", "Lee et al. 2019, arXiv:1810.02340", "labels")
def _snip(e: Evidence) -> Scores:
    """Absolute change of the loss over all examples as the weight is switched off, to first
    order.
    """
    return scorers.snip(e.model, e.weights, e.batches, e.loss)


@criterion("grasp", "Wang et al. 2020, arXiv:2002.07376", "labels")
def _grasp(e: Evidence) -> Scores:
    """Fall of the gradient's squared norm without the weight, to first order."""
    return scorers.grasp(e.model, e.weights, e.batches, e.loss)


@criterion("synflow", "Tanaka et al. 2020, arXiv:2006.05467", "shape", steps=_STEPS)
def _synflow(e: Evidence) -> Scores:
    """Share of the flow of ones through the network of absolute weights that crosses the weight."""
    x = e.batches[0].x
    if not isinstance(x, Tensor) or not x.is_floating_point():  # ones cannot stand for it
        raise InputError(
            "synflow sends ones through the network, and the task's inputs are token ids or a dict;"
            " use criterion snip, grasp, random or magnitude"
        )
    return flow.synflow(e.model, e.weights, x.shape[1:], e.masks)


@criterion("obd", "LeCun et al. 1989, Optimal Brain Damage", "labels")
def _obd(e: Evidence) -> Scores:
    """Half the squared weight times its curvature, taken as the mean squared gradient of
    examples.
    """
    return curvature.fisher(e.model, e.weights, e.batches, e.loss)


@criterion("obd-gauss-newton", "LeCun et al. 1989, Optimal Brain Damage", "labels")
def _gauss_newton(e: Evidence) -> Scores:
    """Half the squared weight times its exact Gauss-Newton curvature, for small networks."""
    return curvature.gauss_newton(e.model, e.weights, e.batches, e.loss)


@criterion("l1", "Li et al. 2017, arXiv:1608.08710", of_filters=True)
def _l1(e: Evidence) -> Scores:
    """Sum of the filter's absolute weights."""
    return filters.l1(e.weights)


@criterion("fpgm", "He et al. 2019, arXiv:1811.00250", of_filters=True)
def _fpgm(e: Evidence) -> Scores:
    """Sum of the filter's distances to the other filters of its layer."""
    return filters.fpgm(e.weights, e.masks)


@criterion("hrank", "Lin et al. 2020, arXiv:2002.10179", "inputs", of_filters=True, traced=True)
def _hrank(e: Evidence) -> Scores:
    """Mean rank of the filter's feature maps."""
    return filters.hrank(e.model, e.weights, e.batches[:_MAPS])


@criterion("entropy", "Luo & Wu 2017, arXiv:1706.05791", "inputs", of_filters=True, traced=True)
def _entropy(e: Evidence) -> Scores:
    """Entropy over examples of the filter's mean activation."""
    return filters.entropy(e.model, e.weights, e.batches)
