"""Exemplars by hand, against another library, and with nothing to find."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fairsparse.auditing.exemplars import exemplars
from fairsparse.core import InputError
from fairsparse.report.exemplars import ExemplarReport, paragraphs


def test_modes_and_distances_by_hand() -> None:
    dense = [["a", "b", "c", "a"], ["a", "b", "c", "b"], ["b", "b", "c", "c"]]
    pruned = [["b", "b", "a", "a"], ["b", "b", "c", "b"]]
    found = exemplars(dense, pruned, ["a", "b", "c", "a"], groups=["x", "y", "x", "y"])
    table = found.examples
    assert table["reference"].tolist() == ["a", "b", "c", "a"]  # the last is a tie of three
    assert table["candidate"].tolist() == ["b", "b", "a", "a"]  # and so are the last two
    assert table["modal"].tolist() == [True, False, True, False]
    assert table["taxicab"].tolist() == pytest.approx(
        [2 / 3 + 2 / 3, 0, 1 / 2 + 1 / 2, 1 / 6 + 1 / 6 + 1 / 3]
    )
    assert found.top(2).index.tolist() == [0, 2]
    x = found.cells.set_index(["attribute", "cell"]).loc[("group", "x")]
    assert (x["n"], x["exemplars"], x["share"]) == (2, 2, 1)
    assert np.isnan(x["ratio"])  # nobody else has any
    assert x["distance"] == pytest.approx((4 / 3 + 1) / 2)
    assert set(found.cells["attribute"]) == {"class", "group"}


def test_where_they_are_more_is_found() -> None:
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 3, 900), rng.choice(["a", "b", "c"], 900)
    hard = rng.random(900) < np.where(group == "c", 0.3, 0.05)
    dense = [np.where(rng.random(900) < 0.1, (y + 1) % 3, y) for _ in range(7)]
    pruned = [np.where(hard & (rng.random(900) < 0.9), (y + 1) % 3, d) for d in dense]
    found = exemplars(dense, pruned, y, groups=pd.DataFrame({"g": group}))
    cells = found.cells.set_index("cell")
    assert cells.loc["c", "p_adjusted"] == found.smallest_p == 1 / 1716
    assert cells.loc["c", "share_low"] > 0.15
    assert (cells.loc[["0", "1", "2"], "p_adjusted"] > 0.05).all()
    modal = found.examples["modal"].to_numpy()
    assert cells.loc["c", "ratio"] == pytest.approx(
        modal[group == "c"].mean() / modal[group != "c"].mean()
    )


def dealt(networks: np.ndarray, k: int, inside: np.ndarray) -> np.ndarray:
    """Distance in a cell less elsewhere, for every way to call k of the networks candidates."""
    result = []
    for chosen in itertools.combinations(range(len(networks)), k):
        own = np.isin(np.arange(len(networks)), chosen)
        shares = [
            np.stack([(networks[kind] == c).mean(0) for c in range(networks.max() + 1)])
            for kind in (own, ~own)
        ]
        distance = abs(shares[0] - shares[1]).sum(0)
        result.append(distance[inside].mean() - distance[~inside].mean())
    return np.array(result[::-1])  # the last k are the candidates


@pytest.mark.parametrize(("sizes", "seed"), [((4, 3), 2), ((3, 4), 0), ((4, 4), 1), ((2, 5), 1)])
def test_p_values_are_shares_of_all_ways_to_deal_the_networks(
    sizes: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    networks = np.where(rng.random((sum(sizes), 120)) < 0.4, rng.integers(1, 4, 120), 0)
    group = np.repeat(list("xyz"), 40)
    chance = np.select([group == "x", group == "y"], [0.5, 0.35], 0)
    flipped = rng.random((sizes[1], 120)) < chance
    networks[sizes[0] :] = np.where(flipped, 3, networks[sizes[0] :])
    y = (rng.random(120) < 0.5).astype(int)
    found = exemplars(networks[: sizes[0]], networks[sizes[0] :], y, groups=group)
    cells = found.cells.set_index("cell")
    insides = [y == 0, y == 1, *(group == g for g in "xyz")]
    ways = np.stack([dealt(networks, sizes[1], inside) for inside in insides])
    z = (ways - ways.mean(1, keepdims=True)) / ways.std(1, keepdims=True)
    at = cells.loc[["0", "1", "x", "y", "z"]]
    alone = [(row >= row[0] - 1e-9).mean() for row in ways]
    largest = [(z.max(0) >= value - 1e-9).mean() for value in z[:, 0]]
    drawn = [fisher(found.examples["modal"].to_numpy(), inside) for inside in insides]
    assert at["p"].to_numpy() == pytest.approx(np.maximum(alone, drawn))
    expected = np.maximum(largest, multipletests(drawn, method="holm")[1])
    assert at["p_adjusted"].to_numpy() == pytest.approx(expected)
    assert 0 < found.smallest_p <= at["p"].min()


def fisher(modal: np.ndarray, inside: np.ndarray) -> float:
    table = pd.crosstab(inside, modal).reindex(index=[True, False], columns=[True, False])
    return float(stats.fisher_exact(table.fillna(0), alternative="greater").pvalue)


def test_a_cell_with_more_affected_examples_by_chance_is_rarely_named() -> None:
    """Networks are of two laws, but who is affected has nothing to do with the groups."""
    rng, named = np.random.default_rng(4), 0
    for _ in range(100):
        affected, group = rng.random(400) < 0.1, rng.choice(["a", "b", "c"], 400)
        y = np.zeros(400, int)
        pruned = [np.where(affected & (rng.random(400) < 0.9), 1, y) for _ in range(5)]
        found = exemplars([y] * 5, pruned, y, groups=group)
        named += bool((found.cells["p_adjusted"] <= 0.05).any())
    assert named <= 11  # as above


def test_a_harder_group_of_networks_of_one_law_is_rarely_named() -> None:
    rng, named = np.random.default_rng(3), 0
    for _ in range(100):
        y, hard = rng.integers(0, 3, 300), rng.random(300) < 0.3
        chance = rng.random(300) * np.where(hard, 0.8, 0.1)
        wrong = rng.random((10, 300)) < chance
        networks = np.where(wrong, (y + rng.integers(1, 3, (10, 300))) % 3, y)
        found = exemplars(networks[:5], networks[5:], y, groups=np.where(hard, "h", "e"))
        named += bool((found.cells["p_adjusted"] <= 0.05).any())
    assert named <= 11  # of 100 at a level of .05, more are there in 1 of 200 cases


def test_networks_that_all_flip_the_same_examples_are_told_from_chance() -> None:
    # most of any 3 + 2 of them say what most of the 5 say: shares of networks tell, modes do not
    y, flipped = np.zeros(60, int), np.arange(60) < 10
    found = exemplars([y] * 5, [np.where(flipped, 1, y)] * 5, y, groups=np.where(flipped, "f", "s"))
    cells = found.cells.set_index("cell")
    assert cells.loc["f", ["p", "p_adjusted"]].tolist() == pytest.approx([1 / 126, 1 / 126])
    assert cells.loc["s", "p"] == 1


@pytest.mark.parametrize(
    ("sizes", "smallest"),
    [((1, 1), 1), ((3, 3), 0.1), ((1, 3), 0.25), ((5, 4), 1 / 126), ((9, 9), 1 / 2001)],
)
def test_few_networks_allow_no_small_p_value(sizes: tuple[int, int], smallest: float) -> None:
    y = np.zeros(8, int)
    found = exemplars([y] * sizes[0], [1 - y] * sizes[1], y, groups=["a"] * 4 + ["b"] * 4)
    assert found.smallest_p == pytest.approx(smallest)
    report = ExemplarReport(found, *sizes, [str(i) for i in range(8)])
    text = " ".join(paragraphs(report)).replace("\N{NO-BREAK SPACE}", " ")
    assert ("too few networks" in text) == (smallest > 0.05)
    assert (f"no p-value can be below {smallest:.3f}" in text) == (smallest > 0.05)


def test_a_cell_without_an_elsewhere_is_not_tested() -> None:
    y = [0] * 9 + [1] * 9
    found = exemplars([y] * 4, [[1] * 18] * 4, y, groups=["a"] * 18)
    p = found.cells.set_index("cell")[["p", "p_adjusted"]]
    assert p.loc["a"].isna().all()
    assert p.loc["0"].tolist() == pytest.approx([1 / 35, 1 / 35])


def test_populations_that_agree_have_none() -> None:
    y = np.arange(30) % 3
    found = exemplars([y, y], [y], y)
    assert not found.examples["modal"].any()
    assert (found.examples["taxicab"] == 0).all()
    assert (found.cells["p"] == 1).all()


@pytest.mark.parametrize(
    ("dense", "pruned", "message"),
    [
        ([], [[0, 1]], "there is no reference"),
        ([[0, 1]], [], "there is no candidate"),
        ([[0, 1]], [[0]], "candidate 0 has 1 predictions and y 2 labels"),
    ],
)
def test_bad_populations_are_refused(dense: list, pruned: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        exemplars(dense, pruned, [0, 1])


def test_networks_may_predict_classes_that_y_does_not_have() -> None:
    table = exemplars([["a", "b"]], [["c", "b"]], ["a", "b"]).examples
    assert table["candidate"].tolist() == ["c", "b"]
    assert table["taxicab"].tolist() == [2.0, 0.0]
