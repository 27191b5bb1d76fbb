"""How the scores of a criterion become masks; what each criterion promises is in contract/."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fairsparse.core import InputError
from fairsparse.masks.criteria import registry
from fairsparse.masks.criteria.registry import CRITERIA, Evidence, choose
from fairsparse.masks.maskset import prunable
from fairsparse.masks.selection import n_kept
from toys import batches, loss, norm_net


def evidence(model: nn.Module) -> Evidence:
    generator = torch.Generator().manual_seed(5)
    return Evidence(model, prunable(model, first=True), batches((8, 8)), loss, generator)


def test_flow_is_scored_anew_at_each_of_a_hundred_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = registry.flow.synflow

    def synflow(*given: Any) -> Any:
        masks = given[3]
        seen.append(masks.n_kept if masks is not None else -1)
        return plain(*given)

    monkeypatch.setattr(registry.flow, "synflow", synflow)
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


@pytest.mark.parametrize("name", [n for n in CRITERIA if CRITERIA[n].of_filters])
def test_criteria_of_filters_name_what_they_need(name: str) -> None:
    made = evidence(norm_net())
    for grouping in ("weight", "2:4"):
        with pytest.raises(InputError, match=r"scores whole filters.*use grouping filter"):
            choose(name, made, 0.5, grouping=grouping, scope="layerwise")
    with pytest.raises(InputError, match="use scope layerwise or erk"):
        choose(name, made, 0.5, grouping="filter")


def test_unknown_criteria_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown criterion 'synflo' \(did you mean 'synflow'"):
        choose("synflo", evidence(norm_net()), 0.5)
