"""Ballot: lottery tickets chosen and trained where accuracy and fairness pull apart.

The paper [1]_ publishes the two components, mask generation by conflict detection and training
refinement; its equations are not public, so the rules below are this implementation's.

References
----------
.. [1] Gao et al., "Efficient DNN-Powered Software with Fair Sparse Models", ISSTA 2024,
   arXiv:2407.02805.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from fairsparse.data.task import TrainData
from fairsparse.fairness.penalties import FairLoss
from fairsparse.masks import conflict, scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.masks.select import Scope, select
from fairsparse.methods.base import (
    METHODS,
    Facts,
    Floor,
    Levels,
    Method,
    Outcome,
    Sparsity,
    options,
)
from fairsparse.methods.budget import Judge, Limit
from fairsparse.methods.evidence import Importance, conflict_points, importance, stable_rewind
from fairsparse.methods.fold import unfold_
from fairsparse.methods.pressure import MOST
from fairsparse.methods.refine import Refinement, refine
from fairsparse.methods.stages import Dense, Round, rewind_step, stored
from fairsparse.training import Loop, Trainer, state_of
from fairsparse.types import InputError


@METHODS.register("ballot")
@options
class Ballot(Method):
    """Lottery tickets that drop units where accuracy and fairness conflict, then train refined.

    Keep score ``S = I * exp(-lambda_conflict * kappa)``: importance I, and conflict kappa in
    [0, 1] measured at several points of each round's training run. With ``importance=magnitude``,
    ``lambda_conflict=0`` and a refinement that is off, it is the lottery ticket mask for mask.
    """

    reference: ClassVar[str] = "Gao et al. 2024, arXiv:2407.02805"
    facts: ClassVar[Facts] = Facts(
        "unstructured", "cells", "1 + rounds + retries; 11 rounds at 90 %"
    )
    sparsity: Sparsity = 0.9
    tolerance: Annotated[
        float, Field(ge=0, le=1, description="accuracy a ticket may lose against dense")
    ] = 0.01
    lambda_conflict: Annotated[
        float, Field(description="strength of conflict; negative reverses it, as an ablation")
    ] = 0.5
    importance: Importance = "fair"
    combine: conflict.Rule = "exp"
    norm: conflict.Norm = "rank"
    exact: Annotated[bool, Field(description="cosines of summed gradients")] = False
    alpha: Annotated[float, Field(ge=0, le=1, description="unit against weight conflict")] = 1.0
    gate: conflict.Gate = "off"
    protect: Annotated[
        float, Field(ge=0, lt=1, description="share of units exempt for their accuracy")
    ] = 0.0
    quota: Annotated[
        float,
        Field(ge=0, le=1, description="largest share of a round's removals that conflict decides"),
    ] = 0.5
    mask: Annotated[
        Literal["scored", "random"], Field(description="random: same layer counts, as a control")
    ] = "scored"
    fair_loss: FairLoss = "both"
    points: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...],
        Field(min_length=1, description="shares of the schedule where conflict is measured"),
    ] = (0.25, 0.5, 0.75, 1.0)
    conflict_share: Annotated[
        float, Field(gt=0, le=1, description="images measured a round / training images")
    ] = 0.02
    rewind: Annotated[
        Literal["weights", "lr"], Field(description="to early weights, or in the schedule alone")
    ] = "weights"
    rewind_at: Annotated[
        Annotated[float, Field(ge=0, lt=1)] | Literal["search"] | None,
        Field(description="share of the schedule; default: stable start; search: look for it"),
    ] = None
    one_shot: Annotated[bool, Field(description="a single round at the target")] = False
    fraction: Annotated[float, Field(gt=0, lt=1, description="removed a round")] = 0.2
    levels: Levels = ()
    budget: Limit = None
    retries: Annotated[
        int,
        Field(ge=0, description="repeats of a round beyond tolerance or budget, conflict halved"),
    ] = 0
    infeasible: Annotated[
        Literal["continue", "stop"],
        Field(description="after two rounds that missed either: go on, or return the last good"),
    ] = "continue"
    refinement: Refinement = Field(default_factory=Refinement)
    scope: Scope = "global"
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def snapshots(self, total: int) -> set[int]:
        """The rewind step or its candidates, and the measurement points."""
        if self.rewind_at == "search":
            if self.rewind == "lr":
                raise InputError(
                    "ballot: rewind_at 'search' looks for weights to go back to, but rewind is"
                    " 'lr'; give rewind_at as a share, or use rewind 'weights'"
                )
            rewind = {round(share * total) for share in (0, 0.005, 0.01, 0.02, 0.05, 0.1)}
        else:
            rewind = {rewind_step(self.rewind_at, total)}
        return rewind | self._steps(total)

    def _steps(self, total: int) -> set[int]:
        return {round(share * total) for share in self.points}

    def run(self, model: nn.Module, data: TrainData, trainer: Trainer, dense: Dense) -> Outcome:
        """Prune and train `model` in place, round by round."""
        search = self.rewind_at == "search"
        k = rewind_step(None if search else self.rewind_at, dense.total)  # type: ignore[arg-type]
        masks = MaskSet.dense(self.weights(model))
        steps = self._steps(dense.total)
        if not search and k >= max(steps):
            raise InputError(
                f"conflict is measured at {self.points} of the schedule, but tickets start at step"
                f" {k} of {dense.total}; give a later point or a smaller rewind_at"
            )
        parent = Round(masks, dense.final, {}, {step: dense.states[step] for step in steps})
        key = self.rounds_key(trainer, "ballot")
        plan = levels(self.sparsity, self.fraction, self.levels)
        strength, missed = self.refinement.strength, 0
        # without conflict and pressure there is nothing to halve: a retry would be the same round
        retries = self.retries if self.lambda_conflict or self.refinement.form != "none" else 0
        rounds: list[dict[str, Any]] = []
        path: list[MaskSet] = []
        best: Round | None = None
        judge = Judge(self.budget, model, data, trainer)
        accurate = True
        for level in [self.sparsity] if self.one_shot else plan:
            if search and not rounds:
                k = self._search(model, data, trainer, dense, parent, level, key)
            done, pressure, facts, feasible = parent, strength, {}, False
            for attempt in range(retries + 1):
                weight = self.lambda_conflict / 2**attempt
                last_try = attempt == retries > 0
                key = trainer.stages.key(key, level, attempt)

                def make(
                    level: float = level,
                    parent: Round = parent,
                    weight: float = 0.0 if last_try else weight,
                    strength: float = pressure,
                    k: int = k,
                ) -> Round:
                    return self._round(
                        model, data, trainer, dense, parent, level, weight, k, strength
                    )

                done = stored(trainer, key, make)
                model.load_state_dict(done.state)
                facts = judge(model)
                accurate = done.log["val_drop"] <= self.tolerance
                feasible = accurate and facts.get("feasible", True)
                if feasible:
                    break
                # accuracy asks for less pressure on the cells, a budget for more of it
                most = max(pressure, MOST * self.refinement.strength)
                changed = min(2 * pressure, most) if accurate else pressure / 2
                if changed == pressure and not self.lambda_conflict:
                    break  # a retry would be the same round
                pressure = changed
            missed = 0 if feasible else missed + 1
            parent, strength = done, done.log["next_strength"]
            rounds.append({**done.log, **facts, "feasible": feasible})
            path.append(done.masks)
            best = done if feasible else best
            if missed == 2 and self.infeasible == "stop":
                break
        short = "gap_infeasible" if accurate else "eps_infeasible"
        status = "feasible" if missed == 0 else short
        if missed and self.infeasible == "stop" and best is not None:
            parent = best
            path = [m for m in path if parent.masks <= m]
        model.load_state_dict(parent.state)
        return Outcome(parent.masks, status, rounds, path)

    def _search(
        self,
        model: nn.Module,
        data: TrainData,
        trainer: Trainer,
        dense: Dense,
        parent: Round,
        level: float,
        key: str,
    ) -> int:
        latest = min(dense.total / 5, max(parent.points))
        candidates = sorted(s for s in self.snapshots(dense.total) if s < latest)

        def make() -> Round:
            first = self.select(model, data, trainer, parent, level, self.lambda_conflict)[0]
            step = stable_rewind(model, data, trainer, dense, first, candidates)
            return Round(first, state_of(model), {"step": step})

        step: int = stored(trainer, trainer.stages.key(key, "search", level), make).log["step"]
        return step

    def _round(
        self,
        model: nn.Module,
        data: TrainData,
        trainer: Trainer,
        dense: Dense,
        parent: Round,
        level: float,
        weight: float,
        k: int,
        strength: float,
    ) -> Round:
        model.load_state_dict(parent.state)
        masks, facts = self.select(model, data, trainer, parent, level, weight)
        if self.rewind == "lr":
            model.load_state_dict(parent.state)
            unfold_(model, parent.log)
        else:
            model.load_state_dict(dense.states[k])
        loop = Loop(
            trainer,
            model,
            data.train,
            stage=f"ballot {level:.4g}",
            masks=masks,
            start=k,
            snapshots={step for step in self._steps(dense.total) if step > k},
        )
        refinement = replace(self.refinement, tolerance=self.tolerance)
        reach = parent.log.get("reach")
        log: dict[str, Any] = refine(loop, data, dense, refinement, strength, reach=reach)
        return Round(
            masks, state_of(model), {"sparsity": masks.sparsity, **facts, **log}, loop.states
        )

    def select(
        self,
        model: nn.Module,
        data: TrainData,
        trainer: Trainer,
        parent: Round,
        level: float,
        weight: float,
    ) -> tuple[MaskSet, dict[str, Any]]:
        """Masks of the next round, and the facts of how they came about.

        Parameters
        ----------
        model : nn.Module
            At the end of the parent round.
        parent : Round
            Its masks bound the new ones; its points are where conflict is measured.
        level : float
            Sparsity asked for.
        weight : float
            Strength of conflict.
        """
        weights = self.weights(model)
        scores = importance(self.importance, model, weights, data.cal, trainer)
        plain = select(scores, level, within=parent.masks, scope=self.scope, floor=self.floor)
        masks, facts = plain, {"lambda": 0.0, "opposed_units": None, "decided_by_conflict": 0.0}
        if weight:
            points = conflict_points(
                model, list(weights), data, trainer, parent, self.conflict_share, self.fair_loss
            )
            kappa = conflict.combine(
                points,
                weights,
                norm=self.norm,
                alpha=self.alpha,
                gate=self.gate,
                protect=self.protect,
                exact=self.exact,
            )
            removed = parent.masks.n_kept - plain.n_kept
            while True:
                masks = select(
                    conflict.penalized(scores, kappa, weight, self.combine),
                    level,
                    within=parent.masks,
                    scope=self.scope,
                    floor=self.floor,
                )
                moved = sum(int((plain[n] & ~masks[n]).sum()) for n in masks) / max(1, removed)
                if moved <= self.quota:
                    break
                # so weak a conflict could only break ties, which a quota of 0 must not allow
                if abs(weight) < 1e-3:
                    masks, weight, moved = plain, 0.0, 0.0
                    break
                weight /= 2
            facts = {
                "lambda": weight,
                "opposed_units": conflict.opposed_share(points),
                "decided_by_conflict": moved,
            }
        if self.mask == "random":
            counts = {name: int(mask.sum()) for name, mask in masks.items()}
            noise = scorers.random(weights, trainer.generator("random mask", level))
            masks = select(noise, level, within=parent.masks, scope=counts)
        return masks, facts
