"""Ballot's training refinement: cell weights, a reacting learning rate, rewinds, the best epoch.

The paper [1]_ names a dynamic learning rate and rewinding; the cell weights and all constants are
this implementation's.

References
----------
.. [1] Gao et al., "Efficient DNN-Powered Software with Fair Sparse Models", ISSTA 2024,
   arXiv:2407.02805.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.penalties import (
    family_scale,
    proportional_weights,
    spread_loss,
    streaming_weights,
    weighted_sum,
)
from fairsparse.fairness.spread import Spread, objective, spread
from fairsparse.methods.base import Dense
from fairsparse.methods.fold import fold_offsets
from fairsparse.training import Loop, State, cross_entropy, state_of
from fairsparse.types import Batch, InputError, LossFn, Predictions


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Refinement:
    """How a ticket is trained; every part can be switched off."""

    form: Annotated[
        Literal["weights", "penalty", "margin", "none"],
        Field(description="cell weights on the loss, a penalty on the gap, class margins, nothing"),
    ] = "weights"
    strength: Annotated[float, Field(ge=0, description="of the form")] = 0.5
    memory: Annotated[
        float, Field(ge=0, lt=1, description="share of the past in the cells' running accuracy")
    ] = 0.5
    warmup: Annotated[float, Field(ge=0, description="epochs of rising learning rate")] = 0.5
    plateau: Annotated[
        int, Field(ge=0, description="epochs without progress before the rate is halved; 0: off")
    ] = 5
    rewinds: Annotated[int, Field(ge=0, description="rewinds within one round at most")] = 3
    keep: Annotated[
        Literal["best", "last"], Field(description="epoch kept: best on validation, or the last")
    ] = "best"
    recalibrate: Annotated[int, Field(ge=0, description="batches for BatchNorm; 0: off")] = 20
    offsets: Annotated[
        bool, Field(description="fold class offsets into the last bias at the end")
    ] = False
    tolerance: Annotated[
        float, Field(ge=0, le=1, description="accuracy a ticket may lose against dense")
    ] = 0.01

    @classmethod
    def off(cls) -> Refinement:
        """Plain training."""
        return cls(form="none", warmup=0, plateau=0, rewinds=0, keep="last", recalibrate=0)

    @property
    def watches(self) -> bool:
        """Whether validation is measured, at each epoch of the later half."""
        return self.keep == "best" or self.plateau > 0 or self.rewinds > 0


def refine(
    loop: Loop,
    data: TrainData,
    dense: Dense,
    settings: Refinement,
    strength: float | None = None,
) -> dict[str, Any]:
    """Run `loop` to its end under `settings`; return the JSON-able log of the round.

    Parameters
    ----------
    loop : Loop
        Not yet started; its model ends up trained.
    data : TrainData
        `cal` feeds the cell weights, `val` every choice.
    dense : Dense
        The reference for the objective and the tolerance.
    settings : Refinement
    strength : float, optional
        Strength the previous round ended with; the settings' own by default.
    """
    trainer, model = loop.trainer, loop.model
    strength = settings.strength if strength is None else strength
    per_epoch = trainer.steps_per_epoch(data.train)
    loop.warm = round(settings.warmup * per_epoch)
    scale = family_scale(dense.val.means, trainer.cells.families)
    pressure = Pressure(settings, trainer.cells, data, strength, scale)
    watch = Watch(settings, dense)
    for log in loop:
        last = loop.step >= loop.stop
        if settings.form != "none" and not last:
            loop.loss = pressure.update(trainer.predict(model, data.cal))
        # an early epoch of a long schedule is never the network one wants to ship
        if settings.watches and log.step > loop.start + (loop.stop - loop.start) // 2:
            now = spread(trainer.cells, trainer.predict(model, data.val))
            back = watch.see(now, model)
            loop.lr_factor = watch.factor
            if back is not None and not last:
                loop.restore(back)
    if settings.keep == "best" and watch.best is not None:
        loop.restore(watch.best)
    trainer.recalibrate(model, data.train, settings.recalibrate)
    result = spread(trainer.cells, trainer.predict(model, data.val))
    log_: dict[str, Any] = {
        "strength": strength,
        "rewinds": watch.rewinds,
        "halvings": watch.halvings,
    }
    if settings.offsets:
        held = _join(trainer.predict(model, data.val), trainer.predict(model, data.cal))
        log_["offset_strength"] = fold_offsets(
            model, held, trainer.cells, dense, settings.tolerance
        )
        result = spread(trainer.cells, trainer.predict(model, data.val))
    drop = dense.val.accuracy - result.accuracy
    if drop > settings.tolerance:
        log_["strength"] = strength / 2
    return {
        **log_,
        "val_accuracy": result.accuracy,
        "val_variance": result.variance,
        "val_range": result.range,
        "val_drop": drop,
        "objective": objective(result, dense.val)[0],
    }


def check_form(settings: Refinement, cells: Cells) -> None:
    """Raise `InputError` when a form cannot act on the cells."""
    if settings.form == "margin" and cells.notion != "class":
        raise InputError(
            f"refinement form 'margin' needs the fairness notion 'class', got"
            f" '{cells.notion}'; use 'weights' or 'penalty'"
        )
    if settings.form == "weights" and cells.notion == "demographic-parity":
        raise InputError(
            "refinement form 'weights' equalizes accuracies and cannot reach"
            " demographic parity; use form 'penalty'"
        )


class Pressure:
    """Turns the cells' held-out accuracies into the next epoch's loss."""

    def __init__(
        self, settings: Refinement, cells: Cells, data: TrainData, strength: float, scale: Tensor
    ) -> None:
        check_form(settings, cells)
        self.settings, self.cells, self.strength = settings, cells, strength
        index = cells.index(data.train.y, data.train.group)
        self.train_share = torch.bincount(index[index >= 0], minlength=len(cells)) / len(index)
        self.scale = scale
        self.running: Tensor | None = None
        self.lag: Tensor | None = None
        self.margins = torch.zeros(len(data.class_names))

    def update(self, held_out: Predictions) -> LossFn:
        """Return the loss for the next epoch, given predictions on the calibration split."""
        form, cells = self.settings.form, self.cells
        index = cells.index(held_out.y, held_out.group)
        values = (
            cells.soft(held_out.logits, held_out.y)
            if form == "penalty"
            else cells.hard(held_out.logits, held_out.y)
        )
        now, counts = cells.means(values, index), cells.sums(values, index)[1]
        lag = now - _family_means(now, cells.families)
        if self.lag is not None and float((lag * self.lag).nansum()) < 0:
            self.strength /= 2  # the cells changed places: the pressure overshot
        self.lag = lag
        if self.running is None:
            self.running = now
        else:
            self.running = self.settings.memory * self.running + (1 - self.settings.memory) * now
        if form == "weights":
            noise = now * (1 - now) / counts
            reliable = self.scale.square() / (self.scale.square() + noise)
            weights = proportional_weights(
                self.running, cells.families, self.strength * reliable, self.scale
            )
            return weighted_loss(cells, weights)
        slope = streaming_weights(
            spread_loss, self.running, torch.ones_like(self.running), cells.families
        )
        if form == "margin":
            # a lagging class (negative slope) must win by a larger margin: its logit is lowered
            self.margins = self.margins + self.strength * slope * len(cells)
            self.margins = self.margins - self.margins.mean()
            return _margin_loss(self.margins)
        weights = self.strength * slope / self.train_share.clamp_min(1e-9)
        return _penalty_loss(cells, weights)


def _family_means(values: Tensor, families: Tensor) -> Tensor:
    """Mean of each cell's family, (K,), over the cells that were measured."""
    result = torch.empty_like(values)
    for f in families.unique():
        result[families == f] = values[families == f].nanmean()
    return result


def weighted_loss(cells: Cells, weights: Tensor) -> LossFn:
    """Cross-entropy in which each example counts as much as its cell's weight, (K,)."""

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        index = cells.index(batch.y, batch.group)
        w = weights.to(logits.device)[index.clamp_min(0)]
        w = torch.where(index >= 0, w, torch.ones_like(w))
        return (w * F.cross_entropy(logits, batch.y, reduction="none")).mean()

    return loss


def _penalty_loss(cells: Cells, weights: Tensor) -> LossFn:
    def loss(logits: Tensor, batch: Batch) -> Tensor:
        gap = weighted_sum(weights.to(logits.device), cells, logits, batch.y, batch.group)
        return cross_entropy(logits, batch) + gap / len(batch.y)

    return loss


def _margin_loss(margins: Tensor) -> LossFn:
    def loss(logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits + margins.to(logits.device), batch.y)

    return loss


class Watch:
    """Follows validation: keeps the best epoch, halves the rate on a plateau, asks for rewinds."""

    def __init__(self, settings: Refinement, dense: Dense) -> None:
        self.settings, self.dense = settings, dense
        self.best: State | None = None
        self.best_rank: tuple[bool, float] = (True, float("inf"))
        self.lowest = float("inf")
        self.best_variance, self.best_accuracy = float("inf"), 0.0
        self.stale = self.diverging = self.rewinds = self.halvings = 0
        self.factor = 1.0

    def see(self, now: Spread, model: nn.Module) -> State | None:
        """Take in an epoch; return a state to rewind to, or None."""
        settings = self.settings
        value, _ = objective(now, self.dense.val)
        infeasible = self.dense.val.accuracy - now.accuracy > settings.tolerance
        # among epochs outside the tolerance the most accurate one is the nearest to it
        rank = (infeasible, 1 - now.accuracy if infeasible else value)
        if rank < self.best_rank:
            self.best_rank, self.best = rank, state_of(model)
        self.stale = 0 if value < self.lowest * (1 - 1e-3) else self.stale + 1
        self.lowest = min(self.lowest, value)
        if settings.plateau and self.stale >= settings.plateau:
            self._slow_down()
        worse = now.variance > 1.25 * self.best_variance
        self.diverging = (
            self.diverging + 1 if worse and now.accuracy < self.best_accuracy + 0.001 else 0
        )
        self.best_variance = min(self.best_variance, now.variance)
        self.best_accuracy = max(self.best_accuracy, now.accuracy)
        if self.diverging >= 3 and self.rewinds < settings.rewinds and self.best is not None:
            self.rewinds += 1
            self.diverging = 0
            self._slow_down()
            return self.best
        return None

    def _slow_down(self) -> None:
        self.factor = max(0.05, self.factor / 2)
        self.halvings += 1
        self.stale = 0


def _join(a: Predictions, b: Predictions) -> Predictions:
    return Predictions(*(torch.cat(pair) for pair in zip(a, b, strict=True)))
