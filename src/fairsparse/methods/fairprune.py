"""FairPrune: remove what the well served cells need and the badly served ones do not."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fairsparse.core import Batch
from fairsparse.data.task import Split
from fairsparse.fairness.cells import Cells
from fairsparse.masks.criteria import curvature
from fairsparse.masks.maskset import MaskSet
from fairsparse.methods.method import METHODS, Facts, Outcome, options
from fairsparse.methods.shared.rounds import LastRate, Rounds
from fairsparse.training import Run, Trainer, cross_entropy

_BATCH = 64


@METHODS.register("fairprune")
@options
class FairPrune(Rounds):
    """Remove weights by their curvature for the worst served cells less that for the others.

    The worst served cells are those of lowest accuracy of the dense network on cal. The published
    method is for two groups, moderate sparsities and no training; `finetune` lets what is left
    recover.
    """

    reference: ClassVar[str] = "Wu et al., MICCAI 2022, arXiv:2203.02110"
    facts: ClassVar[Facts] = Facts("unstructured", "cells", "1 + finetune")
    accuracy_only: ClassVar[bool] = True
    beta: Annotated[
        float, Field(ge=0, le=1, description="weight of the others' curvature; 0: not looked at")
    ] = 0.33
    worst: Annotated[
        float, Field(gt=0, lt=1, description="share of the cells that count as worst served")
    ] = 0.5
    curvature: Annotated[
        Literal["fisher", "gauss-newton"],
        Field(description="squared gradients of examples, or exact, for small networks"),
    ] = "fisher"
    examples: Annotated[
        int, Field(ge=2, description="of cal, evenly from all cells, that a round looks at")
    ] = 512
    finetune: Annotated[
        float,
        Field(ge=0, le=1, description="share of the schedule, at the end; 0: none, as published"),
    ] = 0.3
    lr_factor: LastRate = 1.0

    def run(self, run: Run) -> Outcome:
        """Prune the network in place, round by round, and fine-tune it."""
        self.check(run.model, run.cells)
        means = run.spread(run.data.cal).means
        sides = contrast(means, run.cells, self.beta, self.worst)
        return self.in_rounds(run, partial(self._choose, run, sides))

    def _choose(
        self, run: Run, sides: Tensor, parent: MaskSet, level: float
    ) -> tuple[MaskSet, dict[str, Any]]:
        batches, shares = sample(run.data.cal, run.trainer, sides, self.examples, level)
        score = curvature.fisher if self.curvature == "fisher" else curvature.gauss_newton
        saliency = score(run.model, self.weights(run.model), batches, cross_entropy, shares)
        below = sum(int((saliency[n][mask] < 0).sum()) for n, mask in parent.items())
        masks = self.highest(saliency, level, parent)
        worst = [run.cells.names[k] for k in (sides > 0).nonzero()[:, 0].tolist()]
        return masks, {"negative_share": below / parent.n_kept, "worst_served": worst}


def contrast(means: Tensor, cells: Cells, beta: float, worst: float) -> Tensor:
    """What each cell's curvature counts, (K,): the worst served add to 1, the others to -beta.

    In each family the share `worst` of the cells is taken, rounded down, at least one and not all;
    of equal ones the first in order. Families weigh the same.

    >>> contrast(torch.tensor([0.9, 0.7]), Cells("class", ("a", "b")), 0.5, 0.5).tolist()
    [-0.5, 1.0]
    """
    sides = torch.zeros(len(means))
    families = cells.families.unique()
    for family in families:
        members = (cells.families == family).nonzero()[:, 0]
        order = members[means[members].argsort(stable=True)]
        taken = min(max(1, int(worst * len(order))), len(order) - 1)
        sides[order[:taken]] = 1 / (taken * len(families))
        sides[order[taken:]] = -beta / ((len(order) - taken) * len(families))
    return sides


def sample(
    cal: Split, trainer: Trainer, sides: Tensor, examples: int, level: float
) -> tuple[list[Batch], list[Tensor]]:
    """Random examples of cal, as many of each cell, and what each one's curvature counts.

    A cell with too few gives all it has. Examples of cells that count nothing are left out.
    """
    index = trainer.cells.index(cal.y, cal.group)
    drawn, shares = [], []
    for k in sides.nonzero()[:, 0].tolist():
        members = (index == k).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=trainer.generator("fairprune", level, k))
        chosen = members[order[: max(1, examples // len(sides))]]
        drawn.append(chosen)
        shares.append(torch.full((len(chosen),), float(sides[k]) / len(chosen)))
    parts = torch.cat(drawn).split(_BATCH), torch.cat(shares).split(_BATCH)
    batches = [trainer.to_device(cal.batch(part)) for part in parts[0]]
    return batches, [share.to(trainer.device) for share in parts[1]]
