"""How unequal a model is over cells, measured while training to steer and to choose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fairsparse.core import InputError, Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.registry import listing


@dataclass(frozen=True)
class Spread:
    """Accuracy and inequality over cells on one split."""

    accuracy: float  # over all examples
    variance: float  # population variance of cells, averaged over families; of classes, CWV
    range: float  # maximum minus minimum of cells, averaged likewise; of classes, MCD
    means: Tensor  # (K,), the statistic of each cell
    counts: Tensor  # (K,), the number of examples of each cell


def spread(cells: Cells, predictions: Predictions) -> Spread:
    """Measure `Spread` from predictions.

    `InputError` when a cell has no examples: its statistic would be an invention.
    """
    logits, y, group = predictions
    index = cells.index(y, group)
    total, counts = cells.sums(cells.hard(logits, y), index)
    empty = [name for name, n in zip(cells.names, counts.tolist(), strict=True) if n == 0]
    if empty:
        raise InputError(
            f"cells without examples: {listing(empty)}; their statistic is undefined: use larger"
            " calibration and validation shares, or coarser cells"
        )
    means = total / counts
    families = [means[cells.families == f] for f in cells.families.unique()]
    return Spread(
        accuracy=float((logits.argmax(1) == y).double().mean()),
        variance=float(torch.stack([m.var(correction=0) for m in families]).mean()),
        range=float(torch.stack([m.max() - m.min() for m in families]).mean()),
        means=means,
        counts=counts,
    )


def objective(now: Spread, reference: Spread) -> tuple[float, float]:
    """What checkpoints are chosen by, lower is better: ``(J with accuracy, J of fairness)``.

    ``J_fair = 0.5 variance/variance_ref + 0.5 range/range_ref`` and
    ``J = (1 - accuracy)/(1 - accuracy_ref) + J_fair``. Every denominator is at least one error in
    a thousand, so that a perfect reference does not divide by zero.
    """
    fair = 0.5 * now.variance / max(reference.variance, 1e-6)
    fair += 0.5 * now.range / max(reference.range, 1e-3)
    return (1 - now.accuracy) / max(1 - reference.accuracy, 1e-3) + fair, fair
