"""The line between two networks: its ends, its barrier, and BatchNorm on the way."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import InputError
from fairsparse.data.task import Split
from fairsparse.explain.loss_path import line
from fairsparse.training import Recipe
from helpers import network, split, tiny

RECIPE = Recipe(batch_size=32)


class Product(nn.Module):
    """Logits (0, a b x): the signs of a and b can change together."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.tensor(a)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        score = self.a * self.b * x[:, 0]
        return torch.stack([torch.zeros_like(score), score], 1)


def loss(model: nn.Module, data: Split) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(model.eval()(data.x).double(), data.y))


def test_the_barrier_between_two_signs() -> None:
    y = torch.tensor([0, 1] * 20)
    data = Split((2.0 * y - 1)[:, None], y, torch.full((40,), -1))
    found = line(Product(2.0), Product(-2.0), data, data, recipe=RECIPE)
    # at t both factors are 2 - 4 t, so the margin is their square
    wanted = [math.log1p(math.exp(-((2 - 4 * t) ** 2))) for t in np.linspace(0, 1, 21)]
    np.testing.assert_allclose(found.loss, wanted, rtol=1e-6)
    assert found.barrier == pytest.approx(math.log(2) - math.log1p(math.exp(-4)), rel=1e-6)
    assert found.error[10] == 0.5  # no score at all: everything is class 0
    assert found.error_barrier == pytest.approx(0.5)


def test_the_ends_are_the_networks_themselves() -> None:
    data = tiny((1, 8, 8))
    first, second = network("conv"), network("conv", seed=1)
    for model in (first, second):  # statistics of their own
        model.train()(data.train.x)
    before = copy.deepcopy(first.state_dict())
    found = line(first, second, data.val, data.train, recipe=RECIPE, points=5)
    assert found.at.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.loss[0] == pytest.approx(loss(first, data.val), rel=1e-5)
    assert found.loss[-1] == pytest.approx(loss(second, data.val), rel=1e-5)
    assert all(torch.equal(t, before[name]) for name, t in first.state_dict().items())


def test_no_barrier_from_a_network_to_itself() -> None:
    model = network("mlp")
    data = tiny()
    found = line(model, copy.deepcopy(model), data.val, data.train, recipe=RECIPE)
    assert found.barrier == found.error_barrier == 0
    assert np.ptp(found.loss) == 0


def test_batchnorm_is_estimated_anew_between_the_ends() -> None:
    model = network("conv")
    train, val = split(192, (1, 8, 8), 3, 0, 1), split(96, (1, 8, 8), 3, 0, 2)
    with torch.no_grad():
        model[8].weight.mul_(10)  # so that losses differ
    other = copy.deepcopy(model)
    other[1].running_mean.fill_(50.0)
    found = line(model, other, val, train, recipe=RECIPE, points=3, batches=6)
    fresh = copy.deepcopy(model).train()
    for m in (fresh[1], fresh[5]):
        m.momentum = 1.0
    fresh(train.x)  # statistics of all examples at once
    assert found.loss[1] == pytest.approx(loss(fresh, val), rel=0.05)
    assert found.loss[2] == pytest.approx(loss(other, val), rel=1e-5)
    assert abs(found.loss[2] / found.loss[1] - 1) > 0.2


def test_other_architectures_are_refused() -> None:
    data = tiny()
    with pytest.raises(InputError, match=r"different architectures \(0.bias is \(24,\)"):
        line(network("mlp"), nn.Sequential(nn.Linear(8, 3)), data.val, data.train)
    with pytest.raises(InputError, match="at least 3 points"):
        line(network("mlp"), network("mlp"), data.val, data.train, points=2)
