"""CEAG's Lagrangian and equalized loss, against optima and gradients worked out apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import fairsparse
from fairsparse.core import Batch, InputError
from fairsparse.fairness.cells import Cells
from fairsparse.methods import METHODS
from fairsparse.methods.constrained.ceag import Ceag, ExcessLagrangian
from fairsparse.methods.constrained.constraints import Measured
from fairsparse.methods.constrained.equalized_loss import DistanceLagrangian, EqualizedLoss
from fairsparse.methods.magnitude import Magnitude
from fairsparse.training import state_of
from helpers import Bench, bench, equal, network

GROUPS = Cells("group", ("no", "yes"), ("a", "b"))


def dense(accuracy: list[float], loss: list[float], share: list[float]) -> Measured:
    return Measured(*(torch.tensor([*values]) for values in (accuracy, loss, share)))


def batch(y: list[int], group: list[int]) -> Batch:
    return Batch(torch.zeros(len(y), 1), torch.tensor(y), torch.tensor(group))


def answers(right: list[bool], y: list[int]) -> Tensor:
    """Logits that give the true class, or the other of two."""
    classes = [c if ok else 1 - c for ok, c in zip(right, y, strict=True)]
    return 2.0 * F.one_hot(torch.tensor(classes), 2)


def test_the_scalar_model_comes_to_rest_where_psi_is_eps() -> None:
    # A bias b is all there is to learn. 800 examples of a are right where b + x > 0, with x evenly
    # over [-1, 3]: accuracy (3 + b)/4. 200 of b are right where b + x < 0, x over [-3, 1]:
    # (3 - b)/4. The dense network has b = 0, so psi_b = b/4 + 0.8 b/4 - 0.2 b/4 = 0.4 b,
    # which is eps = 0.1 at b = 1/4; cross-entropy alone goes far beyond.
    grid = (torch.arange(200) + 0.5) / 50
    x = torch.cat([(grid - 1).repeat(4), grid - 3])
    group = torch.cat([torch.zeros(800, dtype=torch.int64), torch.ones(200, dtype=torch.int64)])
    examples = Batch(x, 1 - group, group)

    def logits(b: Tensor) -> Tensor:
        return torch.stack([torch.zeros(1000), b + x], 1)

    def settle(rate: float) -> tuple[float, ExcessLagrangian]:
        loss = ExcessLagrangian(
            GROUPS,
            dense([0.75, 0.75, float("nan")], [0.5, 0.5, float("nan")], [0.8, 0.2, 0.0]),
            eps=0.1,
            rate=rate,
            memory=200,
        )
        b = torch.tensor(0.0, requires_grad=True)
        for _ in range(3000):
            (slope,) = torch.autograd.grad(loss(logits(b), examples), b)
            b = (b - 0.5 * slope).detach().requires_grad_(True)
        return float(b.detach()), loss

    free, _ = settle(0.0)
    assert free > 1
    b, loss = settle(0.1)
    assert b == pytest.approx(0.25, abs=0.02)
    assert loss.psi.tolist() == pytest.approx([-0.025, 0.1], abs=0.01)
    # at the optimum the slopes of the loss and of the constraint balance
    at = torch.tensor(0.25, requires_grad=True)
    losses = F.cross_entropy(logits(at), examples.y, reduction="none")
    (whole,) = torch.autograd.grad(losses.mean(), at, retain_graph=True)
    (cell,) = torch.autograd.grad(losses[group == 1].mean(), at)
    balance = float(whole / (whole - cell))
    assert loss.multipliers.tolist() == pytest.approx([0.0, balance], abs=0.02)


def test_psi_and_the_multipliers_by_hand() -> None:
    # Dense: 0.9 of a and 0.7 of b right, both of share 1/2. Buffers of 2.
    loss = ExcessLagrangian(
        GROUPS, dense([0.9, 0.7, 0.5], [0, 0, 0], [0.5, 0.5, 0.0]), eps=0.1, rate=2.0, memory=2
    )
    y, group = [0, 0, 0], [0, 0, 1]
    loss(answers([True, False, False], y), batch(y, group))
    # a's buffer is full and b's is not: the gap over all is a's own, its psi 0
    assert loss.psi.tolist() == pytest.approx([0.0, float("nan")], nan_ok=True)
    assert loss.multipliers.tolist() == [0.0, 0.0]
    loss(answers([False], [1]), batch([1], [1]))
    # gaps 0.9 - 1/2 = 0.4 and 0.7 - 0 = 0.7, over all 0.55: psi is -0.15 and 0.15
    assert loss.psi.tolist() == pytest.approx([-0.15, 0.15])
    assert loss.multipliers.tolist() == pytest.approx([0.0, 0.1])
    # a batch of a alone moves nothing of b, though psi_b is still beyond eps
    loss(answers([True], [1]), batch([1], [0]))
    assert float(loss.psi[1]) > 0.1
    assert loss.multipliers.tolist() == pytest.approx([0.0, 0.1])
    # gaps 0.9 - 1 and 0.7 - 0, over all 0.3: psi is -0.4 and 0.4
    y, group = [1, 1], [0, 1]
    value = loss(answers([True, False], y), batch(y, group))
    assert loss.multipliers.tolist() == pytest.approx([0.0, 0.7])
    # losses l and l + 2, so L_b - L = 1, times the multiplier as it has just become
    assert float(value) == pytest.approx(math.log(1 + math.exp(-2)) + 1 + 0.7)
    assert loss.now(loss.psi) == {
        "max_multiplier": pytest.approx(0.7),
        "max_psi": pytest.approx(0.4),
        "psi_range": pytest.approx(0.8),
    }


def test_examples_of_no_cell_count_in_what_holds_over_all() -> None:
    loss = ExcessLagrangian(
        GROUPS, dense([1.0, 1.0, 1.0], [0, 0, 0], [0.25, 0.25, 0.5]), eps=0, rate=1, memory=1
    )
    y, group = [0, 1, 0], [0, 1, -1]
    loss(answers([True, False, True], y), batch(y, group))
    # gaps 0, 1 and 0: over all 1/4
    assert loss.psi.tolist() == pytest.approx([-0.25, 0.75])


@pytest.mark.parametrize("name", ["ceag", "equalized-loss"])
def test_the_gradient_is_that_of_the_loss_and_of_the_cells_distance_from_it(name: str) -> None:
    multipliers = torch.tensor([0.3, 0.0, 2.0])
    cells = Cells("group", ("x", "y", "z"), ("a", "b", "c"))
    y, group = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 0, 1, 0, -1])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss: Any = (
        ExcessLagrangian(cells, dense([0.5] * 4, [0.1, 0.2, 0.3, 0.4], [0.25] * 4), 0.1, 0.0, 1)
        if name == "ceag"
        else DistanceLagrangian(cells, 0.0)
    )
    loss.multipliers = multipliers
    value = loss(logits, Batch(torch.zeros(6, 1), y, group))
    (found,) = torch.autograd.grad(value, logits)

    losses = F.cross_entropy(logits, y, reduction="none")
    whole, gaps = losses.mean(), [losses[group == k].mean() - losses.mean() for k in (0, 1)]
    (expected,) = torch.autograd.grad(whole, logits, retain_graph=True)
    for multiplier, gap in zip((0.3, 0.0), gaps, strict=True):  # group c is absent
        (slope,) = torch.autograd.grad(gap, logits, retain_graph=True)
        sign = 1.0 if name == "ceag" else float(gap.detach().sign())
        expected = expected + multiplier * sign * slope
    torch.testing.assert_close(found, expected)
    if name == "ceag":
        # dense losses 0.1, 0.2, 0.3 and 0.4 of equal share: a's is 0.15 below that over all
        value_ = whole + 0.3 * (gaps[0] + 0.15)
        assert float(value.detach()) == pytest.approx(float(value_.detach()), rel=1e-6)


def test_equalized_loss_by_hand() -> None:
    # losses 1 and 3 of a and b: both are 1 from their mean 2
    p = torch.tensor([-1.0, -3.0]).exp()
    logits = torch.stack([p, 1 - p], 1).log()
    loss = DistanceLagrangian(GROUPS, rate=0.1)
    value = loss(logits, batch([0, 0], [0, 1]))
    # the multipliers rise first, to 0.1, and count at once
    assert loss.multipliers.tolist() == pytest.approx([0.1, 0.1])
    assert float(value) == pytest.approx(2 + 0.1 + 0.1)
    loss(logits[:1], batch([0], [0]))
    assert loss.multipliers.tolist() == pytest.approx([0.1, 0.1])


def test_equal_losses_give_the_constraints_no_gradient() -> None:
    one = torch.tensor([[0.5, -0.25]])
    logits = one.repeat(4, 1).requires_grad_(True)
    loss = DistanceLagrangian(GROUPS, rate=1.0)
    loss.multipliers = torch.tensor([5.0, 7.0])
    examples = batch([0, 0, 0, 0], [0, 1, 0, 1])
    (found,) = torch.autograd.grad(loss(logits, examples), logits)
    (plain,) = torch.autograd.grad(F.cross_entropy(logits, examples.y), logits)
    torch.testing.assert_close(found, plain)
    assert loss.multipliers.tolist() == [5.0, 7.0]


@pytest.mark.parametrize("method", [Ceag, EqualizedLoss])
@pytest.mark.parametrize("task", [{}, {"groups": 3, "notion": "class-group"}])
def test_multipliers_fixed_at_0_are_plain_training_bit_for_bit(method: Any, task: Any) -> None:
    common: dict[str, Any] = {"sparsity": 0.7, "schedule": "one-shot", "finetune": 0.75}
    held, plain = (
        bench(m, "conv", **task) for m in (method(**common, dual_rate=0), Magnitude(**common))
    )
    masks = held.run(method(**common, dual_rate=0)).masks
    assert masks == plain.run(Magnitude(**common)).masks
    assert equal(state_of(held.model), state_of(plain.model))


def test_constraints_begin_when_the_weights_are_removed() -> None:
    for ramp, constrained in ((0.5, 12), (0.3, 12), (0.75, 6), (0.9, 0)):
        method = Ceag(sparsity=0.7, ramp=ramp, memory=1)
        case = bench(method, epochs=4)
        assert case.dense.total == 24
        (log,) = case.run(method).rounds
        assert log["constrained_steps"] == constrained, ramp
        assert len(log["epochs"]) == 4
        assert log["epochs"][0]["max_psi"] is None


def accuracies(case: Bench) -> tuple[Tensor, float]:
    """Accuracy by group and over all in training, counted."""
    split = case.data.train
    right = case.trainer.predict(case.model, split).logits.argmax(1) == split.y
    groups = [right[split.group == g].double().mean() for g in range(3)]
    return torch.stack(groups), float(right.double().mean())


def test_the_log_has_psi_as_counted_on_the_training_split() -> None:
    method = Ceag(sparsity=0.8, eps=0.0, dual_rate=0.2, memory=8)
    case = bench(method, groups=3, notion="group")
    before, all_before = accuracies(case)
    (log,) = case.run(method).rounds
    after, all_after = accuracies(case)
    psi = (before - after) - (all_before - all_after)
    assert list(log["psi"].values()) == pytest.approx(psi.tolist(), abs=1e-6)
    assert list(log["psi"]) == list(log["multipliers"]) == ["g0", "g1", "g2"]
    assert log["max_psi"] == pytest.approx(float(psi.max()), abs=1e-6)
    assert log["psi_range"] == pytest.approx(float(psi.max() - psi.min()), abs=1e-6)
    assert log["met_in_training"] == (log["max_psi"] <= 0)
    assert log["max_multiplier"] == max(log["multipliers"].values()) > 0
    assert log["epochs"][-1]["max_multiplier"] == log["max_multiplier"]


def test_equalized_loss_logs_the_losses_as_they_are_on_the_training_split() -> None:
    method = EqualizedLoss(sparsity=0.8, dual_rate=0.2)
    case = bench(method, groups=3, notion="group")
    (log,) = case.run(method).rounds
    split = case.data.train
    logits = case.trainer.predict(case.model, split).logits
    losses = F.cross_entropy(logits, split.y, reduction="none")
    gaps = [float(losses[split.group == g].mean() - losses.mean()) for g in range(3)]
    assert list(log["loss_gaps"].values()) == pytest.approx(gaps, abs=1e-5)
    assert log["max_loss_gap"] == pytest.approx(max(map(abs, gaps)), abs=1e-5)
    assert log["loss_range"] == pytest.approx(max(gaps) - min(gaps), abs=1e-5)
    assert all(value > 0 for value in log["multipliers"].values())


@pytest.mark.parametrize("name", list(METHODS))
def test_demographic_parity_is_refused_where_only_errors_are_acted_on(name: str) -> None:
    parity = Cells("demographic-parity", ("no", "yes"), ("a", "b"))
    steered = METHODS[name]().refinement is not None  # by weights, which are refused besides
    method = METHODS[name](**({"refinement": {"form": "penalty"}} if steered else {}))
    net = network("mlp")
    if name in ("ceag", "equalized-loss", "fairgrape", "fairprune"):
        with pytest.raises(InputError, match=f"^method '{name}' .*'group'") as caught:
            method.check(net, parity)
        assert "\n" not in str(caught.value)
    else:
        method.check(net, parity)
    method.check(net, Cells("equal-opportunity", ("no", "yes"), ("a", "b")))


def people(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    y, group = torch.arange(n) % 2, torch.arange(n) // 2 % 2
    noise = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return y[:, None] + noise, y, group


def test_the_front_door_refuses_before_training_and_keeps_what_was_logged(tmp_path: Path) -> None:
    task = fairsparse.task(people(200, 1), people(80, 2), name="two")
    settings: dict[str, Any] = {"training": {"epochs": 2, "batch_size": 32}, "resamples": 100}
    shown: list[Any] = []
    watched = {**settings, "progress": lambda *args: shown.append(args)}
    with pytest.raises(InputError, match="'ceag' evens out errors"):
        fairsparse.prune(
            network("mlp", 2), task, "ceag", 0.5, cells="demographic-parity", **watched
        )
    assert not shown
    result = fairsparse.prune(
        network("mlp", 2), task, "ceag", 0.5, cells="equalized-odds", memory=4, **settings
    )
    result.save(tmp_path / "run")
    record = fairsparse.load(tmp_path / "run", network("mlp", 2)).record
    (log,) = record["rounds"]
    assert set(log["psi"]) == {f"class {c} | group {g}" for c in (0, 1) for g in (0, 1)}
    assert record["status"] == "feasible"
    assert "max psi" in (tmp_path / "run" / "report.html").read_text()


def test_a_dual_rate_that_explodes_ends_in_one_line() -> None:
    method = Ceag(sparsity=0.9, eps=0.0, dual_rate=1e38, memory=1)
    case = bench(method, epochs=4)
    with pytest.raises(InputError, match=r"^ceag 0\.9: the loss became -?(inf|nan)"):
        case.run(method)
