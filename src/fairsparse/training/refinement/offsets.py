"""Class offsets folded into a network's last bias: free at inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fairsparse.core import InputError, Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.corrections import fit_offsets
from fairsparse.fairness.steering.spread import objective, spread
from fairsparse.training.run import Dense


def choose_offsets(
    cal: Predictions, val: Predictions, cells: Cells, dense: Dense, reach: float, tolerance: float
) -> tuple[float, Tensor | None]:
    """Fit class offsets of several strengths; return the best one's strength and them, (C,).

    They are fitted on `cal`, and each fit is also tried in part: the fit of a low strength gives
    equality up where that is more accurate, a part of a strong one does not. The best is the least
    unequal one on `val`, which it has not seen, among those that stay within the tolerance of the
    accuracy `reach` and spend at most half of it: the tolerance is there to be spent. 0 and None
    mean that no offset helped.
    """
    plain = spread(cells, val)
    limit = max(min(reach - tolerance, plain.accuracy), plain.accuracy - tolerance / 2)
    best, chosen, offsets = objective(plain, dense.val)[1], 0.0, None
    for strength in (2.0, 4.0, 8.0, 16.0):
        fitted = fit_offsets(cal, cells, strength)
        for part in (0.25, 0.5, 0.75, 1.0):
            now = spread(cells, val._replace(logits=val.logits + part * fitted))
            value = objective(now, dense.val)[1]
            if now.accuracy >= limit and value < best:
                best, chosen, offsets = value, strength, part * fitted
    return chosen, offsets


def fold_(model: nn.Module, offsets: Tensor) -> None:
    """Add class offsets (C,) to the last bias of `model`: its logits then contain them."""
    bias = last_bias(model)
    with torch.no_grad():
        bias += offsets.to(bias.device)


def unfold_(model: nn.Module, log: dict[str, Any]) -> None:
    """Take out of `model` the offsets that its round folded in, if it did: training goes on."""
    if any(log.get("offsets") or ()):
        fold_(model, -torch.tensor(log["offsets"]))


def fold_offsets(model: nn.Module, strength: float, offsets: Tensor | None) -> dict[str, Any]:
    """Fold what `choose_offsets` found into `model`; return what a log says of it."""
    bias = last_bias(model)  # there has to be one, whether or not an offset helps
    if offsets is not None:
        fold_(model, offsets)
    values = [0.0] * len(bias) if offsets is None else offsets.tolist()
    return {"offset_strength": strength, "offsets": values}


def last_bias(model: nn.Module) -> Tensor:
    """Bias of the last linear layer, into which class offsets fold."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if not layers or layers[-1].bias is None:
        raise InputError(
            "offsets fold into the bias of the last linear layer, and this model has none;"
            " give its last layer a bias or set offsets to false"
        )
    return layers[-1].bias
