"""What every registered criterion promises."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from contract.registries import check_settings, promises, registries
from fairsparse.masks.criteria.registry import Evidence, choose
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import n_kept
from toys import batches, loss, norm_net

CRITERIA = registries()["criterion"]

# What scores follow from, besides the shapes of weights and inputs. A criterion without an entry
# fails every test below.
SETTINGS: dict[str, set[str]] = {
    "magnitude": {"weights"},
    "random": {"draws"},
    "lamp": {"weights"},
    "taylor": {"weights", "inputs", "labels"},
    "snip": {"weights", "inputs", "labels"},
    "grasp": {"weights", "inputs", "labels"},
    "synflow": {"weights"},
    "obd": {"weights", "inputs", "labels"},
    # curvature of the cross-entropy is that of the answers, whatever the label
    "obd-gauss-newton": {"weights", "inputs"},
    "l1": {"weights"},
    "fpgm": {"weights"},
    "hrank": {"weights", "inputs"},
    "entropy": {"weights", "inputs"},
}


def evidence(model: nn.Module, shape: tuple[int, ...] = (2, 5, 5), **more: Any) -> Evidence:
    generator = torch.Generator().manual_seed(5)
    parts = batches((8, 8), shape)
    return Evidence(model, prunable(model, first=True), parts, loss, generator, **more)


def options(name: str) -> dict[str, Any]:
    structured = CRITERIA[name].of_filters
    return {"grouping": "filter", "scope": "layerwise"} if structured else {}


def test_the_table_is_complete() -> None:
    check_settings("criterion", CRITERIA, SETTINGS, "test_criteria.py")


@pytest.mark.parametrize("name", list(CRITERIA))
def test_contract(name: str) -> None:
    model = norm_net().train()
    model[1].eval()  # a frozen BatchNorm in a model that trains
    model[8].weight.grad = torch.full_like(model[8].weight, 3.0)
    state = {key: t.clone() for key, t in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    rng = torch.get_rng_state()
    weights = prunable(model, first=True)
    scores, again = (CRITERIA[name].score(evidence(model)) for _ in range(2))
    assert scores.keys() == weights.keys()
    for key, w in weights.items():
        assert scores[key].shape == w.shape
        assert not scores[key].requires_grad
        assert bool(scores[key].isfinite().all())
        assert bool(scores[key].any())
        assert torch.equal(scores[key], again[key])
        if CRITERIA[name].of_filters:
            rows = scores[key].flatten(1)
            assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert torch.equal(torch.get_rng_state(), rng)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(t, state[key]) for key, t in model.state_dict().items())
    assert [n for n, p in model.named_parameters() if p.grad is not None] == ["8.weight"]
    assert bool((model[8].weight.grad == 3).all())


@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "random"])
def test_permuting_hidden_units_permutes_scores(name: str) -> None:
    def network() -> nn.Sequential:
        torch.manual_seed(4)
        return nn.Sequential(
            nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)
        )

    model, permuted, order = network(), network(), torch.randperm(7)
    with torch.no_grad():
        permuted[0].weight.copy_(model[0].weight[order])
        permuted[0].bias.copy_(model[0].bias[order])
        permuted[2].weight.copy_(model[2].weight[:, order])
    one, other = (CRITERIA[name].score(evidence(m, (6,))) for m in (model, permuted))
    torch.testing.assert_close(other["0.weight"], one["0.weight"][order], rtol=1e-4, atol=1e-9)
    if not CRITERIA[name].of_filters:
        expected = one["2.weight"][:, order]
        torch.testing.assert_close(other["2.weight"], expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", list(CRITERIA))
def test_masks_are_exact_and_nested(name: str) -> None:
    model = norm_net()
    masks = MaskSet.dense(prunable(model, first=True))
    path = [masks]
    for sparsity in (0.31, 0.62):
        masks = choose(name, evidence(model), sparsity, within=masks, floor=0.005, **options(name))
        assert masks.n_kept == n_kept(sparsity, masks.n_total)
        masks.apply_(model)
        path.append(masks)
    assert all(b <= a for a, b in itertools.pairwise(path))


@pytest.mark.parametrize("name", list(CRITERIA))
def test_scores_follow_from_what_is_told_and_from_nothing_else(name: str) -> None:
    told = promises("criterion", name, SETTINGS, "test_criteria.py")
    made = evidence(norm_net())
    other = norm_net()
    with torch.no_grad():
        for w in prunable(other, first=True).values():
            w.copy_(torch.randn_like(w))
    parts = made.batches
    changes = {
        "weights": replace(made, model=other, weights=prunable(other, first=True)),
        "inputs": replace(made, batches=[b._replace(x=torch.randn_like(b.x)) for b in parts]),
        "labels": replace(made, batches=[b._replace(y=(b.y + 1) % 3) for b in parts]),
        "draws": replace(made, generator=torch.Generator().manual_seed(6)),
    }
    scores = CRITERIA[name].score(made)
    changed = set()
    for what, evidenced in changes.items():
        if what != "draws":
            evidenced.generator.manual_seed(5)
        anew = CRITERIA[name].score(evidenced)
        if not all(torch.equal(anew[key], scores[key]) for key in scores):
            changed.add(what)
    assert changed == told
    if not told & {"inputs", "labels"} and name != "synflow":  # which asks for an input's shape
        without = CRITERIA[name].score(
            replace(made, batches=[], generator=evidence(other).generator)
        )
        assert all(torch.equal(without[key], scores[key]) for key in scores)


def test_each_has_a_sentence_and_a_source() -> None:
    for name in CRITERIA:
        assert CRITERIA[name].summary[0].isupper()
        assert CRITERIA[name].summary.endswith(".")
        assert CRITERIA[name].reference
