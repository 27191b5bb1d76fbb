"""The fairness term of BiFP: the paper's on a whole split, unbiased on batches, harmless gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairsparse.core import Batch
from fairsparse.data.task import Split
from fairsparse.methods.bifp.method import Evenness
from fairsparse.training import cross_entropy
from helpers import split, tiny, trainer_for


def binary(n: int = 60, groups: int = 2, unknown: bool = False) -> Split:
    """Two classes, with groups of different sizes that are all known unless asked otherwise."""
    made = split(n, (8,), 2, groups, seed=5)
    group = (torch.arange(n) % 10 < 3).long() if groups == 2 else torch.arange(n) % groups
    return replace(
        made, group=torch.where(torch.arange(n) % 7 == 6, -1, group) if unknown else group
    )


def evenness(train: Split, notion: Any = "group", groups: int = 2, **options: Any) -> Evenness:
    data = tiny(classes=2, groups=groups)
    return Evenness(trainer_for(data, notion=notion), train, **options)


def whole(train: Split) -> Batch:
    return train.batch(torch.arange(len(train)))


def logits(n: int, classes: int = 2, seed: int = 0) -> Tensor:
    return 2 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


def slope(value: Tensor, z: Tensor) -> Tensor:
    return torch.autograd.grad(value, z, retain_graph=True)[0]


@pytest.mark.parametrize("kappa", [1.0, 3.0])
@pytest.mark.parametrize("memory", ["empty", "earlier means"])
def test_with_two_groups_it_is_the_gap_of_the_paper(kappa: float, memory: str) -> None:
    """``|1/N sum u(s y f) / P(s) - 1|`` with y and s in {-1, 1} and f the difference of logits."""
    train = binary()
    batch, z = whole(train), logits(60).requires_grad_()
    s, y = 2 * batch.group - 1, 2 * batch.y - 1
    p = torch.where(s > 0, (s > 0).float().mean(), (s < 0).float().mean())
    f = z[:, 1] - z[:, 0]
    signed = (torch.sigmoid(kappa * s * y * f) / p).mean() - 1
    term = evenness(train, kappa=kappa, memory=0.0)
    if memory == "earlier means":
        # centres that are not this batch's, with the gap in the same direction
        ahead = 0.5 + 0.2 * signed.sign().item() * torch.tensor([-1.0, 1.0])
        term.memory, term.sums = 0.99, torch.stack([ahead * 1e6, torch.full((2,), 1e6)])
    value = term(z, batch)
    assert value.item() == pytest.approx(abs(signed.item()), rel=1e-4)
    assert torch.allclose(slope(value, z), slope(signed.abs(), z), rtol=1e-4, atol=1e-7)


def test_with_the_means_held_at_0_and_1_it_is_the_printed_form_on_any_batch() -> None:
    train = binary(unknown=True)
    term = evenness(train, memory=1 - 1e-6)
    held = torch.tensor([[1e12, 0.0], [1e12, 1e12]])  # c is 1 for s = -1 and 0 for s = 1
    share = torch.bincount(train.group[train.group >= 0]) / 60
    for seed in range(5):
        at = torch.randperm(60, generator=torch.Generator().manual_seed(seed))[:12]
        batch, z = train.batch(at), logits(12, seed=seed)
        s, y, f = 2 * batch.group - 1, 2 * batch.y - 1, z[:, 1] - z[:, 0]
        weight = (batch.group >= 0) / share[batch.group.clamp_min(0)]
        printed = (weight * torch.sigmoid(s * y * f)).sum() / 12 - 1
        term.sums = held
        # the group behind is the one at 0, so that the absolute gap is minus the signed one
        assert term(z, batch).item() == pytest.approx(-printed.item(), abs=1e-4)


@pytest.mark.parametrize("form", ["absolute", "squared", "hinge"])
def test_forms_have_the_slopes_of_the_gap(form: Any) -> None:
    train = binary()
    batch, z = whole(train), logits(60).requires_grad_()
    right = z.softmax(1).gather(1, batch.y[:, None])[:, 0]
    gap = (right[batch.group == 0].mean() - right[batch.group == 1].mean()).abs()
    assert 0.01 < gap.item() < 0.5
    tau = gap.item() / 2
    expected = {
        "absolute": gap,
        "squared": gap.square(),
        "hinge": (gap - tau).clamp_min(0),
    }[form]
    value = evenness(train, form=form, tau=tau, memory=0.0)(z, batch)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.allclose(slope(value, z), slope(expected, z), rtol=1e-4, atol=1e-7)
    allowed = evenness(train, form="hinge", tau=2 * gap.item(), memory=0.0)(z, batch)
    assert allowed.item() == 0
    assert not bool(slope(allowed, z).any())


@pytest.mark.parametrize("form", ["absolute", "squared", "hinge"])
@pytest.mark.parametrize("kappa", [1.0, 2.5])
def test_groups_with_the_same_people_give_nothing(form: Any, kappa: float) -> None:
    half = split(30, (8,), 2, 0, seed=5)
    x, y = torch.cat([half.x, half.x]), torch.cat([half.y, half.y])
    train = Split(x, y, torch.arange(60) // 30)
    torch.manual_seed(0)
    model = nn.Linear(8, 2)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    value = evenness(train, form=form, tau=0.0, kappa=kappa)(model(x[order]), train.batch(order))
    assert value.item() == pytest.approx(0, abs=1e-6)
    value.backward()
    for p in model.parameters():
        assert p.grad is not None
        assert float(p.grad.abs().max()) < 1e-6


@pytest.mark.parametrize("notion", ["group", "class", "equalized-odds", "demographic-parity"])
@pytest.mark.parametrize("groups", [2, 3])
def test_batches_add_up_to_the_whole_whatever_they_contain(notion: Any, groups: int) -> None:
    train = binary(groups=groups, unknown=True)
    # sorted by group, so that most batches contain one group alone
    order = train.group.argsort(stable=True)
    batch, z = train.batch(order), logits(60).requires_grad_()
    term = evenness(train, notion, groups)
    k = len(term.cells)
    # so much past that the present moves no mean
    held = torch.stack([torch.linspace(0.4, 0.9, k).square() * 1e12, torch.full((k,), 1e12)])
    term.sums, term.memory = held, 1 - 1e-6
    full = term(z, batch)
    parts = []
    for at in torch.arange(60).split(12):
        term.sums = held
        parts.append(term(z[at], Batch(*(t[at] for t in batch))))
    mean = torch.stack(parts).mean()
    assert mean.item() == pytest.approx(full.item(), rel=1e-4)
    assert torch.allclose(slope(mean, z), slope(full, z), rtol=1e-4, atol=1e-8)
    # examples outside every cell have no part in it
    outside = term.cells.index(batch.y, batch.group) < 0
    assert not bool(slope(full, z)[outside].any())
    assert bool(slope(full, z)[~outside].any())


def test_a_cell_that_a_batch_lacks_stays_where_it_was() -> None:
    term = evenness(binary(), memory=0.5)
    term.sums = torch.tensor([[6.0, 1.0], [8.0, 4.0]])  # means 0.75 and 0.25
    z = torch.zeros(2, 2, requires_grad=True)  # u is 0.5 for both
    value = term(z, Batch(torch.zeros(2, 8), torch.tensor([0, 1]), torch.tensor([0, 0])))
    # sums 3 + 1 over 4 + 2 for the first, untouched for the second
    assert torch.allclose(term.means, torch.tensor([4 / 6, 0.25]))
    assert term.sums.tolist() == [[4, 1], [6, 4]]  # what is long past must not become 0 / 0
    # half the mean distance of the two examples to their cell's mean, whose share is 0.7
    assert value.item() == pytest.approx(4 / 6 - 0.25 + (0.5 - 4 / 6) / 0.7, rel=1e-5)
    assert bool(slope(value, z).isfinite().all())


def test_what_no_batch_has_contained_has_no_part() -> None:
    term = evenness(binary(groups=3), groups=3)
    z = logits(4).requires_grad_()
    y = torch.tensor([0, 1, 0, 1])
    nobody = term(z, Batch(torch.zeros(4, 8), y, torch.full((4,), -1)))
    assert nobody.item() == 0
    assert not bool(slope(nobody, z).any())
    assert bool(term.means.isnan().all())
    one = term(z, Batch(torch.zeros(4, 8), y, torch.full((4,), 2)))
    assert one.item() == 0
    assert not bool(slope(one, z).any())
    two = term(z, Batch(torch.zeros(4, 8), y, torch.tensor([2, 2, 0, 0])))
    assert term.means.isnan().tolist() == [False, True, False]
    assert bool(two.isfinite())
    assert bool(slope(two, z).any(1).all())


def test_added_to_the_cross_entropy() -> None:
    train = binary()
    batch, z = whole(train), logits(60)
    assert evenness(train).added(0) is cross_entropy
    term = evenness(train)(z, batch)
    both = evenness(train).added(0.3)(z, batch)
    assert float(both) == pytest.approx(float(cross_entropy(z, batch) + 0.3 * term))
