"""Fairness and pruning one after the other, in both orders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field
from torch import nn

from fairsparse.core import InputError
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.spread import objective
from fairsparse.masks.grouping import as_selected, parse
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.methods.method import METHODS, Facts, Key, Levels, Outcome, options
from fairsparse.methods.shared.pruning import Pruning
from fairsparse.training import Round, Run, cross_entropy, state_of
from fairsparse.training.refinement import Refinement, refine
from fairsparse.training.refinement.terms import Chosen, Cost, Gap, Weight, check_term, make_term

T = TypeVar("T")
FairRate = Annotated[
    float, Field(gt=0, le=1, description="of the recipe's rates, in the fair stage")
]
_PLAIN = {f.name for f in fields(Pruning)}


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
    fair_lr_factor: FairRate = 0.1

    def check_options(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` or `cells` do not allow."""
        super().check_options(model, cells)
        check_term(self.name, self.term, cells, self.refinement)

    def stage_settings(self, *, plain: bool) -> dict[str, Any]:
        """The options of the plain stage, less the levels that it goes through, or the fair one."""
        settings, plan = self.key_settings(), self.plan_options()
        return {k: v for k, v in settings.items() if (k in _PLAIN) == plain and k not in plan}

    def plain(self, run: Run, level: float | None = None, parent: MaskSet | None = None) -> Round:
        """Prune the network and fine-tune it plainly: the stage that does not look at fairness."""
        curve = Curve(run)
        *_, masks = curve.follow(self.train(run, cross_entropy, level, parent))
        log = {"sparsity": masks.sparsity, **curve.facts()}
        return Round(masks, state_of(run.model), log)

    def fair(self, run: Run, stage: str, masks: MaskSet | None = None) -> dict[str, Any]:
        """Train the network as the fair stage, which is called `stage`; return its log."""
        loop = run.loop(stage, masks, run.dense.start_of_last(self.fair_share))
        loop.base_factor = self.fair_lr_factor
        term = make_term(self.term, self.form, self.gap, self.lam, run.trainer, run.data.train)
        curve = Curve(run)
        log = refine(loop, run, self.refinement, term=term, epochs=curve.follow(loop))
        return {**log, **curve.facts()}


class Curve:
    """A stage's gap on the validation split by the steps spent, whichever network they went to.

    A log for comparing what methods cost to reach a gap: nothing is chosen by it.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.before = run, run.trainer.steps
        self.epochs: list[dict[str, Any]] = []

    def follow(self, epochs: Iterable[T]) -> Iterator[T]:
        """Yield `epochs`, measuring the network after each."""
        for epoch in epochs:
            self.epochs.append(self._now())
            yield epoch

    def _now(self) -> dict[str, Any]:
        now = self.run.spread(self.run.data.val)
        return {
            "steps": self.run.trainer.steps - self.before,
            "accuracy": now.accuracy,
            "range": now.range,
            "fair": objective(now, self.run.dense.val)[1],
        }

    def facts(self) -> dict[str, Any]:
        """Steps of the stage, and those after which the gap first was no larger than at its end.

        ``steps_to_range`` is of the range over cells, ``steps_to_fair`` of the objective's fair
        part; where the network is more equal than after any epoch, they are all of the steps.
        """
        end = self._now()
        first = {
            key: next((e["steps"] for e in self.epochs if e[key] <= end[key]), end["steps"])
            for key in ("range", "fair")
        }
        return {
            "val_accuracy": end["accuracy"],
            "val_range": end["range"],
            "steps": end["steps"],
            "steps_to_range": first["range"],
            "steps_to_fair": first["fair"],
            "epochs": self.epochs,
        }


def in_sequence(stages: Sequence[Round]) -> list[dict[str, Any]]:
    """The stages' logs, their steps counted from the start of the first stage."""
    logs, before = [], 0
    for stage in stages:
        counted = ("steps", "steps_to_range", "steps_to_fair")
        log = stage.log | {key: stage.log[key] + before for key in counted}
        log["epochs"] = [{**e, "steps": e["steps"] + before} for e in log["epochs"]]
        before = log["steps"]
        logs.append(log)
    return logs


@METHODS.register("fair-then-prune")
@options
class FairThenPrune(Sequential):
    """Train the dense network to be less unequal, then remove weights and fine-tune plainly.

    One of the two orders in which fairness and pruning are done separately, as a baseline for
    methods that do both at once.
    """

    reference: ClassVar[str] = "Baseline of Dai et al. 2023, arXiv:2312.10181"
    facts: ClassVar[Facts] = Facts("either", "cells", "1 + fair_share + finetune")
    fair_from: Annotated[
        Literal["scratch", "dense"],
        Field(description="the fair stage starts from the untrained network, or the trained one"),
    ] = "scratch"
    fair_lr_factor: FairRate = 1.0

    def run(self, run: Run) -> Outcome:
        """Train the network fairly, prune it, and fine-tune it, in place."""
        self.check(run.model, run.cells)
        chain = run.chain()
        settings = self.stage_settings(plain=False)
        fair = chain.stage("fair", settings, make=partial(self._fair, run))
        settings = self.stage_settings(plain=True)
        done = chain.stage(self.name, self.sparsity, settings, make=partial(self.plain, run))
        return Outcome(done.masks, rounds=in_sequence([fair, done]))

    def _fair(self, run: Run) -> Round:
        if self.fair_from == "scratch":
            run.model.load_state_dict(run.dense.states[0])
        log = {"sparsity": 0.0, **self.fair(run, "fair dense")}
        return Round(MaskSet.dense(self.weights(run.model)), state_of(run.model), log)


@METHODS.register("prune-then-fair")
@options
class PruneThenFair(Sequential):
    """Remove weights and fine-tune plainly, then train what is left to be less unequal.

    ``one-shot`` removes the weights at once or, with a `fraction` or `levels`, in rounds of
    removing and fine-tuning. The masks stay as they are in the fair stage.
    """

    reference: ClassVar[str] = "Baseline of Dai et al. 2023, arXiv:2312.10181"
    facts: ClassVar[Facts] = Facts("either", "cells", "1 + rounds finetune + fair_share")
    fraction: Annotated[
        float | None,
        Field(gt=0, lt=1, description="removed a round, when one-shot; default: all in one round"),
        Key.PLAN,
    ] = None
    levels: Levels = ()

    def check_options(self, model: nn.Module, cells: Cells) -> None:
        """Refuse options that exclude each other, or that `model` or `cells` do not allow."""
        super().check_options(model, cells)
        single = "" if self.schedule == "one-shot" else f"schedule '{self.schedule}'"
        if parse(as_selected(self.grouping)):
            single = f"grouping {self.grouping}"
        if single and (self.fraction is not None or self.levels):
            raise InputError(
                f"{self.name}: fraction and levels ask for several rounds, and {single} has one;"
                " leave them out, or use schedule 'one-shot' with grouping weight or filter"
            )

    def plan(self) -> list[float]:
        """Sparsities of the plain rounds."""
        if self.fraction is None and not self.levels:
            return [self.sparsity]
        return levels(self.sparsity, self.fraction or 0.2, self.levels)

    def run(self, run: Run) -> Outcome:
        """Prune the network, fine-tune it, and train it fairly, in place."""
        self.check(run.model, run.cells)
        chain = run.chain("plain rounds", self.stage_settings(plain=True))
        masks = MaskSet.dense(self.weights(run.model))
        done: list[Round] = []
        for level in self.plan():
            done.append(chain.stage(level, make=partial(self.plain, run, level, masks)))
            masks = done[-1].masks
        settings = self.stage_settings(plain=False)
        done.append(chain.stage(self.name, settings, make=partial(self._fair, run, masks)))
        return Outcome(masks, rounds=in_sequence(done), path=[stage.masks for stage in done])

    def _fair(self, run: Run, masks: MaskSet) -> Round:
        log = self.fair(run, f"{self.name} {self.sparsity:g} fair", masks)
        return Round(masks, state_of(run.model), {"sparsity": masks.sparsity, **log})
