"""The terms of fair-scratch: slopes by autograd, directions that turn, a head that is fooled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fairsparse.core import Batch, Predictions
from fairsparse.data.task import TrainData
from fairsparse.fairness.steering.penalties import gap_loss
from fairsparse.training import Trainer, cross_entropy
from fairsparse.training.refinement.terms import Adversary, Directed, Evened, make_term
from helpers import tiny, trainer_for


def case(classes: int = 2, groups: int = 2, notion: Any = "group") -> tuple[TrainData, Trainer]:
    data = tiny(classes=classes, groups=groups)
    return data, trainer_for(data, notion=notion)


def logits(n: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


def held(positive_rates: list[float], n: int = 1000, y: int = 1) -> Predictions:
    """Predictions of class 1 at the given rate in each group."""
    group = torch.arange(len(positive_rates)).repeat_interleave(n)
    one = torch.cat([torch.arange(n) < round(r * n) for r in positive_rates]).float()
    return Predictions(
        torch.stack([1 - one, one], 1), torch.full((n * len(positive_rates),), y), group
    )


def only(term: Any, z: Tensor, batch: Batch) -> Tensor:
    """The term by itself."""
    return term(z, batch) - cross_entropy(z, batch)


@pytest.mark.parametrize("kind", ["dp", "eo"])
def test_the_group_behind_is_pushed_up_until_it_leads(kind: Any) -> None:
    data, trainer = case()
    term = Directed(kind, "linear", 0.5, trainer, data.train)
    batch = data.train.batch(torch.arange(192))
    z = logits(192, 2).requires_grad_()
    for rates, up in (([0.2, 0.6], 0), ([0.7, 0.3], 1)):
        loss = term.update(held(rates))
        (slope,) = torch.autograd.grad(only(loss, z, batch), z)
        counted = batch.group >= 0
        if kind == "eo":
            counted &= batch.y == 1
        lifted = batch.group == up
        assert bool((slope[counted & lifted, 1] < 0).all())
        assert bool((slope[counted & ~lifted, 1] > 0).all())
        assert not bool(slope[~counted].any())
        # P is the group's share of all training examples, so a group's slopes add up to lam
        assert float(slope[counted & lifted, 1].sum()) == pytest.approx(-0.5, rel=1e-4)
    assert term.facts()["turns"] == 1
    assert term.facts()["push"] == pytest.approx([-1, 1])


def test_equal_opportunity_looks_at_class_one_alone() -> None:
    data, trainer = case()
    term = Directed("eo", "linear", 1.0, trainer, data.train)
    gap, none = held([0.2, 0.6], y=0), held([0.5, 0.5], y=1)
    both = Predictions(*(torch.cat(pair) for pair in zip(gap, none, strict=True)))
    term.update(both)
    assert term.facts() == {"push": [0, 0], "turns": 0}


def test_the_first_epoch_has_the_plain_loss() -> None:
    data, trainer = case()
    batch, z = data.train.batch(torch.arange(32)), logits(32, 2)
    for kind in ("dp", "eo", "cells"):
        term = make_term(kind, "logistic", "rng", 1.0, trainer, data.train)
        assert term is not None
        assert term.steered
        assert torch.equal(term.loss(z, batch), cross_entropy(z, batch))


@pytest.mark.parametrize("notion", ["class", "class-group"])
@pytest.mark.parametrize("gap", ["var", "rng", "both"])
def test_the_slope_over_all_training_batches_is_that_of_the_gap(notion: Any, gap: Any) -> None:
    data, trainer = case(3, 2, notion)
    cells, train = trainer.cells, data.train
    term = Evened(gap, 0.7, trainer, train)
    z = logits(192, 3).requires_grad_()
    # the training split plays the calibration split, so the held slope is the exact one
    loss = term.update(Predictions(z.detach(), train.y, train.group))
    whole = sum(
        only(loss, z[i], train.batch(i)) * len(i) / 192 for i in torch.arange(192).split(24)
    )
    assert isinstance(whole, Tensor)
    (streamed,) = torch.autograd.grad(whole, z)
    means = cells.means(cells.soft(z, train.y), cells.index(train.y, train.group))
    (exact,) = torch.autograd.grad(0.7 * gap_loss(means, cells.families, gap), z)
    assert torch.allclose(streamed, exact, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["dp", "eo", "cells", "adversarial"])
@pytest.mark.parametrize("missing", ["one group", "all groups"])
def test_a_batch_without_a_group_is_harmless(kind: Any, missing: str) -> None:
    data, trainer = case(notion="class-group")
    term = make_term(kind, "hinge", "both", 1.0, trainer, data.train)
    assert term is not None
    loss = term.loss
    if term.steered:
        loss = term.update(Predictions(logits(96, 2, 1), data.cal.y, data.cal.group))
    batch = data.train.batch(torch.arange(48))
    group = torch.full((48,), -1) if missing == "all groups" else batch.group.clamp_max(0)
    z = logits(48, 2).requires_grad_()
    value = loss(z, batch._replace(group=group))
    value.backward()
    assert bool(value.isfinite())
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())
    if missing == "all groups":
        plain = logits(48, 2).requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(plain, batch), plain)
        assert torch.allclose(z.grad, slope)


def test_an_example_of_unknown_group_is_treated_by_its_class_alone() -> None:
    data, trainer = case()
    loss = Directed("dp", "logistic", 1.0, trainer, data.train).update(held([0.2, 0.6]))
    batch = data.train.batch(torch.arange(48))
    z = logits(48, 2).requires_grad_()
    (slope,) = torch.autograd.grad(only(loss, z, batch), z)
    assert torch.equal(slope.abs().sum(1) > 0, batch.group >= 0)


def test_the_head_learns_the_group_and_the_network_is_told_to_hide_it() -> None:
    data, trainer = case()
    term = Adversary(2.0, trainer, data.train)
    batch = data.train.batch(torch.arange(192))
    known = batch.group >= 0
    z = torch.stack([-batch.group.float(), batch.group.float()], 1) * 2
    for _ in range(200):
        term.loss(z, batch)
    told = F.cross_entropy(term.head(z[known]), batch.group[known])
    assert float(told.detach()) < 0.1 < term.entropy
    leaky = z.clone().requires_grad_()
    before = [p.clone() for p in term.head.parameters()]
    value = only(term.loss, leaky, batch)
    # one more step of the head lies between the two figures
    assert float(value.detach()) == pytest.approx(-2 * float(told.detach()), rel=0.2)
    (slope,) = torch.autograd.grad(value, leaky)
    assert bool(slope[known].any())
    assert not bool(slope[~known].any())
    assert not all(torch.equal(a, b) for a, b in zip(before, term.head.parameters(), strict=True))


def test_no_network_is_rewarded_for_more_than_hiding() -> None:
    data, trainer = case()
    term = Adversary(2.0, trainer, data.train)
    batch = data.train.batch(torch.arange(192))
    z = (100 * logits(192, 2, 5)).requires_grad_()  # the head is wrong, and very sure
    value = only(term.loss, z, batch)
    assert float(value.detach()) == pytest.approx(-2 * term.entropy, rel=1e-4)
    (slope,) = torch.autograd.grad(value, z)
    assert float(slope.abs().max()) < 1e-6
    # an entropy worked out by hand: groups known of 6 in 7, the rest split evenly
    counts = torch.bincount(data.train.group[data.train.group >= 0]).double()
    shares = counts / counts.sum()
    assert term.entropy == pytest.approx(-float((shares * shares.log()).sum()))


def test_no_labels_no_pull() -> None:
    data, trainer = case()
    train = replace(data.train, group=torch.full((192,), -1))
    term = Adversary(2.0, trainer, train)
    batch, z = train.batch(torch.arange(32)), logits(32, 2)
    before = [p.clone() for p in term.head.parameters()]
    assert torch.equal(term.loss(z, batch), cross_entropy(z, batch))
    assert all(torch.equal(a, b) for a, b in zip(before, term.head.parameters(), strict=True))
