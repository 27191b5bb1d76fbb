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
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fairsparse.core import InputError
from fairsparse.fairness.steering.penalties import FairLoss
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.masks.selection import Scope, select
from fairsparse.methods.ballot import conflict
from fairsparse.methods.ballot.evidence import (
    Importance,
    conflict_points,
    importance,
    stable_rewind,
)
from fairsparse.methods.method import (
    METHODS,
    Facts,
    Floor,
    Fraction,
    Levels,
    Method,
    Outcome,
    Sparsity,
    options,
)
from fairsparse.methods.shared.judge import Judge, Limit
from fairsparse.methods.shared.offsets import unfold_
from fairsparse.methods.shared.pressure import MOST
from fairsparse.methods.shared.refine import refine
from fairsparse.methods.shared.refinement import Refinement
from fairsparse.methods.stages import Round, Run, rewind_step
from fairsparse.training import state_of


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
    fraction: Fraction = 0.2
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

    @property
    def may_fall_short(self) -> bool:
        """Whether the last good round may be returned in place of the last one."""
        return self.infeasible == "stop"

    def run(self, run: Run) -> Outcome:
        """Prune and train the network in place, round by round."""
        dense = run.dense
        search = self.rewind_at == "search"
        k = rewind_step(None if search else self.rewind_at, dense.total)  # type: ignore[arg-type]
        steps = self._steps(dense.total)
        if not search and k >= max(steps):
            raise InputError(
                f"conflict is measured at {self.points} of the schedule, but tickets start at step"
                f" {k} of {dense.total}; give a later point or a smaller rewind_at"
            )
        points = {step: dense.states[step] for step in steps}
        parent = Round(MaskSet.dense(self.weights(run.model)), dense.final, {}, points)
        chain = run.chain(self.name, self.rounds_settings())
        plan = levels(self.sparsity, self.fraction, self.levels)
        strength, missed = self.refinement.strength, 0
        # without conflict and pressure there is nothing to halve: a retry would be the same round
        retries = self.retries if self.lambda_conflict or self.refinement.form != "none" else 0
        rounds: list[dict[str, Any]] = []
        path: list[MaskSet] = []
        best: Round | None = None
        judge = Judge(self.budget, run)
        accurate = True
        for level in [self.sparsity] if self.one_shot else plan:
            if search and not rounds:
                find = partial(self._search, run, parent, level)
                k = chain.branch().stage("search", level, make=find).log["step"]
            done, pressure, facts, feasible = parent, strength, {}, False
            for attempt in range(retries + 1):
                last_try = attempt == retries > 0
                weight = 0.0 if last_try else self.lambda_conflict / 2**attempt
                make = partial(self._round, run, parent, level, weight, k, pressure)
                done = chain.stage(level, attempt, make=make)
                facts = judge()
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
        run.model.load_state_dict(parent.state)
        return Outcome(parent.masks, status, rounds, path)

    def _search(self, run: Run, parent: Round, level: float) -> Round:
        latest = min(run.dense.total / 5, max(parent.points))
        candidates = sorted(s for s in self.snapshots(run.dense.total) if s < latest)
        first = self.select(run, parent, level, self.lambda_conflict)[0]
        step = stable_rewind(run, first, candidates)
        return Round(first, state_of(run.model), {"step": step})

    def _round(
        self, run: Run, parent: Round, level: float, weight: float, k: int, strength: float
    ) -> Round:
        run.model.load_state_dict(parent.state)
        masks, facts = self.select(run, parent, level, weight)
        if self.rewind == "lr":
            run.model.load_state_dict(parent.state)
            unfold_(run.model, parent.log)
        else:
            run.model.load_state_dict(run.dense.states[k])
        later = {step for step in self._steps(run.dense.total) if step > k}
        loop = run.loop(f"ballot {level:.4g}", masks, k, snapshots=later)
        refinement = replace(self.refinement, tolerance=self.tolerance)
        log = refine(loop, run, refinement, strength, reach=parent.log.get("reach"))
        log = {"sparsity": masks.sparsity, **facts, **log}
        return Round(masks, state_of(run.model), log, loop.states)

    def select(
        self, run: Run, parent: Round, level: float, weight: float
    ) -> tuple[MaskSet, dict[str, Any]]:
        """Masks of the next round, and the facts of how they came about.

        Parameters
        ----------
        run : Run
            Its network is at the end of the parent round.
        parent : Round
            Its masks bound the new ones; its points are where conflict is measured.
        level : float
            Sparsity asked for.
        weight : float
            Strength of conflict.
        """
        weights = self.weights(run.model)
        scores = importance(self.importance, run, weights)
        plain = select(scores, level, within=parent.masks, scope=self.scope, floor=self.floor)
        masks, facts = plain, {"lambda": 0.0, "opposed_units": None, "decided_by_conflict": 0.0}
        if weight:
            measured = list(weights), parent, self.conflict_share, self.fair_loss
            points = conflict_points(run, *measured)
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
            noise = scorers.random(weights, run.trainer.generator("random mask", level))
            masks = select(noise, level, within=parent.masks, scope=counts)
        return masks, facts
