"""Accuracy and inequality over cells, by hand."""

import pytest
import torch
from torch import Tensor

from fairsparse.core import InputError, Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.measure.metrics import measure
from fairsparse.fairness.measure.outcomes import Confusion
from fairsparse.fairness.steering.spread import Spread, objective, spread


def predicted(labels: list[int], y: list[int], group: list[int] | None = None) -> Predictions:
    logits = torch.nn.functional.one_hot(torch.tensor(labels), 3).float()
    return Predictions(logits, torch.tensor(y), torch.tensor(group or [0] * len(y)))


def test_three_classes_by_hand() -> None:
    # accuracies 1, 1/2, 0
    now = spread(Cells("class", ("x", "y", "z")), predicted([0, 0, 1, 2, 1, 1], [0, 0, 1, 1, 2, 2]))
    assert now.accuracy == pytest.approx(3 / 6)
    assert now.variance == pytest.approx(1 / 6)
    assert now.range == pytest.approx(1)
    assert now.means.tolist() == [1, 0.5, 0]
    assert now.counts.tolist() == [2, 2, 2]


def test_unknown_groups_count_for_accuracy_alone() -> None:
    cells = Cells("group", ("x", "y", "z"), ("a", "b"))
    now = spread(cells, predicted([0, 0, 0, 0], [0, 0, 1, 2], [0, 1, 1, -1]))
    assert now.accuracy == pytest.approx(0.5)
    assert now.means.tolist() == [1, 0.5]
    assert now.range == pytest.approx(0.5)
    assert now.variance == pytest.approx(1 / 16)


def test_families_are_averaged() -> None:
    cells = Cells("equalized-odds", ("x", "y"), ("a", "b"))
    # x: a 1, b 0; y: a 1, b 1/2
    now = spread(cells, predicted([0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 1]))
    assert now.range == pytest.approx((1 + 0.5) / 2)
    assert now.variance == pytest.approx((1 / 4 + 1 / 16) / 2)


def test_class_spread_is_the_audits_cwv_and_mcd() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(200, 3, generator=generator), torch.arange(200) % 3
    names = ("x", "y", "z")
    zeros = torch.zeros(200, dtype=torch.int64)
    now = spread(Cells("class", names), Predictions(logits, y, zeros))
    report = measure(Confusion.count(logits.argmax(1), y, zeros - 1, names, ()))
    assert now.accuracy == pytest.approx(report.values["accuracy"])
    assert now.variance == pytest.approx(report.values["cwv"], rel=1e-5)
    assert now.range == pytest.approx(report.values["mcd"], rel=1e-5)


def test_empty_cells_are_named() -> None:
    cells = Cells("class-group", ("x", "y", "z"), ("a", "b"))
    with pytest.raises(InputError, match="cells without examples") as error:
        spread(cells, predicted([0, 0, 0, 0], [0, 0, 1, 2], [0, 1, 1, 0]))
    assert "y | a, z | b;" in str(error.value)
    assert "x | " not in str(error.value)
    assert "\n" not in str(error.value)


def point(accuracy: float, variance: float, range_: float) -> Spread:
    empty: Tensor = torch.empty(0)
    return Spread(accuracy, variance, range_, empty, empty)


def test_objective() -> None:
    reference = point(0.8, 0.04, 0.5)
    assert objective(reference, reference) == pytest.approx((2, 1))
    assert objective(point(0.9, 0.01, 0.4), reference) == pytest.approx((0.5 + 0.525, 0.525))
    perfect = point(1.0, 0.0, 0.0)
    assert objective(perfect, perfect) == (0, 0)
    assert objective(point(0.999, 1e-6, 1e-3), perfect) == pytest.approx((2, 1))
