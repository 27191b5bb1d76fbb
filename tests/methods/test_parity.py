"""Magnitude pruning and lottery tickets against torch's own pruning and against each other."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from fairsparse.masks.criteria import registry
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import cubic
from fairsparse.masks.selection import n_kept
from fairsparse.methods import lth, magnitude
from fairsparse.methods.lth import LotteryTicket
from fairsparse.methods.magnitude import Magnitude
from fairsparse.training import State, rewind_step, state_of
from fairsparse.training.refinement import Refinement
from helpers import ballot_of, bench, equal, network

LEVELS = (0.3, 0.6)


def layers(model: nn.Module, names: Any) -> list[tuple[nn.Module, str]]:
    return [(model.get_submodule(name.rpartition(".")[0]), "weight") for name in names]


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
@pytest.mark.parametrize("sparsity", [0.3, 0.6, 0.85])
def test_one_shot_masks_are_those_of_torch(kind: str, sparsity: float) -> None:
    method = Magnitude(sparsity=sparsity, floor=0, finetune=0.01)
    case = bench(method, kind)
    reference = state_of(case.model)
    masks = case.run(method).masks
    case.model.load_state_dict(reference)
    total = sum(w.numel() for w in case.weights(method).values())
    prune.global_unstructured(
        layers(case.model, masks),
        pruning_method=prune.L1Unstructured,
        amount=round(sparsity * total),
    )
    for (module, _), mask in zip(layers(case.model, masks), masks.values(), strict=True):
        assert torch.equal(module.weight_mask.bool(), mask)


def test_layerwise_masks_are_those_of_torch_layer_by_layer() -> None:
    method = Magnitude(sparsity=0.8, scope="layerwise", finetune=0.01)
    case = bench(method)
    reference = state_of(case.model)
    masks = case.run(method).masks
    case.model.load_state_dict(reference)
    for (module, name), mask in zip(layers(case.model, masks), masks.values(), strict=True):
        removed = int((~mask).sum())
        assert abs(removed - 0.8 * mask.numel()) < 1
        prune.l1_unstructured(module, name, amount=removed)
        assert torch.equal(module.weight_mask.bool(), mask)


def test_gradual_pruning_follows_the_cubic_and_never_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = Magnitude(sparsity=0.9, schedule="gradual", ramp=0.5)
    case = bench(method, epochs=8)
    seen: list[MaskSet] = []
    plain = registry.select
    monkeypatch.setattr(registry, "select", lambda *a, **k: seen.append(plain(*a, **k)) or seen[-1])
    masks = case.run(method).masks
    total = masks.n_total
    counts = list(dict.fromkeys(m.n_kept for m in seen))
    assert counts == [n_kept(cubic(e / 4, 0.9), total) for e in (1, 2, 3, 4)]
    assert all(b <= a for a, b in itertools.pairwise(seen))
    assert masks == seen[-1]
    assert masks.is_applied(case.model)


class Recorder:
    """Stands in for `refine`: notes how each round begins, then trains as usual."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
        self.starts: list[State] = []
        self.masks: list[MaskSet] = []
        self.empty: list[bool] = []
        self.rates: list[list[float]] = []
        self.plain = module.refine
        monkeypatch.setattr(module, "refine", self)

    def __call__(self, loop: Any, *args: Any, **kwargs: Any) -> Any:
        self.starts.append(state_of(loop.model))
        self.masks.append(loop.masks)
        self.empty.append(not loop.optimizer.state)
        rates: list[float] = []
        loop.optimizer.register_step_pre_hook(
            lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
        )
        self.rates.append(rates)
        return self.plain(loop, *args, **kwargs)


def masked(state: State, masks: MaskSet) -> State:
    return {n: t * masks[n] if n in masks else t for n, t in state.items()}


def test_gradual_pruning_starts_from_the_untrained_network() -> None:
    method = Magnitude(sparsity=0.5, schedule="gradual")
    whole = bench(method)
    trained = whole.run(method).masks
    other = bench(method)
    other.model.load_state_dict(network("mlp", seed=5).state_dict())
    assert other.run(method).masks == trained
    assert equal(state_of(whole.model), state_of(other.model))


def test_fine_tuning_takes_the_end_of_the_schedule_at_its_factor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = Magnitude(sparsity=0.5, finetune=0.25, lr_factor=0.2)
    case = bench(method)
    record = Recorder(monkeypatch, magnitude)
    case.run(method)
    recipe = case.trainer.recipe
    assert equal(record.starts[0], masked(case.dense.final, record.masks[0]))
    assert record.rates[0] == pytest.approx(
        [0.2 * recipe.learning_rate(s, 12) for s in (9, 10, 11)]
    )


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_tickets_are_nested_with_exact_counts_and_rise_over_a_clear_threshold(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    method = LotteryTicket(sparsity=0.75, levels=LEVELS, floor=0)
    case = bench(method, kind)
    ends: list[State] = [case.dense.final]
    plain = lth.refine

    def refine(loop: Any, *args: Any, **kw: Any) -> Any:
        log = plain(loop, *args, **kw)
        ends.append(state_of(loop.model))
        return log

    monkeypatch.setattr(lth, "refine", refine)
    outcome = case.run(method)
    assert [m.n_kept for m in outcome.path] == [
        n_kept(s, outcome.masks.n_total) for s in (*LEVELS, 0.75)
    ]
    assert outcome.path[2] <= outcome.path[1] <= outcome.path[0]
    parent = MaskSet.dense(case.weights(method))
    for end, masks in zip(ends, outcome.path, strict=False):
        removed = torch.cat([end[n][parent[n] & ~m].abs() for n, m in masks.items()])
        kept = torch.cat([end[n][m].abs() for n, m in masks.items()])
        assert removed.max() < kept.min()
        parent = masks
    assert equal(state_of(case.model), ends[-1])


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_rewinding_gives_back_the_early_state_and_its_place_in_the_schedule(
    monkeypatch: pytest.MonkeyPatch, kind: str, share: float
) -> None:
    method = LotteryTicket(sparsity=0.7, levels=LEVELS, rewind_at=share)
    case = bench(method, kind, warmup=0.2)
    k = rewind_step(share, case.dense.total)
    assert k == round(share * 12)
    record = Recorder(monkeypatch, lth)
    case.run(method)
    recipe = case.trainer.recipe
    for start, masks, empty, rates in zip(
        record.starts, record.masks, record.empty, record.rates, strict=True
    ):
        # every tensor is compared: living weights, zeros, biases, BatchNorm's buffers
        assert equal(start, masked(case.dense.states[k], masks))
        assert empty
        assert rates == [recipe.learning_rate(step, 12) for step in range(k, 12)]
    assert len(record.starts) == 3


def test_rewinding_to_zero_is_the_initialization() -> None:
    method = LotteryTicket(sparsity=0.5, rewind_at=0.0)
    case = bench(method, "conv")
    assert equal(case.dense.states[0], state_of(network("conv")))


@pytest.mark.parametrize(("rewind", "factor"), [("lr", 1.0), ("none", 0.1)])
def test_learning_rate_rewinding_and_fine_tuning_keep_the_trained_weights(
    monkeypatch: pytest.MonkeyPatch, rewind: str, factor: float
) -> None:
    method = LotteryTicket(sparsity=0.6, levels=(0.3,), rewind=rewind, rewind_at=0.25)
    case = bench(method, "conv")
    record = Recorder(monkeypatch, lth)
    ends = [case.dense.final]
    plain = record.plain

    def keep_end(loop: Any, *args: Any, **kw: Any) -> Any:
        log = plain(loop, *args, **kw)
        ends.append(state_of(loop.model))
        return log

    record.plain = keep_end
    case.run(method)
    recipe = case.trainer.recipe
    for i, start in enumerate(record.starts):
        assert equal(start, masked(ends[i], record.masks[i]))
        assert record.rates[i] == pytest.approx(
            [factor * recipe.learning_rate(step, 12) for step in range(3, 12)], rel=1e-12
        )


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_ballot_with_everything_off_is_the_lottery_ticket(kind: str) -> None:
    ticket = LotteryTicket(sparsity=0.9, levels=LEVELS)
    plain = ballot_of(
        sparsity=0.9,
        levels=LEVELS,
        lambda_conflict=0.0,
        importance="magnitude",
        refinement=Refinement.off(),
    )
    one, two = bench(ticket, kind), bench(plain, kind)
    a, b = one.run(ticket), two.run(plain)
    assert [m.digest() for m in a.path] == [m.digest() for m in b.path]
    assert len({m.digest() for m in a.path}) == 3
    assert equal(state_of(one.model), state_of(two.model))


def test_both_refine_a_ticket_in_the_same_way() -> None:
    refinement = Refinement(strength=0.3)
    ticket = LotteryTicket(sparsity=0.6, levels=(0.3,), refinement=refinement)
    plain = ballot_of(
        sparsity=0.6,
        levels=(0.3,),
        lambda_conflict=0.0,
        importance="magnitude",
        refinement=refinement,
        retries=0,
    )
    one, two = bench(ticket), bench(plain)
    one.run(ticket)
    two.run(plain)
    assert equal(state_of(one.model), state_of(two.model))


@pytest.mark.parametrize("rewind", ["weights", "lr"])
def test_both_rewind_alike(rewind: Any) -> None:
    """Two rounds, so that the second starts where the first ended or where it began."""
    options: dict[str, Any] = {"sparsity": 0.6, "levels": (0.3,), "rewind": rewind}
    ticket = LotteryTicket(rewind_at=0.25, **options)
    plain = ballot_of(
        rewind_at=0.25,
        lambda_conflict=0.0,
        importance="magnitude",
        refinement=Refinement.off(),
        **options,
    )
    one, two = bench(ticket), bench(plain)
    one.run(ticket)
    two.run(plain)
    assert equal(state_of(one.model), state_of(two.model))


def test_the_tensors_given_are_not_those_kept() -> None:
    method = LotteryTicket(sparsity=0.5)
    case = bench(method)
    before: dict[str, Tensor] = {n: t.clone() for n, t in case.dense.final.items()}
    case.run(method)
    assert equal(before, case.dense.final)
