"""Fair Scratch Tickets: nothing but scores is trained, and the terms do what they say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import InputError
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import n_kept, select
from fairsparse.methods import Run, train_dense
from fairsparse.methods.fair_scratch import method as fair_scratch
from fairsparse.methods.fair_scratch.method import FairScratch
from fairsparse.methods.fair_scratch.subnet import Subnet
from fairsparse.methods.fair_scratch.ticket import randomize_
from fairsparse.training import Loop, state_of
from fairsparse.training.refinement import refining
from helpers import Bench, bench, equal, network, tiny, trainer_for


def searched(method: FairScratch, kind: str = "mlp", **options: Any) -> tuple[Bench, Any]:
    case = bench(method, kind, **options)
    return case, case.run(method)


def drawn(method: FairScratch, case: Bench, masks: MaskSet) -> nn.Module:
    """The random network that the search began with."""
    model = network("mlp" if len(case.model) == 5 else "conv", seed=case.trainer.seed)  # type: ignore[arg-type]
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    randomize_(model, method.source(case.trainer.seed), counts)
    return model


@pytest.mark.parametrize("init", ["signed-constant", "unsigned-constant", "kaiming"])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_no_weight_is_trained(kind: str, init: Any) -> None:
    method = FairScratch(sparsity=0.6, init=init, lam=0.5)
    case, outcome = searched(method, kind)
    before = drawn(method, case, outcome.masks)
    outcome.masks.apply_(before)
    for (name, a), b in zip(before.named_parameters(), case.model.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert b.requires_grad


def test_the_network_is_never_written_to_while_scores_are_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, Tensor]] = []
    plain = FairScratch._train

    def train(self: FairScratch, search: Run) -> Any:
        network = search.model.model
        seen.append({n: p.clone() for n, p in network.named_parameters()})
        log = plain(self, search)
        seen.append({n: p.clone() for n, p in network.named_parameters()})
        return log

    monkeypatch.setattr(FairScratch, "_train", train)
    searched(FairScratch(sparsity=0.6), "conv")
    assert len(seen) == 2
    assert equal(*seen)


def test_the_scores_rate_is_the_recipes_times_a_factor() -> None:
    def ticket(factor: float, lr: float) -> MaskSet:
        method = FairScratch(sparsity=0.6, lr_factor=factor)
        return searched(method, epochs=2, lr=lr)[1].masks

    scaled = ticket(3.0, 0.1)
    assert equal(dict(scaled.items()), dict(ticket(1.0, 0.1 * 3.0).items()))
    assert not equal(dict(scaled.items()), dict(ticket(1.0, 0.1).items()))


def test_kept_weights_have_one_size_a_layer_and_layers_exact_counts() -> None:
    method = FairScratch(sparsity=0.77)
    case, outcome = searched(method)
    weights = case.weights(method)
    shared = select(scorers.magnitude(weights), 0.77, scope="layerwise")
    for name, mask in outcome.masks.items():
        kept = weights[name].detach()[mask]
        assert int(mask.sum()) == int(shared[name].sum())
        assert abs(int(mask.sum()) - 0.23 * mask.numel()) < 1
        fan = mask.shape[1] * len(kept) / mask.numel()
        assert torch.equal(kept.abs(), torch.full_like(kept, math.sqrt(2 / fan)))
        assert {float(s) for s in kept.sign()} == {-1.0, 1.0}
    assert outcome.masks.n_kept == n_kept(0.77, outcome.masks.n_total)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_no_sparsity_is_the_random_dense_network(kind: str) -> None:
    method = FairScratch(sparsity=0.0)
    case, outcome = searched(method, kind)
    plain = drawn(method, case, outcome.masks)
    case.trainer.recalibrate(plain, case.data.train, method.recalibrate)
    assert equal(state_of(plain), state_of(case.model))


def test_without_a_term_it_is_edge_popup_written_by_hand() -> None:
    data = tiny()
    trainer = trainer_for(data, epochs=2, lr=0.1)
    model, keep = network("mlp"), {"0.weight": 60, "2.weight": 150}
    randomize_(model, FairScratch().source(0), keep)
    model.requires_grad_(False)
    subnet = Subnet(model, keep, "weight", torch.Generator().manual_seed(3))
    scores = [s.detach().clone() for s in subnet.scores]
    speed = [torch.zeros_like(s) for s in scores]
    for _ in Loop(trainer, subnet, data.train, stage="search"):
        pass

    def mask(s: Tensor, kept: int) -> Tensor:
        flat = torch.zeros(s.numel())
        flat[s.abs().flatten().argsort(descending=True)[:kept]] = 1
        return flat.view_as(s)

    recipe, p = trainer.recipe, dict(model.named_parameters())
    for step in range(12):
        order = torch.randperm(192, generator=trainer.generator("order", step // 6))
        index = order[step % 6 * 32 : step % 6 * 32 + 32]
        chosen = [mask(s, k).requires_grad_() for s, k in zip(scores, keep.values(), strict=True)]
        h = F.linear(data.train.x[index], p["0.weight"] * chosen[0], p["0.bias"]).relu()
        h = F.linear(h, p["2.weight"] * chosen[1], p["2.bias"]).relu()
        loss = F.cross_entropy(F.linear(h, p["4.weight"], p["4.bias"]), data.train.y[index])
        for i, slope in enumerate(torch.autograd.grad(loss, chosen)):
            step_by = slope * scores[i].sign() + recipe.weight_decay * scores[i]
            speed[i] = recipe.momentum * speed[i] + step_by
            scores[i] = scores[i] - recipe.learning_rate(step, 12) * speed[i]
    for mine, s in zip(scores, subnet.scores, strict=True):
        assert torch.allclose(mine, s, rtol=1e-4, atol=1e-6)
    for m, (s, k) in zip(
        subnet.masks().values(), zip(scores, keep.values(), strict=True), strict=True
    ):
        assert torch.equal(m, mask(s, k).bool())


def test_a_term_of_weight_zero_is_no_term() -> None:
    ends = [
        searched(method)[1].masks
        for method in (FairScratch(lam=0.0), FairScratch(term="none", lam=3.0))
    ]
    assert ends[0] == ends[1]
    assert searched(FairScratch(lam=3.0))[1].masks != ends[0]


def test_trained_rest_trains_all_but_the_weights_with_masks() -> None:
    method = FairScratch(sparsity=0.6, rest="trained")
    case, outcome = searched(method, "conv")
    before = drawn(method, case, outcome.masks)
    outcome.masks.apply_(before)
    for (name, a), b in zip(before.named_parameters(), case.model.parameters(), strict=True):
        assert torch.equal(a, b) == (name in outcome.masks), name


def test_frozen_parameters_stay_frozen_for_their_owner() -> None:
    method = FairScratch(sparsity=0.6)
    case = bench(method)
    case.model[0].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    case.run(method)
    flags = {name: p.requires_grad for name, p in case.model.named_parameters()}
    assert [name for name, flag in flags.items() if not flag] == ["0.weight"]


@pytest.mark.parametrize("term", ["cells", "adversarial"])
def test_groups_that_are_not_labelled_are_not_seen(
    term: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    plain = fair_scratch.make_term

    def make_term(*args: Any) -> Any:
        seen.append(args[-1].group)
        return plain(*args)

    monkeypatch.setattr(fair_scratch, "make_term", make_term)
    method = FairScratch(sparsity=0.6, term=term, labelled=0.25)
    case, outcome = searched(method, groups=3, notion="group")
    full = case.data.train.group
    (hidden,) = seen
    assert int((hidden >= 0).sum()) <= 48 < int((full >= 0).sum())
    assert bool(((hidden == full) | (hidden == -1)).all())
    assert outcome.masks.n_kept == n_kept(0.6, outcome.masks.n_total)


@pytest.mark.parametrize(
    ("term", "classes", "groups", "says"),
    [
        ("dp", 3, 2, "the task has 3 classes"),
        ("eo", 3, 2, "the task has 3 classes"),
        ("dp", 2, 0, "needs at least 2 groups, the task has 0"),
        ("adversarial", 3, 0, "needs at least 2 groups, the task has 0"),
    ],
)
def test_what_a_term_cannot_act_on_is_refused(
    term: Any, classes: int, groups: int, says: str
) -> None:
    data = tiny(classes=classes, groups=groups)
    trainer = trainer_for(data)
    with pytest.raises(InputError, match=says) as caught:
        FairScratch(term=term).check(torch.nn.Identity(), trainer.cells)
    assert "\n" not in str(caught.value)
    assert "use term 'cells'" in str(caught.value)


@pytest.mark.parametrize("term", ["none", "dp", "eo", "cells", "adversarial"])
@pytest.mark.parametrize("groups", [2, 3])
def test_every_term_searches_with_two_classes(term: Any, groups: int) -> None:
    data = tiny(classes=2, groups=groups)
    trainer, model = trainer_for(data, notion="group", epochs=3), network("mlp", 2)
    dense = train_dense(model, data, trainer)
    method = FairScratch(sparsity=0.6, term=term, lam=0.2)
    outcome = method.run(Run(model, data, trainer, dense))
    assert outcome.masks.n_kept == n_kept(0.6, outcome.masks.n_total)
    assert outcome.masks.is_applied(model)
    push = outcome.rounds[0].get("push")
    assert (push is not None) == (term in ("dp", "eo"))
    assert push is None or (len(push) == groups and all(-1 <= d <= 1 for d in push))


def test_an_interrupted_search_ends_like_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    method = FairScratch(sparsity=0.6)
    first, outcome = searched(method, "conv", folder=tmp_path)

    def never(*args: Any) -> None:
        raise AssertionError("the search ran again")

    monkeypatch.setattr(FairScratch, "make", never)
    second, again = searched(method, "conv", folder=tmp_path)
    assert again.masks == outcome.masks
    assert again.rounds == outcome.rounds
    assert equal(state_of(first.model), state_of(second.model))


def test_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # of epochs 1 .. 6 the later half is watched: 4, 5 and 6, of which 5 is made the best
    values = iter([2.0, 1.0, 3.0, 1.0])  # the last is that of the network in the end
    taken: list[MaskSet] = []

    def objective(*args: Any) -> tuple[float, float]:
        return next(values), 0.0

    plain = refining.state_of

    def state(model: nn.Module) -> Any:
        if isinstance(model, Subnet):
            taken.append(model.masks())
        return plain(model)

    monkeypatch.setattr(refining, "objective", objective)
    monkeypatch.setattr(refining, "state_of", state)
    _, outcome = searched(FairScratch(sparsity=0.6), epochs=6, lr=0.5)
    assert len(taken) == 2
    assert outcome.masks == taken[1] != taken[0]
    assert next(values, None) is None


def test_the_log_says_what_a_ticket_takes() -> None:
    _, outcome = searched(FairScratch(sparsity=0.9))
    (log,) = outcome.rounds
    # one bit for each of 8 * 24 + 24 * 16 weights; four bytes for each parameter
    assert log["ticket_bytes"] == (8 * 24 + 24 * 16) / 8
    assert log["dense_bytes"] == 4 * (9 * 24 + 25 * 16 + 17 * 3)
    assert prunable(network("mlp")).keys() == outcome.masks.keys()


def test_first_masks_that_cut_every_path_are_told_before_a_step() -> None:
    # 24 x 8 and 16 x 24 weights, one kept of each: they meet in one case of 24
    method = FairScratch(sparsity=1 - 2 / 576, floor=0.0, scope="layerwise")
    case = bench(method)
    before = case.trainer.steps
    with pytest.raises(InputError, match="keep 2 of 576 weights, and no path of them leads"):
        case.run(method)
    assert case.trainer.steps == before
