"""Channels followed through networks, and networks without them that compute the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cutting import assert_goes
from fairsparse.core import InputError
from fairsparse.masks.criteria.scorers import magnitude
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import select
from fairsparse.masks.structure.channels import channels
from fairsparse.masks.structure.removal import removal, shared, silence_
from fairsparse.models.small import CifarResNet
from toys import norm_net, settle


def without(model: nn.Module, **rows: list[int]) -> MaskSet:
    """Masks that empty these filters: ``_0=[1]`` is filter 1 of the weight ``0.weight``."""
    masks = {
        name: torch.ones_like(w, dtype=torch.bool)
        for name, w in prunable(model, first=True, last=True).items()
    }
    for name, index in rows.items():
        masks[f"{name.strip('_').replace('__', '.')}.weight"][index] = False
    return MaskSet(masks)


def listed(table: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: index.tolist() for name, index in table.items()}


def test_a_chain() -> None:
    model = norm_net()
    masks = without(model, _0=[1], _3=[0, 5], _8=[2, 3])
    gone = assert_goes(model, masks, torch.randn(4, 2, 5, 5))
    assert listed(gone.filters) == {"0.weight": [1], "3.weight": [0, 5], "8.weight": [2, 3]}
    assert listed(gone.norms) == {"1": [1], "4": [0, 5]}
    # 2x2 positions of each channel lie side by side behind the flattening
    behind = [0, 1, 2, 3, 20, 21, 22, 23]
    assert listed(gone.inputs) == {"3.weight": [1], "8.weight": behind, "11.weight": [2, 3]}
    assert gone.waiting == {}


def test_the_outputs_of_the_network_stay() -> None:
    model = norm_net()
    gone = removal(channels(model, torch.zeros(2, 2, 5, 5)), without(model, _11=[0]))
    assert gone.filters == gone.norms == gone.inputs == {}
    assert listed(gone.waiting) == {"11.weight": [0]}


def test_without_constants_the_masked_network_itself_is_unchanged() -> None:
    model = norm_net().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.zero_()
        for i in (1, 4):
            model[i].running_mean.zero_()
    masks = without(model, _0=[1], _3=[0, 5])
    masks.apply_(model)
    x = torch.randn(4, 2, 5, 5)
    before = model(x)
    silence_(model, removal(channels(model, x), masks))
    torch.testing.assert_close(model(x), before)


def test_running_statistics_are_left_and_matter_no_more() -> None:
    model = norm_net().eval()
    masks = without(model, _3=[2])
    masks.apply_(model)
    mean = model[4].running_mean.clone()
    x = torch.randn(4, 2, 5, 5)
    silence_(model, removal(channels(model, x), masks))
    assert torch.equal(model[4].running_mean, mean)
    before = model(x)
    model[4].running_mean[2], model[4].running_var[2] = 99.0, 0.01
    assert torch.equal(model(x), before)


class Block(nn.Module):
    """A stem and two blocks that add to it, the second through a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.one, self.bn1 = nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.two, self.bn2 = nn.Conv2d(5, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.down, self.bn3 = nn.Conv2d(4, 6, 1, stride=2), nn.BatchNorm2d(6)
        self.three = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.bn2(self.two(F.relu(self.bn1(self.one(x))))))
        y = self.bn3(self.down(x))
        y += self.three(x)
        return self.head(torch.flatten(self.pool(y.relu()), 1))


@pytest.fixture
def block() -> Block:
    torch.manual_seed(2)
    model = Block()
    settle(model)
    return model


def test_coupled_channels_go_together_or_not_at_all(block: Block) -> None:
    x = torch.randn(4, 2, 6, 6)
    half = without(block, stem=[1, 2], two=[1], one=[3], down=[5])
    found = removal(channels(block, x), half)
    assert listed(found.filters) == {"stem.weight": [1], "two.weight": [1], "one.weight": [3]}
    assert listed(found.waiting) == {"stem.weight": [2], "down.weight": [5]}
    whole = without(block, stem=[1, 2], two=[1, 2], one=[3], down=[5], three=[5])
    gone = assert_goes(block, whole, x)
    assert listed(gone.filters) == {
        "stem.weight": [1, 2],
        "one.weight": [3],
        "two.weight": [1, 2],
        "down.weight": [5],
        "three.weight": [5],
    }
    assert listed(gone.norms) == {"norm": [1, 2], "bn1": [3], "bn2": [1, 2], "bn3": [5]}
    assert listed(gone.inputs) == {
        "one.weight": [1, 2],
        "two.weight": [3],
        "down.weight": [1, 2],
        "three.weight": [1, 2],
        "head.weight": [5],
    }
    assert gone.waiting == {}


def test_the_shortcuts_of_a_cifar_resnet() -> None:
    """Option A: eight channels are two of zeros, the four of the shortcut, and two of zeros."""
    torch.manual_seed(0)
    model = CifarResNet(1, 3, blocks=2, width=4)
    settle(model)
    x = torch.randn(3, 1, 8, 8)
    first = {"conv": [1], "stages__0__conv2": [1], "stages__1__conv2": [1]}
    second = {"stages__2__conv2": [0, 3], "stages__3__conv2": [0, 3]}
    found = removal(channels(model, x), without(model, **first, **second))
    # padding moves channel 1 to 3 and then 7, and 0 to 4, where the third stage writes them too
    assert found.filters == {}
    assert listed(found.waiting)["stages.2.conv2.weight"] == [0, 3]
    third = {"stages__4__conv2": [4, 7], "stages__5__conv2": [4, 7]}
    gone = assert_goes(model, without(model, **first, **second, **third), x, small=False)
    assert gone.waiting == {}
    assert listed(gone.filters)["conv.weight"] == [1]
    assert listed(gone.filters)["stages.3.conv2.weight"] == [0, 3]
    assert listed(gone.inputs)["stages.2.conv1.weight"] == [1]
    assert listed(gone.inputs)["stages.4.conv1.weight"] == [0, 3]
    assert listed(gone.inputs)["fc.weight"] == [4, 7]


def test_depthwise_channels_go_with_their_input() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1),
        nn.ReLU6(),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.BatchNorm2d(4),
        nn.Hardswish(),
        nn.Conv2d(4, 3, 1),
        nn.Flatten(),
        nn.Linear(48, 3),
    )
    settle(model)
    x = torch.randn(2, 2, 4, 4)
    half = removal(channels(model, x), without(model, _0=[2]))
    assert listed(half.waiting) == {"0.weight": [2]}
    gone = assert_goes(model, without(model, _0=[2], _2=[2]), x)
    assert listed(gone.norms) == {"3": [2]}
    assert listed(gone.inputs) == {"5.weight": [2]}


def sequential(middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 1), middle, nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(36, 3)
    )


@pytest.mark.parametrize(
    "middle",
    [nn.Sigmoid(), nn.GroupNorm(2, 4), nn.Softmax(1), nn.BatchNorm2d(4, affine=False)],
    ids=lambda m: type(m).__name__,
)
def test_what_does_not_keep_zero_keeps_its_channels(middle: nn.Module) -> None:
    model = sequential(middle)
    found = removal(channels(model, torch.zeros(2, 2, 3, 3)), without(model, _0=[0], _2=[1]))
    assert listed(found.filters) == {"2.weight": [1]}
    assert listed(found.waiting) == {"0.weight": [0]}


def test_convolutions_in_groups_keep_their_channels() -> None:
    model = sequential(nn.Conv2d(4, 4, 1, groups=2))
    found = removal(channels(model, torch.zeros(2, 2, 3, 3)), without(model, _0=[0], _1=[1]))
    assert found.filters == {}
    assert listed(found.waiting) == {"0.weight": [0], "1.weight": [1]}


class Mixed(nn.Module):
    """Concatenation, slices, scaling, and a number that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 3, 1)
        self.c, self.d = nn.Conv2d(5, 4, 1), nn.Conv2d(2, 2, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c(torch.cat([self.a(x) * 2, self.b(x)], dim=1))
        left, right = x[:, :2], x[:, 2:, ::2]
        y = self.d(left).mean(dim=(-2, -1)) + 1
        return self.head(torch.cat((y, right.mean((2, 3))), 1))


def test_concatenation_and_slices() -> None:
    torch.manual_seed(0)
    model = Mixed()
    masks = without(model, a=[1], b=[0], c=[0, 3], d=[1])
    gone = assert_goes(model, masks, torch.randn(2, 1, 4, 4), small=False)
    assert listed(gone.filters) == {"a.weight": [1], "b.weight": [0], "c.weight": [0, 3]}
    assert listed(gone.inputs) == {"c.weight": [1, 2], "d.weight": [0], "head.weight": [3]}
    assert listed(gone.waiting) == {"d.weight": [1]}


def test_a_layer_that_is_called_twice_serves_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(2, 3)
            self.same, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.same(self.a(x).relu()) - self.same(self.b(x).relu()))

    model = Twice()
    x = torch.randn(3, 2)
    assert listed(removal(channels(model, x), without(model, a=[1])).waiting) == {"a.weight": [1]}
    gone = assert_goes(model, without(model, a=[1], b=[1]), x)
    assert listed(gone.inputs) == {"same.weight": [1]}


def test_shared_scores_make_coupled_filters_go_together(block: Block) -> None:
    found = channels(block, torch.zeros(2, 2, 6, 6))
    weights = prunable(block, first=True)
    scores = shared(found, magnitude(weights))
    own = {n: w.detach().abs().flatten(1).mean(1).double() for n, w in weights.items()}
    expected = (own["stem.weight"] + own["two.weight"]) / 2
    for name in ("stem.weight", "two.weight"):
        torch.testing.assert_close(scores[name].flatten(1)[:, 0], expected)
        assert scores[name].shape == weights[name].shape
    torch.testing.assert_close(scores["one.weight"].flatten(1)[:, 1], own["one.weight"])
    for scope in ("global", "layerwise"):
        masks = select(scores, 0.5, grouping="filter", scope=scope, floor=0.005)  # type: ignore[arg-type]
        kept = {n: m.flatten(1).any(1) for n, m in masks.items()}
        # all but the one filter that completes the count
        assert int((kept["stem.weight"] != kept["two.weight"]).sum()) <= 1
        assert int((kept["down.weight"] != kept["three.weight"]).sum()) <= 1


def test_the_mode_and_the_weights_are_left_as_they_were(block: Block) -> None:
    block.train()
    block.bn1.eval()
    state = {name: t.clone() for name, t in block.state_dict().items()}
    modes = [m.training for m in block.modules()]
    channels(block, torch.randn(2, 2, 6, 6))
    assert [m.training for m in block.modules()] == modes
    assert all(torch.equal(t, state[name]) for name, t in block.state_dict().items())


def test_a_model_that_cannot_be_traced() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x if x.sum() > 0 else -x)

    with pytest.raises(InputError, match="Branching cannot be traced"):
        channels(Branching(), torch.zeros(2, 2))
