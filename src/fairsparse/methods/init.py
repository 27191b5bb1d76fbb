"""Pruning at initialisation: choose the weights before any training, then train once."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairsparse.masks.selection import Scope
from fairsparse.methods.method import (
    METHODS,
    Facts,
    Floor,
    Later,
    Refined,
    Sparsity,
    options,
)
from fairsparse.methods.shared.criterion import Grouping, masks_of
from fairsparse.methods.shared.one_stage import OneStage
from fairsparse.training import Round, Run, state_of
from fairsparse.training.refinement import refine


@METHODS.register("init")
@options
class PruneAtInit(OneStage):
    """Prune the untrained network by a criterion and train what is left once, in full."""

    reference: ClassVar[str] = "Lee et al. 2019, arXiv:1810.02340; Wang et al. 2020; Tanaka et al."
    facts: ClassVar[Facts] = Facts("either", "option", "2")
    sparsity: Sparsity = 0.9
    criterion: Annotated[
        Literal["snip", "grasp", "synflow", "random", "magnitude"],
        Field(description="what an untrained weight is worth; see methods.md"),
        Later("magnitude"),
    ] = "snip"
    grouping: Grouping = "weight"
    scope: Scope = "global"
    refinement: Refined = None
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def make(self, run: Run) -> Round:
        """Prune the network as it was before training, and train it."""
        run.model.load_state_dict(run.dense.states[0])
        masks = masks_of(self, run, self.sparsity)
        log = refine(run.loop(f"init {self.sparsity:g}", masks), run, self.refinement)
        return Round(masks, state_of(run.model), {"sparsity": masks.sparsity, **log})
