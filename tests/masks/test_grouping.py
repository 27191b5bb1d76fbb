"""Whole filters and n:m patterns: exact counts, one partial filter, exact blocks, nesting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairsparse.core import InputError
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import n_kept, select

SHAPES = {"a": (16, 4, 3, 3), "b": (32, 16, 3, 3), "c": (12, 32)}


def normal(seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def partial(mask: Tensor, within: Tensor | None = None) -> int:
    """Filters of which some living weights are kept, and some not."""
    rows = mask.view(len(mask), -1)
    alive = torch.ones_like(rows) if within is None else within.view(len(mask), -1)
    return int((rows.any(1) & (rows != alive).any(1)).sum())


def test_filters_by_hand() -> None:
    """Means 2, 1.5, 3 and -1; of 5 weights kept, two filters are whole and one gives its best."""
    scores = torch.tensor([[1.0, 3.0], [2.0, 1.0], [3.0, 3.0], [-3.0, 1.0]])
    masks = select({"w": scores}, 3 / 8, grouping="filter")
    assert masks["w"].tolist() == [[True, True], [True, False], [True, True], [False, False]]


@pytest.mark.parametrize("scope", ["global", "layerwise", "erk"])
def test_a_filter_kept_in_part_gives_its_best_and_no_dead_weight(scope: str) -> None:
    scores = torch.tensor([[4.0, 4.0, 4.0, 4.0], [1.0, 9.0, 3.0, 2.0], [-9.0, -9.0, -9.0, -9.0]])
    masks = select({"w": scores}, 6 / 12, scope=scope, grouping="filter")  # type: ignore[arg-type]
    assert masks["w"].tolist() == [[True] * 4, [False, True, True, False], [False] * 4]
    alive = torch.ones(3, 4, dtype=torch.bool)
    alive[1, 1] = False
    within = MaskSet({"w": alive})
    masks = select({"w": scores}, 6 / 12, within=within, scope=scope, grouping="filter")  # type: ignore[arg-type]
    assert masks["w"].tolist() == [[True] * 4, [False, False, True, True], [False] * 4]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=4),
    st.floats(0, 0.9),
    st.sampled_from([0, 1, 3, 10**6]),
    st.sampled_from(["global", "layerwise", "erk"]),
    st.integers(0, 99),
)
def test_whole_filters_and_an_exact_count(
    dims: list[list[int]], sparsity: float, values: int, scope: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = {
        f"w{i}": torch.randint(values + 1, shape, generator=generator).float()
        for i, shape in enumerate(dims)
    }
    try:
        masks = select(scores, sparsity, scope=scope, grouping="filter")  # type: ignore[arg-type]
    except InputError as error:
        assert "would empty layer" in str(error)  # noqa: PT017
        return
    assert masks.n_kept == n_kept(sparsity, masks.n_total)
    halves = [partial(mask) for mask in masks.values()]
    assert sum(halves) <= 1 if scope == "global" else max(halves) <= 1
    for name, mask in masks.items():
        rows, mean = (t.view(len(t), -1) for t in (mask, scores[name]))
        mean = mean.double().mean(1)
        kept, gone = mean[rows.any(1)], mean[~rows.any(1)]
        assert not len(gone) or kept.min() >= gone.max()


def test_a_filters_score_broadcast_is_its_own() -> None:
    unit = torch.tensor([0.3, 2.0, -1.0, 0.5])
    masks = select({"w": unit[:, None].expand(4, 6)}, 0.5, grouping="filter")
    assert masks["w"].any(1).tolist() == [False, True, False, True]
    assert masks["w"].all(1).tolist() == [False, True, False, True]


def test_tied_filters_stay_whole_in_order() -> None:
    masks = select({"b": torch.ones(4, 3), "a": torch.ones(2, 6)}, 0.25, grouping="filter")
    assert masks["a"].all()
    assert masks["b"].tolist() == [[True] * 3, [True] * 3, [False] * 3, [False] * 3]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 99), st.booleans(), st.sampled_from(["global", "layerwise", "erk"]))
def test_rounds_of_filters_are_nested(seed: int, fresh: bool, scope: str) -> None:
    within = None
    for i, sparsity in enumerate((0.31, 0.555, 0.8)):
        scores = normal(seed + i * fresh)
        masks = select(  # type: ignore[call-overload]
            scores, sparsity, within=within, scope=scope, grouping="filter", floor=0.005
        )
        assert masks.n_kept == n_kept(sparsity, masks.n_total)
        if within is not None:
            assert masks <= within
        halves = [partial(m, None if within is None else within[n]) for n, m in masks.items()]
        assert max(halves) <= 1
        within = masks


def test_a_filter_with_dead_weights_is_worth_the_mean_of_its_living_ones() -> None:
    scores = {"w": torch.tensor([[9.0, 0.0], [5.0, 5.0], [6.0, 6.0]])}
    within = MaskSet({"w": torch.tensor([[True, False], [True, True], [True, True]])})
    assert select(scores, 0.5, within=within, grouping="filter")["w"].tolist() == [
        [True, False],
        [False, False],
        [True, True],
    ]


def test_a_floor_keeps_whole_filters() -> None:
    scores = {**normal(0), "thin": torch.full((3, 10), -100.0)}
    masks = select(scores, 0.7, grouping="filter", floor=0.05)
    assert masks["thin"].sum(1).tolist() == [10, 0, 0]
    assert sum(partial(mask) for mask in masks.values()) <= 1
    assert masks.n_kept == n_kept(0.7, masks.n_total)


def blocks(mask: Tensor, m: int) -> Tensor:
    """(blocks, m): consecutive inputs of one filter at one position of its kernel."""
    return mask.movedim(1, -1).reshape(-1, m)


@pytest.mark.parametrize(("grouping", "sparsity"), [("2:4", 0.5), ("1:4", 0.75), ("3:4", 0.25)])
def test_patterns_hold_everywhere(grouping: str, sparsity: float) -> None:
    n, m = map(int, grouping.split(":"))
    scores = normal(0)
    masks = select(scores, sparsity, grouping=grouping, floor=0.3, scope="layerwise")
    for name, mask in masks.items():
        found = blocks(mask, m)
        assert bool((found.sum(1) == n).all())
        values = blocks(scores[name], m)
        worst = torch.where(found, values, math.inf).min(1).values
        assert bool((worst >= torch.where(found, -math.inf, values).max(1).values).all())
    assert masks.sparsity == sparsity


def test_a_block_is_of_inputs_not_of_kernel_positions() -> None:
    scores = torch.zeros(1, 4, 1, 2)
    scores[0, :, 0, 0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    scores[0, :, 0, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    mask = select({"w": scores}, 0.5, grouping="2:4")["w"]
    assert mask[0, :, 0, 0].tolist() == [True, True, False, False]
    assert mask[0, :, 0, 1].tolist() == [False, False, True, True]


def test_tied_blocks_keep_the_first_inputs() -> None:
    mask = select({"w": torch.zeros(1, 8)}, 0.5, grouping="2:4")["w"]
    assert mask.tolist() == [[True, True, False, False] * 2]


def test_the_pattern_names_its_sparsity() -> None:
    with pytest.raises(InputError, match=r"removes 2784 of 5568 weights, so its sparsity is 0\.5;"):
        select(normal(0), 0.9, grouping="2:4")


def test_layers_that_do_not_divide_stay_dense_and_are_named() -> None:
    scores = normal(0, {"stem": (8, 3, 3, 3), "body": (8, 8, 3, 3), "bias": (5,)})
    with pytest.raises(
        InputError,
        match=r"removes 288 of 797 .*\(bias, stem stay: .*divide by 4\).*sparsity is 0\.361;",
    ):
        select(scores, 0.5, grouping="2:4")
    masks = select(scores, 0.361, grouping="2:4")
    assert masks["stem"].all()
    assert masks["bias"].all()
    assert bool((blocks(masks["body"], 4).sum(1) == 2).all())


def test_patterns_within_masks() -> None:
    scores = normal(0)
    loose = select(scores, 0.25, grouping="3:4")
    tight = select(normal(1), 0.5, grouping="2:4", within=loose)
    assert tight <= loose
    assert all(bool((blocks(m, 4).sum(1) == 2).all()) for m in tight.values())
    uneven = select(scores, 0.4)
    with pytest.raises(InputError, match="blocks of 4 inputs with fewer than 2 weights alive"):
        select(scores, 0.5, grouping="2:4", within=uneven)


@pytest.mark.parametrize("grouping", ["filters", "4:2", "2:2", "0:4", "2:4:8", "", "channel"])
def test_unknown_groupings(grouping: str) -> None:
    with pytest.raises(InputError, match="known: weight, filter, and n:m"):
        select(normal(0), 0.5, grouping=grouping)
