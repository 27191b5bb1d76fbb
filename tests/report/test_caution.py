"""What stands against calling a network less unequal, in reports of runs and of many runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made import TEN, comparison_report, of_records, record, run_report
from page import SPACE, Page

from fairsparse.fairness.measure.counts import Counts
from fairsparse.report import caution
from fairsparse.report.run import page as run_page

of_run = of_records(caution.of_run)
run_paragraphs = of_records(run_page.run_paragraphs)


def smaller(**about: Any) -> dict[str, Any]:
    """A run whose gap is smaller beyond doubt, by its record."""
    made = record(TEN, resamples=20, loss=0.0, **about)
    made["audit"]["metrics"]["cwv"]["change"] |= {"value": -0.003, "low": -0.004, "high": -0.001}
    return made


def said(made: dict[str, Any]) -> str:
    return " ".join(run_paragraphs(made)).replace(SPACE, " ")


def table(right: int, n: int = 20, classes: int = 10) -> np.ndarray:
    """Counts (1, C, C) of n examples of each class, of which so many are got right."""
    wrong = np.roll(np.eye(classes, dtype=int), 1, axis=1)
    return (right * np.eye(classes, dtype=int) + (n - right) * wrong)[None]


def test_skill_is_where_accuracy_lies_between_guessing_and_all_right() -> None:
    assert Counts.of(table(20), 1).skill == 1
    assert Counts.of(table(2), 1).skill == pytest.approx(0)
    assert Counts.of(table(11), 1).skill == pytest.approx((0.55 - 0.1) / 0.9)
    # a class of one example weighs as much as one of ninety-nine
    rare = np.array([[[99, 0], [1, 0]]])
    assert Counts.of(rare, 1).skill == 0
    assert Counts.of(rare, 1).given_up.tolist() == [False, True]


def test_a_smaller_gap_is_less_unequal_where_nothing_stands_against_it() -> None:
    made = smaller()
    assert of_run(made) == []
    assert "the sparse network is less unequal" in said(made)
    assert Page(run_report(made)).row("variance over classes (CWV)")[-1] == "less unequal"


def guesses(made: dict[str, Any]) -> None:
    made["counts"]["dense"] = table(3).tolist()


def gives_up(made: dict[str, Any]) -> None:
    counts = table(20)
    counts[0, 4, 4], counts[0, 4, 5] = 0, 20
    made["counts"]["sparse"] = counts.tolist()


def falls(made: dict[str, Any]) -> None:
    made["audit"]["metrics"]["accuracy"]["change"]["value"] = -0.011


def falls_on_validation(made: dict[str, Any]) -> None:
    made["status"] = "eps_infeasible"


AGAINST = {
    guesses: "the dense network is hardly better than guessing (mean accuracy of the classes"
    " 15.0 %, by guessing 10.0 %)",
    gives_up: "the sparse network hardly ever predicts “digit 4”",
    falls: "accuracy fell by 1.10 points, and 1.00 points are tolerated",
    falls_on_validation: "accuracy fell beyond the tolerance on validation",
}


@pytest.mark.parametrize("what", AGAINST)
def test_no_verdict_less_unequal_where_somebody_paid_for_it(what: Any) -> None:
    made = smaller()
    what(made)
    clause = AGAINST[what]
    assert [c.replace(SPACE, " ") for c in of_run(made)] == [clause]
    assert f"it is smaller, and that is no gain, for {clause}" in said(made)
    page = Page(run_report(made))
    assert page.row("variance over classes (CWV)")[-1] == "smaller, no verdict"
    text = page.text.replace(SPACE, " ")
    assert "less unequal" not in text
    assert text.index(clause[0].upper() + clause[1:]) < text.index("Not told")
    other = record(TEN, resamples=20, loss=0.0, method="ballot")
    third = record(TEN, resamples=20, loss=0.0, method="bifp")
    text = comparison_report([made, other, third]).replace(SPACE, " ")
    assert f"Not compared: lth, for {clause}" in text
    assert "is that of lth" not in text


def test_a_method_that_promises_nothing_is_held_to_a_point() -> None:
    made = smaller()
    del made["method"]["options"]["tolerance"]
    falls(made)
    assert len(of_run(made)) == 1
    made["method"]["options"]["tolerance"] = 0.02
    assert of_run(made) == []


def test_a_dense_network_that_guesses_is_told_at_once() -> None:
    made = record(TEN, method="dense", resamples=20)
    guesses(made)
    text = Page(run_report(made)).text
    assert text.index("The dense network is hardly better than guessing") < text.index("Sparsity")


def test_names_that_begin_alike_differ_in_plots() -> None:
    names = [f"{'a region with a long name, ' * 3}{end}" for end in ("north", "south")]
    made = record(["no", "yes"], names, cells="group", n=2000, loss=0.4)
    (labels, *_) = Page(run_report(made)).plot.values()
    shown = {label.split("  ")[0] for label in labels if "…" in label}
    assert shown == {"a regio…north", "a regio…south"}
