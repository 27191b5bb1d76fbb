"""Masks over weights: the two levels' gradients against closed forms, autograd and edge-popup."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Scores
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import select
from fairsparse.methods.bifp.bilevel import Bilevel, masked
from fairsparse.methods.fair_scratch.subnet import top_weights
from helpers import SHAPES, network


def bilevel(kind: str = "conv", implicit: float = 0.5, sparsity: float = 0.7) -> Bilevel:
    model = network(kind)
    return Bilevel(model, prunable(model), lambda s: select(s, sparsity), implicit)


def inputs(kind: str, n: int = 6) -> Tensor:
    return torch.randn(n, *SHAPES[kind], generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("m", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0, 1e4])
def test_one_weight_has_the_ratio_of_the_closed_form(m: float, gamma: float) -> None:
    """For L = (m w - a)^2 / 2 the exact gradient is gamma / (m^2 + gamma) of the approximate one.

    The optimum of ``L + gamma w^2 / 2`` is ``w = a m / (m^2 + gamma)``.
    """
    a = torch.tensor(0.8, dtype=torch.float64)
    mask = torch.tensor(m, dtype=torch.float64, requires_grad=True)
    best = a * mask / (mask.square() + gamma)
    (exact,) = torch.autograd.grad((mask * best - a).square() / 2, mask)
    score = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    z = masked(best.detach(), score, mask.detach(), 1 / gamma)
    ((z - a).square() / 2).backward()
    assert score.grad is not None
    assert float(exact / score.grad) == pytest.approx(gamma / (m**2 + gamma), rel=1e-9)


def test_both_gradients_of_a_linear_layer_by_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w, s = (torch.randn(d, 4, generator=generator, dtype=torch.float64) for d in (5, 3, 3))
    m = (torch.rand(3, 4, generator=generator) < 0.5).double()

    def loss(z: Tensor) -> Tensor:
        return F.linear(x, z).tanh().square().sum()

    w, m, s = w.requires_grad_(), m.requires_grad_(), s.requires_grad_()
    of_w, of_m = torch.autograd.grad(loss(m * w), (w, m))
    loss(masked(w, s, m.detach(), 0.0)).backward()
    assert w.grad is not None
    assert s.grad is not None
    assert torch.allclose(w.grad, of_w)
    assert torch.allclose(s.grad, of_m * s.detach().sign())
    # what is masked moves no weight, but has a gradient in its score
    assert not bool(w.grad[m == 0].any())
    assert bool(s.grad[m == 0].all())


def test_the_implicit_part_is_a_product_of_the_two_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    w, s, c = (torch.randn(6, generator=generator) for _ in range(3))
    m = torch.tensor([1.0, 0, 1, 1, 0, 1])
    s.requires_grad_()
    (masked(w, s, m, 0.25) * c).sum().backward()  # g is c
    assert s.grad is not None
    expected = (w - 0.25 * m * c) * c * s.detach().sign()
    assert torch.allclose(s.grad, expected)
    assert not torch.allclose(s.grad, w * c * s.detach().sign())
    s.grad = None
    (masked(w, s, m, 0.25, "released") * c).sum().backward()
    assert torch.allclose(s.grad, w * c * s.detach().sign() - 0.25 * (w * c) ** 2)


def test_without_the_implicit_part_scores_move_as_in_edge_popup() -> None:
    net = bilevel("conv", implicit=0.0)
    (name,) = net.scores
    x = inputs("conv")
    kept = int(net.masks()[name].sum())
    net.lower(x)  # chooses the masks
    net.upper(x).square().sum().backward()
    scores = net.scores[name].detach().clone().requires_grad_()
    other = copy.deepcopy(net.model)
    popup = top_weights(scores, net.weights[name].detach(), kept)
    torch.func.functional_call(other, {name: popup}, (x,)).square().sum().backward()
    mine = net.scores[name].grad
    assert mine is not None
    assert scores.grad is not None
    assert torch.allclose(mine, scores.grad, rtol=1e-4, atol=1e-6)
    assert bool(mine.any())


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_each_level_trains_its_own(kind: str) -> None:
    net = bilevel(kind)
    net.lower(inputs(kind)).square().sum().backward()
    assert all(p.grad is not None for p in net.model.parameters())
    assert all(s.grad is None for s in net.scores.values())
    for p in net.model.parameters():
        p.grad = None
    net.upper(inputs(kind)).square().sum().backward()
    assert all(p.grad is None for p in net.model.parameters())
    assert all(s.grad is not None and bool(s.grad.any()) for s in net.scores.values())
    assert {id(p) for p in net.lower.parameters()} == {id(p) for p in net.model.parameters()}
    assert {id(p) for p in net.upper.parameters()} == {id(s) for s in net.scores.values()}


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_both_levels_compute_the_masked_network(kind: str) -> None:
    net, x = bilevel(kind), inputs(kind)
    net.model.eval()
    low, up = net.lower(x), net.upper(x)
    plain = copy.deepcopy(net.model)
    select({n: w.detach().abs() for n, w in net.weights.items()}, 0.7).apply_(plain)
    assert torch.allclose(low, plain(x), atol=1e-6)
    assert torch.equal(low, up)
    # the network itself keeps what is masked: it may come back
    assert all(bool(w.all()) for w in net.weights.values())


def test_the_lower_level_follows_the_scores_and_the_upper_level_follows_it() -> None:
    net, x = bilevel("mlp"), inputs("mlp")
    net.model.eval()
    before = net.lower(x)
    with torch.no_grad():
        for score in net.scores.values():
            score.copy_(score.flip(0))
    assert torch.equal(net.upper(x), before)
    assert not torch.equal(net.lower(x), before)
    assert not torch.equal(net.upper(x), before)


def test_masks_go_by_size_whatever_the_sign() -> None:
    seen: list[Scores] = []

    def choose(scores: Scores) -> MaskSet:
        seen.append(scores)
        return select(scores, 0.5)

    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2))
    net = Bilevel(model, ["0.weight"], choose, 0.0)
    with torch.no_grad():
        net.scores["0.weight"].copy_(torch.tensor([[-3.0, 1.0], [0.5, -2.0]]))
    assert net.masks()["0.weight"].tolist() == [[True, False], [False, True]]
    assert not any(s.requires_grad for s in seen[0].values())


def test_scores_begin_as_the_weights_and_are_their_own() -> None:
    net = bilevel("residual")
    for name, score in net.scores.items():
        assert torch.equal(score, net.weights[name])
        assert score.data_ptr() != net.weights[name].data_ptr()


def test_the_memory_layout_changes_nothing_but_rounding() -> None:
    net, x = bilevel("residual"), inputs("residual")
    net.model.eval()
    plain = net.lower(x)
    for level in (net.lower, net.upper):
        level.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert torch.allclose(net.lower(x), plain, atol=1e-6)
    for name, factor in net.factors.items():
        assert factor.stride() == net.weights[name].stride() == net.scores[name].stride()
