"""Filter criteria on toys worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fairsparse.core import Batch, InputError
from fairsparse.masks.criteria.filters import entropy, fpgm, hrank, l1
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.structure.graph import activations
from toys import batches, norm_net

TOY = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 3.0]])


def column(scores: Tensor) -> list[float]:
    """The one score of each filter, which all of its weights have."""
    flat = scores.flatten(1)
    assert torch.equal(flat, flat[:, :1].expand_as(flat))
    return flat[:, 0].tolist()


def test_l1() -> None:
    w = torch.tensor([[[[1.0, -2.0]]], [[[0.0, 0.5]]]])
    assert column(l1({"w": w})["w"]) == [3.0, 0.5]
    assert l1({"w": w})["w"].shape == w.shape


def test_fpgm_by_hand() -> None:
    # sums of Euclidean distances: 1 + 1 + sqrt 18; 1 + sqrt 2 + sqrt 13, twice; sqrt 18 + 2 sqrt 13
    expected = [6.243, 6.020, 6.020, 11.454]
    assert column(fpgm({"w": TOY})["w"]) == pytest.approx(expected, abs=5e-4)
    assert column(fpgm({"w": TOY.view(4, 1, 1, 2)})["w"]) == pytest.approx(expected, abs=5e-4)
    assert column(fpgm({"w": TOY + 50})["w"]) == pytest.approx(expected, abs=5e-4)


def test_removed_filters_count_for_no_distance() -> None:
    mask = torch.tensor([[False, False], [True, False], [True, True], [True, True]])
    scores = column(fpgm({"w": TOY}, MaskSet({"w": mask}))["w"])
    root = math.sqrt
    assert scores[1:] == pytest.approx([root(2) + root(13), root(2) + root(13), 2 * root(13)])


def maps(ranks: list[int], n: int = 5) -> Tensor:
    """A (len(ranks), n, n) image whose channels have these ranks and no negative entries."""
    planes = []
    for rank in ranks:
        plane = torch.zeros(n, n)
        plane[range(rank), range(rank)] = torch.arange(1.0, rank + 1)
        planes.append(plane)
    return torch.stack(planes)


def identity(channels: int, sign: list[float]) -> nn.Conv2d:
    layer = nn.Conv2d(channels, channels, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_((torch.eye(channels) * torch.tensor(sign))[:, :, None, None])
    return layer


def batch(x: Tensor) -> Batch:
    return Batch(x, torch.zeros(len(x), dtype=torch.int64), torch.zeros(len(x), dtype=torch.int64))


def test_hrank_of_maps_of_known_rank() -> None:
    model = nn.Sequential(identity(3, [1, -1, 1]), nn.ReLU(), nn.Flatten(), nn.Linear(75, 3))
    weights = prunable(model, first=True)
    one, two = maps([2, 5, 0]), maps([4, 5, 1])
    scores = hrank(model, weights, [batch(torch.stack([one, one, two])), batch(two[None])])
    # the second channel is negative, so that ReLU passes nothing on; averages over four examples
    assert column(scores["0.weight"]) == [3.0, 0.0, 0.5]
    plain = nn.Sequential(model[0], nn.Flatten(), model[3])
    assert column(hrank(plain, prunable(plain, first=True), [batch(two[None])])["0.weight"]) == [
        4,
        5,
        1,
    ]


def test_hrank_of_a_linear_layer_is_how_often_it_fires() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    x = torch.tensor([[1.0, -1.0], [2.0, 1.0], [3.0, -2.0], [-1.0, -1.0]])
    assert column(hrank(model, prunable(model), [batch(x)])["0.weight"]) == [0.75, 0.25]


def test_entropy_by_hand() -> None:
    """Four values in two parts of the range: 2 and 2, then 3 and 1, then all alike."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3))
    x = torch.tensor([[0.0, 1.0, 7.0], [1.0, 1.0, 7.0], [9.0, 1.5, 7.0], [10.0, 9.0, 7.0]])
    scores = column(
        entropy(model, prunable(model), [batch(x[:3]), batch(x[3:])], bins=2)["0.weight"]
    )
    skewed = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert scores == pytest.approx([math.log(2), skewed, 0.0])


def test_a_constant_channel_has_the_lowest_entropy() -> None:
    model = norm_net()
    with torch.no_grad():
        model[4].bias.zero_()
        model[4].running_mean.zero_()
        model[4].weight[5] = 0
    scores = column(entropy(model, prunable(model), batches((64,)))["3.weight"])
    assert scores[5] == 0 == min(scores)
    assert sorted(scores)[1] > 0
    assert max(scores) <= math.log(32)


def test_activations_are_taken_behind_norm_and_activation() -> None:
    model = norm_net().eval()
    parts = batches()
    found = activations(
        model, ["0.weight", "8.weight"], parts, lambda m: m.flatten(2).sum(2) if m.dim() > 2 else m
    )
    x = torch.cat([part.x for part in parts])
    torch.testing.assert_close(found["0.weight"], model[:3](x).flatten(2).sum(2))
    torch.testing.assert_close(found["8.weight"], model[:10](x))


class Functional(nn.Module):
    """A residual sum in place right behind a layer, and functions instead of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 2, 3, padding=1)
        self.two = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.one(x))
        y = self.two(x)
        y += x
        return self.head(y.relu_().mean((2, 3)))


def test_what_is_changed_in_place_later_is_read_before() -> None:
    torch.manual_seed(0)
    model = Functional()
    parts = batches((3,))
    found = activations(model, ["one.weight", "two.weight"], parts, lambda m: m.sum((2, 3)))
    first = model.one(parts[0].x).relu()
    torch.testing.assert_close(found["one.weight"], first.sum((2, 3)))
    torch.testing.assert_close(found["two.weight"], model.two(first).sum((2, 3)))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.last = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = -x
        return self.last(self.layer(x))


def test_a_model_that_cannot_be_traced() -> None:
    with pytest.raises(InputError, match=r"Branching cannot be traced .*without branches"):
        hrank(Branching(), prunable(Branching()), batches((2,), (2,)))


def test_a_weight_used_without_its_module() -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.layer.weight.T

    with pytest.raises(InputError, match="not called as a module"):
        entropy(Direct(), {"layer.weight": torch.zeros(3, 2)}, batches((2,), (2,)))
