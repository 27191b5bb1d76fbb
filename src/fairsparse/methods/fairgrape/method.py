"""FairGRAPE: keep each cell's share of the importance of every layer what it was."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import Scope
from fairsparse.methods.fairgrape.shares import Order, balanced, shift
from fairsparse.methods.method import METHODS, Facts, Fraction, Outcome, options
from fairsparse.methods.shared.rounds import Rounds
from fairsparse.training import Run, cross_entropy

_BATCH = 32


@METHODS.register("fairgrape")
@options
class FairGrape(Rounds):
    """Remove weights so that no cell's share of a layer's importance shrinks, and train on.

    Each round measures every weight's importance to every cell and lets the cells pick in turn,
    the one that falls short of its share the most first.
    """

    reference: ClassVar[str] = "Lin et al., ECCV 2022, arXiv:2207.10888"
    facts: ClassVar[Facts] = Facts(
        "unstructured", "cells", "1 + rounds retrain + finetune; 22 rounds at 90 %"
    )
    accuracy_only: ClassVar[bool] = True
    fraction: Fraction = 0.1
    scope: Annotated[
        Scope, Field(description="how many weights a layer keeps: equal shares, ERK, one ranking")
    ] = "layerwise"
    order: Annotated[
        Order, Field(description="what a cell picks first: important to it, or to it alone")
    ] = "importance"
    block: Annotated[
        int | None,
        Field(ge=1, description="weights picked at a time; default: a thousandth of the layer"),
    ] = None
    batches: Annotated[
        int, Field(ge=1, description="of 32 examples of cal a cell, by which a round measures")
    ] = 8
    retrain: Annotated[
        float, Field(ge=0, le=1, description="share of the schedule trained in each round; 0: none")
    ] = 0.05

    def run(self, run: Run) -> Outcome:
        """Prune and train the network in place, round by round, and fine-tune it."""
        self.check(run.model, run.cells)
        return self.in_rounds(run, partial(self._choose, run))

    def _choose(self, run: Run, parent: MaskSet, level: float) -> tuple[MaskSet, dict[str, Any]]:
        run.trainer.place(run.model)
        by_cell = importances(run, self.weights(run.model), self.batches, level)
        whole = {name: values.sum(0) for name, values in by_cell.items()}
        keep = {n: int(mask.sum()) for n, mask in self.highest(whole, level, parent).items()}
        masks = balanced(by_cell, keep, parent, self.order, self.block)
        if self.retrain:
            self._retrain(run, masks, level)
        return masks, {"largest_shift": _largest_shift(by_cell, parent, masks)}

    def _retrain(self, run: Run, masks: MaskSet, level: float) -> None:
        """Train for the end of the schedule, where its rates are low."""
        stage = self.stage(level)
        loop = run.loop(stage, masks, run.dense.start_of_last(self.retrain))
        loop.order = stage  # every round sees the data in an order of its own
        loop.finish()


def importances(
    run: Run, weights: dict[str, Tensor], batches: int, level: float
) -> dict[str, Tensor]:
    """Mean over `batches` of ``(w dL_k/dw)^2`` for each cell k that cal has examples of.

    A batch is of one cell and one size, on which the square of a gradient depends; examples are
    drawn with replacement, others at each `level`. The result, (K, *shape) of each weight, is in
    main memory: ``4 K`` bytes a weight.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in weights}
    for _, drawn in run.cell_batches(batches, _BATCH, "fairgrape", level):
        parties = ((batch, 1 / batches) for batch in drawn)
        for name, score in scorers.taylor(run.model, weights, parties, cross_entropy).items():
            parts[name].append(score.cpu())
    return {name: torch.stack(values) for name, values in parts.items()}


def _largest_shift(importance: dict[str, Tensor], before: MaskSet, after: MaskSet) -> float | None:
    """The furthest that a cell's share of a layer's importance moved; None if none had any."""
    moved = [shift(importance[n], before[n].cpu(), after[n].cpu()) for n in before]
    return max((float(m.abs().max()) for m in moved if m is not None), default=None)
