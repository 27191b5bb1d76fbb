"""A network computed with other values, also where a layer or a tensor has two names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fairsparse
from fairsparse.masks.criteria.curvature import fisher, gauss_newton
from fairsparse.masks.criteria.flow import synflow
from fairsparse.masks.criteria.scorers import magnitude
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.modes import call_with
from fairsparse.masks.selection import select
from fairsparse.masks.structure.paths import check_paths
from fairsparse.methods.bifp.bilevel import Bilevel
from fairsparse.methods.fair_scratch.subnet import Subnet
from fairsparse.methods.safecompress.topology import gradients
from helpers import network
from toys import batches, loss, settle, together

INPUTS = torch.randn(6, 8, generator=torch.Generator().manual_seed(2))


def tied() -> nn.Sequential:
    """As ``network("twice")``, but two layers with one weight and a bias for each."""
    model = nn.Sequential(
        *(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()),
        *(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)),
    )
    model[4].weight = model[2].weight
    return model


class Twin(nn.Module):
    """One parameter under two names of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.one = self.two = nn.Parameter(torch.randn(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.one).relu() @ self.two.T


class Parted(nn.Module):
    """``network("twice")`` with a copy of its layer in the second place."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        assert isinstance(model, nn.Sequential)
        self.one, self.two, self.three, self.four = (nn.Linear(8, 16), *layers(2), nn.Linear(16, 3))
        for mine, index in ((self.one, 0), (self.two, 2), (self.three, 4), (self.four, 6)):
            mine.load_state_dict(model[index].state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return self.four(self.three(self.two(self.one(x).relu()).relu()).relu())


def layers(count: int) -> list[nn.Linear]:
    return [nn.Linear(16, 16) for _ in range(count)]


def all_names(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters(remove_duplicate=False))


@pytest.mark.parametrize("make", [lambda: network("twice"), tied, Twin])
def test_values_are_replaced_in_every_place_and_put_back(make: Callable[[], nn.Module]) -> None:
    model, x = make(), INPUTS
    before, was = all_names(model), {n: p.detach().clone() for n, p in all_names(model).items()}
    values = {name: p.detach() * 2 for name, p in model.named_parameters()}

    out = call_with(model, values, x)
    with pytest.raises(RuntimeError, match="shape"):
        call_with(model, values, torch.zeros(2, 5))

    after = all_names(model)
    assert all(after[name] is p for name, p in before.items())
    assert all(torch.equal(after[name], p) for name, p in was.items())
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(values[name])
    assert torch.equal(out, model(x))


def test_a_gradient_is_the_sum_over_the_places() -> None:
    model = network("twice")
    parted = Parted(model)
    value = model.get_parameter("2.weight").detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(call_with(model, {"2.weight": value}, INPUTS).sum(), value)
    parts = [parted.two.weight, parted.three.weight]
    torch.testing.assert_close(slope, sum(torch.autograd.grad(parted(INPUTS).sum(), parts)))


def test_a_name_that_is_none_of_the_parameters_is_an_error() -> None:
    with pytest.raises(KeyError):
        call_with(network("mlp"), {"9.weight": torch.zeros(1)}, INPUTS)


def of_paths(model: nn.Module) -> None:
    check_paths(model, MaskSet.dense(prunable(model)), INPUTS)


def of_fisher(model: nn.Module) -> None:
    fisher(model, prunable(model), batches(shape=(8,)), loss)


def of_gauss_newton(model: nn.Module) -> None:
    gauss_newton(model, prunable(model), batches(shape=(8,)), loss)


def of_subnet(model: nn.Module) -> None:
    keep = {name: w.numel() // 2 for name, w in prunable(model).items()}
    Subnet(model, keep, "weight", torch.Generator().manual_seed(0))(INPUTS).sum().backward()


def of_bilevel(model: nn.Module) -> None:
    both = Bilevel(model, prunable(model), lambda scores: select(scores, 0.5), 0.5)
    both.lower(INPUTS).sum().backward()
    both.upper(INPUTS).sum().backward()


def of_topology(model: nn.Module) -> None:
    gradients(
        model,
        prunable(model),
        MaskSet.dense(prunable(model)),
        together(batches(shape=(8,))),
        loss,
    )


@pytest.mark.parametrize(
    "use", [of_paths, of_fisher, of_gauss_newton, of_subnet, of_bilevel, of_topology]
)
@pytest.mark.parametrize("make", [lambda: network("twice"), tied])
def test_every_use_leaves_the_parameters_as_they_were(
    use: Callable[[nn.Module], None], make: Callable[[], nn.Module]
) -> None:
    model = make()
    before, was = all_names(model), {n: p.detach().clone() for n, p in all_names(model).items()}
    use(model)
    after = all_names(model)
    assert all(after[name] is p and p.requires_grad for name, p in before.items())
    assert all(torch.equal(after[name], p) for name, p in was.items())


def test_nothing_else_replaces_parameters() -> None:
    source = Path(fairsparse.__file__).parent
    users = [path.name for path in source.rglob("*.py") if "functional_call" in path.read_text()]
    assert users == ["modes.py"]


def test_the_curvature_of_a_layer_of_two_names_counts_both() -> None:
    model = network("twice")
    weights, parts = prunable(model), batches(shape=(8,))
    whole = together(parts)
    total = torch.zeros(16, 16)
    parted = Parted(model)
    for i in range(len(whole.y)):
        one = type(whole)(*(column[i : i + 1] for column in whole))
        pair = [parted.two.weight, parted.three.weight]
        total += sum(torch.autograd.grad(loss(parted(one.x), one), pair)).square()
    scores = fisher(model, weights, parts, loss)
    expected = weights["2.weight"].detach().square() * total / (2 * len(whole.y))
    torch.testing.assert_close(scores["2.weight"], expected)


def test_one_path_may_cross_a_layer_twice() -> None:
    """Unit 0 is reached from the input, feeds unit 1 at the first pass, and 1 the output."""
    layer = nn.Linear(2, 2)
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), layer, nn.ReLU(), layer, nn.Linear(2, 1))
    kept = {"0.weight": torch.tensor([[1], [0]]) > 0, "5.weight": torch.tensor([[0, 1]]) > 0}
    alive = torch.tensor([[1, 0], [1, 0]]) > 0  # 0 -> 0 and then 0 -> 1
    check_paths(model, {**kept, "2.weight": alive}, torch.zeros(1, 1))
    cut = torch.tensor([[0, 0], [1, 0]]) > 0  # 0 -> 1, from where the second pass goes nowhere
    with pytest.raises(fairsparse.InputError, match="no path"):
        check_paths(model, {**kept, "2.weight": cut}, torch.zeros(1, 1))


def test_synflow_takes_a_normalization_of_two_names_as_a_factor_twice() -> None:
    def made(*norms: nn.Module) -> nn.Sequential:
        torch.manual_seed(0)
        one, two, head = (nn.Conv2d(i, o, 1) for i, o in ((2, 4), (4, 4), (4, 3)))
        return nn.Sequential(one, norms[0], two, norms[1], head, nn.Flatten())

    first, second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    settle(first)
    second.load_state_dict(first.state_dict())
    one, two = made(first, first), made(first, second)
    scores, expected = (synflow(m, prunable(m, first=True), (2, 3, 3)) for m in (one, two))
    assert all(torch.equal(scores[name], expected[name]) for name in expected)


def test_a_layer_of_two_names_is_counted_once() -> None:
    weights = prunable(network("twice"))
    assert list(weights) == ["0.weight", "2.weight"]
    masks = select(magnitude(weights), 0.5)
    assert (masks.n_total, masks.n_kept) == (8 * 16 + 16 * 16, (8 * 16 + 16 * 16) // 2)
