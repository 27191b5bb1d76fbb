"""Picking by shares: against a plain greedy, closed forms, and what must hold for any numbers."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairsparse.masks.grouping import top
from fairsparse.masks.maskset import MaskSet
from fairsparse.methods.fairgrape.shares import Order, balanced, pick, shift

ORDERS = get_args(Order)


@st.composite
def layers(draw: st.DrawFn) -> tuple[list[list[int]], int]:
    """Small whole numbers, so that sums are exact and ties are frequent; and how many to keep."""
    parties, n = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    row = st.lists(st.sampled_from([0, 0, 1, 2, 3, 8]), min_size=n, max_size=n)
    rows = draw(st.lists(row, min_size=parties, max_size=parties))
    return rows, draw(st.integers(0, n))


def greedy(rows: list[list[int]], keep: int, order: str, block: int) -> list[int]:
    """The rule as its description has it, one weight after the other, by scanning lists."""
    everything = sum(map(sum, rows))
    kept: list[int] = []

    def worth(party: int, i: int) -> float:
        share = rows[party][i] / sum(row[i] for row in rows)
        return {"importance": rows[party][i], "share": share, "product": rows[party][i] * share}[
            order
        ]

    def left(party: int) -> list[int]:
        return [i for i, value in enumerate(rows[party]) if value > 0 and i not in kept]

    while len(kept) < keep and any(left(party) for party in range(len(rows))):
        total = sum(row[i] for row in rows for i in kept)
        lag = {
            party: (sum(row[i] for i in kept) / total if total else 0.0) - sum(row) / everything
            for party, row in enumerate(rows)
            if left(party)
        }
        party = min(lag, key=lambda p: (lag[p], p))
        for _ in range(block):
            if len(kept) < keep and left(party):
                kept.append(min(left(party), key=lambda i: (-worth(party, i), i)))
    rest = [i for i in range(len(rows[0])) if i not in kept]
    return sorted(kept + rest[: keep - len(kept)])


@given(layers(), st.sampled_from(ORDERS), st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_against_a_plain_greedy(layer: tuple[list[list[int]], int], order: Order, b: int) -> None:
    rows, keep = layer
    kept = pick(torch.tensor(rows, dtype=torch.float32), keep, order, b)
    assert kept.nonzero()[:, 0].tolist() == greedy(rows, keep, order, b)


@pytest.mark.parametrize("order", ORDERS)
def test_against_a_plain_greedy_where_most_of_a_window_is_kept(order: Order) -> None:
    """Longer than a window; one party's best weights are mostly those another has kept."""
    generator = torch.Generator().manual_seed(3)
    one = torch.randint(1, 500, (400,), generator=generator)
    rows = torch.stack([one, one // 4, torch.randint(0, 9, (400,), generator=generator)])
    for keep, block in ((380, 3), (350, 40)):
        kept = pick(rows.float(), keep, order, block)
        assert kept.nonzero()[:, 0].tolist() == greedy(rows.tolist(), keep, order, block)


def test_by_hand() -> None:
    """Targets 2/3 and 1/3. Party 0 takes weight 0 and lags no more: party 1 takes weight 3."""
    rows = torch.tensor([[5.0, 4.0, 1.0, 0.0], [0.0, 0.0, 2.0, 3.0]])
    assert pick(rows, 1).tolist() == [True, False, False, False]
    assert pick(rows, 2).tolist() == [True, False, False, True]
    # shares are now 5/8 and 3/8: party 0 is short
    assert pick(rows, 3).tolist() == [True, True, False, True]
    # a block of two is taken before anyone else's turn
    assert pick(rows, 2, block=2).tolist() == [True, True, False, False]


def test_the_orders_by_hand() -> None:
    """Party 0 comes first. Shares of its weights are 10/20, 4/4, 7/8, products 5, 4, 6.125."""
    rows = torch.tensor([[10.0, 4.0, 7.0], [10.0, 0.0, 1.0]])
    firsts = {order: int(pick(rows, 1, order).nonzero()) for order in ORDERS}
    assert firsts == {"importance": 0, "share": 1, "product": 2}


@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize("seed", range(4))
def test_disjoint_parties_keep_their_shares_within_one_weight(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(100, generator=generator).square()
    rows = torch.zeros(2, 100)
    first = torch.randperm(100, generator=generator)[:40]
    rows[0, first] = values[first]
    rows[1] = scale * (values - rows[0])
    target = rows.sum(1) / rows.sum()
    for keep in (10, 30, 50):
        kept = pick(rows, keep)
        assert int(kept.sum()) == keep
        for row in rows:  # nobody has run out of weights
            assert int(((row > 0) & ~kept).sum()) > 0
        total = rows[:, kept].sum()
        error = (rows[:, kept].sum(1) / total - target).abs().max()
        assert float(error) <= float(rows[:, kept].max() / total) + 1e-6


def test_the_top_of_the_sum_would_not_keep_the_shares() -> None:
    """What the rule is for: party 1 is a hundred times smaller, and a ranking drops it whole."""
    rows = torch.zeros(2, 40)
    rows[0, :20], rows[1, 20:] = torch.arange(20.0) + 100, (torch.arange(20.0) + 100) / 100
    assert not bool(top(rows.sum(0), 20)[20:].any())
    kept = pick(rows, 20)
    before, after = rows.sum(1) / rows.sum(), rows[:, kept].sum(1) / rows[:, kept].sum()
    assert bool(kept[20:].any())
    assert float((before - after).abs().max()) <= 120 / float(rows[:, kept].sum())


@given(layers(), st.sampled_from(ORDERS), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_a_party_without_importance_changes_nothing(
    layer: tuple[list[list[int]], int], order: Order, block: int
) -> None:
    rows, keep = torch.tensor(layer[0], dtype=torch.float32), layer[1]
    nobody = torch.zeros_like(rows[:1])
    alone = pick(rows, keep, order, block)
    for more in (torch.cat([nobody, rows]), torch.cat([rows, nobody])):
        assert torch.equal(pick(more, keep, order, block), alone)


@given(layers(), st.sampled_from(ORDERS[::2]), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_one_party_gets_its_top_weights(
    layer: tuple[list[list[int]], int], order: Order, block: int
) -> None:
    own, keep = torch.tensor(layer[0][:1], dtype=torch.float32), layer[1]
    assert torch.equal(pick(own, keep, order, block), top(own[0], keep))


def made(seed: int = 0) -> tuple[dict[str, Tensor], MaskSet]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 4, 3, 3), "b": (60, 50)}
    importance = {n: torch.rand((3, *s), generator=generator) for n, s in shapes.items()}
    alive = MaskSet({n: torch.rand(s, generator=generator) < 0.7 for n, s in shapes.items()})
    return importance, alive


def test_layers_keep_exactly_what_is_asked_of_those_alive() -> None:
    importance, alive = made()
    keep = {"a": 18, "b": 1235}
    masks = balanced(importance, keep, alive)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == keep
    assert masks <= alive
    # the 3,000 weights of b are picked by threes, those of a one at a time
    for name, block in (("a", 1), ("b", 3)):
        mask = alive[name].flatten()
        expected = torch.zeros_like(mask)
        values = importance[name].flatten(1)[:, mask]
        expected[mask] = pick(values, keep[name], block=block)
        assert torch.equal(masks[name].flatten(), expected)
        assert not torch.equal(pick(values, keep[name], block=4 - block), expected[mask])


def test_what_is_dead_counts_for_nobody() -> None:
    importance, alive = made()
    keep = {"a": 17, "b": 1234}
    masks = balanced(importance, keep, alive, block=4)
    loud = {name: torch.where(alive[name], v, 1e6) for name, v in importance.items()}
    assert balanced(loud, keep, alive, block=4) == masks


def test_shift_by_hand() -> None:
    rows = torch.tensor([[[3.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 2.0]]])
    whole = torch.ones(2, 2, dtype=torch.bool)
    some = torch.tensor([[True, False], [True, False]])
    moved = shift(rows, whole, some)
    assert moved is not None
    torch.testing.assert_close(moved, torch.tensor([0.1, -0.1], dtype=torch.float64))
    assert shift(0 * rows, whole, some) is None
    assert shift(rows, whole, ~whole) is None
