"""FairPrune: curvature that is known, cells that are served worst, and what is removed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Batch, InputError
from fairsparse.data.task import Split, TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.masks.criteria.curvature import fisher, gauss_newton
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import select
from fairsparse.methods.fairprune import FairPrune, contrast, sample
from fairsparse.methods.method import METHODS
from fairsparse.training import Trainer, cross_entropy, state_of
from helpers import Bench, bench, dead_everywhere, trainer_for

GROUPS: dict[str, Any] = {"groups": 3, "notion": "group"}
ALL = 10_000


def gaussian(logits: Tensor, batch: Batch) -> Tensor:
    """Negative log-likelihood of a Gaussian of variance 1, up to a constant."""
    return (logits[:, 0] - batch.y).square().mean() / 2


def two_groups() -> tuple[nn.Linear, Split, Trainer]:
    """A linear model with w = (2, -1), whose residuals are +1 and -1 within each group.

    Group 0 has inputs (1, 0) and (0, 1): h = (1/2, 1/2). Group 1 has (1, 1) and (3, 2), which give
    h = (5, 5/2); the squares of its mean gradient would be (1, 1/4).
    """
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0]]))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 2.0], [50.0, 50.0]])
    # outputs 2, -1, 1, 4, 50; the last example's group is unknown
    split = Split(x, torch.tensor([3, -2, 0, 5, 0]), torch.tensor([0, 0, 1, 1, -1]))
    data = TrainData(split, split, split, ("a", "b"), ("g", "h"))
    return model, split, trainer_for(data, notion="group")


def saliency(scorer: Any, sides: list[float]) -> Tensor:
    model, cal, trainer = two_groups()
    batches, shares = sample(cal, trainer, torch.tensor(sides), ALL, 0.5)
    found: Tensor = scorer(model, {"weight": model.weight}, batches, gaussian, shares)["weight"]
    return found


@pytest.mark.parametrize("scorer", [fisher, gauss_newton])
def test_saliency_of_a_linear_gaussian_model(scorer: Any) -> None:
    """``0.5 w^2 (h_worst - beta h_other)`` with w^2 / 2 = (2, 1/2), and group 1 served worst."""
    half = saliency(scorer, [-0.5, 1.0])
    torch.testing.assert_close(half, torch.tensor([[9.5, 1.125]]))
    # beta 0: optimal brain damage on group 1 alone, without the example of unknown group
    model, cal, _ = two_groups()
    own = cal.batch(torch.tensor([2, 3]))
    damage = scorer(model, {"weight": model.weight}, [own], gaussian)["weight"]
    torch.testing.assert_close(saliency(scorer, [0.0, 1.0]), damage)
    torch.testing.assert_close(damage, torch.tensor([[10.0, 1.25]]))
    # beta 1: the groups in each other's places turn the sign
    torch.testing.assert_close(saliency(scorer, [-1.0, 1.0]), -saliency(scorer, [1.0, -1.0]))


@pytest.mark.parametrize("scorer", [fisher, gauss_newton])
def test_groups_of_one_curvature_leave_nothing(scorer: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    x, y = torch.randn(10, 4), torch.arange(10) % 3
    split = Split(torch.cat([x, x]), torch.cat([y, y]), torch.arange(20) // 10)
    trainer = trainer_for(TrainData(split, split, split, ("a", "b", "c"), ("g", "h")))
    trainer.cells = Cells("group", ("a", "b", "c"), ("g", "h"))
    weights = {"0.weight": model[0].weight}

    def largest(beta: float) -> float:
        batches, shares = sample(split, trainer, torch.tensor([-beta, 1.0]), ALL, 0.5)
        return float(scorer(model, weights, batches, cross_entropy, shares)["0.weight"].abs().max())

    assert largest(1.0) < 1e-6 * largest(0.5)


def test_saliency_against_the_hessian_of_each_group() -> None:
    """Logits are linear in the weight, so that the Gauss-Newton diagonal is the Hessian's."""
    torch.manual_seed(1)
    model = nn.Linear(4, 3)
    split = Split(torch.randn(30, 4), torch.arange(30) % 3, torch.arange(30) % 4 - 1)
    data = TrainData(split, split, split, ("a", "b", "c"), ("g", "h", "i"))
    trainer = trainer_for(data, notion="group")
    sides = contrast(torch.tensor([0.9, 0.2, 0.8]), trainer.cells, 0.33, 0.5)
    batches, shares = sample(split, trainer, sides, ALL, 0.5)
    scores = gauss_newton(model, {"weight": model.weight}, batches, cross_entropy, shares)
    theta, bias = model.weight.detach(), model.bias.detach()

    def curvature(group: int) -> Tensor:
        own = split.group == group

        def value(flat: Tensor) -> Tensor:
            return F.cross_entropy(F.linear(split.x[own], flat.view(3, 4), bias), split.y[own])

        hessian = torch.autograd.functional.hessian(value, theta.flatten())
        return hessian.diagonal().view(3, 4)  # type: ignore[no-any-return, union-attr]

    others = (curvature(0) + curvature(2)) / 2
    expected = 0.5 * theta.square() * (curvature(1) - 0.33 * others)
    torch.testing.assert_close(scores["weight"], expected)


def test_who_is_served_worst() -> None:
    five = Cells("class", tuple("abcde"))
    means = torch.tensor([0.9, 0.5, 0.7, 0.6, 0.8])
    assert contrast(means, five, 0.5, 0.5).tolist() == pytest.approx(
        [-1 / 6, 0.5, -1 / 6, 0.5, -1 / 6]
    )
    assert contrast(means, five, 1.0, 0.01).tolist() == [-0.25, 1.0, -0.25, -0.25, -0.25]
    assert contrast(means, five, 1.0, 0.99).tolist() == [-1.0, 0.25, 0.25, 0.25, 0.25]
    two = Cells("group", ("a", "b"), ("g", "h"))
    for worst in (0.01, 0.5, 0.99):  # with two groups there is one rule alone
        assert contrast(torch.tensor([0.6, 0.7]), two, 0.25, worst).tolist() == [1.0, -0.25]
        assert contrast(torch.tensor([0.7, 0.6]), two, 0.25, worst).tolist() == [-0.25, 1.0]
    assert contrast(torch.tensor([0.7, 0.7]), two, 0.25, 0.5).tolist() == [1.0, -0.25]
    # under equalized odds groups are compared within a class: a low class is nobody's fault
    odds = Cells("equalized-odds", ("a", "b"), ("g", "h"))
    means = torch.tensor([0.9, 0.8, 0.1, 0.2])
    assert contrast(means, odds, 0.5, 0.5).tolist() == [-0.25, 0.5, 0.5, -0.25]


def test_a_round_looks_at_all_cells_evenly() -> None:
    _, cal, trainer = two_groups()
    rare = Split(cal.x[:4].repeat(20, 1), cal.y[:4].repeat(20), torch.tensor([0] * 77 + [1] * 3))
    batches, shares = sample(rare, trainer, torch.tensor([-0.5, 1.0]), 20, 0.5)
    group, share = torch.cat([b.group for b in batches]), torch.cat(shares)
    assert [int((group == g).sum()) for g in (0, 1)] == [10, 3]
    sums = [float(share[group == g].sum()) for g in (0, 1)]
    assert sums == pytest.approx([-0.5, 1.0])
    other, _ = sample(rare, trainer, torch.tensor([-0.5, 1.0]), 20, 0.6)
    assert not torch.equal(other[0].x, batches[0].x)


def expected_masks(case: Bench, method: FairPrune, square_of_batch: bool = False) -> MaskSet:
    """One round by a loop over the examples of cal, each one's gradient by itself."""
    cal, model, weights = case.data.cal, case.model, case.weights(method)
    with torch.no_grad():
        right = (model.eval()(cal.x).argmax(1) == cal.y).float()
    accuracy = torch.stack([right[cal.group == g].mean() for g in (0, 1, 2)])
    assert len(set(accuracy.tolist())) == 3
    worst = int(accuracy.argmin())
    scores = {name: torch.zeros_like(w, requires_grad=False) for name, w in weights.items()}
    for g in (0, 1, 2):
        own = (cal.group == g).nonzero()[:, 0]
        counts = (1.0 if g == worst else -method.beta / 2) / 2
        for rows in [own] if square_of_batch else own.split(1):
            loss = F.cross_entropy(model(cal.x[rows]), cal.y[rows])
            gradients = torch.autograd.grad(loss, list(weights.values()))
            for (name, w), gradient in zip(weights.items(), gradients, strict=True):
                term = counts * (w.detach() * gradient).square()
                scores[name] += term * len(rows) / len(own)
    return select(scores, method.sparsity, floor=method.floor)


def differing(a: MaskSet, b: MaskSet) -> int:
    return sum(int((a[name] != b[name]).sum()) for name in a)


def test_a_round_against_a_loop_over_examples() -> None:
    method = FairPrune(sparsity=0.5, levels=(0.6,), examples=ALL, finetune=0)
    case = bench(method, **GROUPS)
    expected = expected_masks(case, method)
    batchwise = expected_masks(case, method, square_of_batch=True)
    outcome = case.run(method)
    assert len(outcome.path) == 1
    assert differing(outcome.masks, expected) <= 2  # sums in another order
    # squaring the gradient of a whole group would have removed quite other weights
    assert differing(expected, batchwise) > 20


def test_only_living_weights_are_ranked() -> None:
    method = FairPrune(sparsity=0.8, levels=(0.2, 0.4, 0.6), beta=1.0, finetune=0)
    outcome = bench(method, **GROUPS).run(method)
    assert [m.n_kept for m in outcome.path] == [
        m.n_total - round(s * m.n_total)
        for m, s in zip(outcome.path, (0.2, 0.4, 0.6, 0.8), strict=True)
    ]
    assert all(b <= a for a, b in zip(outcome.path, outcome.path[1:], strict=False))
    # zero, the score of what is dead, would beat living weights in every round
    assert all(0 < log["negative_share"] < 1 for log in outcome.rounds)
    assert outcome.rounds[0]["negative_share"] > 0.2


def test_the_sign_of_the_contrast_decides() -> None:
    """What goes first is what the others need: it costs them more than the worst served."""
    method = FairPrune(sparsity=0.3, levels=(0.9,), beta=1.0, worst=0.01, examples=ALL, finetune=0)
    case = bench(method, **GROUPS)
    scores = sided(case, method)
    masks = case.run(method).masks
    gone = torch.cat([scores[name][~masks[name]] for name in masks])
    kept = torch.cat([scores[name][masks[name]] for name in masks])
    assert float(gone.mean()) < 0 < float(kept.mean())


def sided(case: Bench, method: FairPrune) -> dict[str, Tensor]:
    """Damage of each weight to the worst served group, less the mean damage to the others."""
    cal, weights = case.data.cal, case.weights(method)
    with torch.no_grad():
        right = (case.model.eval()(cal.x).argmax(1) == cal.y).float()
    worst = min(range(3), key=lambda g: float(right[cal.group == g].mean()))
    damage = [
        fisher(case.model, weights, [cal.batch((cal.group == g).nonzero()[:, 0])], cross_entropy)
        for g in range(3)
    ]
    others = [g for g in range(3) if g != worst]
    return {n: damage[worst][n] - sum(damage[g][n] for g in others) / 2 for n in weights}


def test_cells_are_judged_on_cal_alone() -> None:
    method = FairPrune(sparsity=0.5, finetune=0)
    ends = []
    for change in (None, "val", "unknown", "cal"):
        case = bench(method, **GROUPS)
        cal, val = case.data.cal, case.data.val
        if change == "val":
            val.x.normal_(generator=torch.Generator().manual_seed(5))
            val.y.zero_()
        elif change == "unknown":
            cal.x[cal.group < 0] = 100.0
        elif change == "cal":
            cal.group.copy_(torch.where(cal.group >= 0, (cal.group + 1) % 3, -1))
        outcome = case.run(method)
        ends.append((outcome.masks.digest(), outcome.rounds[-1]["worst_served"]))
    assert ends[0] == ends[1] == ends[2]
    assert ends[3][1] != ends[0][1]


def test_without_training_what_is_kept_stays_as_it_was() -> None:
    method = FairPrune(sparsity=0.35, finetune=0)
    case = bench(method, "conv")
    steps, dense = case.trainer.steps, {n: t.clone() for n, t in case.dense.final.items()}
    masks = case.run(method).masks
    assert case.trainer.steps == steps
    masks.apply_(case.model)
    for name, tensor in state_of(case.model).items():
        kept = masks[name] if name in masks else torch.ones_like(tensor, dtype=torch.bool)
        assert torch.equal(tensor[kept], dense[name][kept])


@pytest.mark.parametrize("settings", [{}, {"beta": 1.0}, {"scope": "layerwise"}])
def test_far_beyond_what_it_is_meant_for(settings: dict[str, Any]) -> None:
    method = FairPrune(sparsity=0.98, floor=0.01, **settings)
    case = bench(method, "residual", **GROUPS)
    masks = case.run(method).masks
    assert masks.n_kept == masks.n_total - round(0.98 * masks.n_total)
    assert all(bool(mask.any()) for mask in masks.values())
    assert dead_everywhere(state_of(case.model), masks)


def test_the_exact_curvature_is_another_one() -> None:
    plain, exact = (
        FairPrune(sparsity=0.5, curvature=kind, finetune=0)  # type: ignore[arg-type]
        for kind in ("fisher", "gauss-newton")
    )
    one, two = (bench(m, **GROUPS).run(m).masks for m in (plain, exact))
    assert one.n_kept == two.n_kept
    assert one != two


def test_groups_on_both_sides_of_a_prediction_are_not_served_better_or_worse() -> None:
    cells = Cells("demographic-parity", ("a", "b"), ("g", "h"))
    for name in ("fairprune", "fairgrape"):
        with pytest.raises(InputError, match="demographic-parity"):
            METHODS[name]().check(nn.Linear(2, 2), cells)  # type: ignore[call-arg]


def test_beta_changes_what_is_kept() -> None:
    digests = set()
    for beta in (0.0, 0.33, 1.0):
        method = FairPrune(sparsity=0.5, beta=beta, finetune=0)
        digests.add(bench(method, **GROUPS).run(method).masks.digest())
    assert len(digests) == 3
