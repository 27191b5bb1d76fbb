"""What the cells of every notion of fairness promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import pytest
import torch

from contract.registries import check_settings, promises, registries
from fairsparse import Cells, InputError
from fairsparse.fairness.cells import Notion

NOTIONS = list(registries().get("fairness notion", get_args(Notion)))


class Promise(NamedTuple):
    """Sizes of the families of c classes and g groups, and what a task must have."""

    families: Callable[[int, int], list[int]]
    groups: bool = True
    binary: bool = False


# A notion without an entry fails every test below.
SETTINGS = {
    "class": Promise(lambda c, g: [c], groups=False),
    "group": Promise(lambda c, g: [g]),
    "class-group": Promise(lambda c, g: [c * g]),
    "equalized-odds": Promise(lambda c, g: [g] * c),
    "equal-opportunity": Promise(lambda c, g: [g], binary=True),
    "demographic-parity": Promise(lambda c, g: [g], binary=True),
}


def promise(notion: str) -> Promise:
    return promises("fairness notion", notion, SETTINGS, "test_cells.py")


def cells_of(notion: str, classes: int, groups: int) -> Cells:
    names = [f"c{i}" for i in range(classes)], [f"g{i}" for i in range(groups)]
    return Cells(notion, *map(tuple, names))  # type: ignore[arg-type]


def sizes(notion: str) -> list[tuple[int, int]]:
    return [(2, 2), (2, 5)] if promise(notion).binary else [(2, 2), (4, 3), (3, 5)]


def drawn(classes: int, groups: int, n: int = 300) -> tuple[Any, ...]:
    """Logits, labels and groups, of which some are unknown."""
    generator = torch.Generator().manual_seed(classes * groups)
    return (
        torch.randn(n, classes, generator=generator),
        torch.randint(classes, (n,), generator=generator),
        torch.randint(-1, groups, (n,), generator=generator),
    )


def test_the_table_is_complete() -> None:
    assert NOTIONS
    check_settings("fairness notion", NOTIONS, SETTINGS, "test_cells.py")


@pytest.mark.parametrize("notion", NOTIONS)
def test_names_and_families(notion: str) -> None:
    for classes, groups in sizes(notion):
        cells = cells_of(notion, classes, groups)
        families = promise(notion).families(classes, groups)
        assert len(cells) == len(cells.names) == len(set(cells.names)) == sum(families)
        assert cells.families.shape == (len(cells),)
        assert cells.families.dtype == torch.int64
        assert torch.bincount(cells.families).tolist() == families


@pytest.mark.parametrize("notion", NOTIONS)
def test_the_index_divides_those_who_are_known(notion: str) -> None:
    for classes, groups in sizes(notion):
        cells = cells_of(notion, classes, groups)
        _, y, group = drawn(classes, groups)
        index = cells.index(y, group)
        assert index.dtype == torch.int64
        assert sorted(set(index.tolist()) - {-1}) == list(range(len(cells)))
        unknown = index[group == -1]
        assert bool((unknown == -1).all()) == promise(notion).groups
        # who is in a cell follows from class and group alone, whatever else is in the batch
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
        assert torch.equal(cells.index(y[order], group[order]), index[order])
        assert torch.equal(cells.index(y[:1], group[:1]), index[:1])
        pairs = set(zip(y.tolist(), group.tolist(), strict=True))
        assert len(pairs) == len(set(zip(*(t.tolist() for t in (y, group, index)), strict=True)))
        # a name says whose cell it is
        for k, c, g in zip(index.tolist(), y.tolist(), group.tolist(), strict=True):
            if k >= 0:
                assert set(cells.names[k].split(" | ")) <= {f"c{c}", f"g{g}"}


@pytest.mark.parametrize("notion", NOTIONS)
def test_the_statistic_and_its_surrogate(notion: str) -> None:
    for classes, groups in sizes(notion):
        cells = cells_of(notion, classes, groups)
        logits, y, _ = drawn(classes, groups)
        logits.requires_grad_()
        soft, hard = cells.soft(logits, y), cells.hard(logits, y)
        for values in (soft.detach(), hard):
            assert values.shape == y.shape
            assert 0 <= float(values.min()) <= float(values.max()) <= 1
        assert set(hard.tolist()) == {0.0, 1.0}
        # where the network is certain, the surrogate is the statistic
        assert torch.equal(cells.soft(1e4 * logits, y).round(), hard)
        soft.sum().backward()
        assert logits.grad is not None
        assert bool(logits.grad.isfinite().all())
        assert bool((logits.grad.abs().sum(1) > 0).all())
        assert torch.equal(cells.soft(logits[:1], y[:1]), soft[:1])
        margin = cells.margin(logits, y)
        assert torch.equal(margin.sort().indices, soft.sort().indices)


@pytest.mark.parametrize("notion", NOTIONS)
def test_means_are_those_of_each_cell(notion: str) -> None:
    for classes, groups in sizes(notion):
        cells = cells_of(notion, classes, groups)
        logits, y, group = drawn(classes, groups)
        values, index = cells.soft(logits, y).double(), cells.index(y, group)
        index[index == len(cells) - 1] = -1  # so that a cell is empty
        means = cells.means(values, index)
        assert means.shape == (len(cells),)
        assert means.isnan().tolist() == [False] * (len(cells) - 1) + [True]
        for k in range(len(cells) - 1):
            assert float(means[k]) == pytest.approx(float(values[index == k].mean()))


@pytest.mark.parametrize("notion", NOTIONS)
def test_tasks_that_it_does_not_fit_are_refused(notion: str) -> None:
    told = promise(notion)
    if told.groups:
        for groups in (0, 1):
            with pytest.raises(InputError, match=f"'{notion}' compares groups") as caught:
                cells_of(notion, 2, groups)
            assert "\n" not in str(caught.value)
    else:
        assert len(cells_of(notion, 2, 0)) == 2
    if told.binary:
        with pytest.raises(InputError, match=f"'{notion}' needs 2 classes, the task has 3"):
            cells_of(notion, 3, 2)
