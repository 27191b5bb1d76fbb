"""Class offsets: the free post-hoc correction that every comparison must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from fairsparse.core import Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.penalties import gap_loss

_SHARPNESS = 3.0
_STEPS = 150


def fit_offsets(predictions: Predictions, cells: Cells, strength: float) -> Tensor:
    """Offsets to add to the logits, shape (C,), centred.

    Minimizes ``-mean p_true + strength * variance of the cells' soft statistic`` over the given
    (held-out) predictions, with a softmax sharpened threefold so that soft accuracy follows
    accuracy. In a network they fold into the last bias, at no cost at inference.

    Parameters
    ----------
    predictions : Predictions
    cells : Cells
    strength : float
        Weight of the variance, at least 0.
    """
    logits, y, group = predictions
    index = cells.index(y, group)
    offsets = torch.zeros(logits.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([offsets], lr=0.05)
    scale = logits.float().std().clamp_min(1e-6) / 3
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / _STEPS)
        shifted = (logits + offsets * scale) * _SHARPNESS
        p_true = shifted.softmax(1).gather(1, y[:, None]).mean()
        means = cells.means(cells.soft(shifted, y), index)
        loss = -p_true + strength * gap_loss(means, cells.families, "var")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    result = offsets.detach() * scale
    return result - result.mean()
