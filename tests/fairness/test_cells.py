"""Every notion of cells on a few people by hand."""

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.notions import NOTIONS

CLASSES, GROUPS = ("no", "yes"), ("a", "b", "c")
Y = torch.tensor([0, 1, 1, 0, 1])
GROUP = torch.tensor([0, 1, 2, -1, -1])
LOGITS = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0]])

PAIRS = ("no | a", "no | b", "no | c", "yes | a", "yes | b", "yes | c")
EXPECTED = {
    "class": (CLASSES, [0, 0], [0, 1, 1, 0, 1]),
    "group": (GROUPS, [0, 0, 0], [0, 1, 2, -1, -1]),
    "class-group": (PAIRS, [0] * 6, [0, 4, 5, -1, -1]),
    "equalized-odds": (PAIRS, [0, 0, 0, 1, 1, 1], [0, 4, 5, -1, -1]),
    "equal-opportunity": (GROUPS, [0, 0, 0], [-1, 1, 2, -1, -1]),
    "demographic-parity": (GROUPS, [0, 0, 0], [0, 1, 2, -1, -1]),
}


def test_every_notion_is_tested() -> None:
    assert set(EXPECTED) == set(NOTIONS)


@pytest.mark.parametrize("notion", EXPECTED)
def test_names_families_and_index(notion: str) -> None:
    cells = Cells(notion, CLASSES, GROUPS)
    names, families, index = EXPECTED[notion]
    assert cells.names == names
    assert len(cells) == len(names)
    assert cells.families.tolist() == families
    assert cells.index(Y, GROUP).tolist() == index


@pytest.mark.parametrize("notion", EXPECTED)
def test_statistics(notion: str) -> None:
    cells = Cells(notion, CLASSES, GROUPS)
    p_yes = torch.tensor([-2.0, -2.0, 1.0, 3.0, -1.0]).sigmoid()
    if notion == "demographic-parity":
        soft, hard = p_yes, [0, 0, 1, 1, 0]
    else:
        soft, hard = torch.where(Y == 1, p_yes, 1 - p_yes), [1, 0, 1, 0, 0]
    torch.testing.assert_close(cells.soft(LOGITS, Y), soft)
    assert cells.hard(LOGITS, Y).tolist() == hard


def test_soft_keeps_double_and_widens_half() -> None:
    cells = Cells("class", CLASSES)
    assert cells.soft(LOGITS.double(), Y).dtype == torch.float64
    for narrow in (torch.float16, torch.bfloat16):
        assert cells.soft(LOGITS.to(narrow), Y).dtype == torch.float32
    # beyond float32's spacing below 1
    sure = torch.tensor([[0.0, 25.0]], dtype=torch.float64)
    assert 0 < 1 - float(cells.soft(sure, torch.tensor([1]))) < 1e-10


def test_means_invent_nothing_for_an_empty_cell() -> None:
    cells = Cells("group", CLASSES, GROUPS)
    values = torch.tensor([1.0, 0.0, 0.5, 9.0, 0.25])
    index = torch.tensor([0, 0, 2, -1, 2])
    total, n = cells.sums(values, index)
    assert total.tolist() == [1.0, 0.0, 0.75]
    assert n.tolist() == [2, 0, 2]
    means = cells.means(values, index)
    assert means[[0, 2]].tolist() == [0.5, 0.375]
    assert bool(means[1].isnan())


def test_errors() -> None:
    with pytest.raises(InputError, match="did you mean 'equalized-odds'"):
        Cells("equalised-odds", CLASSES, GROUPS)
    for groups in ((), ("all",)):
        with pytest.raises(InputError, match="name a sensitive attribute or use 'class'"):
            Cells("group", CLASSES, groups)
    for notion in ("equal-opportunity", "demographic-parity"):
        with pytest.raises(InputError, match="needs 2 classes, the task has 3"):
            Cells(notion, ("x", "y", "z"), GROUPS)


@pytest.mark.parametrize("notion", EXPECTED)
def test_the_margin_is_the_log_odds_of_the_soft_statistic(notion: str) -> None:
    cells = Cells(notion, CLASSES, GROUPS)
    assert torch.allclose(cells.margin(LOGITS, Y).sigmoid(), cells.soft(LOGITS, Y))
    one = LOGITS[:, 1] - LOGITS[:, 0]
    sign = 1 if notion == "demographic-parity" else 2 * Y - 1
    assert torch.allclose(cells.margin(LOGITS, Y), sign * one)


def test_the_margin_of_many_classes_stays_finite() -> None:
    cells = Cells("class", ("a", "b", "c"))
    z = torch.tensor([[90.0, -90.0, 0.0], [1.0, 2.0, 3.0]], requires_grad=True)
    margin = cells.margin(z, torch.tensor([1, 2]))
    assert torch.allclose(margin, torch.tensor([-180.0, 3 - 2.31326169]))
    margin.sum().backward()
    assert z.grad is not None
    assert torch.allclose(z.grad.sum(1), torch.zeros(2), atol=1e-6)
    assert bool(z.grad.isfinite().all())
