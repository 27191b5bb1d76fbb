"""What every registered criterion promises, and how one becomes masks."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
import torch
from torch import nn

from fairsparse.masks import criteria
from fairsparse.masks.criteria import CRITERIA, AtInit, CriterionName, Evidence, OfFilters, choose
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.select import n_kept
from fairsparse.types import InputError
from masks.toys import batches, loss, norm_net


def evidence(model: nn.Module, shape: tuple[int, ...] = (2, 5, 5), **more: Any) -> Evidence:
    generator = torch.Generator().manual_seed(5)
    parts = batches((8, 8), shape)
    return Evidence(model, prunable(model, first=True), parts, loss, generator, **more)


def options(name: str) -> dict[str, Any]:
    structured = CRITERIA[name].of_filters
    return {"grouping": "filter", "scope": "layerwise"} if structured else {}


def test_the_names_are_those_of_the_options() -> None:
    assert set(CRITERIA) == set(get_args(CriterionName))
    assert set(get_args(AtInit)) < set(CRITERIA)
    assert {name for name in CRITERIA if CRITERIA[name].of_filters} == set(get_args(OfFilters))


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
def test_masks_are_exact_and_nested(name: CriterionName) -> None:
    model = norm_net()
    masks = MaskSet.dense(prunable(model, first=True))
    path = [masks]
    for sparsity in (0.31, 0.62):
        masks = choose(name, evidence(model), sparsity, within=masks, floor=0.005, **options(name))
        assert masks.n_kept == n_kept(sparsity, masks.n_total)
        masks.apply_(model)
        path.append(masks)
    assert all(b <= a for a, b in itertools.pairwise(path))


def test_flow_is_scored_anew_at_each_of_a_hundred_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = criteria.flow.synflow

    def synflow(*given: Any) -> Any:
        masks = given[3]
        seen.append(masks.n_kept if masks is not None else -1)
        return plain(*given)

    monkeypatch.setattr(criteria.flow, "synflow", synflow)
    model = norm_net()
    masks = choose("synflow", evidence(model), 0.75)
    total = masks.n_total
    assert seen[0] == -1
    # after step r of 100, a quarter to the power r / 100 is left
    assert seen[1:] == [n_kept(1 - 0.25 ** (r / 100), total) for r in range(1, 100)]


def test_a_pattern_is_reached_in_one_step() -> None:
    model = norm_net()
    weights = prunable(model)
    made = Evidence(model, weights, batches((4,)), loss, torch.Generator())
    masks = choose("synflow", made, 0.5, grouping="2:4")
    assert all(bool((m.movedim(1, -1).reshape(-1, 4).sum(1) == 2).all()) for m in masks.values())


@pytest.mark.parametrize("name", get_args(OfFilters))
def test_criteria_of_filters_name_what_they_need(name: CriterionName) -> None:
    made = evidence(norm_net())
    for grouping in ("weight", "2:4"):
        with pytest.raises(InputError, match=r"scores whole filters.*use grouping filter"):
            choose(name, made, 0.5, grouping=grouping, scope="layerwise")
    with pytest.raises(InputError, match="use scope layerwise or erk"):
        choose(name, made, 0.5, grouping="filter")


def test_unknown_criteria_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown criterion 'synflo' \(did you mean 'synflow'"):
        choose("synflo", evidence(norm_net()), 0.5)  # type: ignore[arg-type]


def test_each_has_a_sentence_and_a_source() -> None:
    for name in CRITERIA:
        assert CRITERIA[name].summary[0].isupper()
        assert CRITERIA[name].summary.endswith(".")
        assert CRITERIA[name].reference
