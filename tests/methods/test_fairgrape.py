"""FairGRAPE: importance to each cell, and rounds that keep the cells' shares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fairsparse.data.task import Split
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import select
from fairsparse.methods.fairgrape.method import FairGrape, importances
from fairsparse.methods.fairgrape.shares import balanced, pick
from fairsparse.training import Loop, state_of
from helpers import Bench, bench, equal, fingerprint, network

GROUPS: dict[str, Any] = {"groups": 3, "notion": "group"}
ONCE: dict[str, Any] = {"sparsity": 0.5, "levels": (0.9,), "retrain": 0.0, "finetune": 0.0}


def constant(case: Bench) -> list[int]:
    """Make all examples of a group in cal the same one, so that any draw of them is the same.

    Returns the example of each group.
    """
    cal = case.data.cal
    firsts = [int((cal.group == g).nonzero()[0]) for g in range(3)]
    for g, first in enumerate(firsts):
        cal.x[cal.group == g], cal.y[cal.group == g] = cal.x[first].clone(), cal.y[first].clone()
    return firsts


def by_example(case: Bench, examples: list[int], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """``(|w| |dL/dw|)^2`` of each example."""
    found: dict[str, list[Tensor]] = {name: [] for name in weights}
    case.model.eval()
    for i in examples:
        loss = F.cross_entropy(case.model(case.data.cal.x[[i]]), case.data.cal.y[[i]])
        for (name, w), g in zip(
            weights.items(), torch.autograd.grad(loss, list(weights.values())), strict=True
        ):
            found[name].append((w.detach().abs() * g.abs()) ** 2)
    return {name: torch.stack(parts) for name, parts in found.items()}


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_importance_to_each_group(kind: str, batches: int) -> None:
    method = FairGrape()
    case = bench(method, kind, **GROUPS)
    examples = constant(case)
    weights = case.weights(method)
    before = fingerprint(state_of(case.model))
    for w in weights.values():
        w.grad = torch.ones_like(w)
    found = importances(case, weights, batches, 0.5)
    assert fingerprint(state_of(case.model)) == before
    assert all(bool((w.grad == 1).all()) for w in weights.values())
    expected = by_example(case, examples, weights)
    for name in weights:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-12)


def test_importance_squares_each_batch_and_averages() -> None:
    """Two examples of opposite labels: the square of their mean gradient is small, the mean of
    squared batch gradients lies between it and the mean of squared examples."""
    method = FairGrape()
    case = bench(method, **GROUPS)
    weights = case.weights(method)
    few = importances(case, weights, 40, 0.5)
    own = case.data.cal.group == 1
    loss = F.cross_entropy(case.model(case.data.cal.x[own]), case.data.cal.y[own])
    name, w = next(iter(weights.items()))
    whole = (w.detach() * torch.autograd.grad(loss, w)[0]).square().sum()
    examples = by_example(case, own.nonzero()[:, 0].tolist(), weights)[name].mean(0).sum()
    # of batches of 32: E |g|^2 = |mean|^2 + variance / 32
    expected = whole + (examples - whole) / 32
    assert float(few[name][1].sum()) == pytest.approx(float(expected), rel=0.15)
    assert float(examples) > 3 * float(expected)


def test_cells_without_examples_and_unknown_groups_are_left_out() -> None:
    method = FairGrape()
    case = bench(method, **GROUPS)
    weights, cal = case.weights(method), case.data.cal
    whole = importances(case, weights, 2, 0.5)
    cal.x[cal.group < 0] = 100.0
    again = importances(case, weights, 2, 0.5)
    assert all(torch.equal(whole[name], again[name]) for name in weights)
    two = Split(cal.x, cal.y, torch.where(cal.group == 1, -1, cal.group))
    found = importances(replace(case, data=replace(case.data, cal=two)), weights, 2, 0.5)
    for name in weights:
        torch.testing.assert_close(found[name], whole[name][[0, 2]], rtol=0, atol=0)


@pytest.mark.parametrize("order", ["importance", "share", "product"])
def test_a_round_is_the_greedy_of_these_importances(order: Any) -> None:
    method = FairGrape(**ONCE, order=order, block=1)
    case = bench(method, **GROUPS)
    importance = by_example(case, constant(case), case.weights(method))
    outcome = case.run(method)
    for name, mask in outcome.masks.items():
        # layerwise: half of each layer
        rows = importance[name].flatten(1)
        assert int(mask.sum()) == rows.shape[1] // 2
        expected = pick(rows, rows.shape[1] // 2, order)
        assert int((mask.flatten() != expected).sum()) <= 2
    moved = [
        (rows[:, mask.flatten()].sum(1) / rows[:, mask.flatten()].sum() - rows.sum(1) / rows.sum())
        for rows, mask in (
            (importance[name].flatten(1), mask) for name, mask in outcome.masks.items()
        )
    ]
    largest = max(float(m.abs().max()) for m in moved)
    assert outcome.rounds[0]["largest_shift"] == pytest.approx(largest, rel=1e-3, abs=1e-6)


def test_shares_move_less_than_in_a_ranking_of_the_sum() -> None:
    """In the layers of a trained network, for the groups it has."""
    method = FairGrape(block=1)
    case = bench(method, **GROUPS)
    weights = case.weights(method)
    found = importances(case, weights, 8, 0.5)
    whole = {name: values.sum(0) for name, values in found.items()}
    ranked = select(whole, 0.9, scope="layerwise")
    keep = {name: int(mask.sum()) for name, mask in ranked.items()}
    fair = balanced(found, keep, MaskSet.dense(weights), block=1)

    def moved(masks: MaskSet, name: str) -> float:
        rows, mask = found[name].flatten(1), masks[name].flatten()
        target, now = rows.sum(1) / rows.sum(), rows[:, mask].sum(1) / rows[:, mask].sum()
        return float((target - now).abs().max())

    for name in weights:
        assert int(fair[name].sum()) == keep[name]
        assert moved(fair, name) < moved(ranked, name)


@pytest.mark.parametrize("block", [None, 1, 7, 1000])
@pytest.mark.parametrize("scope", ["layerwise", "erk", "global"])
def test_counts_are_those_of_the_scope(scope: Any, block: int | None) -> None:
    method = FairGrape(sparsity=0.7, levels=(0.4,), scope=scope, block=block, batches=1)
    outcome = bench(method, "conv").run(method)
    assert [m.n_kept for m in outcome.path] == [
        m.n_total - round(s * m.n_total) for m, s in zip(outcome.path, (0.4, 0.7), strict=True)
    ]
    assert outcome.path[1] <= outcome.path[0]


def test_one_cell_is_taylor_layer_by_layer() -> None:
    """A task of one group known: the ranking of ``(w g)^2`` over the same batches."""
    method = FairGrape(**ONCE)
    case = bench(method, groups=2, notion="group")
    cal = case.data.cal
    only = Split(cal.x, cal.y, torch.where(cal.group == 0, 0, -1))
    case = replace(case, data=replace(case.data, cal=only))
    case.model.load_state_dict(network("mlp").state_dict())
    found = importances(case, case.weights(method), method.batches, 0.5)
    expected = select({n: v[0] for n, v in found.items()}, 0.5, scope="layerwise", floor=0.005)
    outcome = case.run(method)
    assert outcome.masks == expected
    assert outcome.rounds[0]["largest_shift"] == 0


def test_rounds_train_and_each_in_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[str] = []
    plain = Loop.finish

    def finish(loop: Loop) -> Any:
        orders.append(loop.order)
        return plain(loop)

    settings: dict[str, Any] = {"sparsity": 0.7, "levels": (0.4,), "batches": 1}
    still, moving = (FairGrape(**settings, retrain=r, finetune=0.0) for r in (0.0, 0.5))
    cases = [bench(method, "conv", epochs=4) for method in (still, moving)]
    dense = [case.trainer.steps for case in cases]
    monkeypatch.setattr(Loop, "finish", finish)
    for case, method in zip(cases, (still, moving), strict=True):
        case.run(method)
    spent = [case.trainer.steps - before for case, before in zip(cases, dense, strict=True)]
    assert spent == [0, 24]  # two rounds of half of 24 steps
    assert not equal(state_of(cases[0].model), state_of(cases[1].model))
    assert len(orders) == len(set(orders)) == 2
    stages = [log["stage"] for log in cases[1].trainer.history]
    assert stages[4:] == ["fairgrape round 0.4"] * 2 + ["fairgrape round 0.7"] * 2
    # at the end of the schedule, where rates are low
    assert max(log["lr"] for log in cases[1].trainer.history[4:]) < 0.6 * 0.05


def test_a_layer_of_importance_to_nobody() -> None:
    method = FairGrape(**ONCE)
    case = bench(method, **GROUPS)
    with torch.no_grad():
        case.model[4].weight.zero_()  # type: ignore[index]
    outcome = case.run(method)
    assert outcome.masks.n_kept == outcome.masks.n_total - round(0.5 * outcome.masks.n_total)
    assert outcome.rounds[0]["largest_shift"] is None
