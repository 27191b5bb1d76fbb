"""What every registered metric promises, of one model and of what pruning changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from contract.registries import check_settings, promises, registries
from fairsparse import Confusion, compare, measure

METRICS, DEGRADATIONS = (registries()[kind] for kind in ("metric", "degradation metric"))


@dataclass(frozen=True)
class Promise:
    """What a number is of and where it lies.

    `cells` are those without whose examples it is undefined: ``all`` together, each ``class``, each
    ``group``, each ``pair`` of both, or the pairs of each compared ``outcome``, which of two
    classes is the second alone. `least` is how many examples each of them needs. `best` is its
    value for a perfect model, or for one that changed nothing. `always` tells metrics that exist
    without groups too, where classes stand in.
    """

    cells: str
    best: float
    low: float
    high: float
    always: bool = False
    least: int = 1


# A metric without an entry fails every test below: say what it promises.
SETTINGS = {
    "accuracy": Promise("all", 1, 0, 1, always=True),
    "accuracy_gap": Promise("group", 0, 0, 1),
    "average_odds": Promise("pair", 0, 0, 1),
    # of K rates in [0, 1] the variance is at most 1/4
    "cwv": Promise("class", 0, 0, 0.25, always=True),
    "cwv_corrected": Promise("class", 0, -0.25, 0.25, always=True, least=2),
    "demographic_parity": Promise("group", 0, 0, 1),
    "equal_opportunity": Promise("outcome", 0, 0, 1),
    "equalized_odds": Promise("pair", 0, 0, 1),
    "mcd": Promise("class", 0, 0, 1, always=True),
    "worst_cell_accuracy": Promise("pair", 1, 0, 1, always=True),
    "worst_class_accuracy": Promise("class", 1, 0, 1, always=True),
    "worst_group_accuracy": Promise("group", 1, 0, 1),
}
CHANGES = {
    "cev": Promise("class", 0, 0, np.inf, always=True),
    "class_degradation_range": Promise("class", 0, 0, 2, always=True),
    "max_cell_drop": Promise("pair", 0, -1, 1, always=True),
    "max_excess_drop": Promise("group", 0, -2, 2, always=True),
    "performance_degradation_fairness": Promise("group", 0, 0, 2),
    "sde": Promise("class", 0, 0, np.inf, always=True),
}
BOTH = [*(("metric", name) for name in METRICS), *(("change", name) for name in DEGRADATIONS)]


def promise(kind: str, name: str) -> Promise:
    if kind == "metric":
        return promises(kind, name, SETTINGS, "test_metrics.py")
    return promises("degradation metric", name, CHANGES, "test_metrics.py")


def values(tables: np.ndarray, known: int, name: str, candidates: np.ndarray) -> np.ndarray:
    """A metric of confusion tables (..., G', C, C), or what it says of candidates beside them."""
    counts = type(Confusion(tables, ("x", "y")).counts)
    one, other = (counts.of(t, known) for t in (tables, candidates))
    if name in METRICS:
        return np.asarray(METRICS[name].function(one))
    return np.asarray(DEGRADATIONS[name].function(one, other))


def drawn(rng: np.random.Generator, classes: int, groups: int, *lead: int) -> np.ndarray:
    """Tables in which every pair of group and class has at least two examples."""
    tables = rng.integers(0, 6, (*lead, groups, classes, classes))
    index = np.arange(classes)
    tables[..., index, index] += 2
    return tables


def test_the_tables_are_complete() -> None:
    check_settings("metric", METRICS, SETTINGS, "test_metrics.py")
    check_settings("degradation metric", DEGRADATIONS, CHANGES, "test_metrics.py")


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_a_number_lies_in_its_range(kind: str, name: str) -> None:
    told = promise(kind, name)
    rng = np.random.default_rng(0)
    for classes, groups in ((2, 2), (3, 2), (4, 3)):
        tables, others = (drawn(rng, classes, groups, 200) for _ in range(2))
        found = values(tables, groups, name, others)
        assert found.shape == (200,)
        assert (found >= told.low - 1e-12).all()
        assert (found <= told.high + 1e-12).all()
        assert len(np.unique(found)) > 10


def test_which_exist_without_groups() -> None:
    rng, classes = np.random.default_rng(0), ("r", "s", "t")
    table, whole = drawn(rng, 3, 2), drawn(rng, 3, 1)
    for one in (Confusion(table, classes, ("a", "b")), Confusion(whole, classes)):
        report = measure(one)
        grouped = bool(one.group_names)
        assert set(report.values) == {n for n in METRICS if grouped or SETTINGS[n].always}
        assert np.isfinite(list(report.values.values())).all()
        y, predicted = (np.arange(9) // 3, np.arange(9) % 3)
        group = np.arange(9) % 2 if grouped else np.full(9, -1)
        found = compare(y, predicted, y, group, classes, one.group_names, resamples=1)
        assert set(found.degradation) == {n for n in DEGRADATIONS if grouped or CHANGES[n].always}


@pytest.mark.parametrize(("kind", "name"), BOTH)
@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (3, 4)])
def test_a_perfect_or_unchanged_model(kind: str, name: str, classes: int, groups: int) -> None:
    told = promise(kind, name)
    # base rates are alike in all groups, which demographic parity asks for
    right = np.stack([np.diag(np.arange(2, 2 + classes)) * (g + 1) for g in range(groups)])
    mixed = drawn(np.random.default_rng(1), classes, groups)
    for table in [right] if kind == "metric" else [right, mixed]:
        assert values(table, groups, name, table) == pytest.approx(told.best)
    # every class loses another share of its examples, and in the last group twice of it
    wrong = 60 * right
    for k in range(classes):
        lost = 5 * (k + 1) * (1 + (np.arange(groups) == groups - 1)) * (np.arange(groups) + 1)
        wrong[:, k, k] -= lost
        wrong[:, k, (k + 1) % classes] += lost
    worse = float(values(60 * right if kind == "change" else wrong, groups, name, wrong))
    assert worse != pytest.approx(told.best)
    item = (METRICS if kind == "metric" else DEGRADATIONS)[name]
    assert (worse < told.best) == (item.better == "higher")


def needed(cells: str, classes: int, groups: int) -> list[np.ndarray]:
    """Each set of cells, (G, C), that must hold examples together."""
    single = np.eye(groups * classes, dtype=bool).reshape(-1, groups, classes)
    by_class = np.arange(classes)
    match cells:
        case "all":
            return [np.ones((groups, classes), dtype=bool)]
        case "class":
            return [np.tile(by_class == k, (groups, 1)) for k in by_class]
        case "group":
            return [np.tile(np.arange(groups)[:, None] == g, classes) for g in range(groups)]
        case "outcome" if classes == 2:
            return [one for one in single if one[:, 1].any()]
    return list(single)


@pytest.mark.parametrize(("kind", "name"), BOTH)
@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (2, 3), (3, 3)])
def test_without_examples_there_is_no_number(
    kind: str, name: str, classes: int, groups: int
) -> None:
    told = promise(kind, name)
    rng = np.random.default_rng(2)
    before, after = drawn(rng, classes, groups), drawn(rng, classes, groups)
    sets = needed(told.cells, classes, groups)
    assert np.isfinite(values(before, groups, name, after))
    for cells in sets:
        for n in range(told.least):
            was, now = before.copy(), after.copy()
            for table in (was, now):
                table[cells] = 0
                table[(*np.argwhere(cells)[0], 0)] = n
            assert np.isnan(values(was, groups, name, now)), cells
    for g, k in np.ndindex(groups, classes):
        was, now = before.copy(), after.copy()
        was[g, k] = now[g, k] = 0
        alone = any(cells[g, k] and cells.sum() == 1 for cells in sets)
        assert np.isnan(values(was, groups, name, now)) == alone


CODED = st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.integers(-1, 2)), min_size=2, max_size=40)


@given(CODED, st.randoms(use_true_random=False))
@examples(max_examples=60, deadline=None)
def test_order_shards_and_names_do_not_matter(people: list[tuple[int, ...]], random: Any) -> None:
    def tables(rows: list[tuple[int, ...]]) -> list[Confusion]:
        y, reference, candidate, group = np.array(rows).T
        return [Confusion.count(p, y, group, "rst", "abc") for p in (reference, candidate)]

    def all_values(reference: Confusion, candidate: Confusion) -> dict[str, float]:
        names = [name for _, name in BOTH]
        return {n: float(values(reference.table, 3, n, candidate.table)) for n in names}

    expected = all_values(*tables(people))
    shuffled = tables(random.sample(people, len(people)))
    np.testing.assert_equal(all_values(*shuffled), expected)
    cut = random.randrange(1, len(people))
    parts = zip(tables(people[:cut]), tables(people[cut:]), strict=True)
    np.testing.assert_equal(all_values(*(a + b for a, b in parts)), expected)
    turn, swap = {0: 1, 1: 2, 2: 0}, {-1: -1, 0: 2, 1: 1, 2: 0}
    renamed = tables([(turn[y], turn[p], turn[q], swap[g]) for y, p, q, g in people])
    for name, value in all_values(*renamed).items():
        assert value == pytest.approx(expected[name], nan_ok=True), name


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_leading_axes_are_carried_along(kind: str, name: str) -> None:
    rng = np.random.default_rng(3)
    one, other = (rng.integers(0, 3, (5, 4, 3, 3, 3)) for _ in range(2))
    stacked = values(one, 2, name, other)
    assert stacked.shape == (5, 4)
    for at in np.ndindex(5, 4):
        np.testing.assert_array_equal(stacked[at], values(one[at], 2, name, other[at]))


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_the_unknown_group_is_compared_with_none(kind: str, name: str) -> None:
    told = promise(kind, name)
    rng = np.random.default_rng(4)
    before, after = drawn(rng, 3, 3), drawn(rng, 3, 3)
    known = values(before[:2], 2, name, after[:2])
    more = values(before, 2, name, after)
    # the overall drop, which an excess is beyond, is everyone's
    everyone = told.cells in ("all", "class") or name == "max_excess_drop"
    assert (more == known) != everyone
