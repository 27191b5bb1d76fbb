"""Deaths and growth on numbers, for any shapes, and gradients against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Batch
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.schedules import cosine
from fairsparse.methods.safecompress.topology import die, gradients, grow, growth_scores
from helpers import SHAPES, equal, network, tiny


def bits(text: str) -> MaskSet:
    return MaskSet({"w": torch.tensor([c == "1" for c in text])})


def values(*numbers: float) -> dict[str, Tensor]:
    return {"w": torch.tensor(numbers)}


def test_the_smallest_living_die_and_the_best_dead_grow() -> None:
    masks = bits("11110000")
    living = die(masks, values(3, 1, 4, 2, 0, 0, 9, 0), 0.5)
    assert living == bits("10100000")
    assert grow(masks, living, values(9, 9, 9, 9, 1, 5, 2, 4)) == bits("10100101")


def test_what_dies_does_not_come_back_at_once() -> None:
    masks = bits("1100")
    living = die(masks, values(1, 2, 0, 0), 0.5)
    assert grow(masks, living, values(99, 0, 2, 1)) == bits("0110")


def test_no_more_die_than_there_are_dead_to_take_their_places() -> None:
    assert die(bits("111110"), values(1, 2, 3, 4, 5, 0), 0.5) == bits("011110")
    assert die(bits("111"), values(1, 2, 3), 0.5) == bits("111")


@pytest.mark.parametrize(("rate", "dying"), [(0, 0), (0.005, 1), (0.1, 3), (0.11, 4), (0.5, 15)])
def test_the_share_is_rounded_up_and_a_rounding_error_is_not(rate: float, dying: int) -> None:
    masks = MaskSet({"w": torch.arange(100) < 30})
    assert die(masks, {"w": torch.rand(100)}, rate).n_kept == 30 - dying


def test_ties_live_and_grow_in_index_order() -> None:
    masks = bits("11110000")
    assert die(masks, values(*[1] * 8), 0.5) == bits("11000000")
    assert grow(masks, bits("11000000"), values(*[1] * 8)) == bits("11001100")


@given(
    st.lists(st.tuples(st.integers(1, 7), st.integers(1, 9)), min_size=1, max_size=4),
    st.floats(0, 1),
    st.integers(0, 2**30),
)
def test_counts_are_exact_in_every_layer(
    shapes: list[tuple[int, int]], rate: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def noise() -> dict[str, Tensor]:
        # few values, so that there are ties
        return {
            str(i): torch.randint(4, shape, generator=generator).float()
            for i, shape in enumerate(shapes)
        }

    masks = MaskSet({name: scores > 1 for name, scores in noise().items()})
    living = die(masks, noise(), rate)
    after = grow(masks, living, noise())
    assert living <= masks
    assert living <= after
    for name, mask in masks.items():
        kept, n = int(mask.sum()), mask.numel()
        assert int(after[name].sum()) == kept
        died = kept - int(living[name].sum())
        assert died == min(math.ceil(rate * kept - 1e-9), n - kept)
        grown = after[name] & ~living[name]
        assert not (grown & mask).any()


def test_growth_rules_on_numbers() -> None:
    generator = torch.Generator()
    slope = values(0, -3, 1, 0, -0.5)
    largest = growth_scores("gradient-largest", slope, generator)["w"]
    assert largest.argsort(descending=True, stable=True).tolist() == [1, 2, 4, 0, 3]
    smallest = growth_scores("gradient-smallest", slope, generator)["w"]
    assert smallest.argsort(descending=True, stable=True).tolist() == [4, 2, 1, 0, 3]
    assert smallest.isfinite().all()


def test_random_growth_is_uniform_among_weights_with_a_gradient() -> None:
    slope = {"w": torch.tensor([0.0, 0.0, *[1.0] * 8])}
    generator = torch.Generator().manual_seed(0)
    first = torch.stack(
        [growth_scores("random", slope, generator)["w"].argmax() for _ in range(4000)]
    )
    shares = torch.bincount(first, minlength=10) / 4000
    assert shares[:2].tolist() == [0, 0]
    assert shares[2:].tolist() == pytest.approx([0.125] * 8, abs=0.025)


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_gradients_are_those_of_a_masked_copy_and_leave_the_model_alone(kind: str) -> None:
    data = tiny(SHAPES[kind])
    model, copy = network(kind), network(kind)
    weights = prunable(model)
    generator = torch.Generator().manual_seed(0)
    masks = MaskSet({n: torch.rand(w.shape, generator=generator) < 0.4 for n, w in weights.items()})
    batch = Batch(data.train.x[:50], data.train.y[:50], data.train.group[:50])
    before = {name: t.clone() for name, t in model.state_dict().items()}
    found = gradients(model, weights, masks, batch, lambda z, b: F.cross_entropy(z, b.y))
    assert equal(before, model.state_dict())
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    masks.apply_(copy)
    F.cross_entropy(copy.eval()(batch.x), batch.y).backward()
    for name, p in prunable(copy).items():
        assert p.grad is not None
        assert torch.allclose(found[name], p.grad, atol=1e-6)
        assert p.grad[~masks[name]].any()


def test_a_unit_that_is_cut_off_has_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    weights = {"0.weight": model[0].weight, "2.weight": model[2].weight}
    masks = MaskSet({n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()})
    cut = masks["2.weight"].clone()
    cut[:, 1] = False
    masks = MaskSet({**masks, "2.weight": cut})
    batch = Batch(torch.rand(16, 4), torch.arange(16) % 2, torch.full((16,), -1))
    with torch.no_grad():
        model[0].bias.fill_(1.0)
    found = gradients(model, weights, masks, batch, lambda z, b: F.cross_entropy(z, b.y))
    assert not found["0.weight"][1].any()
    assert found["0.weight"][0].any()
    assert found["2.weight"][:, 1].any()


def test_the_death_rate_falls_along_a_cosine() -> None:
    for progress in (0.0, 0.1, 0.5, 0.9, 1.0):
        expected = 0.005 + 0.495 * 0.5 * (1 + math.cos(math.pi * progress))
        assert cosine(progress, 0.5, 0.005) == pytest.approx(expected)
    assert cosine(0.5, 0.5, 0.005) == pytest.approx(0.2525)
    assert cosine(2.0, 0.5, 0.005) == 0.005
    assert cosine(-1.0, 0.5, 0.005) == 0.5
