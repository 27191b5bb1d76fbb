"""Performance-weighted loss: examples the dense network does badly on count more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fairsparse.core import Batch, LossFn
from fairsparse.methods.method import METHODS, Facts, options
from fairsparse.methods.shared.pruning import Pruned, frozen
from fairsparse.training import Round, Run, state_of


@METHODS.register("performance-weighted")
@options
class PerformanceWeighted(Pruned):
    """Remove the smallest weights and fine-tune with the dense network's errors weighing most.

    No group needs to be known: who is served badly shows in the dense network's outputs.
    """

    reference: ClassVar[str] = "Meyer & Wong 2022, arXiv:2211.10285"
    facts: ClassVar[Facts] = Facts("either", "never", "1 + 4/3 finetune; 7/3 when gradual")
    theta: Annotated[
        float, Field(ge=0, le=1, description="weight of an example the dense network is sure of")
    ] = 0.5
    gamma: Annotated[
        float, Field(ge=0, description="how fast the weight falls as the dense network gets surer")
    ] = 1.0
    soft: Annotated[
        bool, Field(description="learn the dense network's outputs where it is right")
    ] = True

    def make(self, run: Run) -> Round:
        """Prune the network and train it on weighted examples."""
        *_, masks = self.train(run, self.loss(frozen(run)))
        return Round(masks, state_of(run.model), {"sparsity": masks.sparsity})

    def loss(self, reference: Callable[[Tensor], Tensor]) -> LossFn:
        """The weighted loss of a batch; `reference` gives the dense network's logits."""

        def weighted(logits: Tensor, batch: Batch) -> Tensor:
            answers = reference(batch.x)  # of the very inputs the network saw, augmented or not
            w = weights(answers, batch.y, self.theta, self.gamma)
            targets = corrected_labels(answers, batch.y) if self.soft else batch.y
            return (w * F.cross_entropy(logits, targets, reduction="none")).mean()

        return weighted


def weights(logits: Tensor, y: Tensor, theta: float, gamma: float) -> Tensor:
    """Weight of each example, ``theta + (1 - theta) (1 - p)^gamma`` in [theta, 1]: (B,).

    p is the probability that the dense network's logits (B, C) give the true class `y` (B,).
    """
    p = logits.softmax(1).gather(1, y[:, None])[:, 0]
    return theta + (1 - theta) * (1 - p).clamp_min(0) ** gamma


def corrected_labels(logits: Tensor, y: Tensor) -> Tensor:
    """The dense network's probabilities where it is right, the true class elsewhere: (B, C)."""
    p = logits.softmax(1)
    right = logits.argmax(1) == y
    return p.where(right[:, None], F.one_hot(y, logits.shape[1]).to(p.dtype))
