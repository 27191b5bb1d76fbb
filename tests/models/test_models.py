"""Networks: published sizes, shapes, the user's own factories, and what is said when they fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.models import MODELS, build
from fairsparse.models.named import check_outputs, factory
from fairsparse.models.small import CifarResNet
from fairsparse.types import InputError


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_the_published_ones() -> None:
    # He et al. give 0.27M and 0.85M; LeCun's layers with full connections have 61,706
    assert round(size(build("resnet20", (3, 32, 32), 10)) / 1e6, 2) == 0.27
    assert round(size(build("resnet56", (3, 32, 32), 10)) / 1e6, 2) == 0.85
    assert size(build("lenet", (1, 28, 28), 10)) == 61_706


def test_small_cnn_has_one_size_at_every_image_size() -> None:
    # three convolutions, their BatchNorms, and two linear layers from 64 maps of 3x3
    convolutions = 9 * (1 * 16 + 16 * 32 + 32 * 64)
    expected = convolutions + 2 * (16 + 32 + 64) + (576 + 1) * 64 + (64 + 1) * 10
    for side in (8, 28, 64):
        assert size(build("small-cnn", (1, side, side), 10)) == expected
    assert round(expected / 1000) == 61


def test_mlp_counts_its_layers() -> None:
    model = build("mlp", (2, 3), 4, hidden=(5, 7))
    assert size(model) == (6 + 1) * 5 + (5 + 1) * 7 + (7 + 1) * 4
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())
    rates = [m.p for m in build("mlp", (6,), 2, dropout=0.3).modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.3, 0.3]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_resnet_of_n_blocks_has_6n_plus_2_layers(depth: int) -> None:
    model = CifarResNet(3, 10, depth, width=4)
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 6 * depth + 2
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_shortcut_subsamples_and_pads_with_zero_channels() -> None:
    block = CifarResNet(1, 2, 1, width=4).stages[1]
    for norm in (block.bn1, block.bn2):  # type: ignore[union-attr]
        nn.init.zeros_(norm.weight)
    x = torch.rand(2, 4, 6, 6)
    with torch.no_grad():
        y = block.eval()(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()


@pytest.mark.parametrize("side", [(1, 8, 8), (3, 64, 64), (3, 12, 20), (2, 3, 3)])
def test_small_cnn_takes_any_image(side: tuple[int, ...]) -> None:
    assert build("small-cnn", side, 4).eval()(torch.zeros(1, *side)).shape == (1, 4)


@pytest.mark.parametrize("side", [(3, 12, 12), (1, 13, 31), (3, 64, 48)])
def test_lenet_takes_images_of_12_pixels_and_more(side: tuple[int, ...]) -> None:
    assert build("lenet", side, 4)(torch.zeros(1, *side)).shape == (1, 4)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("mlp", "bert")])
def test_image_networks_refuse_other_inputs(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} takes images .* shape \(8,\); use mlp"):
        build(name, (8,), 2)
    with pytest.raises(InputError, match=r"bert takes token ids \(length,\), .* shape \(3, 8, 8\)"):
        build("bert", (3, 8, 8), 2)


def test_what_cannot_be_built_is_said_in_one_line() -> None:
    for name, shape, options, message in [
        ("resnet2o", (3, 32, 32), {}, "unknown model 'resnet2o' \\(did you mean 'resnet20'\\?\\)"),
        ("lenet", (1, 8, 8), {}, r"lenet needs images of at least 12x12, got \(8, 8\)"),
        ("mlp", (8,), {"depth": 3}, "model 'mlp': .*depth"),
        ("no_such_module_x:net", (8,), {}, "no module 'no_such_module_x'"),
        ("math:net", (8,), {}, "math has no callable 'net'"),
        ("math:pi", (8,), {}, "math has no callable 'pi'"),
        ("builtins:dict", (8,), {}, "."),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            build(name, shape, 2, **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the current folder."""
    source = """
from torch import nn

def net(input_shape, n_classes, *, width=4):
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, n_classes))

def fixed():
    return nn.Linear(8, 2)

def word(input_shape, n_classes):
    return "net"

def greedy(a, b, c):
    return nn.Linear(8, 2)

def broken(input_shape, n_classes):
    return nn.Linear("8", 2)
"""
    (tmp_path / "own_networks.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    return "own_networks"


def test_a_factory_of_ones_own(own: str) -> None:
    assert build(f"{own}:net", (8,), 3)(torch.zeros(2, 8)).shape == (2, 3)
    assert build(f"{own}:net", (8,), 3, width=9)[0].out_features == 9  # type: ignore[index]
    same = [build(f"{own}:net", (8,), 3, seed=1)[0].weight for _ in range(2)]  # type: ignore[index]
    assert torch.equal(*same)
    assert build(f"{own}:fixed", (8,), 2)(torch.zeros(2, 8)).shape == (2, 2)
    assert callable(factory(f"{own}:net"))


@pytest.mark.parametrize(
    ("attribute", "options", "message"),
    [
        ("word", {}, "made a str; give a torch nn.Module"),
        ("fixed", {"width": 3}, "width"),
        ("net", {"height": 3}, "height"),
        ("greedy", {}, "argument"),
        ("broken", {}, "model 'own_networks:broken': "),
    ],
)
def test_a_factory_that_fails_is_an_input_error(
    own: str, attribute: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(f"{own}:{attribute}", (8,), 2, **options)
    assert "\n" not in str(caught.value)


class Odd(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> object:
        return {"dict": {"logits": x}, "flat": x.sum(1), "wide": F.pad(x, (0, 1))}[self.what]


@pytest.mark.parametrize(
    ("what", "message"), [("dict", "shape dict"), ("flat", r"shape \(2,\)"), ("wide", r"\(2, 4\)")]
)
def test_outputs_of_another_shape_are_refused(what: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"{message} .* 3 classes, so \(2, 3\) is needed"):
        check_outputs(Odd(what), torch.zeros(2, 3), 3)


def test_inputs_of_another_shape_are_refused_and_the_mode_is_kept() -> None:
    model = nn.Sequential(nn.Linear(8, 2), nn.BatchNorm1d(2))
    with pytest.raises(InputError, match=r"does not take inputs of shape \(2, 5\)") as caught:
        check_outputs(model, torch.zeros(2, 5), 2)
    assert "\n" not in str(caught.value)
    assert model.training
    check_outputs(model, torch.ones(2, 8), 2)
    assert model.training
    assert not model[1].running_mean.any()


def test_a_module_that_fails_on_import_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_on_import.py").write_text("import not_there_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="importing broken_on_import failed with ModuleNotFound"):
        factory("broken_on_import:make")
    with pytest.raises(InputError, match="no module 'not_there_at_all"):
        factory("not_there_at_all.models:make")
