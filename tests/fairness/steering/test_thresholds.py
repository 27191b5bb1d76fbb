"""Thresholds for each group: what they even out, what they leave alone, when they are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fairsparse.core import InputError, Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering import corrections as module
from fairsparse.fairness.steering.corrections import check_thresholds, fit_thresholds

GROUPS = ("a", "b", "c")


def cells(notion: Any, groups: tuple[str, ...] = GROUPS) -> Cells:
    return Cells(notion, ("no", "yes"), groups)


def predictions(seed: int, n: int = 20000) -> Predictions:
    """Groups of different base rates, and a score that favours the later ones; -1: unknown."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % 4 - 1
    y = (torch.rand(n, generator=generator) < 0.3 + 0.15 * group).long()
    z = 1.5 * y - 1 + 0.6 * group + torch.randn(n, generator=generator)
    return Predictions(torch.stack([-z / 2, z / 2], 1), y, group)


def rates(classes: Tensor, p: Predictions, of: str) -> list[float]:
    chosen = {"all": torch.ones_like(p.y, dtype=torch.bool), "1": p.y == 1, "0": p.y == 0}[of]
    return [float(classes[(p.group == g) & chosen].float().mean()) for g in range(3)]


def width(values: list[float]) -> float:
    return max(values) - min(values)


@pytest.mark.parametrize(
    ("notion", "evened"),
    [
        ("demographic-parity", ["all"]),
        ("equal-opportunity", ["1"]),
        ("equalized-odds", ["0", "1"]),
        ("group", ["0", "1"]),
    ],
)
def test_the_rate_of_the_notion_is_evened_out_on_other_data(notion: Any, evened: list[str]) -> None:
    apply = fit_thresholds(predictions(0), cells(notion), 0)
    test = predictions(1)
    plain, corrected = test.logits.argmax(1), apply(test)
    for of in evened:
        assert width(rates(plain, test, of)) > 0.2
        assert width(rates(corrected, test, of)) < 0.07
    assert float((corrected == test.y).float().mean()) > 0.6


def test_under_demographic_parity_accuracy_is_that_of_the_best_thresholds() -> None:
    cal = predictions(0)
    known = cal.group >= 0
    z = (cal.logits[:, 1] - cal.logits[:, 0])[known]
    y, group = cal.y[known], cal.group[known]
    best = 0.0
    for rate in torch.linspace(0.02, 0.98, 97):  # the same share of each group is predicted 1
        right = 0
        for g in range(3):
            scores, true = z[group == g], y[group == g]
            right += int(((scores >= scores.quantile(1 - rate)).long() == true).sum())
        best = max(best, right / len(y))
    apply = fit_thresholds(cal, cells("demographic-parity"), 0)
    reached = float((apply(cal) == cal.y)[known].float().mean())
    assert reached == pytest.approx(best, abs=0.01)


def test_an_unknown_group_keeps_its_class_and_the_draw_repeats() -> None:
    apply = fit_thresholds(predictions(0), cells("equalized-odds"), 5)
    again = fit_thresholds(predictions(0), cells("equalized-odds"), 5)
    test = predictions(1)
    unknown = test.group < 0
    plain, corrected = test.logits.argmax(1), apply(test)
    assert corrected.dtype == torch.int64
    assert torch.equal(corrected[unknown], plain[unknown])
    assert not torch.equal(corrected, plain)
    assert torch.equal(corrected, apply(test))
    assert torch.equal(corrected, again(test))


def test_constraints_follow_the_notion() -> None:
    assert cells("demographic-parity").definition.constraint == "demographic_parity"
    assert cells("equal-opportunity").definition.constraint == "true_positive_rate_parity"
    for notion in ("class", "group", "class-group", "equalized-odds"):
        assert cells(notion).definition.constraint == "equalized_odds"


def test_what_cannot_have_thresholds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cal = predictions(0)
    labelled = (cal.y, cal.group)
    check_thresholds(cells("group"), labelled)
    three = Cells("group", ("x", "y", "z"), GROUPS)
    with pytest.raises(InputError, match="2 classes and at least 2 groups, the task has 3 and 3"):
        check_thresholds(three, labelled)
    with pytest.raises(InputError, match="the task has 2 and 0"):
        check_thresholds(cells("class", ()), labelled)
    one_sided = (torch.where(cal.group == 1, 0, cal.y), cal.group)
    with pytest.raises(InputError, match=r"both classes of every group in the cal split.*'b'"):
        check_thresholds(cells("group"), one_sided)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "fairsparse\[posthoc\]"'):
        check_thresholds(cells("group"), labelled)
