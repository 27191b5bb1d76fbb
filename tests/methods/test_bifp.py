"""BiFP: two levels written by hand, exact counts at every iteration, structures, honest steps."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fairsparse.core import InputError
from fairsparse.data.task import TrainData
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import n_kept
from fairsparse.masks.structure.channels import channels
from fairsparse.methods import Run, train_dense
from fairsparse.methods.bifp.bilevel import Bilevel
from fairsparse.methods.bifp.method import Bifp
from fairsparse.training import state_of
from helpers import Bench, bench, dead_everywhere, equal, network, split, tiny, trainer_for

PLAIN = {"lambda_mask": 0.0, "lambda_weight": 0.0}


def learned(method: Bifp, kind: str = "mlp", **options: Any) -> tuple[Bench, Any]:
    case = bench(method, kind, **options)
    return case, case.run(method)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[MaskSet]:
    """All masks that are chosen while a test runs."""
    seen: list[MaskSet] = []
    plain = Bilevel.masks

    def masks(self: Bilevel) -> MaskSet:
        seen.append(plain(self))
        return seen[-1]

    monkeypatch.setattr(Bilevel, "masks", masks)
    return seen


def by_hand(case: Bench, method: Bifp) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """BiP in plain PyTorch, for the ``mlp``: its weights and masks at the end.

    The implicit gradient is put together from the two ordinary ones, ``dL/dm = w g`` and
    ``dL/dw = m g``: straight through, ``(w - m g / gamma) g = dL/dm - (dL/dw) g / gamma``. The
    released code takes the gradients of the scores twice, and subtracts their product.
    """
    recipe, train, trainer = case.trainer.recipe, case.data.train, case.trainer
    w = {name: p.clone() for name, p in case.dense.final.items()}
    names = ["0.weight", "2.weight"]
    keep = n_kept(method.sparsity, sum(w[n].numel() for n in names))
    s = {n: w[n].clone() for n in names}
    speed = {n: torch.zeros_like(v) for n, v in w.items()}
    push = {n: torch.zeros_like(s[n]) for n in names}
    # steps of an epoch after which the scores move: after every so many of the weights, and its end
    turns = {min(first + method.lower_steps, 6) - 1 for first in range(0, 6, method.lower_steps)}

    def mask() -> dict[str, Tensor]:
        flat = torch.cat([s[n].abs().flatten() for n in names])
        kept = torch.zeros_like(flat)
        kept[flat.argsort(descending=True)[:keep]] = 1
        parts = kept.split([s[n].numel() for n in names])
        return {n: part.view_as(s[n]) for n, part in zip(names, parts, strict=True)}

    def loss(z: dict[str, Tensor], index: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(case.model, z, (train.x[index],)), train.y[index])

    for step in range(12):
        rows = slice(step % 6 * 32, step % 6 * 32 + 32)
        low, up = (
            torch.randperm(192, generator=trainer.generator(order, step // 6))[rows]
            for order in ("order", "scores")
        )
        rate, m = recipe.learning_rate(step, 12), mask()
        leaves = {n: v.clone().requires_grad_() for n, v in w.items()}
        z = leaves | {n: leaves[n] * m[n] for n in names}
        slopes = torch.autograd.grad(loss(z, low), list(leaves.values()))
        for n, g in zip(leaves, slopes, strict=True):
            speed[n] = recipe.momentum * speed[n] + g + recipe.weight_decay * w[n]
            w[n] = w[n] - rate * speed[n]
        if step % 6 not in turns:
            continue
        ms, ws, zs = ({n: t[n].clone().requires_grad_() for n in names} for t in (m, w, w))
        value = loss(w | {n: ms[n] * ws[n] for n in names}, up)
        of_m = torch.autograd.grad(value, list(ms.values()), retain_graph=True)
        of_w = torch.autograd.grad(value, list(ws.values()))
        zs = {n: (m[n] * w[n]).requires_grad_() for n in names}
        of_z = torch.autograd.grad(loss(w | zs, up), list(zs.values()))
        for n, gm, gw, g in zip(names, of_m, of_w, of_z, strict=True):
            if method.implicit_form == "released":
                v1 = v2 = gm * s[n].sign()
                slope = v1 - method.implicit * v2 * v1
            else:
                slope = (gm - method.implicit * gw * g) * s[n].sign()
            push[n] = method.mask_momentum * push[n] + slope
            s[n] = s[n] - rate / recipe.lr * method.mask_lr * push[n]
    m = mask()
    return w | {n: w[n] * m[n] for n in names}, m


@pytest.mark.parametrize(
    "options",
    [
        {"implicit": 0.0},  # as the released code's accelerated mode
        {"implicit": 1e-4},
        {"implicit": 30.0},
        {"implicit": 30.0, "implicit_form": "released"},
        {"lower_steps": 2},
        {"lower_steps": 4},
        {"lower_steps": 50},
    ],
    ids=str,
)
def test_without_fairness_it_is_bip_written_by_hand(options: dict[str, Any]) -> None:
    method = Bifp(sparsity=0.7, search=1.0, mask_lr=0.5, **{**PLAIN, **options})
    case, outcome = learned(method)
    weights, masks = by_hand(case, method)
    for name, mask in outcome.masks.items():
        assert torch.equal(mask, masks[name].bool())
    for name, weight in state_of(case.model).items():
        assert torch.allclose(weight, weights[name], rtol=1e-3, atol=1e-5), name


def test_the_implicit_part_changes_what_is_kept() -> None:
    options: list[dict[str, Any]] = [
        {"implicit": 0.0},
        {"implicit": 30.0},
        {"implicit": 30.0, "implicit_form": "released"},
    ]
    ends = [
        learned(Bifp(sparsity=0.7, search=1.0, mask_lr=0.5, **{**PLAIN, **given}))[1].masks
        for given in options
    ]
    assert all(ends[i] != ends[j] for i, j in ((0, 1), (0, 2), (1, 2)))


def test_without_fairness_no_option_of_the_term_matters() -> None:
    other = {"form": "hinge", "tau": 0.2, "kappa": 3.0, "memory": 0.5}
    ends = []
    for options in ({}, other):
        case, outcome = learned(Bifp(sparsity=0.7, **PLAIN, **options), groups=3, notion="group")
        ends.append((outcome.masks, state_of(case.model)))
    assert ends[0][0] == ends[1][0]
    assert equal(ends[0][1], ends[1][1])


def test_each_level_has_its_own_weight_of_the_term() -> None:
    ends = []
    for mask, weight in ((0.0, 0.0), (2.0, 0.0), (0.0, 2.0), (2.0, 2.0)):
        method = Bifp(sparsity=0.7, mask_lr=2.0, lambda_mask=mask, lambda_weight=weight)
        case, _ = learned(method, groups=2, notion="group")
        losses = {log["stage"]: log["loss"] for log in case.trainer.history[2:]}
        ends.append((state_of(case.model), losses))
    for i, (state, _) in enumerate(ends):
        assert not any(equal(state, other) for other, _ in ends[:i])
    # on the first epoch's batches a positive term adds to its own level's loss
    plain, above, below, _ = (losses for _, losses in ends)
    assert above["bifp 0.7 scores"] > plain["bifp 0.7 scores"]
    assert below["bifp 0.7"] > plain["bifp 0.7"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sparsity": 0.9, "floor": 0.09, "mask_lr": 3.0},
        {"scope": "layerwise"},
        {"scope": "erk", "grouping": "filter"},
        {"grouping": "channel", "prune_first": True},
        {"grouping": "1:2", "sparsity": 0.5},
    ],
    ids=str,
)
def test_the_count_is_exact_at_every_iteration(
    options: dict[str, Any], chosen: list[MaskSet]
) -> None:
    method = Bifp(**{"sparsity": 0.63, "search": 1.0, "mask_lr": 1.0, **options})
    case, outcome = learned(method, "residual")
    (log,) = outcome.rounds
    assert log["iterations"] == 12
    assert len(chosen) == 14  # one before, one at each iteration, one at the end
    for masks in chosen:
        assert masks.n_kept == n_kept(method.sparsity, masks.n_total)
    assert outcome.masks == chosen[-1] != chosen[0]
    common = sum(int((chosen[0][n] & chosen[-1][n]).sum()) for n in chosen[0])
    assert log["exchanged"] == pytest.approx(1 - common / chosen[0].n_kept)
    assert dead_everywhere(state_of(case.model), outcome.masks)


@pytest.mark.parametrize("grouping", ["filter", "channel"])
@pytest.mark.parametrize("sparsity", [0.3, 0.55, 0.8])
def test_filters_are_whole_and_those_of_one_channel_agree(
    grouping: str, sparsity: float, chosen: list[MaskSet]
) -> None:
    method = Bifp(sparsity=sparsity, grouping=grouping, prune_first=True, mask_lr=1.0, search=1.0)
    case, outcome = learned(method, "residual")
    few = case.data.cal.batch(torch.arange(2))
    found = channels(case.model, few.x)
    # stem and two are added up: they write the same channels
    assert torch.equal(found.filters["stem.weight"], found.filters["two.weight"])
    disagreed = 0
    for masks in chosen:
        rows = {name: mask.flatten(1) for name, mask in masks.items()}
        halves = sum(int((row.any(1) & ~row.all(1)).sum()) for row in rows.values())
        assert halves <= 1  # where the count ends
        apart = int((rows["stem.weight"].any(1) != rows["two.weight"].any(1)).sum())
        disagreed += apart
        # the channel in which the count ends may have one of its filters
        assert apart <= 1 or grouping == "filter"
    assert len({masks.digest() for masks in chosen}) > 1
    assert outcome.masks == chosen[-1]
    assert disagreed > 14 or grouping == "channel"


def test_it_begins_with_the_largest_weights_of_the_dense_network(chosen: list[MaskSet]) -> None:
    case, _ = learned(Bifp(sparsity=0.7))
    masks = chosen[0]
    sizes = {name: case.dense.final[name].abs() for name in masks}
    kept = torch.cat([sizes[n][masks[n]] for n in masks])
    gone = torch.cat([sizes[n][~masks[n]] for n in masks])
    assert kept.min() > gone.max()


@pytest.mark.parametrize(("lower_steps", "turns"), [(1, 12), (2, 6), (4, 4), (6, 2), (50, 2)])
def test_several_steps_of_the_weights_go_with_one_of_the_scores(
    lower_steps: int, turns: int
) -> None:
    method = Bifp(sparsity=0.7, search=1.0, lower_steps=lower_steps)
    case = bench(method)
    before = case.trainer.steps
    (log,) = case.run(method).rounds
    assert log["iterations"] == turns
    assert case.trainer.steps - before == 12 + turns


@pytest.mark.parametrize(
    ("search", "finetune", "iterations", "tuned"),
    [
        (None, 0.0, 12, 0),
        (None, 0.25, 9, 3),
        (1.0, 0.0, 12, 0),
        (0.5, 0.0, 6, 0),
        (0.5, 0.5, 6, 6),
        (0.25, 0.5, 3, 6),
        (0.01, 0.9, 1, 11),
    ],
)
def test_both_levels_count_as_steps(
    search: float | None, finetune: float, iterations: int, tuned: int
) -> None:
    method = Bifp(sparsity=0.7, search=search, finetune=finetune)
    case = bench(method)
    before = case.trainer.steps
    (log,) = case.run(method).rounds
    assert (log["iterations"], log["finetune_steps"]) == (iterations, tuned)
    assert case.trainer.steps - before == 2 * iterations + tuned
    last = [log for log in case.trainer.history if log["stage"] != "dense"]
    assert max(log["step"] for log in last) == 12
    first = {stage: log["step"] for log in reversed(last) for stage in [log["stage"]]}
    assert first.keys() == {"bifp 0.7", "bifp 0.7 scores"} | (
        {"bifp 0.7 finetune"} if tuned else set()
    )


def test_masks_stay_while_what_is_left_is_tuned(
    chosen: list[MaskSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Bifp(sparsity=0.7, search=0.5, finetune=0.5)
    case, outcome = learned(method, "conv")
    assert len(chosen) == 8
    assert outcome.masks == chosen[-1]
    assert dead_everywhere(state_of(case.model), outcome.masks)
    rates = {log["stage"]: log["lr"] for log in case.trainer.history}
    recipe = case.trainer.recipe
    assert rates["bifp 0.7"] == pytest.approx(recipe.learning_rate(5, 12))
    assert rates["bifp 0.7 scores"] == pytest.approx(
        recipe.learning_rate(5, 12) / recipe.lr * method.mask_lr
    )
    assert rates["bifp 0.7 finetune"] == pytest.approx(recipe.learning_rate(11, 12))


def unequal(seed: int = 0) -> TrainData:
    """Two classes; group 1, a fifth of the people, is hard to tell apart."""

    def made(n: int, seed: int) -> Any:
        group = (torch.arange(n) // 2 % 5 == 0).long()
        y = torch.arange(n) % 2
        noise = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
        centre = torch.tensor([-1.0, 1.0])[y] * torch.tensor([0.9, 0.25])[group]
        return replace(split(n, (8,), 2, 2, seed), x=centre[:, None] + noise, y=y, group=group)

    return TrainData(made(320, 1), made(160, 2), made(160, 3), ("no", "yes"), ("a", "b"))


@pytest.mark.parametrize(("form", "strong"), [("absolute", 4.0), ("squared", 20.0), ("hinge", 4.0)])
def test_the_term_narrows_the_gap_it_is_about(form: Any, strong: float) -> None:
    data, gaps = unequal(), []
    for lam in (0.0, strong):
        trainer, model = trainer_for(data, notion="group", epochs=6), network("mlp", 2)
        dense = train_dense(model, data, trainer)
        method = Bifp(
            sparsity=0.6, search=1.0, form=form, lambda_mask=lam, lambda_weight=lam, tau=0.02
        )
        method.run(Run(model, data, trainer, dense))
        predictions = trainer.predict(model, data.train)
        right = predictions.logits.softmax(1).gather(1, predictions.y[:, None])[:, 0]
        a, b = (float(right[predictions.group == g].mean()) for g in (0, 1))
        gaps.append(a - b)
    assert gaps[0] > 0.05
    assert abs(gaps[1]) < 0.7 * gaps[0]


def test_shares_beyond_the_schedule_are_refused() -> None:
    case = bench(Bifp())
    with pytest.raises(InputError, match=r"search 0\.7 and finetune 0\.4 .* add up to 1") as caught:
        case.run(Bifp(search=0.7, finetune=0.4))
    assert "\n" not in str(caught.value)


def test_channels_of_a_model_that_cannot_be_followed_are_refused() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x) if x.sum() > 0 else x)

    cells = trainer_for(tiny()).cells
    Bifp().check(Branching(), cells)
    with pytest.raises(InputError):
        Bifp(grouping="channel").check(Branching(), cells)


def test_what_is_not_finite_stops_with_one_line() -> None:
    case = bench(Bifp())
    x = case.data.train.x.clone()
    x[5] = torch.nan
    data = replace(case.data, train=replace(case.data.train, x=x))
    with pytest.raises(InputError, match="lower") as caught:
        replace(case, data=data).run(Bifp())
    assert "\n" not in str(caught.value)
    case = bench(Bifp())
    with pytest.raises(InputError, match="scores are no longer finite; lower mask_lr") as caught:
        case.run(Bifp(mask_lr=1e20, implicit=1e30))
    assert "\n" not in str(caught.value)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    method = Bifp(sparsity=0.7, finetune=0.25)
    first, outcome = learned(method, "conv", folder=tmp_path)

    def never(*args: Any) -> None:
        raise AssertionError("it ran again")

    monkeypatch.setattr(Bifp, "make", never)
    second, again = learned(method, "conv", folder=tmp_path)
    assert again.masks == outcome.masks
    assert again.rounds == outcome.rounds
    assert equal(state_of(first.model), state_of(second.model))
    assert first.trainer.steps == second.trainer.steps


def test_statistics_are_those_of_the_last_masks() -> None:
    method = Bifp(sparsity=0.7)
    case, _ = learned(method, "conv")
    other, _ = learned(replace(method, recalibrate=0), "conv")
    mine, before = state_of(case.model), state_of(other.model)
    for name in mine:
        buffer = "running" in name or "tracked" in name
        assert torch.equal(mine[name], before[name]) != buffer, name
    fresh = copy.deepcopy(other.model)
    case.trainer.recalibrate(fresh, case.data.train, method.recalibrate)
    assert equal(state_of(fresh), mine)


def test_precision_layout_augmentation_and_clipping_of_the_recipe_are_used() -> None:
    method = Bifp(sparsity=0.7)
    plain, _ = learned(method, "conv")
    recipes: list[dict[str, Any]] = [
        {"precision": "bf16"},
        {"augment": ("crop", "flip")},
        {"grad_clip": 0.1},
        {"channels_last": True, "optimizer": "adam", "lr": 0.01},
    ]
    for recipe in recipes:
        case, outcome = learned(method, "conv", **recipe)
        assert not equal(state_of(case.model), state_of(plain.model))
        assert outcome.masks.n_kept == n_kept(0.7, outcome.masks.n_total)
        assert all(t.dtype != torch.bfloat16 for t in state_of(case.model).values())
