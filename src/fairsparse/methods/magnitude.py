"""Magnitude pruning: one-shot and fine-tuned, or gradual."""

from __future__ import annotations

from typing import ClassVar

from fairsparse.masks.maskset import MaskSet
from fairsparse.methods.method import METHODS, Facts, Refined, options
from fairsparse.methods.shared.pruning import Pruned
from fairsparse.training import Round, Run, state_of
from fairsparse.training.refinement import refine


@METHODS.register("magnitude")
@options
class Magnitude(Pruned):
    """Remove the smallest weights of the dense network and fine-tune what is left.

    ``one-shot`` removes them at once and trains for `finetune` of the schedule, at `lr_factor` of
    its learning rates. ``gradual`` starts from the untrained network and raises the sparsity with
    the epochs, along the cubic of Zhu & Gupta, until `ramp` of the schedule. Another `criterion`
    than magnitude ranks the weights by it.
    """

    reference: ClassVar[str] = "Han et al. 2015, arXiv:1506.02626; Zhu & Gupta 2017"
    facts: ClassVar[Facts] = Facts("either", "option", "1 + finetune; 2 when gradual")
    refinement: Refined = None

    def make(self, run: Run) -> Round:
        """Prune and fine-tune the network, or train it from the start while pruning."""
        if self.schedule == "one-shot":
            loop = self.one_shot(run)
            log = refine(loop, run, self.refinement)
        else:
            run.model.load_state_dict(run.dense.states[0])
            loop = run.loop(f"gradual {self.sparsity:g}")
            moving, settled = self.gradual(loop, run), self.ramp * loop.total
            log = refine(loop, run, self.refinement, epochs=moving, settled=settled)
        masks = loop.masks or MaskSet.dense(self.weights(run.model))
        return Round(masks, state_of(run.model), {"sparsity": masks.sparsity, **log})
