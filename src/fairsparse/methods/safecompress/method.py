"""SafeCompress: sparse from the start, with moving weights whose moves are tested before they stay.

Published [1]_: test-driven dynamic sparse training, with a simulated membership attack as the test.
Its public code does not choose between branches, so the trial of all branches, the rules of choice
and fairness as a test are this implementation's.

References
----------
.. [1] Zhu et al., "Safety and Performance, Why not Both? Bi-Objective Optimized Model Compression
   toward AI Software Deployment", ASE 2022, arXiv:2208.05969.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field

from fairsparse.core import InputError, Scores
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import cosine
from fairsparse.masks.selection import Scope
from fairsparse.methods.method import (
    METHODS,
    Facts,
    Floor,
    Later,
    Method,
    Outcome,
    Sparsity,
    options,
)
from fairsparse.methods.safecompress.topology import Growth, die, gradients, grow, growth_scores
from fairsparse.methods.safecompress.trial import Cost, Rule, Trial, best, score
from fairsparse.training import Loop, Round, Run, cross_entropy, state_of
from fairsparse.training.refinement import Refinement, refine

Death = Literal["magnitude", "taylor"]
Branch = Literal[
    "magnitude/random",
    "magnitude/gradient-largest",
    "magnitude/gradient-smallest",
    "taylor/random",
    "taylor/gradient-largest",
    "taylor/gradient-smallest",
]


@METHODS.register("safecompress")
@options
class SafeCompress(Method):
    """Train a sparse network whose weights move, and keep the moves that do best on a test.

    Starts from the untrained network under random masks. At each update every branch lets some
    weights die and as many grow, and is trained for `probe` steps on the same batches; training
    goes on from the one with the best score. One branch alone is plain dynamic sparse training:
    SET with ``magnitude/random``, RigL with ``magnitude/gradient-largest``.
    """

    reference: ClassVar[str] = "Zhu et al. 2022, arXiv:2208.05969"
    facts: ClassVar[Facts] = Facts(
        "unstructured", "cells", "2 + stop (branches - 1) probe / interval"
    )
    sparsity: Sparsity = 0.9
    branches: Annotated[
        tuple[Branch, ...],
        Field(min_length=1, description="what dies / what grows, one candidate for each"),
    ] = (
        "magnitude/random",
        "magnitude/gradient-largest",
        "magnitude/gradient-smallest",
        "taylor/random",
    )
    test: Annotated[
        Cost, Field(description="cost Q: unequal cells, or accuracy of a membership attack")
    ] = "fairness"
    rule: Annotated[
        Rule, Field(description="candidate kept: accuracy over Q, or least Q within the tolerance")
    ] = "ratio"
    cost_weight: Annotated[
        float, Field(ge=0, description="w, the exponent of Q in the ratio; 0: accuracy alone")
    ] = 1.0
    tolerance: Annotated[
        float, Field(ge=0, le=1, description="accuracy behind the best candidate, lexicographic")
    ] = 0.01
    interval: Annotated[
        int | None,
        Field(ge=1, description="steps between updates; default: 5 % of the steps, at most 100"),
    ] = None
    probe: Annotated[
        int | None,
        Field(ge=1, description="steps a candidate is trained; default: interval / 4, at least 50"),
    ] = None
    stop: Annotated[
        float, Field(gt=0, le=1, description="share of the schedule after which masks stay")
    ] = 0.75
    death_first: Annotated[
        float, Field(ge=0, le=1, description="share of a layer's living weights that die at first")
    ] = 0.5
    death_last: Annotated[
        float, Field(ge=0, le=1, description="and in the end, along half a cosine")
    ] = 0.005
    refinement: Annotated[
        Refinement | None,
        Field(description="train as Ballot does once the masks stay"),
        Later(None),
    ] = None
    scope: Scope = "erk"
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def snapshots(self, total: int) -> set[int]:
        """None beyond the first and the last; refuses steps that do not fit the schedule."""
        interval, probe = self.spans(total)
        if probe > interval:
            raise InputError(
                f"safecompress: candidates are trained for {probe} steps, but the next update is"
                f" {interval} steps on; give a probe of at most the interval"
            )
        if self.sparsity and not self.updates(total):
            raise InputError(
                f"safecompress: interval is {interval}, but masks stay from step"
                f" {round(self.stop * total)} of {total} on; give a smaller interval, a later stop"
                " or more epochs"
            )
        return set()

    def spans(self, total: int) -> tuple[int, int]:
        """Steps between updates, and steps of a probe, in a schedule of `total` steps."""
        interval = self.interval or max(1, min(100, total // 20))
        return interval, self.probe or min(interval, max(50, interval // 4))

    def updates(self, total: int) -> list[int]:
        """Steps at which weights move, before the share `stop` of `total`."""
        interval = self.spans(total)[0]
        return [s for s in range(interval, total, interval) if s < self.stop * total]

    def run(self, run: Run) -> Outcome:
        """Train the network anew in place; the dense network serves as the reference alone."""
        done = run.chain().stage(self.name, self.key_settings(), make=partial(self._train, run))
        return Outcome(done.masks, rounds=done.log["updates"])

    def _train(self, run: Run) -> Round:
        model = run.model
        model.load_state_dict(run.dense.final)
        trial = Trial(run, self.test) if len(self.branches) > 1 else None
        model.load_state_dict(run.dense.states[0])
        noise = scorers.random(self.weights(model), run.trainer.generator("first masks"))
        masks = self.highest(noise, self.sparsity)
        loop = run.loop(f"safecompress {self.sparsity:g}", masks)
        explored = {name: mask.clone() for name, mask in masks.items()}
        log: list[dict[str, Any]] = []
        for step in self.updates(loop.total) if masks.n_kept < masks.n_total else ():
            loop.advance(step - loop.step)
            rate = cosine(step / (self.stop * loop.total), self.death_first, self.death_last)
            before = masks
            masks, facts = self._update(loop, before, run, trial, rate)
            for name, mask in masks.items():
                explored[name] |= mask
            entry = {
                "step": step,
                "death_rate": rate,
                "moved": sum(int((mask & ~before[name]).sum()) for name, mask in masks.items()),
                "explored": sum(int(mask.sum()) for mask in explored.values()) / masks.n_total,
            }
            log.append({**entry, **facts})
        if self.refinement is None:
            loop.advance(loop.total - loop.step)
        else:
            step = loop.step
            log.append({"step": step, **refine(loop, run, self.refinement)})
        return Round(masks, state_of(model), {"updates": log})

    def _update(
        self, loop: Loop, masks: MaskSet, run: Run, trial: Trial | None, rate: float
    ) -> tuple[MaskSet, dict[str, Any]]:
        """Move weights; with several branches, leave `loop` at the end of the best one's probe.

        That probe is part of the training, so none of its steps is wasted. The probes of the
        other branches are undone; their steps stay in the trainer's count.
        """
        candidates = self.candidates(loop, masks, run, rate)
        if trial is None:
            (loop.masks,) = candidates
            verdict = {"accuracy": None, "cost": None}
            return candidates[0], {"chosen": self.branches[0], **verdict, "children": []}
        start, probe = loop.point(), self.spans(loop.total)[1]
        ends, verdicts = [], []
        for candidate in candidates:
            loop.back(start)
            loop.masks = candidate
            loop.advance(probe)
            ends.append(loop.point())
            verdicts.append(trial())
        chosen = best(verdicts, trial.dense, self.rule, self.cost_weight, self.tolerance)
        loop.back(ends[chosen])
        children = [
            {"branch": branch, **v._asdict(), "score": score(v, trial.dense, self.cost_weight)}
            for branch, v in zip(self.branches, verdicts, strict=True)
        ]
        facts = {"chosen": self.branches[chosen], **verdicts[chosen]._asdict()}
        return candidates[chosen], {**facts, "children": children}

    def candidates(self, loop: Loop, masks: MaskSet, run: Run, rate: float) -> list[MaskSet]:
        """Masks with which each branch would go on.

        Gradients are of one random training batch; cal is left to judge. What grows starts at 0,
        so the network that goes on is the one after the deaths, and its gradients decide.
        """
        trainer, train, weights = run.trainer, run.data.train, self.weights(run.model)
        size, generator = trainer.recipe.batch_size, trainer.generator("slopes", loop.step)
        drawn = torch.randint(len(train), (size,), generator=generator)
        batch = trainer.to_device(train.batch(drawn))

        def slopes(alive: MaskSet) -> Scores:
            return gradients(run.model, weights, alive, batch, cross_entropy)

        def living(rule: Death) -> MaskSet:
            scores: Scores = scorers.magnitude(weights)
            if rule == "taylor":
                now = slopes(masks)
                scores = {name: (w.detach() * now[name]).square() for name, w in weights.items()}
            return die(masks, scores, rate)

        pairs = [cast(tuple[Death, Growth], tuple(branch.split("/"))) for branch in self.branches]
        after = {rule: living(rule) for rule in dict(pairs)}
        slope = {rule: slopes(alive) for rule, alive in after.items()}
        moved = []
        for i, (dies, grows) in enumerate(pairs):
            generator = trainer.generator("growth", loop.step, i)
            moved.append(grow(masks, after[dies], growth_scores(grows, slope[dies], generator)))
        return moved
