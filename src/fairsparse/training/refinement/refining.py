"""Ballot's training refinement: cell weights, a reacting learning rate, rewinds, the best epoch.

The paper (Gao et al., arXiv:2407.02805) names a dynamic learning rate and rewinding; the cell
weights and all constants are this implementation's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from fairsparse.core import LossFn, Predictions
from fairsparse.fairness.steering.penalties import family_scale
from fairsparse.fairness.steering.spread import Spread, objective
from fairsparse.training import Loop, State, state_of
from fairsparse.training.refinement.offsets import choose_offsets, fold_offsets
from fairsparse.training.refinement.options import Refinement
from fairsparse.training.refinement.pressure import Pressure
from fairsparse.training.refinement.teacher import (
    Errors,
    labels_alone,
    taught,
    with_errors,
)
from fairsparse.training.refinement.terms import Term
from fairsparse.training.run import Dense, Run

_PROGRESS = 1e-3  # relative fall of the objective: one that creeps by less has met its plateau
_LOWEST = 0.05  # of the rate: what is left of the schedule still trains, however often it is halved
# Sampling alone moves the variance over ten cells by about a fifth, where 100 examples each have
# accuracies of .9 that are .1 apart: 2 s / sqrt(K variance), with s the error of one cell. A rise
# has to be larger, and last, to be more than that; a gain in accuracy of one answer in a thousand
# is no gain that would pay for it.
_GROWN = 1.25
_LASTING = 3
_GAIN = 1e-3


def refine(
    loop: Loop,
    run: Run,
    settings: Refinement | None,
    strength: float | None = None,
    *,
    reach: float | None = None,
    term: Term | None = None,
    epochs: Iterable[object] | None = None,
    settled: float = 0.0,
) -> dict[str, Any]:
    """Run `loop`, of the network of `run`, under `settings`; return the JSON-able log of the round.

    `cal` feeds the cell weights, `val` every choice; dense is the reference of the objective.

    Parameters
    ----------
    settings : Refinement or None
        None is plain training.
    strength : float, optional
        What the previous round handed on as `next_strength`; the settings' own by default.
    reach : float, optional
        Accuracy that the tolerance refers to: what `raised` gave after the rounds before, or the
        dense network's. Where it is higher, tickets learn no more from the dense network.
    term : Term, optional
        What steers the loss, where the settings' form is none.
    epochs : iterable, optional
        Runs `loop` and yields after each epoch, such as one that also moves the masks.
    settled : float
        Step from which the masks stay; no epoch before is a candidate to keep.
    """
    settings, dense = settings or Refinement.off(), run.dense
    strength = settings.strength if strength is None else strength
    reach = dense.val.accuracy if reach is None else reach
    errors = _errors(loop, dense, settings, reach)
    # how far apart the dense network's cells are: what counts as a large lag
    scale = family_scale(dense.val.means, dense.val.counts, run.cells.families)
    pressure = Pressure(settings, run.cells, run.data, strength, scale, errors)
    steer = _steering(loop, pressure, term)
    watch = Watch(settings, dense, reach)
    loop.warm = round(settings.warmup * run.trainer.steps_per_epoch(run.data.train))
    # an early epoch of a long schedule is never the network one wants to ship
    late = max(loop.start + (loop.stop - loop.start) // 2 + 1, settled)
    for _ in loop if epochs is None else epochs:
        if steer is not None and loop.step < loop.stop:
            loop.loss = steer(run.predict(run.data.cal))
        if settings.watches and loop.step >= late:
            watch.react(loop, run.spread(run.data.val))
    if settings.keep == "best" and watch.best is not None:
        loop.restore(watch.best)
    run.trainer.recalibrate(run.model, run.data.train, settings.recalibrate)
    return {
        **(term.facts() if term is not None else {}),
        "strength": strength,
        "overshoots": pressure.overshoots,
        "rewinds": watch.rewinds,
        "halvings": watch.halvings,
        "distilled": errors is not labels_alone,
        **_close(run, settings, pressure, reach),
    }


def _errors(loop: Loop, dense: Dense, settings: Refinement, reach: float) -> Errors:
    """What each example loses, the dense network's answers included while it has any to give."""
    if not settings.distill or reach > dense.val.accuracy:
        return labels_alone
    errors = taught(loop, dense.answers(), settings.distill, settings.temperature)
    loop.loss = lambda logits, batch: errors(logits, batch).mean()
    return errors


def _steering(
    loop: Loop, pressure: Pressure, term: Term | None
) -> Callable[[Predictions], LossFn] | None:
    """How the loss of the next epoch follows from predictions on cal; None where it stays."""
    if term is None:
        return None if pressure.settings.form == "none" else pressure.update
    errors = pressure.errors
    loop.loss = with_errors(term.loss, errors)
    return (lambda seen: with_errors(term.update(seen), errors)) if term.steered else None


def _close(run: Run, settings: Refinement, pressure: Pressure, reach: float) -> dict[str, Any]:
    """Fold in offsets if asked to; what the network came to, and what the next round goes by."""
    log: dict[str, Any] = {}
    if settings.offsets:
        cal, val = run.predict(run.data.cal), run.predict(run.data.val)
        fitted = choose_offsets(cal, val, run.cells, run.dense, reach, settings.tolerance)
        log = fold_offsets(run.model, *fitted)
    reached = run.spread(run.data.val)
    return {
        **log,
        "reach": raised(reach, reached.accuracy, settings.tolerance),
        "next_strength": pressure.next_strength(reach - reached.accuracy),
        **run.validated(reached),
        "objective": objective(reached, run.dense.val)[0],
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

    def react(self, loop: Loop, now: Spread) -> None:
        """Let the epoch that ended be seen; change the rate, or go back, where it asks for that."""
        back = self.see(now, loop.model)
        loop.lr_factor = self.factor
        if back is not None and loop.step < loop.stop:
            loop.restore(back)

    def see(self, now: Spread, model: nn.Module) -> State | None:
        """Take in an epoch; return a state to rewind to, or None."""
        settings = self.settings
        value, _ = objective(now, self.dense.val)
        self.reach = raised(self.reach, now.accuracy, settings.tolerance)
        seen = (now.accuracy, value)
        if self.best is None or self._rank(*seen) < self._rank(*self.best_seen):
            self.best_seen, self.best = seen, state_of(model)
        self.stale = 0 if value < self.lowest * (1 - _PROGRESS) else self.stale + 1
        self.lowest = min(self.lowest, value)
        if settings.plateau and self.stale >= settings.plateau:
            self._slow_down()
        unequal = now.variance > _GROWN * self.best_variance
        diverges = unequal and now.accuracy < self.best_accuracy + _GAIN
        self.diverging = self.diverging + 1 if diverges else 0
        self.best_variance = min(self.best_variance, now.variance)
        self.best_accuracy = max(self.best_accuracy, now.accuracy)
        if self.diverging < _LASTING or self.rewinds == settings.rewinds:
            return None
        self.rewinds += 1
        self.diverging = 0
        self._slow_down()
        return self.best

    def _rank(self, accuracy: float, value: float) -> tuple[bool, float]:
        infeasible = self.reach - accuracy > self.settings.tolerance
        # among epochs outside the tolerance the most accurate one is the nearest to it
        return (infeasible, 1 - accuracy if infeasible else value)

    def _slow_down(self) -> None:
        self.factor = max(_LOWEST, self.factor / 2)
        self.halvings += 1
        self.stale = 0
