"""SNIP and GraSP against autograd through a mask, explicit Hessians and quadratics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fairsparse.core import Batch
from fairsparse.masks.criteria.scorers import grasp, snip
from fairsparse.masks.maskset import prunable
from toys import batches, loss, norm_net, relu_net, together


def test_snip_is_the_gradient_with_respect_to_a_mask_of_ones() -> None:
    model = norm_net().eval()
    weights = prunable(model, first=True, last=True)
    parts = batches()
    whole = together(parts)
    ones = {name: torch.ones_like(w, requires_grad=True) for name, w in weights.items()}
    masked = {name: w.detach() * ones[name] for name, w in weights.items()}
    value = loss(functional_call(model, masked, (whole.x,)), whole)
    expected = torch.autograd.grad(value, list(ones.values()))
    model.zero_grad()
    loss(model(whole.x), whole).backward()
    scores = snip(model, weights, parts, loss)
    for (name, w), e in zip(weights.items(), expected, strict=True):
        torch.testing.assert_close(scores[name], e.abs())
        torch.testing.assert_close(scores[name], (w * w.grad).detach().abs())
        assert bool(scores[name].any())


def test_snip_sums_signed_gradients_before_the_absolute_value() -> None:
    model = nn.Linear(1, 1, bias=False)
    weights = {"weight": model.weight}
    one = Batch(torch.tensor([[1.0]]), torch.tensor([0]), torch.tensor([0]))
    other = Batch(torch.tensor([[-1.0]]), torch.tensor([0]), torch.tensor([0]))
    linear = lambda z, b: z.mean()  # noqa: E731
    assert snip(model, weights, [one, other], linear)["weight"].tolist() == [[0.0]]


def test_the_ranking_of_snip_does_not_depend_on_the_scale_of_the_loss() -> None:
    model, parts = relu_net(), batches()
    weights = prunable(model)
    plain = snip(model, weights, parts, loss)
    scaled = snip(model, weights, parts, lambda z, b: 1000 * loss(z, b))
    one, two = (torch.cat([s[n].flatten() for n in weights]) for s in (plain, scaled))
    torch.testing.assert_close(two, 1000 * one)
    assert torch.equal(one.topk(50).indices.sort().values, two.topk(50).indices.sort().values)


class Point(nn.Module):
    """A network whose output is its weight, whatever the input."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(len(x), -1)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_grasp_on_a_quadratic(temperature: float) -> None:
    """L = w'Hw / 2 has gradient Hw, so w * (H H w); a temperature T divides both by T^2."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator)
    hessian, w = root @ root.T, torch.randn(5, generator=generator)
    model = Point(w)

    def quadratic(z: Tensor, batch: Batch) -> Tensor:
        return (z @ hessian * z).sum(1).mean() / 2

    parts = batches((3, 2), (1,))
    scores = grasp(model, {"weight": model.weight}, parts, quadratic, temperature)
    expected = w * (hessian @ hessian @ w) / temperature**4
    torch.testing.assert_close(scores["weight"], expected)


def test_grasp_against_the_explicit_hessian() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    weights = {"0.weight": model[0].weight}
    parts = batches((5, 2), (3,))
    whole = together(parts)

    def value(flat: Tensor) -> Tensor:
        z = functional_call(model, {"0.weight": flat.view(4, 3)}, (whole.x,))
        return loss(z / 200, whole)

    flat = model[0].weight.detach().flatten()
    gradient = torch.func.grad(value)(flat)
    expected = flat * (torch.autograd.functional.hessian(value, flat) @ gradient)
    scores = grasp(model, weights, parts, loss)["0.weight"].flatten()
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-12)
    assert bool((scores < 0).any())
    assert bool((scores > 0).any())


@pytest.mark.parametrize("scorer", [snip, grasp])
def test_an_untrained_batchnorm_takes_the_batchs_statistics(scorer: object) -> None:
    assert callable(scorer)
    model, parts = norm_net(trained=False), batches((8,))
    weights = prunable(model, first=True)
    found = scorer(model, weights, parts, loss)
    # in training mode, with dropout off: batch statistics, and the running ones as they were
    state = {name: t.clone() for name, t in model.state_dict().items()}
    model.train()
    model[10].eval()
    for norm in (model[1], model[4]):
        norm.num_batches_tracked.fill_(1)
    model.zero_grad()
    loss(model(parts[0].x), parts[0]).backward()
    trained = {n: (w * w.grad).abs().detach() for n, w in weights.items()}
    model.load_state_dict(state)
    if scorer is snip:
        for name in weights:
            torch.testing.assert_close(found[name], trained[name])
    fresh = scorer(model, weights, parts, loss)
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert all(torch.equal(fresh[name], found[name]) for name in weights)
    model[1].num_batches_tracked.fill_(1)  # now its running statistics are its own
    model[4].num_batches_tracked.fill_(1)
    running = scorer(model, weights, parts, loss)
    assert not torch.allclose(running["0.weight"], found["0.weight"])
