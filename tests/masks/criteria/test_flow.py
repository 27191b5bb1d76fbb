"""SynFlow: conservation, no data, no empty layer, normalizations as factors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from fairsparse.core import Batch, InputError
from fairsparse.masks.criteria.flow import synflow
from fairsparse.masks.criteria.registry import Evidence, choose
from fairsparse.masks.criteria.scorers import magnitude
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import select
from toys import batches, loss, norm_net, relu_net


def output_of_ones(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    made = copy.deepcopy(model).double()
    with torch.no_grad():
        for p in made.parameters():
            p.abs_()
        return made(torch.ones(1, *shape).double()).sum()


def test_by_hand() -> None:
    """Paths |2| |3| and |-1| |5|: R = 11, and each weight has the flow of its path."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0], [-1.0]]))
        model[2].weight.copy_(torch.tensor([[3.0, -5.0]]))
    scores = synflow(model, prunable(model, last=True), (1,))
    assert scores["0.weight"].tolist() == [[6.0], [5.0]]
    assert scores["2.weight"].tolist() == [[6.0, 5.0]]


def test_every_layer_carries_the_same_flow() -> None:
    model = relu_net()
    weights = prunable(model, first=True, last=True)
    scores = synflow(model, weights, (2, 5, 5))
    flow = float(output_of_ones(model, (2, 5, 5)))
    assert flow > 0
    for score in scores.values():
        assert float(score.sum()) == pytest.approx(flow, rel=1e-12)
        assert score.dtype == torch.float64
        assert bool((score >= 0).all())


def test_flow_is_conserved_in_every_unit() -> None:
    model = relu_net()
    weights = prunable(model, last=True)
    scores = synflow(model, weights, (2, 5, 5))
    into, out = scores["6.weight"].sum(1), scores["8.weight"].sum(0)
    torch.testing.assert_close(into, out)


def test_shifts_carry_no_flow_and_norms_are_factors() -> None:
    model = norm_net()
    weights = prunable(model, first=True, last=True)
    scores = synflow(model, weights, (2, 5, 5))
    folded = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for conv, norm in ((0, 1), (3, 4)):
            n = folded[norm]
            factor = n.weight.abs() / (n.running_var + n.eps).sqrt()
            folded[conv].weight.mul_(factor[:, None, None, None])
            folded[norm] = nn.Identity()
        for name, p in folded.named_parameters():
            if name.endswith("bias"):
                p.zero_()
    flow = float(output_of_ones(folded, (2, 5, 5)))
    assert all(float(s.sum()) == pytest.approx(flow) for s in scores.values())
    expected = synflow(folded, prunable(folded, first=True, last=True), (2, 5, 5))
    for name in weights:  # a factor on a row does not change the row's flow
        torch.testing.assert_close(scores[name], expected[name])


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm((4, 5, 5))], ids=str
)
def test_other_norms_keep_the_flow_positive(norm: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(100, 3)
    )
    scores = synflow(model, prunable(model, first=True, last=True), (2, 5, 5))
    sums = [float(s.sum()) for s in scores.values()]
    assert sums[0] == pytest.approx(sums[1])
    assert sums[0] > 0


def evidence(model: nn.Module, parts: list[Batch]) -> Evidence:
    return Evidence(model, prunable(model, first=True), parts, loss, torch.Generator())


def test_masks_do_not_depend_on_the_data() -> None:
    model = relu_net()
    one = choose("synflow", evidence(model, batches(seed=1)), 0.8)
    other = choose("synflow", evidence(model, batches((1,), seed=2)), 0.8)
    assert one == other


@pytest.mark.parametrize("sparsity", [0.96, 0.98])
def test_no_layer_is_emptied_where_one_step_would(sparsity: float) -> None:
    """A wide layer, whose many small scores lose against those of the narrow ones at once."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 100, bias=False),
        nn.ReLU(),
        nn.Linear(100, 100, bias=False),
        nn.ReLU(),
        nn.Linear(100, 4, bias=False),
        nn.ReLU(),
        nn.Linear(4, 3, bias=False),
    )
    weights = prunable(model)
    at_once = synflow(model, weights, (4,))
    with pytest.raises(InputError, match=r"would empty layer 2\.weight"):
        select(at_once, sparsity)
    masks = choose(
        "synflow", Evidence(model, weights, batches((2,), (4,)), loss, torch.Generator()), sparsity
    )
    assert all(bool(m.any()) for m in masks.values())
    assert masks.n_kept == masks.n_total - round(sparsity * masks.n_total)
    masks.apply_(model)
    assert float(output_of_ones(model, (4,))) > 0


def test_dead_weights_carry_nothing() -> None:
    model = relu_net()
    weights = prunable(model)
    masks = select(magnitude(weights), 0.5, floor=0.1)
    scores = synflow(model, weights, (2, 5, 5), masks)
    assert all(not bool(scores[n][~m].any()) for n, m in masks.items())
    masks.apply_(model)
    again = synflow(model, weights, (2, 5, 5))
    assert all(torch.equal(scores[n], again[n]) for n in weights)


def test_a_network_without_a_path_is_refused() -> None:
    model = relu_net()
    weights = prunable(model)
    cut = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
    cut["6.weight"][:] = False
    with pytest.raises(InputError, match="flow through the network is 0"):
        synflow(model, weights, (2, 5, 5), MaskSet(cut))


def test_deep_networks_stay_finite() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(100)))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    scores = synflow(model, prunable(model), (64,))
    assert all(bool(s.isfinite().all()) for s in scores.values())
    assert float(scores["0.weight"].sum()) > torch.finfo(torch.float32).max
