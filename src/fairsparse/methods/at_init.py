"""Pruning at initialisation: choose the weights before any training, then train once."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.masks.criteria import AtInit
from fairsparse.masks.select import Scope
from fairsparse.methods.base import METHODS, Facts, Floor, Method, Outcome, Sparsity, options
from fairsparse.methods.criterion import Grouping, check, masks_of
from fairsparse.methods.refine import Refinement, refine
from fairsparse.methods.stages import Dense, Round, stored
from fairsparse.training import Loop, Trainer, state_of


@METHODS.register("init")
@options
class PruneAtInit(Method):
    """Prune the untrained network by a criterion and train what is left once, in full."""

    reference: ClassVar[str] = "Lee et al. 2019, arXiv:1810.02340; Wang et al. 2020; Tanaka et al."
    facts: ClassVar[Facts] = Facts("either", "option", "2")
    sparsity: Sparsity = 0.9
    criterion: Annotated[
        AtInit, Field(description="what an untrained weight is worth; see methods.md")
    ] = "snip"
    grouping: Grouping = "weight"
    scope: Scope = "global"
    refinement: Annotated[
        Refinement | None, Field(description="train what is left as Ballot does")
    ] = None
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def check(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` does not allow."""
        super().check(model, cells)
        check(self, model)

    def run(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Outcome:
        """Prune `model` as it was before training, and train it."""

        def make() -> Round:
            model.load_state_dict(dense.states[0])
            masks = masks_of(self, model, data, trainer, self.sparsity)
            loop = Loop(trainer, model, data.train, stage=f"init {self.sparsity:g}", masks=masks)
            log: dict[str, Any] = refine(loop, data, dense, self.refinement or Refinement.off())
            return Round(masks, state_of(model), {"sparsity": masks.sparsity, **log})

        key = trainer.stages.key(trainer.parent, "init", self.key_settings())
        done = stored(trainer, key, make)
        model.load_state_dict(done.state)
        return Outcome(done.masks, rounds=[done.log])
