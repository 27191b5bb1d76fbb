"""What holds for every notion of fairness, and how far one that is registered here reaches."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fairsparse
from fairsparse import Cells, InputError, Predictions, Refinement, make_config
from fairsparse.experiments.catalog import rows
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Confusion
from fairsparse.fairness.notions import NOTIONS, Notion
from fairsparse.fairness.steering.budget import Budget
from fairsparse.fairness.steering.corrections import fit_thresholds
from fairsparse.fairness.steering.penalties import gap_loss
from fairsparse.fairness.steering.spread import spread
from fairsparse.methods import METHODS
from fairsparse.report import phrases
from fairsparse.training.refinement.pressure import check_form
from helpers import network, tiny

GROUPS = ("a", "b", "c")
NAME = "false-positive-rate"
SENTENCE = "the false positive rate is compared between groups"


def cells_of(notion: str) -> Cells:
    classes = ("no", "yes") if NOTIONS[notion].binary else ("x", "y", "z")
    return Cells(notion, classes, GROUPS)


def drawn(cells: Cells, seed: int, n: int = 150) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    c = len(cells.class_names)
    return Predictions(
        torch.randn(n, c, generator=generator, dtype=torch.float64),
        torch.randint(c, (n,), generator=generator),
        torch.randint(-1, 3, (n,), generator=generator),
    )


@pytest.mark.parametrize("notion", NOTIONS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_counts_and_examples_give_the_same_statistics(notion: str, seed: int) -> None:
    cells = cells_of(notion)
    logits, y, group = drawn(cells, seed)
    predicted = logits.argmax(1)
    counts = Confusion.count(predicted, y, group, cells.class_names, GROUPS).counts
    index = cells.index(y, group)

    means = cells.means(cells.hard(logits, y).double(), index)
    by_family = [means[cells.families == f].tolist() for f in cells.families.unique()]
    np.testing.assert_allclose(cells.definition.statistics(counts), by_family, rtol=1e-12)
    accuracies = cells.means((predicted == y).double(), index)
    np.testing.assert_allclose(cells.definition.accuracy(counts), accuracies, rtol=1e-12)

    assert len(cells) == len(cells.families)
    assert cells.counts(y, group).tolist() == [int((index == k).sum()) for k in range(len(cells))]
    assert cells.shares(y, group).sum() == pytest.approx(float((index >= 0).float().mean()))
    # where the surrogate is certain it is the statistic
    sure = 1000 * torch.nn.functional.one_hot(predicted, logits.shape[1]).double()
    assert torch.equal(cells.soft(sure, y).round().float(), cells.hard(logits, y))


@pytest.mark.parametrize("notion", NOTIONS)
def test_what_reports_say(notion: str) -> None:
    definition = NOTIONS[notion]
    assert definition.gap in METRICS
    assert definition.sentence[0].islower()
    assert not definition.sentence.endswith(".")
    if definition.grouped:
        with pytest.raises(InputError, match=f"notion '{notion}' compares groups"):
            Cells(notion, ("no", "yes"))
    else:
        assert len(Cells(notion, ("no", "yes"))) > 0


@pytest.mark.parametrize("notion", NOTIONS)
def test_methods_that_act_on_errors_serve_every_statistic_of_errors(notion: str) -> None:
    cells = cells_of(notion)
    if not cells.definition.of_predictions:
        for name in METHODS:
            if METHODS[name].accuracy_only:
                METHODS[name]().check(network("mlp", len(cells.class_names)), cells)
        check_form(Refinement(form="weights"), cells)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cells]:
    """A notion that only these tests know."""
    with monkeypatch.context() as patch:
        patch.setattr(NOTIONS, "_items", dict(NOTIONS._items))
        NOTIONS.register(NAME)(
            Notion(
                SENTENCE,
                "group",
                "equalized_odds",
                of_class=0,
                of_predictions=True,
                constraint="false_positive_rate_parity",
            )
        )
        yield Cells(NAME, ("no", "yes"), ("a", "b"))
    with pytest.raises(InputError, match=f"unknown fairness notion '{NAME}'; known: class, group"):
        Cells(NAME, ("no", "yes"), ("a", "b"))


# Of those who are "no": in a 1 of 4 is predicted "yes", in b 1 of 2. One more has no group.
Y = torch.tensor([0, 0, 0, 0, 1, 0, 0, 1, 0])
GROUP = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, -1])
PREDICTED = torch.tensor([1, 0, 0, 0, 1, 1, 0, 0, 1])
LOGITS = torch.stack([torch.zeros(9), 2.0 * PREDICTED - 1], 1)


def test_a_new_notion_has_cells_and_gaps(toy: Cells) -> None:
    assert toy.names == ("a", "b")
    index = toy.index(Y, GROUP)
    assert index.tolist() == [0, 0, 0, 0, -1, 1, 1, -1, -1]
    now = spread(toy, Predictions(LOGITS, Y, GROUP))
    assert now.means.tolist() == [0.25, 0.5]
    assert now.range == pytest.approx(0.25)
    yes, no = torch.tensor([1.0, -1.0]).sigmoid().tolist()
    soft = toy.means(toy.soft(LOGITS, Y), index)
    assert soft.tolist() == pytest.approx([(yes + 3 * no) / 4, (yes + no) / 2])
    assert float(gap_loss(soft, toy.families, "var")) == pytest.approx(float(soft.diff() / 2) ** 2)
    with pytest.raises(InputError, match=f"'{NAME}' needs 2 classes, the task has 3"):
        Cells(NAME, ("x", "y", "z"), GROUPS)


def test_a_new_notion_has_budgets_and_thresholds(toy: Cells) -> None:
    right = Confusion.count(Y, Y, GROUP, ("no", "yes"), ("a", "b")).counts
    now = Confusion.count(PREDICTED, Y, GROUP, ("no", "yes"), ("a", "b")).counts
    values = {"range": 0.25, "variance": 0.125**2, "cell-drop": 0.5, "excess-drop": 0.5 - 4 / 9}
    for measure, value in values.items():
        reached = Budget(1.0, measure).of(right, now, toy.definition)  # type: ignore[arg-type]
        assert float(reached) == pytest.approx(value)

    generator = torch.Generator().manual_seed(0)
    group, y = torch.arange(8000) % 2, torch.randint(2, (8000,), generator=generator)
    z = 2.0 * y - 1 + 0.7 * group + torch.randn(8000, generator=generator)
    scored = Predictions(torch.stack([-z, z], 1), y, group)
    evened = fit_thresholds(scored, toy, 0)(scored).float()
    a, b = (float(evened[(y == 0) & (group == g)].mean()) for g in (0, 1))
    assert abs(a - b) < 0.02


def test_a_new_notion_is_refused_where_errors_alone_are_evened(toy: Cells) -> None:
    for name in METHODS:
        if METHODS[name].accuracy_only:
            with pytest.raises(InputError, match=f"'{name}' evens out errors.*'{NAME}'"):
                METHODS[name]().check(network("mlp", 2), toy)
    with pytest.raises(InputError, match="cannot reach false positive rate; use form 'penalty'"):
        check_form(Refinement(form="weights"), toy)
    with pytest.raises(InputError, match=f"needs the fairness notion 'class', got '{NAME}'"):
        check_form(Refinement(form="margin"), toy)


def test_a_new_notion_can_be_named_and_is_listed(toy: Cells) -> None:
    values: dict[str, Any] = {"data": "digits", "model": "mlp"}
    assert make_config({**values, "cells": NAME}).cells == NAME
    with pytest.raises(InputError, match=rf"cells: Input should be 'class',.* or '{NAME}', got"):
        make_config({**values, "cells": "false-positives"})
    listed = {row.name: row for row in rows("notions")}
    assert listed[NAME].summary == SENTENCE.capitalize() + "."
    assert listed[NAME].details == "Gap: equalized_odds\nNeeds: groups and 2 classes"
    generate = runpy.run_path(str(Path(fairsparse.__file__).parents[2] / "docs" / "generate.py"))
    assert f"| `{NAME}` | {SENTENCE} | `equalized_odds` |" in generate["notions_table"]()
    assert f"`demographic-parity`, `{NAME}` | `class` |" in generate["settings_tables"]()


def test_a_run_reports_a_new_notion(toy: Cells) -> None:
    data = tiny(classes=2, groups=2)
    train, cal, val = (
        tuple(split.batch(torch.arange(len(split)))) for split in (data.train, data.cal, data.val)
    )
    task = fairsparse.task(train, val, cal=cal, val=val)
    settings: dict[str, Any] = {"cells": NAME, "training": {"epochs": 1}, "resamples": 100}
    result = fairsparse.prune(network("mlp", 2), task, "magnitude", 0.5, **settings)
    assert result.record["cells"] == NAME
    text = result.html()
    assert f"What is to be equal: {SENTENCE}; the cells below show accuracy beside it." in text
    assert "Equalized odds gap" in text
    reported = phrases.cells_of(result.record)
    assert [(cell["kind"], cell["name"]) for cell in reported] == [
        ("class x group", f"class 0 | {name}") for name in task.group_names
    ]
