"""Collapse is told before training: emptied layers and cut paths, and nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fairsparse.core import InputError
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import select
from fairsparse.masks.structure.paths import check_paths
from fairsparse.training import Loop, state_of
from helpers import SHAPES, equal, network, tiny, trainer_for


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def masks_of(**masks: Any) -> dict[str, Tensor]:
    return {f"{name.lstrip('l')}.weight": torch.tensor(m) > 0 for name, m in masks.items()}


def test_two_layers_by_hand() -> None:
    model, x = mlp(2, 2, 1), torch.zeros(1, 2)
    # inputs reach unit 0 alone; the output reads unit 1, and then unit 0
    cut = masks_of(l0=[[1, 1], [0, 0]], l2=[[0, 1]])
    with pytest.raises(InputError, match=r"keep 3 of 6 weights, and no path of them leads"):
        check_paths(model, cut, x)
    check_paths(model, masks_of(l0=[[1, 1], [0, 0]], l2=[[1, 0]]), x)
    with pytest.raises(InputError, match=r"keep 0 of 2 weights of layer 2\.weight"):
        check_paths(model, masks_of(l0=[[1, 1], [1, 1]], l2=[[0, 0]]), x)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.6))
def test_a_path_is_what_the_product_of_the_masks_says(seed: int, density: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = mlp(4, 5, 5, 3)
    masks = {
        name: torch.rand(p.shape, generator=generator) < density
        for name, p in model.named_parameters()
        if name.endswith("weight")
    }
    product = torch.eye(4)
    for mask in masks.values():
        product = mask.float() @ product
    alive = bool(product.any())
    try:
        check_paths(model, masks, torch.randn(2, 4))
        told = False
    except InputError:
        told = True
    assert told is not alive


def test_signs_biases_and_sizes_of_weights_do_not_matter() -> None:
    model = mlp(3, 3, 2)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(-p.abs())
    masks = masks_of(l0=[[1, 0, 0], [0, 0, 0], [0, 0, 0]], l2=[[1, 0, 0], [0, 0, 0]])
    check_paths(model, masks, torch.zeros(1, 3))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(1.0 if "bias" in name else 0.0)
    cut = masks_of(l0=[[1, 0, 0], [0, 0, 0], [0, 0, 0]], l2=[[0, 1, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="no path"):  # though the biases say something
        check_paths(model, cut, torch.zeros(1, 3))


def test_depth_neither_overflows_nor_vanishes() -> None:
    wide, narrow = mlp(*[64] * 60), mlp(*[64] * 60)
    x = torch.zeros(1, 64)
    whole = {n: torch.ones_like(p, dtype=torch.bool) for n, p in wide.named_parameters()}
    whole = {n: m for n, m in whole.items() if n.endswith("weight")}
    check_paths(wide, whole, x)
    one = {name: torch.zeros_like(mask) for name, mask in whole.items()}
    for mask in one.values():
        mask[7, 7] = True
    check_paths(narrow, one, x)
    one["60.weight"] = one["60.weight"].roll(1, 0)
    with pytest.raises(InputError, match="no path"):
        check_paths(narrow, one, x)


def test_a_shortcut_is_a_path() -> None:
    model, x = network("residual"), torch.zeros(1, 1, 8, 8)
    masks = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in prunable(model).items()}
    masks["one.weight"][0], masks["two.weight"][:, 1] = True, True  # cut within the block
    check_paths(model, masks, x)
    stem = torch.zeros_like(model.get_parameter("stem.weight"), dtype=torch.bool)
    with pytest.raises(InputError, match=r"0 of 54 weights of layer stem\.weight"):
        check_paths(model, {**masks, "stem.weight": stem}, x)


class Normed(nn.Module):
    """Tokens, and norms that turn ones into zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 6)
        self.norm = nn.LayerNorm(6)
        self.hidden = nn.Linear(6, 6)
        self.group = nn.GroupNorm(1, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.group(self.hidden(self.norm(self.words(x).mean(1))).relu())
        return self.head(hidden)


def test_norms_embeddings_and_whole_numbers_raise_no_false_alarm() -> None:
    model, x = Normed(), torch.tensor([[0, 3, 1]])
    check_paths(model, {"hidden.weight": torch.eye(6) > 0}, x)
    cut = {"hidden.weight": torch.eye(6) > 0, "head.weight": torch.zeros(2, 6) > 0}
    cut["hidden.weight"][0, 0], cut["head.weight"][:, 0] = False, True
    with pytest.raises(InputError, match="no path"):
        check_paths(model, cut, x)


def test_a_network_that_cannot_be_followed_is_not_accused() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x - x.mean(1, keepdim=True)))

    check_paths(Centred(), {"layer.weight": torch.eye(4) > 0}, torch.randn(2, 4))


def test_what_another_kind_of_module_passes_on_counts_whatever_its_sign() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.memory(x)[0][:, -1])

    model, x = Recurrent(), torch.ones(1, 2, 3)
    with torch.no_grad():
        for p in model.memory.parameters():
            p.fill_(-0.5)
        assert bool((model.memory(x)[0] < 0).all())
    for unit in range(4):
        check_paths(model, {"head.weight": torch.eye(4)[unit].expand(2, 4) > 0}, x)


def test_the_network_and_its_modes_are_left_alone() -> None:
    model = network("conv").train()
    model[1].eval()
    before, modes = state_of(model), [m.training for m in model.modules()]
    check_paths(model, MaskSet.dense(prunable(model)), torch.zeros(1, 1, 8, 8))
    assert equal(state_of(model), before)
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("scope", ["global", "layerwise", "erk"])
def test_every_scope_without_a_floor_tells_of_an_emptied_layer(scope: Any) -> None:
    scores = {"a": torch.rand(40, 40) + 1, "b": torch.rand(2, 3)}
    with pytest.raises(InputError, match="would empty layer b"):
        select(scores, 1 - 1 / 1606, scope=scope)


@pytest.mark.parametrize("scope", ["global", "layerwise", "erk"])
def test_a_loop_tells_of_a_cut_before_its_first_step(scope: Any) -> None:
    data = tiny(SHAPES["mlp"])
    model, trainer = network("mlp"), trainer_for(data)
    # the highest scores of the layers do not meet: rows 0 and 1 below, columns from 2 on above
    weights = prunable(model)
    scores = {name: torch.rand(w.shape) * 1e-3 for name, w in weights.items()}
    scores["0.weight"][:2] += 1
    scores["2.weight"][:, 2:] += 1
    counts = {"0.weight": 8, "2.weight": 8}
    masks = select(scores, 1 - 16 / 576, scope=counts if scope == "global" else scope)
    with pytest.raises(InputError, match=r"^cut: the masks keep 16 of 576 weights, and no path"):
        Loop(trainer, model, data.train, stage="cut", masks=masks)
    loop = Loop(trainer, model, data.train, stage="later")
    with pytest.raises(InputError, match=r"^later: the masks"):
        loop.masks = masks
    assert trainer.steps == 0
