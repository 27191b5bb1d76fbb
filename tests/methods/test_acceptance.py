"""Ballot's acceptance loop, with rounds whose accuracy is scripted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fairsparse.masks.selection import select
from fairsparse.methods.ballot.method import Ballot
from fairsparse.methods.shared.judge import Judge
from fairsparse.training import Round, Run, state_of
from fairsparse.training.refinement import Refinement
from helpers import ballot_of, bench, equal


class Script:
    """Stands in for training: each round keeps every other promise but drops as scripted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, drops: list[float]) -> None:
        self.drops = iter(drops)
        self.calls: list[dict[str, Any]] = []
        self.rounds: list[Round] = []
        script = self

        def play(
            method: Ballot,
            run: Run,
            parent: Round,
            level: float,
            weight: float,
            k: int,
            strength: float,
        ) -> Round:
            scores = {
                n: torch.arange(float(w.numel())).view(w.shape) for n, w in parent.masks.items()
            }
            masks = select(scores, level, within=parent.masks, scope="layerwise")
            mark = float(len(script.calls) + 1)
            state = {n: torch.full_like(t, mark) for n, t in run.dense.final.items()}
            drop = next(script.drops)
            script.calls.append(
                {"level": level, "weight": weight, "strength": strength, "from": parent}
            )
            after = strength / 2 if drop > method.tolerance else strength
            log = {"sparsity": masks.sparsity, "val_drop": drop, "next_strength": after}
            script.rounds.append(Round(masks, state, log))
            return script.rounds[-1]

        monkeypatch.setattr(Ballot, "_round", play)

    def judge(self, monkeypatch: pytest.MonkeyPatch, gaps: list[float], limit: float) -> None:
        """Let rounds miss a budget as scripted."""
        found = iter(gaps)

        def play(judge: Any) -> dict[str, Any]:
            gap = next(found)
            return {"gap": gap, "gap_limit": limit, "feasible": gap <= limit}

        monkeypatch.setattr(Judge, "__call__", play)
        self.gaps = found

    def each(self, what: str) -> list[Any]:
        return [call[what] for call in self.calls]


def scripted(
    monkeypatch: pytest.MonkeyPatch,
    drops: list[float],
    gaps: list[float] | None = None,
    **options: Any,
) -> tuple[Script, Any, dict[str, Tensor]]:
    settings = {"sparsity": 0.8, "levels": (0.4, 0.6), "lambda_conflict": 0.8, **options}
    method = ballot_of(tolerance=0.02, refinement=Refinement(strength=0.5), **settings)
    case = bench(method)
    script = Script(monkeypatch, drops)
    script.judge(monkeypatch, gaps or [0.0] * len(drops), limit=0.1)
    outcome = case.run(method)
    assert next(script.drops, None) is next(script.gaps, None) is None
    return script, outcome, state_of(case.model)


def test_a_ticket_within_the_tolerance_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    script, outcome, state = scripted(monkeypatch, [0.0, 0.02, -0.1])
    assert script.each("level") == [0.4, 0.6, 0.8]
    assert script.each("weight") == [0.8] * 3
    assert script.each("strength") == [0.5] * 3
    assert outcome.status == "feasible"
    assert [r["feasible"] for r in outcome.rounds] == [True] * 3
    assert outcome.path == [r.masks for r in script.rounds]
    assert equal(state, script.rounds[-1].state)


def test_conflict_is_halved_and_on_the_last_try_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    script, outcome, _ = scripted(monkeypatch, [0.5, 0.5, 0.5, 0.01, 0.5, 0.0, 0.0], retries=3)
    assert script.each("weight") == [0.8, 0.4, 0.2, 0.0, 0.8, 0.4, 0.8]
    assert script.each("level") == [0.4] * 4 + [0.6] * 2 + [0.8]
    # the pressure of a retry is halved too; the round that is kept sets that of the next one
    assert script.each("strength") == [0.5, 0.25, 0.125, 0.0625, 0.0625, 0.03125, 0.03125]
    parents = script.each("from")
    assert parents[0] is parents[1] is parents[2] is parents[3]
    assert parents[4].masks == parents[5].masks == script.rounds[3].masks
    assert outcome.status == "feasible"
    assert outcome.path == [script.rounds[i].masks for i in (3, 5, 6)]


def test_two_retries_are_the_half_and_none(monkeypatch: pytest.MonkeyPatch) -> None:
    script, outcome, _ = scripted(monkeypatch, [0.5] * 3, levels=(), one_shot=True, retries=2)
    assert script.each("weight") == [0.8, 0.4, 0.0]
    assert outcome.status == "eps_infeasible"


def test_by_default_the_only_try_keeps_its_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    script, _, _ = scripted(monkeypatch, [0.5] * 3)
    assert script.each("weight") == [0.8] * 3


def test_a_retry_that_would_change_nothing_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"lambda_conflict": 0.0, "tolerance": 0.0, "refinement": Refinement.off()}
    method = ballot_of(sparsity=0.5, one_shot=True, retries=2, **options)
    case = bench(method)
    script = Script(monkeypatch, [0.5])
    assert case.run(method).status == "eps_infeasible"
    assert len(script.calls) == 1


def test_going_on_ends_with_the_last_ticket_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    script, outcome, state = scripted(monkeypatch, [0.0, 0.5, 0.5], retries=0)
    assert outcome.status == "eps_infeasible"
    assert outcome.masks == script.rounds[2].masks
    assert equal(state, script.rounds[2].state)
    assert [r["feasible"] for r in outcome.rounds] == [True, False, False]


def test_a_late_recovery_is_feasible(monkeypatch: pytest.MonkeyPatch) -> None:
    _, outcome, _ = scripted(monkeypatch, [0.5, 0.5, 0.0], retries=0)
    assert outcome.status == "feasible"


@pytest.mark.parametrize(
    ("drops", "options"),
    [([0.0, 0.5, 0.5], {}), ([0.0, 0.5, 0.5], {"levels": (0.4, 0.6, 0.7)})],
)
def test_stopping_returns_the_last_good_ticket(
    monkeypatch: pytest.MonkeyPatch, drops: list[float], options: dict[str, Any]
) -> None:
    script, outcome, state = scripted(monkeypatch, drops, retries=0, infeasible="stop", **options)
    assert outcome.status == "eps_infeasible"
    assert outcome.masks == script.rounds[0].masks
    assert outcome.path == [script.rounds[0].masks]
    assert equal(state, script.rounds[0].state)
    assert len(outcome.rounds) == 3


def test_stopping_without_any_good_ticket_keeps_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    script, outcome, _ = scripted(monkeypatch, [0.5, 0.5], retries=0, infeasible="stop")
    assert outcome.masks == script.rounds[1].masks
    assert outcome.status == "eps_infeasible"


def test_a_round_beyond_the_budget_is_repeated_under_more_pressure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drops, gaps = [0.0, 0.5, 0.0, 0.0, 0.0, 0.0], [0.2, 0.0, 0.3, 0.1, 0.0, 0.0]
    script, outcome, _ = scripted(monkeypatch, drops, gaps, retries=3)
    # doubled for the gap, halved for the accuracy, doubled for the gap; then the plan goes on
    assert script.each("strength") == [0.5, 1.0, 0.5, 1.0, 1.0, 1.0]
    assert script.each("weight") == [0.8, 0.4, 0.2, 0.0, 0.8, 0.8]
    assert outcome.status == "feasible"
    assert [r["feasible"] for r in outcome.rounds] == [True] * 3
    assert [r["gap"] for r in outcome.rounds] == [0.1, 0.0, 0.0]
    assert {r["gap_limit"] for r in outcome.rounds} == {0.1}


def test_pressure_for_a_budget_ends_at_six_times_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script, _, _ = scripted(monkeypatch, [0.0] * 5, [0.2] * 5, retries=4, levels=(), one_shot=True)
    assert script.each("strength") == [0.5, 1.0, 2.0, 3.0, 3.0]
    # without conflict the next retry would be the same round, so it is not made
    options = {"retries": 9, "levels": (), "one_shot": True, "lambda_conflict": 0.0}
    script, outcome, _ = scripted(monkeypatch, [0.0] * 4, [0.2] * 4, **options)
    assert script.each("strength") == [0.5, 1.0, 2.0, 3.0]
    assert outcome.status == "gap_infeasible"


@pytest.mark.parametrize(
    ("drops", "gaps", "status"),
    [
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.2], "gap_infeasible"),
        ([0.0, 0.0, 0.5], [0.0, 0.0, 0.2], "eps_infeasible"),
        ([0.0, 0.0, 0.5], [0.0, 0.2, 0.0], "eps_infeasible"),
        ([0.0, 0.5, 0.0], [0.2, 0.2, 0.1], "feasible"),
    ],
)
def test_the_status_is_that_of_the_last_round(
    monkeypatch: pytest.MonkeyPatch, drops: list[float], gaps: list[float], status: str
) -> None:
    script, outcome, state = scripted(monkeypatch, drops, gaps, retries=0)
    assert outcome.status == status
    assert outcome.masks == script.rounds[2].masks
    assert equal(state, script.rounds[2].state)


def test_stopping_returns_the_last_ticket_within_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gaps = [0.1, 0.2, 0.2]
    script, outcome, state = scripted(monkeypatch, [0.0] * 3, gaps, retries=0, infeasible="stop")
    assert outcome.status == "gap_infeasible"
    assert outcome.masks == script.rounds[0].masks
    assert outcome.path == [script.rounds[0].masks]
    assert equal(state, script.rounds[0].state)
