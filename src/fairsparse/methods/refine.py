"""Ballot's training refinement: cell weights, a reacting learning rate, rewinds, the best epoch.

The paper [1]_ names a dynamic learning rate and rewinding; the cell weights and all constants are
this implementation's.

References
----------
.. [1] Gao et al., "Efficient DNN-Powered Software with Fair Sparse Models", ISSTA 2024,
   arXiv:2407.02805.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.penalties import family_scale
from fairsparse.fairness.spread import Spread, objective, spread
from fairsparse.methods.fold import choose_offsets, fold_offsets
from fairsparse.methods.pressure import Pressure
from fairsparse.methods.stages import Dense
from fairsparse.methods.teacher import Errors, labels_alone, mean_of, taught, with_errors
from fairsparse.methods.terms import Term, TermName
from fairsparse.training import Loop, State, state_of
from fairsparse.types import InputError, LossFn, Predictions


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Refinement:
    """How a ticket is trained; every part can be switched off."""

    form: Annotated[
        Literal["weights", "penalty", "margin", "none"],
        Field(description="cell weights on the loss, a penalty on the gap, class margins, nothing"),
    ] = "weights"
    strength: Annotated[float, Field(ge=0, description="of the form, in the first round")] = 0.5
    growth: Annotated[
        float, Field(ge=1, description="of the strength after a round that left accuracy to spend")
    ] = 1.5
    memory: Annotated[
        float, Field(ge=0, lt=1, description="share of the past in the cells' running accuracy")
    ] = 0.5
    distill: Annotated[
        float,
        Field(ge=0, le=1, description="share of the dense network's answers in the loss; 0: off"),
    ] = 0.5
    temperature: Annotated[
        float, Field(gt=0, description="divides logits before they are compared with the answers")
    ] = 2.0
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
        float,
        Field(
            ge=0, le=1, description="accuracy a ticket may lose against the most accurate so far"
        ),
    ] = 0.01

    @classmethod
    def off(cls) -> Refinement:
        """Plain training."""
        return cls(
            form="none", distill=0, warmup=0, plateau=0, rewinds=0, keep="last", recalibrate=0
        )

    @property
    def watches(self) -> bool:
        """Whether validation is measured, at each epoch of the later half."""
        return self.keep == "best" or self.plateau > 0 or self.rewinds > 0


def one_steers(name: str, term: TermName, settings: Refinement | None) -> None:
    """Raise `InputError` when both a term and a refinement's form would steer the loss."""
    if term != "none" and settings is not None and settings.form != "none":
        raise InputError(
            f"{name}: term '{term}' and refinement form '{settings.form}' would both steer the"
            " loss; set term to none, or refinement.form to none"
        )


def refine(
    loop: Loop,
    data: TrainData,
    dense: Dense,
    settings: Refinement,
    strength: float | None = None,
    *,
    reach: float | None = None,
    term: Term | None = None,
    epochs: Iterable[object] | None = None,
    settled: float = 0.0,
) -> dict[str, Any]:
    """Run `loop` to its end under `settings`; return the JSON-able log of the round.

    Parameters
    ----------
    loop : Loop
        Not yet started; its model ends up trained.
    data : TrainData
        `cal` feeds the cell weights, `val` every choice.
    dense : Dense
        The reference for the objective.
    settings : Refinement
    strength : float, optional
        What the previous round handed on as `next_strength`; the settings' own by default.
    reach : float, optional
        Accuracy that the tolerance refers to: what `raised` gave after the rounds before; the
        dense network's by default. Where it is higher, tickets have passed the dense network and
        learn no more from it.
    term : Term, optional
        What steers the loss, where the settings' form is none.
    epochs : iterable, optional
        Runs `loop` and yields after each epoch, such as one that also moves the masks.
    settled : float
        Step from which the masks stay; no epoch before is a candidate to keep.
    """
    trainer, model = loop.trainer, loop.model
    strength = settings.strength if strength is None else strength
    reach = dense.val.accuracy if reach is None else reach
    per_epoch = trainer.steps_per_epoch(data.train)
    loop.warm = round(settings.warmup * per_epoch)
    scale = family_scale(dense.val.means, dense.val.counts, trainer.cells.families)
    errors: Errors = labels_alone
    distilled = settings.distill > 0 and reach <= dense.val.accuracy
    if distilled:
        errors = taught(loop, dense.answers(), settings.distill, settings.temperature)
        loop.loss = mean_of(errors)
    pressure = Pressure(settings, trainer.cells, data, strength, scale, errors)
    steer: Callable[[Predictions], LossFn] | None = None
    if settings.form != "none":
        steer = pressure.update
    if term is not None:
        loop.loss = with_errors(term.loss, errors)
        steer = (lambda seen: with_errors(term.update(seen), errors)) if term.steered else None
    # an early epoch of a long schedule is never the network one wants to ship
    late = max(loop.start + (loop.stop - loop.start) // 2 + 1, settled)
    watch = Watch(settings, dense, reach)
    for _ in loop if epochs is None else epochs:
        last = loop.step >= loop.stop
        if steer is not None and not last:
            loop.loss = steer(trainer.predict(model, data.cal))
        if settings.watches and loop.step >= late:
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
        **(term.facts() if term is not None else {}),
        "strength": strength,
        "overshoots": pressure.overshoots,
        "rewinds": watch.rewinds,
        "halvings": watch.halvings,
    }
    if settings.offsets:
        cal, val = trainer.predict(model, data.cal), trainer.predict(model, data.val)
        found = choose_offsets(cal, val, trainer.cells, dense, reach, settings.tolerance)
        log_ |= fold_offsets(model, *found)
        result = spread(trainer.cells, trainer.predict(model, data.val))
    return {
        **log_,
        "reach": raised(reach, result.accuracy, settings.tolerance),
        "distilled": distilled,
        "next_strength": pressure.next_strength(reach - result.accuracy),
        "val_accuracy": result.accuracy,
        "val_variance": result.variance,
        "val_range": result.range,
        "val_drop": dense.val.accuracy - result.accuracy,
        "objective": objective(result, dense.val)[0],
    }


def raised(reach: float, accuracy: float, tolerance: float) -> float:
    """The accuracy that is held to be within reach, after another network was measured.

    A short dense run can be far behind its tickets, which are trained for longer in all; held to it
    alone, they could give away all that they gained. Less than the tolerance more is no gain.
    """
    return accuracy if accuracy > reach + tolerance else reach


class Watch:
    """Follows validation: keeps the best epoch, halves the rate on a plateau, asks for rewinds."""

    def __init__(self, settings: Refinement, dense: Dense, reach: float) -> None:
        self.settings, self.dense, self.reach = settings, dense, reach
        self.best: State | None = None
        self.best_seen = (0.0, float("inf"))  # accuracy and objective of the best epoch
        self.lowest = float("inf")
        self.best_variance, self.best_accuracy = float("inf"), 0.0
        self.stale = self.diverging = self.rewinds = self.halvings = 0
        self.factor = 1.0

    def see(self, now: Spread, model: nn.Module) -> State | None:
        """Take in an epoch; return a state to rewind to, or None."""
        settings = self.settings
        value, _ = objective(now, self.dense.val)
        self.reach = raised(self.reach, now.accuracy, settings.tolerance)
        seen = (now.accuracy, value)
        if self.best is None or self._rank(*seen) < self._rank(*self.best_seen):
            self.best_seen, self.best = seen, state_of(model)
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

    def _rank(self, accuracy: float, value: float) -> tuple[bool, float]:
        infeasible = self.reach - accuracy > self.settings.tolerance
        # among epochs outside the tolerance the most accurate one is the nearest to it
        return (infeasible, 1 - accuracy if infeasible else value)

    def _slow_down(self) -> None:
        self.factor = max(0.05, self.factor / 2)
        self.halvings += 1
        self.stale = 0
