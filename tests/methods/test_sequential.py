"""Fairness and pruning one after the other: what each stage does, and the steps it took."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.fairness.steering.spread import Spread
from fairsparse.methods.lth import LotteryTicket
from fairsparse.methods.magnitude import Magnitude
from fairsparse.methods.sequential import Curve, FairThenPrune, PruneThenFair
from fairsparse.training import Loop, Run, state_of
from fairsparse.training.refinement import Refinement
from helpers import bench, dead_everywhere, equal, network

OFF = asdict(Refinement.off())


def ended(method: Any, kind: str = "conv", **case: Any) -> tuple[Any, Any]:
    made = bench(method, kind, **case)
    return made, made.run(method)


def test_without_fairness_fair_then_prune_is_magnitude_pruning_bit_for_bit() -> None:
    # anew from scratch the dense network is the dense network, which is then pruned and fine-tuned
    fair, first = ended(FairThenPrune(sparsity=0.7, finetune=0.5, refinement=OFF))
    plain, second = ended(Magnitude(sparsity=0.7, finetune=0.5))
    assert first.masks == second.masks
    assert equal(state_of(fair.model), state_of(plain.model))
    assert first.rounds[0]["val_drop"] == 0


def test_without_fairness_prune_then_fair_is_pruning_and_more_training() -> None:
    method = PruneThenFair(
        sparsity=0.7, finetune=0.5, fair_share=0.5, fair_lr_factor=0.3, refinement=OFF
    )
    both, outcome = ended(method)
    plain, pruned = ended(Magnitude(sparsity=0.7, finetune=0.5))
    assert outcome.masks == pruned.masks
    loop = Loop(plain.trainer, plain.model, plain.data.train, stage="x", masks=pruned.masks)
    loop.step, loop.base_factor = 6, 0.3
    for _ in loop:
        pass
    assert equal(state_of(both.model), state_of(plain.model))


def test_the_rounds_of_prune_then_fair_are_those_of_fine_tuned_tickets() -> None:
    levels = (0.3, 0.6)
    _, rounds = ended(PruneThenFair(sparsity=0.8, levels=levels, refinement=OFF))
    _, ticket = ended(LotteryTicket(sparsity=0.8, levels=levels, rewind="none", rewind_at=0.0))
    assert rounds.path[:3] == ticket.path
    assert [r["val_accuracy"] for r in rounds.rounds[:3]] == [
        r["val_accuracy"] for r in ticket.rounds
    ]
    _, by_fraction = ended(PruneThenFair(sparsity=0.75, fraction=0.5, refinement=OFF))
    assert [r["sparsity"] for r in by_fraction.rounds] == pytest.approx([0.5, 0.75, 0.75], abs=2e-3)


def test_no_weight_returns_in_a_later_round_whatever_ranks_them() -> None:
    # noise ranks dead weights as high as living ones
    method = PruneThenFair(sparsity=0.8, levels=(0.3, 0.6), criterion="random", refinement=OFF)
    _, outcome = ended(method)
    assert len(outcome.path) == 4
    assert all(later <= earlier for earlier, later in itertools.pairwise(outcome.path))


@pytest.mark.parametrize("kind", [FairThenPrune, PruneThenFair])
@pytest.mark.parametrize(
    "fairness",
    [
        {"refinement": {"form": "weights"}},
        {"refinement": {"form": "penalty"}},
        {"refinement": {**OFF}, "term": "cells", "lam": 5.0},
        {"refinement": {**OFF}, "term": "adversarial", "lam": 1.0},
    ],
    ids=["weights", "penalty", "cells", "adversarial"],
)
def test_fairness_changes_its_own_stage_and_no_other(kind: Any, fairness: Any) -> None:
    short = {"sparsity": 0.7, "finetune": 0.5, "fair_lr_factor": 1.0}
    steered, with_it = ended(kind(**short, **fairness), groups=2)
    plain, without = ended(kind(**short, refinement=OFF), groups=2)
    assert not equal(state_of(steered.model), state_of(plain.model))
    if kind is PruneThenFair:
        assert with_it.masks == without.masks  # chosen before fairness is looked at
        assert with_it.rounds[0] == without.rounds[0]
    assert dead_everywhere(state_of(steered.model), with_it.masks)


def test_the_plain_stage_after_fairness_has_the_plain_loss() -> None:
    method = FairThenPrune(sparsity=0.7, refinement={"form": "weights", "strength": 2.0})
    case, outcome = ended(method)
    model = network("conv")
    fair = FairThenPrune(sparsity=0.0, refinement=method.refinement)
    # at sparsity 0 the plain stage alone moves the fair network: redo it for the pruned one
    again = bench(fair, "conv")
    state = fair._fair(again).state
    model.load_state_dict(state)
    loop = Loop(again.trainer, model, again.data.train, stage="x", masks=outcome.masks)
    loop.base_factor = method.lr_factor
    for _ in loop:
        pass
    assert equal(state_of(model), state_of(case.model))


def test_going_on_from_the_trained_network_and_starting_anew_differ() -> None:
    from_dense = FairThenPrune(sparsity=0.5, fair_from="dense", fair_share=0.5, refinement=OFF)
    case = bench(from_dense)
    state = from_dense._fair(case).state
    model = network("mlp")
    model.load_state_dict(case.dense.final)
    loop = Loop(case.trainer, model, case.data.train, stage="x", start=6)
    for _ in loop:
        pass
    assert equal(state, state_of(model))


def seen(range_: float, variance: float) -> Spread:
    return Spread(0.8, variance, range_, torch.ones(3), torch.ones(3))


def test_steps_to_a_gap_are_those_after_which_it_is_first_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = bench(Magnitude(), epochs=4)
    ranges, variances = [0.30, 0.20, 0.25, 0.10], [0.04, 0.03, 0.02, 0.01]
    for end, steps_to_range, steps_to_fair in (
        ((0.2, 0.03), 12, 12),
        ((0.26, 0.005), 12, 24),  # the fair part is smaller than after any epoch
        ((0.05, 0.04), 24, 18),
        ((0.5, 0.5), 6, 6),
    ):
        script = iter([*map(seen, ranges, variances), seen(*end)])
        monkeypatch.setattr(Run, "spread", lambda *_, script=script: next(script))
        curve = Curve(replace(case, dense=replace(case.dense, val=seen(0.1, 0.01))))
        loop = Loop(case.trainer, case.model, case.data.train, stage="x")
        assert len(list(curve.follow(loop))) == 4
        facts = curve.facts()
        assert facts["steps"] == 24
        assert (facts["steps_to_range"], facts["steps_to_fair"]) == (steps_to_range, steps_to_fair)
        assert [e["steps"] for e in facts["epochs"]] == [6, 12, 18, 24]
        assert [e["range"] for e in facts["epochs"]] == ranges
        # half the variance and half the range, relative to the dense network's
        assert facts["epochs"][0]["fair"] == pytest.approx(0.5 * 4 + 0.5 * 3)
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("method", "spent"),
    [
        (FairThenPrune(sparsity=0.7, finetune=0.5), [12, 18]),
        (FairThenPrune(sparsity=0.7, fair_from="dense", fair_share=0.5), [6, 18]),
        (FairThenPrune(sparsity=0.7, schedule="gradual", finetune=0.5), [12, 24]),
        (PruneThenFair(sparsity=0.7, finetune=0.5), [6, 18]),
        (PruneThenFair(sparsity=0.7, levels=(0.3,), fair_share=0.5), [12, 24, 30]),
    ],
    ids=["fair first", "from dense", "gradual", "pruning first", "rounds"],
)
def test_every_step_is_counted_once(method: Any, spent: list[int]) -> None:
    case = bench(method)
    before = case.trainer.steps
    outcome = case.run(method)
    assert [r["steps"] for r in outcome.rounds] == spent
    assert case.trainer.steps - before == spent[-1]
    starts = [0, *spent]
    for start, entry in zip(starts, outcome.rounds, strict=False):
        steps = [e["steps"] for e in entry["epochs"]]
        assert steps == list(range(start + 6, entry["steps"] + 1, 6))
        for key in ("steps_to_range", "steps_to_fair"):
            assert start < entry[key] <= entry["steps"]


@pytest.mark.parametrize(
    ("method", "other"),
    [
        (FairThenPrune(sparsity=0.7), FairThenPrune(sparsity=0.5, finetune=0.5)),
        (
            PruneThenFair(sparsity=0.7, levels=(0.3, 0.5)),
            PruneThenFair(sparsity=0.7, levels=(0.3, 0.5), refinement={"form": "penalty"}),
        ),
        (
            PruneThenFair(sparsity=0.7, levels=(0.3, 0.5)),
            PruneThenFair(sparsity=0.6, levels=(0.3, 0.5)),
        ),
    ],
    ids=["the fair network", "the plain rounds", "the first rounds"],
)
def test_stages_are_shared_and_counted_as_if_they_were_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: Any, other: Any
) -> None:
    alone, expected = ended(other)
    ended(method, folder=tmp_path)
    made: list[str] = []
    plain = Loop.__init__

    def init(self: Loop, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        made.append(self.stage)

    monkeypatch.setattr(Loop, "__init__", init)
    again, outcome = ended(other, folder=tmp_path)
    assert len(made) < len(outcome.rounds) + 1
    assert outcome == expected
    assert again.trainer.steps == alone.trainer.steps
    assert equal(state_of(again.model), state_of(alone.model))
    made.clear()
    assert ended(other, folder=tmp_path)[1] == expected
    assert made == []


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (FairThenPrune(term="cells"), "term 'cells' and refinement form 'weights' would both"),
        (
            PruneThenFair(term="dp", refinement=OFF),
            "term 'dp' moves how often class 1 of 2 is predicted",
        ),
        (
            PruneThenFair(schedule="gradual", fraction=0.5),
            "several rounds, and schedule 'gradual' has one",
        ),
        (
            PruneThenFair(sparsity=0.5, grouping="1:2", levels=(0.3,)),
            "several rounds, and grouping 1:2 has one",
        ),
    ],
)
def test_options_that_exclude_each_other_are_refused(method: Any, words: str) -> None:
    case = bench(Magnitude())
    with pytest.raises(InputError, match=words):
        method.check(case.model, case.trainer.cells)
