"""Class offsets on predictions whose imbalance is constructed."""

import pytest
import torch

from fairsparse.core import Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.corrections import fit_offsets
from fairsparse.fairness.steering.spread import spread

CELLS = Cells("class", ("x", "y", "z"))


def biased(shift: tuple[float, ...] = (1.5, 0.0, -1.5), scale: float = 1.0) -> Predictions:
    """Noisy evidence for the right class, plus an unearned advantage of some classes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(900) % 3
    logits = torch.randn(900, 3, generator=generator)
    logits[torch.arange(900), y] += 2.0
    logits += torch.tensor(shift)
    return Predictions(scale * logits, y, torch.arange(900) % 2)


def shifted(predictions: Predictions, offsets: torch.Tensor) -> Predictions:
    return predictions._replace(logits=predictions.logits + offsets)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_an_unearned_advantage_is_taken_back(scale: float) -> None:
    predictions = biased(scale=scale)
    offsets = fit_offsets(predictions, CELLS, 2.0)
    before, after = spread(CELLS, predictions), spread(CELLS, shifted(predictions, offsets))
    assert after.variance < 0.05 * before.variance
    assert after.range < 0.25 * before.range
    assert after.accuracy > before.accuracy + 0.05
    torch.testing.assert_close(offsets / scale, torch.tensor([-1.5, 0.0, 1.5]), atol=0.35, rtol=0)


def test_offsets_are_centred_plain_values() -> None:
    predictions = biased(shift=(3.0, 0.0, 0.0))
    offsets = fit_offsets(predictions, CELLS, 1.0)
    assert offsets.shape == (3,)
    assert float(offsets.sum()) == pytest.approx(0, abs=1e-5)
    assert not offsets.requires_grad
    assert torch.equal(offsets, fit_offsets(predictions, CELLS, 1.0))


def test_without_strength_only_accuracy_counts() -> None:
    for predictions in (biased(), biased((0.0, 0.0, 0.0))):
        offsets = fit_offsets(predictions, CELLS, 0.0)
        after = spread(CELLS, shifted(predictions, offsets))
        assert after.accuracy >= spread(CELLS, predictions).accuracy - 0.005


def test_more_strength_is_less_variance() -> None:
    """A class that is harder, not disadvantaged: equality costs accuracy, and strength buys it."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(1200) % 3
    logits = torch.randn(1200, 3, generator=generator)
    logits[torch.arange(1200), y] += torch.tensor([2.5, 2.5, 0.7])[y]
    predictions = Predictions(logits, y, torch.zeros(1200, dtype=torch.int64))
    variances = [
        spread(CELLS, shifted(predictions, fit_offsets(predictions, CELLS, strength))).variance
        for strength in (0.0, 1.0, 20.0)
    ]
    assert variances[0] > variances[1] > variances[2]


def test_groups_and_unknown_groups() -> None:
    """Group b is mostly of the disadvantaged class; examples of unknown group have no cell."""
    predictions = biased()
    group = torch.where(predictions.y == 2, 1, 0)
    group[::10] = -1
    predictions = predictions._replace(group=group)
    cells = Cells("group", ("x", "y", "z"), ("a", "b"))
    offsets = fit_offsets(predictions, cells, 5.0)
    after = spread(cells, shifted(predictions, offsets))
    assert after.variance < 0.2 * spread(cells, predictions).variance


def test_constant_logits_stay_finite() -> None:
    predictions = Predictions(torch.zeros(6, 3), torch.arange(6) % 3, torch.zeros(6).long())
    offsets = fit_offsets(predictions, CELLS, 1.0)
    assert bool((offsets.abs() < 1e-3).all())
