"""Loss along the straight line between two networks' weights: whether they are in one valley [1]_.

References
----------
.. [1] Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020,
   arXiv:1912.05671.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from fairsparse.core import InputError
from fairsparse.data.task import Split
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.measure.counts import Array
from fairsparse.training import Recipe, Trainer


@dataclass(frozen=True)
class Line:
    """Loss and error of the networks between two, each (P,)."""

    at: Array  # from 0, the first network, to 1, the second
    loss: Array  # mean cross-entropy
    error: Array  # share of wrong predictions, in [0, 1]

    @property
    def barrier(self) -> float:
        """How far the loss rises above the line between the losses of its ends; at least 0."""
        return _above(self.at, self.loss)

    @property
    def error_barrier(self) -> float:
        """The same of the error, as a share."""
        return _above(self.at, self.error)


def line(
    first: nn.Module,
    second: nn.Module,
    split: Split,
    train: Split,
    *,
    recipe: Recipe | None = None,
    points: int = 21,
    batches: int = 20,
    seed: int = 0,
) -> Line:
    """Measure the networks on the straight line between two of one architecture.

    Between the ends, BatchNorm's statistics are estimated anew from training batches: those of
    neither end fit. The ends keep their own.

    Parameters
    ----------
    first, second : nn.Module
        Networks from inputs to logits (B, C); not changed.
    split, train : Split
        What loss and error are measured on, and what batches for BatchNorm come from.
    recipe : Recipe, optional
        Batch size, augmentation and precision.
    points : int
        Evenly spaced, ends included; at least 3.
    seed : int
        Of the batches.

    Raises
    ------
    InputError
        When the networks' weights do not have the same names and shapes.
    """
    if points < 3:
        raise InputError(f"a line needs at least 3 points, ends included; got {points}")
    check_alike(first, second)
    classes = max(2, int(split.y.max()) + 1)
    cells = Cells("class", tuple(str(k) for k in range(classes)))
    trainer = Trainer(recipe or Recipe(), cells, seed)
    model, ends = copy.deepcopy(first), (first.state_dict(), second.state_dict())
    at = np.linspace(0, 1, points)
    path = trainer.along(model, ends, at.tolist(), split, train, batches, keep_ends=True)
    return Line(at, *np.array([_losses(logits, y) for logits, y, _ in path]).T)


def _losses(logits: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean cross-entropy, and share of wrong predictions."""
    loss = nn.functional.cross_entropy(logits.double(), y)
    return float(loss), float((logits.argmax(1) != y).double().mean())


def check_alike(first: nn.Module, second: nn.Module) -> None:
    """Raise `InputError` unless weights and buffers have the same names and shapes."""
    a, b = ({k: tuple(t.shape) for k, t in m.state_dict().items()} for m in (first, second))
    odd = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    if odd:
        raise InputError(
            f"the networks are of different architectures ({odd[0]} is {a.get(odd[0], 'missing')}"
            f" in one and {b.get(odd[0], 'missing')} in the other); give two of one architecture"
        )


def _above(at: Array, values: Array) -> float:
    between = values[0] + at * (values[-1] - values[0])
    return max(0.0, float((values - between)[1:-1].max()))
