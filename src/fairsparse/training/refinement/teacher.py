"""Learning from the dense network's answers, computed once and looked up in every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor
from torch.nn import functional as F

from fairsparse.core import Batch, LossFn
from fairsparse.training import Loop, cross_entropy

Errors: TypeAlias = Callable[[Tensor, Batch], Tensor]
"""``(logits, batch) -> (B,)``: what each example of a batch loses."""


def labels_alone(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of each example, (B,)."""
    return F.cross_entropy(logits, batch.y, reduction="none")


def taught(loop: Loop, answers: Tensor, share: float, temperature: float) -> Errors:
    """Errors in which the dense network's answers have a share in [0, 1], the labels the rest.

    ``(1 - share) cross-entropy + share T^2 KL(answer || output)`` at temperature T [1]_. The
    answers are its logits (N, C) on the loop's training split, to the examples as they are: an
    augmented copy has the answer to its original.

    References
    ----------
    .. [1] Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """

    def errors(logits: Tensor, batch: Batch) -> Tensor:
        distance = divergences(logits, answers[loop.index].to(logits.device), temperature)
        return (1 - share) * labels_alone(logits, batch) + share * distance

    return errors


def with_errors(loss: LossFn, errors: Errors) -> LossFn:
    """The loss with `errors` in the place of its cross-entropy, which is the mean over a batch."""
    if errors is labels_alone:
        return loss

    def exchanged(logits: Tensor, batch: Batch) -> Tensor:
        rest = loss(logits, batch) - cross_entropy(logits, batch)
        return errors(logits, batch).mean() + rest

    return exchanged


def divergences(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(teacher || student)`` of logits (B, C) at temperature T, by example: (B,).

    The square keeps the gradient's size when T changes.
    """
    p, q = ((logits / temperature).log_softmax(1) for logits in (teacher, student))
    return temperature**2 * F.kl_div(q, p, reduction="none", log_target=True).sum(1)
