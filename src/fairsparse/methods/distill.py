"""Distillation: the pruned network learns from the dense one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from fairsparse.core import Batch, LossFn
from fairsparse.methods.method import METHODS, Facts, options
from fairsparse.methods.shared.pruning import Pruned, Schedule, frozen
from fairsparse.training import Round, Run, cross_entropy, state_of
from fairsparse.training.refinement.teacher import divergences


@METHODS.register("distill")
@options
class Distill(Pruned):
    """Prune gradually while the network learns to answer as the dense one does.

    What the dense network gives the other classes tells about examples that labels alone do not.
    """

    reference: ClassVar[str] = "Blakeney et al. 2021, arXiv:2106.07849; Hinton et al. 2015"
    facts: ClassVar[Facts] = Facts("either", "never", "7/3; 1 + 4/3 finetune when one-shot")
    schedule: Schedule = "gradual"
    alpha: Annotated[
        float, Field(ge=0, le=1, description="share of the teacher in the loss; the rest: labels")
    ] = 0.9
    temperature: Annotated[
        float, Field(gt=0, description="divides both networks' logits before they are compared")
    ] = 4.0

    def make(self, run: Run) -> Round:
        """Prune and train the network with its own dense state as the teacher."""
        *_, masks = self.train(run, self.loss(frozen(run)))
        return Round(masks, state_of(run.model), {"sparsity": masks.sparsity})

    def loss(self, teacher: Callable[[Tensor], Tensor]) -> LossFn:
        """The loss of a batch, ``(1 - alpha) cross-entropy + alpha T^2 KL``."""

        def taught(logits: Tensor, batch: Batch) -> Tensor:
            distance = divergences(logits, teacher(batch.x), self.temperature).mean()
            return (1 - self.alpha) * cross_entropy(logits, batch) + self.alpha * distance

        return taught
