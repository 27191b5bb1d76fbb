"""The criteria by name: what each computes, where it comes from, and what it has to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from fairsparse.core import Batch, InputError, LossFn, Scores
from fairsparse.masks.criteria import curvature, filters, flow, gradients, scorers
from fairsparse.masks.grouping import parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import exponential
from fairsparse.masks.selection import Scope, select
from fairsparse.registry import Registry

AtInit = Literal["snip", "grasp", "synflow", "random", "magnitude"]
OfFilters = Literal["l1", "fpgm", "hrank", "entropy"]
CriterionName = Literal[
    "magnitude",
    "random",
    "lamp",
    "taylor",
    "snip",
    "grasp",
    "synflow",
    "obd",
    "obd-gauss-newton",
    "l1",
    "fpgm",
    "hrank",
    "entropy",
]
_MAPS = 2
_STEPS = 100


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at.

    Attributes
    ----------
    model : nn.Module
        Holds the weights to be ranked.
    weights : mapping
        Name -> parameter of `model`.
    batches : sequence of Batch
        Labelled examples; at least one batch for criteria that need any.
    loss : LossFn
    generator : torch.Generator
        For the criterion ``random`` alone.
    masks : MaskSet, optional
        Weights that are dead already.
    """

    model: nn.Module
    weights: Mapping[str, Tensor]
    batches: Sequence[Batch]
    loss: LossFn
    generator: torch.Generator
    masks: MaskSet | None = None


@dataclass(frozen=True)
class Criterion:
    """A way to score weights.

    Attributes
    ----------
    summary : str
        One sentence.
    reference : str
    needs : {"nothing", "shape", "inputs", "labels"}
        What of the data it looks at, besides the weights.
    score : callable
        Evidence -> scores, higher is kept.
    of_filters : bool
        Whether it scores whole filters, each layer's by themselves.
    steps : int
        Steps in which it reaches a sparsity, scoring anew at each.
    """

    summary: str
    reference: str
    needs: Literal["nothing", "shape", "inputs", "labels"]
    score: Callable[[Evidence], Scores]
    of_filters: bool = False
    steps: int = 1


CRITERIA: Registry[Criterion] = Registry("criterion")


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

    Parameters
    ----------
    name : str
        A name in `CRITERIA`. Those of several steps (SynFlow) reach the sparsity along
        `exponential` from that of `within`; an n:m pattern is reached in one.
    evidence : Evidence
        Its masks are replaced by those of each step.
    sparsity, within, scope, floor, grouping
        As in `select`.
    adjust : callable
        Applied to the scores before they are ranked, such as `structure.shared`.

    Raises
    ------
    InputError
        As `check` and `select` do, or when the criterion cannot score this model.
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


def _add(
    name: CriterionName,
    summary: str,
    reference: str,
    needs: Literal["nothing", "shape", "inputs", "labels"],
    score: Callable[[Evidence], Scores],
    of_filters: bool = False,
    steps: int = 1,
) -> None:
    CRITERIA.register(name)(Criterion(summary, reference, needs, score, of_filters, steps))


def _shape(batch: Batch) -> torch.Size:
    """Of one input that ones can stand for."""
    if not isinstance(batch.x, Tensor) or not batch.x.is_floating_point():
        raise InputError(
            "synflow sends ones through the network, and the task's inputs are token ids or a dict;"
            " use criterion snip, grasp, random or magnitude"
        )
    return batch.x.shape[1:]


def _taylor(e: Evidence) -> Scores:
    n = sum(len(batch.y) for batch in e.batches)
    return scorers.taylor(e.model, e.weights, [(b, len(b.y) / n) for b in e.batches], e.loss)


_add(
    "magnitude",
    "Absolute value of the weight.",
    "Han et al. 2015, arXiv:1506.02626",
    "nothing",
    lambda e: scorers.magnitude(e.weights),
)
_add(
    "random",
    "Uniform noise, the control.",
    "-",
    "nothing",
    lambda e: scorers.random(e.weights, e.generator),
)
_add(
    "lamp",
    "Squared weight over the sum of the squares not smaller in its layer.",
    "Lee et al. 2021, arXiv:2010.07611",
    "nothing",
    lambda e: scorers.lamp(e.weights),
)
_add(
    "taylor",
    "Mean over batches of the squared change of the loss without the weight, to first order.",
    "Molchanov et al. 2019, arXiv:1906.10771",
    "labels",
    _taylor,
)
_add(
    "snip",
    "Absolute change of the loss over all examples as the weight is switched off, to first order.",
    "Lee et al. 2019, arXiv:1810.02340",
    "labels",
    lambda e: gradients.snip(e.model, e.weights, e.batches, e.loss),
)
_add(
    "grasp",
    "Fall of the gradient's squared norm without the weight, to first order.",
    "Wang et al. 2020, arXiv:2002.07376",
    "labels",
    lambda e: gradients.grasp(e.model, e.weights, e.batches, e.loss),
)
_add(
    "synflow",
    "Share of the flow of ones through the network of absolute weights that crosses the weight.",
    "Tanaka et al. 2020, arXiv:2006.05467",
    "shape",
    lambda e: flow.synflow(e.model, e.weights, _shape(e.batches[0]), e.masks),
    steps=_STEPS,
)
_add(
    "obd",
    "Half the squared weight times its curvature, taken as the mean squared gradient of examples.",
    "LeCun et al. 1989, Optimal Brain Damage",
    "labels",
    lambda e: curvature.fisher(e.model, e.weights, e.batches, e.loss),
)
_add(
    "obd-gauss-newton",
    "Half the squared weight times its exact Gauss-Newton curvature, for small networks.",
    "LeCun et al. 1989, Optimal Brain Damage",
    "labels",
    lambda e: curvature.gauss_newton(e.model, e.weights, e.batches, e.loss),
)
_add(
    "l1",
    "Sum of the filter's absolute weights.",
    "Li et al. 2017, arXiv:1608.08710",
    "nothing",
    lambda e: filters.l1(e.weights),
    of_filters=True,
)
_add(
    "fpgm",
    "Sum of the filter's distances to the other filters of its layer.",
    "He et al. 2019, arXiv:1811.00250",
    "nothing",
    lambda e: filters.fpgm(e.weights, e.masks),
    of_filters=True,
)
_add(
    "hrank",
    "Mean rank of the filter's feature maps.",
    "Lin et al. 2020, arXiv:2002.10179",
    "inputs",
    # ranks hardly depend on the examples, and each costs a decomposition
    lambda e: filters.hrank(e.model, e.weights, e.batches[:_MAPS]),
    of_filters=True,
)
_add(
    "entropy",
    "Entropy over examples of the filter's mean activation.",
    "Luo & Wu 2017, arXiv:1706.05791",
    "inputs",
    lambda e: filters.entropy(e.model, e.weights, e.batches),
    of_filters=True,
)
