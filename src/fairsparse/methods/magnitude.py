"""Magnitude pruning: one-shot and fine-tuned, or gradual."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.masks.maskset import MaskSet
from fairsparse.methods.base import METHODS, Facts, options
from fairsparse.methods.pruned import Pruned
from fairsparse.methods.refine import Refinement, refine
from fairsparse.methods.stages import Dense, Round
from fairsparse.training import Loop, Trainer, state_of


@METHODS.register("magnitude")
@options
class Magnitude(Pruned):
    """Remove the smallest weights of the dense network and fine-tune what is left.

    ``one-shot`` removes them at once and trains for `finetune` of the schedule, at `lr_factor` of
    its learning rates. ``gradual`` starts from the untrained network and raises the sparsity with
    the epochs, along the cubic of Zhu & Gupta, until `ramp` of the schedule. Another `criterion`
    than magnitude ranks the weights by it.
    """

    label: ClassVar[str] = "magnitude"
    reference: ClassVar[str] = "Han et al. 2015, arXiv:1506.02626; Zhu & Gupta 2017"
    facts: ClassVar[Facts] = Facts("either", "option", "1 + finetune; 2 when gradual")
    refinement: Annotated[
        Refinement | None, Field(description="train what is left as Ballot does")
    ] = None

    def make(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Round:
        """Prune and fine-tune `model`, or train it from the start while pruning."""
        refinement = self.refinement or Refinement.off()
        log: dict[str, Any]
        if self.schedule == "one-shot":
            loop = self.one_shot(model, data, trainer, dense)
            log = refine(loop, data, dense, refinement)
        else:
            model.load_state_dict(dense.states[0])
            loop = Loop(trainer, model, data.train, stage=f"gradual {self.sparsity:g}")
            moving, settled = self.gradual(loop, data), self.ramp * loop.total
            log = refine(loop, data, dense, refinement, epochs=moving, settled=settled)
        masks = loop.masks or MaskSet.dense(self.weights(model))
        return Round(masks, state_of(model), {"sparsity": masks.sparsity, **log})
