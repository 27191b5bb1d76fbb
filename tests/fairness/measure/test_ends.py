"""Which two cells make a range: by hand, and in agreement with every range there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairsparse import audit, compare, make_config, run
from fairsparse.auditing.document import document, read_document
from fairsparse.fairness.inference.estimates import estimate
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.ends import ends
from fairsparse.fairness.measure.metric import Rates, Together
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Outcomes
from fairsparse.record import Record
from fairsparse.report.audit.page import write
from fairsparse.report.phrases import SPACE
from fairsparse.report.run.page import run_report
from report.made import record
from runs import TINY

# class no: a 3 of 4, b 1 of 2; class yes: a 2 of 2, b 3 of 4
Y = [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1]
GROUP = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
SAID = [0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0]
NAMES = (("no", "yes"), ("a", "b"))


def one(least: int = 1) -> dict[str, dict]:
    return ends(Outcomes.of([SAID], Y, GROUP, *NAMES), least)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("metric", "lowest", "highest"),
    [
        ("mcd", ("no", 6), ("yes", 6)),  # 4 of 6, 5 of 6
        ("worst_class_accuracy", ("no", 6), (None, None)),
        ("accuracy_gap", ("b", 6), ("a", 6)),  # 4 of 6, 5 of 6
        ("worst_cell_accuracy", ("no | b", 2), (None, None)),  # 1 of 2
        ("demographic_parity", ("a", 6), ("b", 6)),  # yes is said to 3 of 6, 4 of 6
        ("equal_opportunity", ("yes | b", 4), ("yes | a", 2)),  # 3 of 4, 2 of 2
        ("equalized_odds", ("yes | b", 4), ("yes | a", 2)),  # as wide as 1 of 4, 1 of 2 of no
        ("average_odds", ("yes | b", 4), ("yes | a", 2)),
    ],
)
def test_ends_by_hand(metric: str, lowest: tuple, highest: tuple) -> None:
    found = one()[f"reference {metric}"]
    assert (found["lowest"], found["lowest_n"]) == lowest
    assert (found["highest"], found["highest_n"]) == highest
    assert not found["few"]


def test_what_few_examples_make_is_marked() -> None:
    few = {name.split()[-1] for name, found in one(least=5).items() if found["few"]}
    assert few == {"worst_cell_accuracy", "equal_opportunity", "equalized_odds", "average_odds"}
    assert not any(found["few"] for found in one(least=2).values())
    assert all(found["few"] for found in one(least=7).values())


def test_false_positives_are_named_by_those_they_are_shares_of() -> None:
    said = [1 - y if g == 0 and y == 0 else y for y, g in zip(Y, GROUP, strict=True)]
    found = ends(Outcomes.of([said], Y, GROUP, *NAMES), 3)["reference equalized_odds"]
    assert (found["lowest"], found["highest"]) == ("no | b", "no | a")
    assert found["few"]
    three = ends(Outcomes.of([[2, 1, 0]], [0, 1, 2], [0, 1, 1], ("p", "q", "r"), "ab"), 1)
    assert "reference equalized_odds" not in three  # undefined
    assert three["reference demographic_parity"]["highest"] == "a, predicted r"


@pytest.mark.parametrize("groups", [0, 2, 4])
@pytest.mark.parametrize("classes", [2, 3])
def test_ends_lie_as_far_apart_as_the_range_is_wide(classes: int, groups: int) -> None:
    rng = np.random.default_rng(classes + groups)
    n = 600
    y, group = rng.integers(0, classes, n), rng.integers(0, max(groups, 1), n) - (groups == 0)
    said = [np.where(rng.random(n) < 0.3, rng.integers(0, classes, n), y) for _ in "ab"]
    names = [f"c{i}" for i in range(classes)], [f"g{i}" for i in range(groups)]
    outcomes = Outcomes.of(said, y, group, *names)
    found, values = ends(outcomes, 1), estimate(outcomes, resamples=20)
    ranges = [m for m in METRICS if isinstance(METRICS[m].interval, Rates)]
    falls = [m for m in DEGRADATIONS if isinstance(DEGRADATIONS[m].interval, Together)]
    expected = {f"{role} {m}" for m in ranges for role in ("reference", "candidate")} | {*falls}
    assert found.keys() == expected & values.keys()
    for name, at in found.items():
        metric, role = name.split()[-1], int(name.startswith("candidate"))
        value = values[name]["value"]
        if metric == "average_odds":
            continue  # of the wider half
        each = [rate(metric, at[end], role, outcomes) for end in ("lowest", "highest") if at[end]]
        assert {at[f"{e}_n"] for e in ("lowest", "highest")} - {None} == {n for _, n in each}
        numbers = [r for r, _ in each]
        width = numbers[-1] - numbers[0] if len(numbers) > 1 else numbers[0]
        if metric == "max_excess_drop":
            width -= np.mean(said[0] == y) - np.mean(said[1] == y)
        assert width == pytest.approx(value)


def rate(metric: str, cell: str, role: int, of: Outcomes) -> tuple[float, int]:
    """The rate that a metric compares in a cell, from the examples themselves, and how many."""
    head, _, rest = cell.partition(" | ")
    say = of.predicted[role]
    parts, said = [head.partition(",")[0].removeprefix("not "), rest], "c1"
    inside = np.ones(len(say), bool)
    for part in filter(None, parts):
        is_class = part in of.class_names
        names = of.class_names if is_class else of.group_names
        same = (of.true if is_class else of.row) == names.index(part)
        inside &= ~same if head.startswith("not ") and is_class else same
    if metric == "demographic_parity":
        said = head.rpartition(" ")[-1] if "predicted" in head else "c1"
    elif metric in ("equal_opportunity", "equalized_odds"):
        said = head.removeprefix("not ") if len(of.class_names) > 2 else "c1"
    else:
        right = [float((p == of.true)[inside].mean()) for p in of.predicted]
        falls = metric in DEGRADATIONS
        return (right[0] - right[1] if falls else right[role]), int(inside.sum())
    return float((say[inside] == of.class_names.index(said)).mean()), int(inside.sum())


def six_of_many(n: int = 3000) -> tuple[np.ndarray, ...]:
    """Two models, right for most; six people are of a group of their own, and all are wrong."""
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 2, n), rng.choice(["north", "south"], n).astype(object)
    group[:6] = "islands"
    before, after = (np.where(rng.random(n) < 0.1, 1 - y, y) for _ in "ab")
    after[:6] = 1 - y[:6]
    return before, after, y, group


def test_an_audit_names_the_few_who_make_a_gap(tmp_path: Path) -> None:
    before, after, y, group = six_of_many()
    found = audit(before, after, y, groups={"place": group}, resamples=100)
    rows = {row["measure"]: row for row in document(found)["measures"]}
    gap = rows["accuracy_gap"]
    assert (gap["candidate_lowest"], gap["candidate_lowest_n"]) == ("islands", 6)
    assert gap["candidate_highest"] in ("north", "south")
    assert gap["candidate_few"] is True
    assert rows["mcd"]["candidate_few"] is False
    assert rows["accuracy"]["candidate_few"] is None  # no range
    assert rows["max_excess_drop"]["candidate_highest"] == "islands"
    write(found, tmp_path)
    assert "lowest" in (tmp_path / "measures.csv").read_text().splitlines()[0]
    assert read_document(tmp_path / "audit.json")["measures"]
    page = (tmp_path / "report.html").read_text().replace(SPACE, " ")
    assert "from “islands” (n = 6) to “" in page
    assert "where few make it" in page
    plenty = audit(before, after, y, groups={"place": group}, resamples=100, least=6)
    few = {row["measure"]: row["candidate_few"] for row in document(plenty)["measures"]}
    assert few["accuracy_gap"] is False


def test_a_run_says_who_makes_its_gap_and_takes_least_as_an_audit_does() -> None:
    before, after, y, group = six_of_many()
    codes = np.unique(group, return_inverse=True)[1]
    names = (["no", "yes"], ["islands", "north", "south"])
    compared = compare(before, after, y, codes, *names, resamples=100).to_dict()
    gap = compared["metrics"]["accuracy_gap"]["candidate_ends"]
    assert (gap["lowest"], gap["lowest_n"], gap["few"]) == ("islands", 6, True)
    assert compared["degradation_ends"]["max_excess_drop"]["highest"] == "islands"
    made = {**record(*names, cells="group", n=300), "audit": compared}
    made = Record.model_validate(made)
    page = run_report(made).replace(SPACE, " ")
    assert page.count("from “islands” (n = 6) to “") >= 3  # in the head, the text, the table
    assert "where few make it" in page
    less = {**made.to_dict(), "config": {**made.config, "least": 7}}
    assert "fewer than 7 examples" in run_report(Record.model_validate(less)).replace(SPACE, " ")


@pytest.mark.parametrize("least", [1, 60])
def test_runs_do_not_test_cells_below_least(least: int, tmp_path: Path) -> None:
    config = make_config({**TINY, "least": least})
    (made,) = run(config, tmp_path / "out")
    sizes = {cell["n"]: cell["finding"] == "too few" for cell in made.audit.cells}
    assert min(sizes) < 60 <= max(sizes)
    assert all(small == (n < least) for n, small in sizes.items())
