"""Rounds under a budget: what is measured, what is recorded, and what stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairsparse.fairness.steering.budget import Budget
from fairsparse.methods import METHODS, Method
from fairsparse.training import state_of
from helpers import Bench, ballot_of, bench, equal

LEVELS: dict[str, Any] = {"sparsity": 0.9, "levels": (0.4, 0.7)}


def lth(**options: Any) -> Method:
    return METHODS["lth"](**{**LEVELS, **options})


def ballot(**options: Any) -> Method:
    return ballot_of(**{**LEVELS, "tolerance": 1.0, "retries": 0, **options})


def right(case: Bench) -> np.ndarray:
    """Whether each validation example is predicted correctly."""
    logits, y, _ = case.trainer.predict(case.model, case.data.val)
    return (logits.argmax(1) == y).numpy()


@pytest.mark.parametrize("make", [lth, ballot])
def test_gaps_are_counted_on_validation_against_dense(make: Any) -> None:
    method = make(budget={"limit": 0.05})
    case = bench(method, groups=3, notion="group")
    before = right(case)
    outcome = case.run(method)
    drop = before.astype(float) - right(case)
    group = case.data.val.group.numpy()
    expected = max(drop[group == g].mean() for g in range(3)) - drop.mean()
    last = outcome.rounds[-1]
    assert last["gap"] == pytest.approx(expected, abs=1e-12)
    assert [r["gap_limit"] for r in outcome.rounds] == [0.05] * 3
    assert [r["feasible"] for r in outcome.rounds] == [r["gap"] <= 0.05 for r in outcome.rounds]
    assert len({r["gap"] for r in outcome.rounds}) > 1


@pytest.mark.parametrize("make", [lth, ballot])
def test_the_last_round_decides_and_the_sparsity_is_exact(make: Any) -> None:
    gaps = []
    for limit, status in ((0.0, "gap_infeasible"), (1.0, "feasible")):
        method = make(budget={"limit": limit, "measure": "range"})
        outcome = bench(method).run(method)
        assert outcome.status == status
        assert outcome.masks.sparsity == pytest.approx(0.9, abs=1e-3)
        assert all(r["gap"] == pytest.approx(r["val_range"], abs=1e-6) for r in outcome.rounds)
        gaps.append([r["gap"] for r in outcome.rounds])
    assert gaps[0] == gaps[1]
    assert min(gaps[0]) > 0


@pytest.mark.parametrize("make", [lth, ballot])
def test_a_budget_changes_no_training_and_shares_the_rounds(make: Any, tmp_path: Path) -> None:
    plain, held = make(), make(budget={"limit": 0.0})
    first = bench(plain, folder=tmp_path)
    without = first.run(plain)
    stages = sorted(tmp_path.iterdir())
    second = bench(held, folder=tmp_path)
    under = second.run(held)
    assert sorted(tmp_path.iterdir()) == stages
    assert equal(state_of(first.model), state_of(second.model))
    assert under.path == without.path
    added = {"gap", "gap_limit", "feasible"}
    for old, new in zip(without.rounds, under.rounds, strict=True):
        assert {k: v for k, v in new.items() if k not in added} == {
            k: v for k, v in old.items() if k not in added
        }
    assert "gap" not in without.rounds[0]


def test_retries_for_a_budget_go_on_after_an_interruption(tmp_path: Path) -> None:
    method = ballot(retries=2, budget={"limit": 0.0, "measure": "range"})
    whole = bench(method)
    expected = whole.run(method)
    for _ in range(2):
        again = bench(method, folder=tmp_path)
        assert again.run(method) == expected
        assert equal(state_of(again.model), state_of(whole.model))
        assert again.trainer.steps == whole.trainer.steps
    # three attempts in each of three rounds
    once = bench(ballot(retries=0))
    once.run(ballot(retries=0))
    assert whole.trainer.steps - once.trainer.steps == 2 * (once.trainer.steps - once.dense.total)


def test_without_rounds_there_is_nothing_to_miss() -> None:
    method = lth(sparsity=0.0, levels=(), budget={"limit": 0.0})
    assert bench(method).run(method).status == "feasible"


def test_budgets_are_checked_with_the_method() -> None:
    assert lth(budget={"limit": 0.1}).settings()["budget"] == {
        "limit": 0.1,
        "measure": "excess-drop",
    }
    assert lth(budget=Budget(0.2)).settings()["budget"]["limit"] == 0.2
    for bad in ({"limit": -1}, {"limit": 0.1, "measure": "gap"}, {}, {"limit": 0.1, "most": 1}):
        with pytest.raises(ValueError):
            lth(budget=bad)
