"""Exact counts, nesting, floors and scopes of select."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from fairsparse.core import InputError
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import n_kept, select

SHAPES = {"a": (16, 3, 3, 3), "b": (32, 16, 3, 3), "c": (10, 32)}
SIZES = {name: math.prod(shape) for name, shape in SHAPES.items()}

shapes = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=4)
sparsities = st.floats(0, 0.99)


def normal(seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def counts(masks: MaskSet) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_four_numbers() -> None:
    masks = select({"w": torch.tensor([[0.3, -1.0], [2.0, 0.5]])}, 0.5)
    assert masks["w"].tolist() == [[False, False], [True, True]]


@settings(max_examples=80, deadline=None)
@given(shapes, sparsities, st.sampled_from([0, 1, 3, 10**6]), st.integers(0, 99))
def test_exact_count_also_under_ties(
    dims: list[list[int]], sparsity: float, values: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = {
        f"w{i}": torch.randint(values + 1, shape, generator=generator).float()
        for i, shape in enumerate(dims)
    }
    total = sum(score.numel() for score in scores.values())
    keep = total - round(sparsity * total)
    for scope in ("global", "layerwise", "erk"):
        try:
            masks = select(scores, sparsity, scope=scope)
        except InputError as error:
            assert "would empty layer" in str(error)  # noqa: PT017
        else:
            assert masks.n_kept == keep == n_kept(sparsity, total)
            assert {n: m.shape for n, m in masks.items()} == {n: s.shape for n, s in scores.items()}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.lists(sparsities, min_size=2, max_size=4), st.booleans())
def test_tighter_is_nested_and_within_is_respected(
    seed: int, chosen: list[float], fresh: bool
) -> None:
    within = None
    for i, sparsity in enumerate(sorted(chosen)):
        scores = normal(seed + i * fresh)
        for scope in ("global", "layerwise", "erk"):
            masks = select(scores, sparsity, within=within, scope=scope, floor=0.005)
            assert within is None or masks <= within
            assert masks.n_kept == n_kept(sparsity, sum(SIZES.values()))
        within = masks
    if not fresh:
        loose, tight = (select(scores, f(chosen), floor=0.005) for f in (min, max))
        assert tight <= loose


def test_what_is_kept_scores_at_least_what_is_not() -> None:
    scores = normal(0)
    masks = select(scores, 0.7)
    kept = torch.cat([scores[n][m] for n, m in masks.items()])
    gone = torch.cat([scores[n][~m] for n, m in masks.items()])
    assert kept.min() > gone.max()
    within = select(normal(1), 0.4)
    nested = select(scores, 0.7, within=within)
    kept = torch.cat([scores[n][m] for n, m in nested.items()])
    gone = torch.cat([scores[n][within[n] & ~m] for n, m in nested.items()])
    assert kept.min() > gone.max()


def test_ties_are_kept_by_sorted_name_and_index_whatever_the_order_given() -> None:
    one, two = torch.ones(2, 3), torch.ones(4)
    masks = select({"b": one, "a": two}, 0.5)
    assert masks == select({"a": two, "b": one}, 0.5)
    assert masks["a"].tolist() == [True] * 4
    assert masks["b"].flatten().tolist() == [True] + [False] * 5
    assert list(masks) == ["b", "a"]


@pytest.mark.parametrize(
    ("density", "expected"), [(0.1, (0.256, 0.0519, 0.581)), (0.3, (0.944, 0.191, 1.0))]
)
def test_erk_worked_example(density: float, expected: tuple[float, ...]) -> None:
    kept = counts(select(normal(0), 1 - density, scope="erk"))
    for (name, n), d in zip(kept.items(), expected, strict=True):
        assert n / SIZES[name] == pytest.approx(d, abs=0.5 / SIZES[name] + 6e-4)


def test_erk_by_its_formula() -> None:
    kept = counts(select(normal(0), 0.9, scope="erk"))
    scale = 0.1 * sum(SIZES.values()) / sum(sum(shape) for shape in SHAPES.values())
    for name, shape in SHAPES.items():
        assert abs(kept[name] - scale * sum(shape)) < 1


def test_layerwise_worked_example() -> None:
    # shares of 536.0 kept: 43.2, 460.8, 32.0; the largest remainder takes the one left over
    assert counts(select(normal(0), 0.9, scope="layerwise")) == {"a": 43, "b": 461, "c": 32}


def test_numbers_by_layer() -> None:
    wanted = {"a": 7, "b": 500, "c": 29}
    assert counts(select(normal(0), 0.9, scope=wanted)) == wanted
    with pytest.raises(ValueError, match="counts by layer"):
        select(normal(0), 0.9, scope={**wanted, "c": 30})
    alive = select(normal(0), 0.5, scope={"a": 432, "b": 2000, "c": 32 * 10 + 2680 - 2752})
    with pytest.raises(ValueError, match="counts by layer"):  # more than the 248 alive
        select(normal(0), 0.9, within=alive, scope={"a": 1, "b": 286, "c": 249})


@pytest.mark.parametrize("scope", ["global", "layerwise", "erk"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), floor=st.floats(0.001, 0.09))
def test_floors_hold_and_the_count_stays_exact(scope: str, seed: int, floor: float) -> None:
    scores = {**normal(seed), "thin": torch.full((1, 1, 3, 3), -100.0)}
    masks = select(scores, 0.9, scope=scope, floor=floor)
    assert masks.n_kept == n_kept(0.9, masks.n_total)
    for name, mask in masks.items():
        assert int(mask.sum()) >= math.ceil(floor * mask.numel())
        if not mask.all():
            assert scores[name][mask].min() >= scores[name][~mask].max()


def test_a_floor_takes_only_what_is_alive() -> None:
    within = MaskSet({"a": torch.tensor([True] + [False] * 9), "b": torch.ones(10).bool()})
    masks = select({"a": torch.zeros(10), "b": torch.ones(10)}, 0.8, within=within, floor=0.2)
    assert counts(masks) == {"a": 1, "b": 3}


def test_parity_with_global_unstructured_of_torch() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(64, 10))
    layers = [model[0], model[1], model[3]]
    for layer in layers:
        nn.init.normal_(layer.weight)
    total = sum(layer.weight.numel() for layer in layers)
    scores = {f"{i}.weight": layer.weight.detach().abs() for i, layer in enumerate(layers)}
    for sparsity in (0.123, 0.5, 0.9, 0.95):
        ours = select(scores, sparsity)
        for layer in layers:
            prune.identity(layer, "weight")
        prune.global_unstructured(
            [(layer, "weight") for layer in layers],
            pruning_method=prune.L1Unstructured,
            amount=total - ours.n_kept,
        )
        for i, layer in enumerate(layers):
            assert torch.equal(ours[f"{i}.weight"], layer.weight_mask.bool())
            prune.remove(layer, "weight")
            with torch.no_grad():  # torch writes the zeros into the weight; start afresh
                layer.weight.copy_(scores[f"{i}.weight"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_scores_are_left_as_they_were(dtype: torch.dtype) -> None:
    scores = {name: score.to(dtype) for name, score in normal(0).items()}
    before = {name: score.clone() for name, score in scores.items()}
    select(scores, 0.7, within=select(scores, 0.4), floor=0.05)
    assert all(torch.equal(scores[name], before[name]) for name in scores)


def test_layout_of_the_scores_does_not_matter() -> None:
    scores = normal(0, {"a": (8, 4, 3, 3)})
    strided = {"a": scores["a"].to(memory_format=torch.channels_last)}
    assert select(strided, 0.8) == select(scores, 0.8)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, math.nan])
def test_sparsity_out_of_range(sparsity: float) -> None:
    with pytest.raises(InputError, match=r"allowed in \[0, 1\)"):
        select(normal(0), sparsity)


def test_errors_say_what_to_do() -> None:
    scores = {"a": torch.zeros(4), "b": torch.ones(4)}
    with pytest.raises(InputError, match="would empty layer a"):
        select(scores, 0.5)
    assert counts(select(scores, 0.5, floor=0.1)) == {"a": 1, "b": 3}
    with pytest.raises(InputError, match="lower the sparsity or the floor"):
        select(scores, 0.5, floor=0.75)
    with pytest.raises(InputError, match="pruned weights do not return"):
        select(scores, 0.2, within=select(scores, 0.5, floor=0.1))
    with pytest.raises(InputError, match="unknown scope 'blockwise'"):
        select(scores, 0.5, scope="blockwise")  # type: ignore[arg-type]
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="scores of a are not finite"):
            select({"a": torch.tensor([1.0, bad])}, 0.5)
