"""Heat maps against what can be computed by hand."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import InputError
from fairsparse.data.files.tokens import Tokens
from fairsparse.data.task import Split
from fairsparse.explain.heatmaps import explainer, heatmaps
from fairsparse.explain.layers import picture_layer
from fairsparse.models import build


class Averaged(nn.Module):
    """A convolution, ReLU, the mean of each channel, a linear layer."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(2, 5, 3, stride, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().mean((2, 3)))


class Bag(nn.Module):
    """A linear function of the sum of a text's embeddings."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.words = nn.Embedding(12, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Any) -> Tensor:
        ids, known = x, x >= 0 if isinstance(x, Tensor) else None
        if known is None:
            ids, known = x["tokens"], x["attention_mask"] > 0
        found = self.words(ids.clamp_min(0))
        return self.head((found * known[..., None]).sum(1))


def images(n: int = 4, side: int = 8) -> Tensor:
    return torch.randn(n, 2, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stride", [1, 2])
def test_grad_cam_by_hand(stride: int) -> None:
    model, x, target = Averaged(stride), images(), torch.tensor([0, 1, 2, 1])
    activation = model.conv(x)
    side = activation.shape[-1]
    # d logit / d activation = weight / pixels where it is positive; its mean is a channel's weight
    share = (activation > 0).float().mean((2, 3)) / side**2
    channel = model.head.weight[target] * share
    wanted = (channel[..., None, None] * activation).sum(1).relu()
    wanted = F.interpolate(wanted[:, None], (8, 8), mode="bilinear")[:, 0]
    found = heatmaps({"one": model}, x, target, batch_size=3)["one"]
    assert found.shape == (4, 8, 8)
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-4, atol=1e-8)


def test_the_picture_is_taken_where_it_ends() -> None:
    x = torch.randn(1, 3, 32, 32)
    assert picture_layer(build("small-cnn", (3, 32, 32), 4), x)[0] == "8"
    assert picture_layer(build("resnet20", (3, 32, 32), 4), x)[0] == "stages"  # not a branch
    # what is 1x1 is no picture, and neither is one that no convolution made
    tight = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Flatten()
    )
    assert picture_layer(tight, x)[0] == "0"
    flat = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(3072, 2))
    assert picture_layer(flat, x) == ("", None)


def test_integrated_gradients_of_a_linear_network() -> None:
    model = nn.Linear(6, 3)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    found = heatmaps({"one": model}, x, [2, 0, 1, 1, 0])["one"]
    wanted = model.weight[[2, 0, 1, 1, 0]] * x  # the baseline is zero
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (2, 6, 6)])
def test_integrated_gradients_add_up(shape: tuple[int, ...]) -> None:
    model = build("mlp", shape, 3, hidden=(16,), seed=1)
    x = torch.randn(6, *shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        change = model(x) - model(torch.zeros_like(x))
    found = heatmaps({"one": model}, x, torch.full((6,), 1), steps=300)["one"]
    assert found.shape == ((6, 7) if len(shape) == 1 else (6, 6, 6))
    total = found.reshape(6, -1).sum(1)
    np.testing.assert_allclose(total, change[:, 1].numpy(), atol=2e-3)


def test_tokens_by_hand() -> None:
    model = Bag()
    ids = torch.tensor([[2, 5, 7, 3], [2, 9, 3, -1]], dtype=torch.int32)
    split = Split(ids, torch.tensor([0, 1]), torch.tensor([-1, -1]), Tokens(12, Ends()))
    found = heatmaps({"one": model}, split, [1, 0], batch_size=1)["one"]
    score = (model.words.weight - model.words.weight[0]) @ model.head.weight.T  # less padding's
    wanted = np.full((2, 4), np.nan)
    wanted[0, 1:3] = score[[5, 7], 1].detach().numpy()
    wanted[1, 1] = score[9, 0].item()
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    # the same as a dict, with padding told by its mask
    inputs = {"attention_mask": (ids >= 0).long(), "tokens": ids.long().clamp_min(0)}
    again = heatmaps({"one": model}, inputs, [1, 0], special=[2, 3])["one"]
    np.testing.assert_allclose(again, wanted, rtol=1e-4)


class Ends:
    """A tokenizer that puts 2 before a text and 3 behind it."""

    def encode(self, text: str) -> Any:
        assert text == ""
        return type("Encoding", (), {"ids": [2, 3]})


def test_integrated_gradients_of_bert_add_up() -> None:
    small = {"vocab_size": 40, "hidden": 8, "heads": 2, "intermediate": 12, "layers": 1}
    model = build("bert", (9,), 2, **small).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6)  # at the start it hardly depends on its inputs
    ids = torch.randint(5, 40, (3, 9), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[0, 6:] = 2, -1
    baseline = torch.where((ids == 2) | (ids < 0), ids, 0)
    with torch.no_grad():
        change = (model(ids) - model(baseline))[:, 1].numpy()
    found = heatmaps({"one": model}, ids, [1, 1, 1], special=[2], steps=300)["one"]
    assert np.isnan(found[:, 0]).all()
    assert np.isnan(found[0, 6:]).all()
    np.testing.assert_allclose(np.nansum(found, 1), change, atol=0.02 * np.abs(change).max())


def test_all_networks_are_asked_about_what_the_first_predicts() -> None:
    first, second = nn.Linear(4, 3), nn.Linear(4, 3)
    x = torch.randn(8, 4)
    target = first(x).argmax(1)
    found = heatmaps({"a": first, "b": second}, x)
    wanted = heatmaps({"b": second}, x, target)
    np.testing.assert_array_equal(found["b"], wanted["b"])
    assert not torch.equal(target, second(x).argmax(1))


def test_networks_are_left_as_they_were() -> None:
    model = build("small-cnn", (1, 12, 12), 3, width=4).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    heatmaps({"one": model}, torch.randn(3, 1, 12, 12))
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("models", "x", "targets", "message"),
    [
        ({}, torch.zeros(2, 3), None, "there is no network"),
        ({"a": 1}, torch.zeros(2, 3), None, "a is a int; give a torch nn.Module"),
        ({"a": nn.Linear(3, 2)}, torch.zeros(2, 3), [0], "give one class, as an integer"),
        ({"a": nn.Linear(3, 2)}, torch.zeros(2, 3), [0.0, 1.0], "give one class, as an integer"),
    ],
)
def test_bad_questions_are_refused(models: Any, x: Any, targets: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        heatmaps(models, x, targets)


def test_inputs_without_a_kind_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return x["a"] + x["b"]

    with pytest.raises(InputError, match="no embedding of its inputs"):
        explainer(Two(), {"a": torch.zeros(2, 3), "b": torch.zeros(2, 3)})


def test_without_captum_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(InputError, match=r'pip install "fairsparse\[explain\]"'):
        heatmaps({"a": nn.Linear(3, 2)}, torch.zeros(2, 3))
