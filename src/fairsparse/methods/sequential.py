"""Fairness and pruning one after the other: what both orders share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.spread import objective, spread
from fairsparse.methods.base import options
from fairsparse.methods.pruned import Pruning
from fairsparse.methods.refine import Refinement, one_steers, refine
from fairsparse.methods.stages import Dense, Round
from fairsparse.methods.terms import Chosen, Cost, Gap, Weight, check_term, make_term
from fairsparse.training import Loop, Trainer

T = TypeVar("T")
_LEVELS = {"fraction", "levels"}


@options
class Sequential(Pruning):
    """A method of separate stages, of which one alone looks at fairness.

    That stage is trained under `refinement`, by its form or, with form none, by a `term`.
    """

    refinement: Annotated[Refinement, Field(description="how the fair stage is trained")] = Field(
        default_factory=Refinement
    )
    term: Chosen = "none"
    lam: Weight = 0.1
    form: Cost = "logistic"
    gap: Gap = "rng"
    fair_share: Annotated[
        float, Field(gt=0, le=1, description="share of the schedule, its end, in the fair stage")
    ] = 1.0
    fair_lr_factor: Annotated[
        float, Field(gt=0, le=1, description="of the recipe's rates, in the fair stage")
    ] = 0.1

    def check(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` or `cells` do not allow."""
        super().check(model, cells)
        check_term(self.term, cells)
        one_steers(self.label, self.term, self.refinement)

    def pruning_settings(self) -> dict[str, Any]:
        """The options of the plain stage, less the levels that it goes through."""
        mine = {f.name for f in fields(Pruning)} - {"sparsity"}
        return {k: v for k, v in self.key_settings().items() if k in mine}

    def fair_settings(self) -> dict[str, Any]:
        """The options of the fair stage."""
        other = {f.name for f in fields(Pruning)} | _LEVELS
        return {k: v for k, v in self.key_settings().items() if k not in other}

    def fair(self, loop: Loop, data: TrainData, dense: Dense) -> dict[str, Any]:
        """Run `loop` to its end as the fair stage; return its log."""
        trainer = loop.trainer
        loop.base_factor = self.fair_lr_factor
        term = make_term(self.term, self.form, self.gap, self.lam, trainer, data.train)
        curve = Curve(trainer, data, dense)
        epochs = curve.follow(loop.model, loop)
        log = refine(loop, data, dense, self.refinement, term=term, epochs=epochs)
        return {**log, **curve.facts(loop.model)}

    def fair_start(self, dense: Dense) -> int:
        """Step of the schedule at which the fair stage starts."""
        return dense.total - max(1, round(self.fair_share * dense.total))


class Curve:
    """A stage's gap on the validation split by the steps spent, whichever network they went to.

    A log for comparing what methods cost to reach a gap: nothing is chosen by it.
    """

    def __init__(self, trainer: Trainer, data: TrainData, dense: Dense) -> None:
        self.trainer, self.data, self.dense = trainer, data, dense
        self.before = trainer.steps
        self.epochs: list[dict[str, Any]] = []

    def follow(self, model: nn.Module, epochs: Iterable[T]) -> Iterator[T]:
        """Yield `epochs`, measuring `model` after each."""
        for epoch in epochs:
            self.epochs.append(self._now(model))
            yield epoch

    def _now(self, model: nn.Module) -> dict[str, Any]:
        now = spread(self.trainer.cells, self.trainer.predict(model, self.data.val))
        return {
            "steps": self.trainer.steps - self.before,
            "accuracy": now.accuracy,
            "range": now.range,
            "fair": objective(now, self.dense.val)[1],
        }

    def facts(self, model: nn.Module) -> dict[str, Any]:
        """Steps of the stage, and those after which the gap first was no larger than at its end.

        ``steps_to_range`` is of the range over cells, ``steps_to_fair`` of the objective's fair
        part; where `model` is more equal than after any epoch, they are all of the steps.
        """
        end = self._now(model)

        def first(key: str) -> int:
            reached = (epoch["steps"] for epoch in self.epochs if epoch[key] <= end[key])
            return next(reached, end["steps"])

        return {
            "val_accuracy": end["accuracy"],
            "val_range": end["range"],
            "steps": end["steps"],
            "steps_to_range": first("range"),
            "steps_to_fair": first("fair"),
            "epochs": self.epochs,
        }


def in_sequence(stages: Sequence[Round]) -> list[dict[str, Any]]:
    """The stages' logs, their steps counted from the start of the first stage."""
    logs, before = [], 0
    for stage in stages:
        log = {**stage.log}
        for key in ("steps", "steps_to_range", "steps_to_fair"):
            log[key] = log[key] + before
        log["epochs"] = [{**e, "steps": e["steps"] + before} for e in log["epochs"]]
        before = log["steps"]
        logs.append(log)
    return logs
