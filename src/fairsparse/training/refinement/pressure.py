"""From held-out accuracies of the cells to the loss of the next epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from fairsparse.core import Batch, InputError, LossFn, Predictions
from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.penalties import (
    proportional_weights,
    sampling_variance,
    spread_loss,
    streaming_weights,
    weighted_sum,
)
from fairsparse.training.refinement.options import Refinement
from fairsparse.training.refinement.teacher import Errors, labels_alone

_ROOM = 0.1  # in squared scales: a swing of less than a third of a scale is the aim, reached
# Times the setting: at 6 x .5 a lag of two thirds of a scale already weighs its limit of 3; beyond,
# every lag would, and the weights would say nothing of its size.
MOST = 6.0


def check_form(settings: Refinement, cells: Cells) -> None:
    """Raise `InputError` when a form cannot act on the cells."""
    if settings.form == "margin" and cells.definition.kind != "class":
        raise InputError(
            f"refinement form 'margin' needs the fairness notion 'class', got"
            f" '{cells.notion}'; use 'weights' or 'penalty'"
        )
    if settings.form == "weights" and cells.definition.of_predictions:
        raise InputError(
            "refinement form 'weights' equalizes accuracies and cannot reach"
            f" {cells.notion.replace('-', ' ')}; use form 'penalty'"
        )


class Pressure:
    """Turns the cells' held-out accuracies into the next epoch's loss."""

    def __init__(
        self,
        settings: Refinement,
        cells: Cells,
        data: TrainData,
        strength: float,
        scale: Tensor,
        errors: Errors = labels_alone,
    ) -> None:
        check_form(settings, cells)
        self.settings, self.cells, self.strength = settings, cells, strength
        self.scale, self.errors = scale, errors
        self.train_share = cells.shares(data.train.y, data.train.group)
        self.running: Tensor | None = None
        self.lag: Tensor | None = None
        self.overshoots = 0
        self.margins = torch.zeros(len(data.class_names))

    def update(self, held_out: Predictions) -> LossFn:
        """Return the loss for the next epoch, given predictions on the calibration split."""
        form, cells = self.settings.form, self.cells
        index = cells.index(held_out.y, held_out.group)
        statistic = cells.soft if form == "penalty" else cells.hard
        total, counts = cells.sums(statistic(held_out.logits, held_out.y), index)
        now = total / counts  # NaN in a cell without examples
        lag = now - _family_means(now, cells.families)
        noise = sampling_variance(now, counts)
        if self.lag is not None:
            swing = -(lag * self.lag) - noise - _ROOM * self.scale.square()
            if float(swing.nansum()) > 0:
                self.strength /= 2  # the cells changed places: the pressure overshot
                self.overshoots += 1
        self.lag = lag
        memory = self.settings.memory
        if self.running is not None:
            now = memory * self.running + (1 - memory) * now
        self.running = now
        if form == "weights":
            reliable = self.scale.square() / (self.scale.square() + noise)
            weights = proportional_weights(
                self.running, cells.families, self.strength * reliable, self.scale
            )
            return weighted_loss(cells, weights, self.errors)
        slope = streaming_weights(
            spread_loss, self.running, torch.ones_like(self.running), cells.families
        )
        if form == "margin":
            # a lagging class (negative slope) must win by a larger margin: its logit is lowered
            self.margins = self.margins + self.strength * slope * len(cells)
            self.margins = margins = self.margins - self.margins.mean()
            return lambda z, batch: self.errors(z + margins.to(z.device), batch).mean()
        return self._penalty_loss(self.strength * slope / self.train_share.clamp_min(1e-9))

    def _penalty_loss(self, weights: Tensor) -> LossFn:
        def loss(logits: Tensor, batch: Batch) -> Tensor:
            w = weights.to(logits.device)
            gap = weighted_sum(w, self.cells, logits, batch.y, batch.group)
            return self.errors(logits, batch).mean() + gap / len(batch.y)

        return loss

    def next_strength(self, drop: float) -> float:
        """Strength of the next round, given the accuracy this one lost against its reach.

        Half beyond the tolerance; `growth` times as much, up to six times the setting, where half
        the tolerance is unspent and no overshoot spoke against it. A gain beyond the tolerance
        says that training is not at its end, and nothing of what the pressure cost.
        """
        tolerance = self.settings.tolerance
        if drop > tolerance:
            return self.strength / 2
        if -tolerance <= drop < tolerance / 2 and not self.overshoots:
            most = max(self.strength, MOST * self.settings.strength)
            return min(self.strength * self.settings.growth, most)
        return self.strength


def _family_means(values: Tensor, families: Tensor) -> Tensor:
    """Mean of each cell's family, (K,), over the cells that were measured."""
    result = torch.empty_like(values)
    for f in families.unique():
        result[families == f] = values[families == f].nanmean()
    return result


def weighted_loss(cells: Cells, weights: Tensor, errors: Errors = labels_alone) -> LossFn:
    """Mean error in which each example counts as much as its cell's weight, (K,)."""

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        index = cells.index(batch.y, batch.group)
        w = weights.to(logits.device)[index.clamp_min(0)]
        w = torch.where(index >= 0, w, torch.ones_like(w))
        return (w * errors(logits, batch)).mean()

    return loss
