"""Fixed weights under learned scores: exact counts, straight-through gradients, nothing changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.masks.maskset import prunable
from fairsparse.methods.fair_scratch.subnet import Granularity, Subnet, score_shape, top_weights
from helpers import network

SHAPES = {"mlp": (8,), "conv": (1, 8, 8), "residual": (1, 8, 8)}


def subnet(kind: str, share: float, granularity: Granularity = "weight") -> Subnet:
    model = network(kind)
    for p in model.parameters():
        p.requires_grad_(False)
    keep = {name: round(share * w.numel()) for name, w in prunable(model).items()}
    return Subnet(model, keep, granularity, torch.Generator().manual_seed(1))


def inputs(kind: str, n: int = 6) -> Tensor:
    return torch.randn(n, *SHAPES[kind], generator=torch.Generator().manual_seed(2))


def test_four_weights_by_hand() -> None:
    scores = torch.tensor([[0.1, -0.9], [0.5, -0.2]], requires_grad=True)
    weight = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    masked = top_weights(scores, weight, 2)
    assert masked.tolist() == [[0, -2], [3, 0]]
    # L = sum of c * masked: dL/dmask = c * weight, whether a weight is kept or not
    (masked * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[1, 4], [9, -16]]


@pytest.mark.parametrize("granularity", ["weight", "kernel", "filter"])
def test_the_gradient_is_that_of_the_mask_times_the_sign(granularity: Granularity) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 5, 5, generator=generator)
    weight = torch.randn(6, 4, 3, 3, generator=generator)
    shape = score_shape(weight.shape, granularity)
    scores = torch.randn(shape, generator=generator, requires_grad=True)
    masked = top_weights(scores, weight, 100)
    mask = (masked != 0).float().requires_grad_()
    assert int(mask.sum()) == 100

    def loss(w: Tensor) -> Tensor:
        return F.conv2d(x, w).tanh().square().sum()

    loss(masked).backward()
    (slope,) = torch.autograd.grad(loss(weight * mask), mask)
    expected = (slope * scores.detach().sign()).sum_to_size(shape)
    assert scores.grad is not None
    assert torch.allclose(scores.grad, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("granularity", ["weight", "kernel", "filter"])
@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
@pytest.mark.parametrize("share", [0.03, 0.4, 1.0])
def test_counts_are_exact_in_every_layer(kind: str, share: float, granularity: Granularity) -> None:
    net = subnet(kind, share, granularity)
    masks = net.masks()
    assert {name: int(mask.sum()) for name, mask in masks.items()} == net.keep
    for name, weight in net.weights().items():
        assert torch.equal(weight != 0, masks[name])


@pytest.mark.parametrize("granularity", ["kernel", "filter"])
def test_units_are_kept_whole_but_the_last(granularity: Granularity) -> None:
    net = subnet("conv", 0.37, granularity)
    (mask,) = net.masks().values()
    units = mask.flatten(1 if granularity == "filter" else 2).flatten(0, -2)
    size = units.shape[1]
    per_unit = units.sum(1)
    assert int(((per_unit > 0) & (per_unit < size)).sum()) == (int(mask.sum()) % size > 0)
    assert int((per_unit == size).sum()) == int(mask.sum()) // size
    # what is kept in part is the best of what is not kept whole, in order of its weights
    scores = net.scores[0].detach().abs().flatten()
    partial = int(((per_unit > 0) & (per_unit < size)).nonzero()[0, 0])
    assert scores[partial] == scores[per_unit < size].max()
    assert units[partial].tolist() == sorted(units[partial].tolist(), reverse=True)


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_all_weights_are_the_network_itself(kind: str) -> None:
    net, x = subnet(kind, 1.0), inputs(kind)
    for mode in (True, False):
        assert torch.equal(net.train(mode)(x), copy.deepcopy(net.model)(x))


def test_training_leaves_the_network_as_it_was() -> None:
    net, x = subnet("conv", 0.3), inputs("conv")
    weights = {name: p.clone() for name, p in net.model.named_parameters()}
    first = [s.detach().clone() for s in net.scores]
    optimizer = torch.optim.SGD(net.scores.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
    assert not torch.equal(first[0], net.scores[0])
    for name, p in net.model.named_parameters():
        assert torch.equal(weights[name], p)
        assert p.grad is None
    for module in net.model.modules():
        assert not hasattr(module, "parametrizations")
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_evaluation_sees_the_present_scores() -> None:
    net, x = subnet("mlp", 0.3), inputs("mlp")
    before = net.eval()(x)
    net.train()
    with torch.no_grad():
        for s in net.scores:
            s.copy_(s.flip(0))
    after = net.eval()(x)
    assert not torch.equal(before, after)
    masks = net.masks()
    masks.apply_(net.model)
    assert torch.equal(net.model.eval()(x), after)


def test_evaluation_leaves_nothing_that_training_trips_over() -> None:
    net, x = subnet("conv", 0.3), inputs("conv")
    net.eval()
    with torch.inference_mode():
        net(x)
    net.train()
    net(x).sum().backward()
    assert all(s.grad is not None and bool(s.grad.any()) for s in net.scores)


def test_the_memory_layout_changes_no_count() -> None:
    net = subnet("residual", 0.31)
    plain = net.masks()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert net.masks() == plain
    assert net(inputs("residual")).shape == (6, 3)


def test_tied_layers_share_their_mask() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.two(self.one(x).relu()).relu())

    model = Twice().requires_grad_(False)
    net = Subnet(model, {"one.weight": 20}, "weight", torch.Generator().manual_seed(0))
    out = net(inputs("mlp"))
    net.masks().apply_(model)
    assert torch.equal(model(inputs("mlp")), out)
