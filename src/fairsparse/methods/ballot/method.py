"""Ballot: lottery tickets chosen and trained where accuracy and fairness pull apart.

The paper, `Ballot.reference`, publishes the two components, mask generation by conflict detection
and training refinement; its equations are not public, so the rules below are this implementation's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from fairsparse.core import InputError
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.masks.selection import Scope, select
from fairsparse.methods.ballot.conflict import combine, opposed_share, penalized
from fairsparse.methods.ballot.evidence import conflict_points, importance, stable_rewind
from fairsparse.methods.ballot.settings import Search, Selection
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
from fairsparse.training import Chain, Round, Run, state_of
from fairsparse.training.refinement import Refinement, refine, unfold_
from fairsparse.training.refinement.pressure import MOST


class Attempt(NamedTuple):
    """A finished round, what the budget says of it, and whether its accuracy is in tolerance."""

    round: Round
    verdict: dict[str, Any]
    accurate: bool

    @property
    def status(self) -> str:
        """Whether the round kept tolerance and budget, or which of them it missed."""
        if not self.accurate:
            return "eps_infeasible"
        return "feasible" if self.verdict.get("feasible", True) else "gap_infeasible"


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
    groups: ClassVar[tuple[str, ...]] = ("selection", "search")
    sparsity: Sparsity = 0.9
    tolerance: Annotated[
        float, Field(ge=0, le=1, description="accuracy a ticket may lose against dense")
    ] = 0.01
    selection: Annotated[
        Selection, Field(description="which weights a ticket keeps; see below")
    ] = Field(default_factory=Selection)
    search: Annotated[
        Search, Field(description="where tickets start, and what a miss leads to; see below")
    ] = Field(default_factory=Search)
    fraction: Fraction = 0.2
    levels: Levels = ()
    budget: Limit = None
    refinement: Refinement = Field(default_factory=Refinement)
    scope: Scope = "global"
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def snapshots(self, total: int) -> set[int]:
        """The rewind step or its candidates, and the measurement points."""
        return self.search.steps(total) | self.selection.steps(total)

    @property
    def may_fall_short(self) -> bool:
        """Whether the last good round may be returned in place of the last one."""
        return self.search.infeasible == "stop"

    def run(self, run: Run) -> Outcome:
        """Prune and train the network in place, round by round."""
        k, parent = self._start(run)
        judge, chain = Judge(self.budget, run), run.chain(self.name, self.rounds_settings())
        status, best = "feasible", None
        rounds: list[dict[str, Any]] = []
        path: list[MaskSet] = []
        plan = levels(self.sparsity, self.fraction, self.levels)
        for level in [self.sparsity] if self.search.one_shot else plan:
            if self.search.looks and not rounds:
                look = partial(self._look, run, parent, level)
                k = chain.branch().stage("search", level, make=look).log["step"]
            attempt = self._attempt(run, chain, judge, parent, level, k)
            parent, status = attempt.round, attempt.status
            best = parent if status == "feasible" else best
            rounds.append({**parent.log, **attempt.verdict, "feasible": status == "feasible"})
            path.append(parent.masks)
            if self.may_fall_short and [r["feasible"] for r in rounds[-2:]] == [False, False]:
                break
        if status != "feasible" and self.may_fall_short and best is not None:
            parent = best
        run.model.load_state_dict(parent.state)
        return Outcome(parent.masks, status, rounds, [m for m in path if parent.masks <= m])

    def _start(self, run: Run) -> tuple[int, Round]:
        """Step at which tickets start, and the dense network as the first one's parent."""
        dense, steps = run.dense, self.selection.steps(run.dense.total)
        k = min(self.search.steps(dense.total))  # where it is looked for, another takes its place
        if not self.search.looks and k >= max(steps):
            raise InputError(
                f"conflict is measured at {self.selection.points} of the schedule, but tickets"
                f" start at step {k} of {dense.total}; give a later point or a smaller rewind_at"
            )
        points = {step: dense.states[step] for step in steps}
        log = {"next_strength": self.refinement.strength}
        return k, Round(MaskSet.dense(self.weights(run.model)), dense.final, log, points)

    def _look(self, run: Run, parent: Round, level: float) -> Round:
        """The first ticket's masks, and the first candidate from which it trains stably."""
        latest = min(run.dense.total / 5, max(parent.points))
        candidates = sorted(s for s in self.snapshots(run.dense.total) if s < latest)
        masks, _ = self.select(run, parent, level, self.selection.lambda_conflict)
        step = stable_rewind(run, masks, candidates)
        return Round(masks, state_of(run.model), {"step": step})

    def _attempt(
        self, run: Run, chain: Chain, judge: Judge, parent: Round, level: float, k: int
    ) -> Attempt:
        """Make a round, and again with less conflict while it misses tolerance or budget."""
        conflict, pressure = self.selection.lambda_conflict, parent.log["next_strength"]
        # without conflict and pressure there is nothing to halve: a retry would be the same round
        retries = self.search.retries if conflict or self.refinement.form != "none" else 0
        for attempt in range(retries + 1):
            weight = 0.0 if attempt == retries > 0 else conflict / 2**attempt
            make = partial(self._round, run, parent, level, weight, k, pressure)
            done = chain.stage(level, attempt, make=make)
            result = Attempt(done, judge(), done.log["val_drop"] <= self.tolerance)
            if result.status == "feasible":
                break
            # accuracy asks for less pressure on the cells, a budget for more of it
            most = max(pressure, MOST * self.refinement.strength)
            changed = min(2 * pressure, most) if result.accurate else pressure / 2
            if changed == pressure and not conflict:
                break  # a retry would be the same round
            pressure = changed
        return result

    def _round(
        self, run: Run, parent: Round, level: float, weight: float, k: int, pressure: float
    ) -> Round:
        """Choose the masks of a ticket, go back to where it starts, and train it refined."""
        run.model.load_state_dict(parent.state)
        masks, facts = self.select(run, parent, level, weight)
        if self.search.rewind == "lr":
            run.model.load_state_dict(parent.state)
            unfold_(run.model, parent.log)
        else:
            run.model.load_state_dict(run.dense.states[k])
        later = {step for step in self.selection.steps(run.dense.total) if step > k}
        loop = run.loop(f"ballot {level:.4g}", masks, k, snapshots=later)
        refinement = replace(self.refinement, tolerance=self.tolerance)
        log = refine(loop, run, refinement, pressure, reach=parent.log.get("reach"))
        log = {"sparsity": masks.sparsity, **facts, **log}
        return Round(masks, state_of(run.model), log, loop.states)

    def select(
        self, run: Run, parent: Round, level: float, weight: float
    ) -> tuple[MaskSet, dict[str, Any]]:
        """Masks of the next round, and the facts of how they came about.

        The network is at the end of the `parent` round, whose masks bound the new ones and whose
        points are where conflict is measured; `weight` is the strength of conflict.
        """
        weights, how = self.weights(run.model), self.selection
        scores = importance(how.importance, run, weights)
        masks = plain = self.highest(scores, level, parent.masks)
        facts = {"lambda": 0.0, "opposed_units": None, "decided_by_conflict": 0.0}
        if weight:
            points = conflict_points(run, weights, parent, how)
            kappa = combine(points, weights, how)
            removed = max(1, parent.masks.n_kept - plain.n_kept)
            while True:
                lowered = penalized(scores, kappa, weight, how.combine)
                masks = self.highest(lowered, level, parent.masks)
                moved = sum(int((plain[n] & ~masks[n]).sum()) for n in masks) / removed
                if moved <= how.quota:
                    break
                # so weak a conflict could only break ties, which a quota of 0 must not allow
                if abs(weight) < 1e-3:
                    masks, weight, moved = plain, 0.0, 0.0
                    break
                weight /= 2
            opposed = opposed_share(points)
            facts = {"lambda": weight, "opposed_units": opposed, "decided_by_conflict": moved}
        if how.mask == "random":
            counts = {name: int(mask.sum()) for name, mask in masks.items()}
            noise = scorers.random(weights, run.trainer.generator("random mask", level))
            masks = select(noise, level, within=parent.masks, scope=counts)
        return masks, facts
