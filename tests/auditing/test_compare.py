"""A comparison worked by hand, its invariants, and its record."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairsparse.auditing.compare import CellChange, Comparison, compare, compare_networks
from fairsparse.auditing.engine import Audit, audit
from fairsparse.core import InputError, Predictions
from fairsparse.fairness.inference.estimates import estimate
from fairsparse.fairness.measure.outcomes import Outcomes

CLASSES, GROUPS = ("no", "yes"), ("a", "b")
# Twelve people in groups of six. The candidate loses four of b (three "yes") and gains one of a.
Y = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1])
GROUP = np.repeat([0, 1], 6)
REFERENCE = np.array([0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1])
CANDIDATE = np.array([0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0])


def twelve(**options: int) -> Comparison:
    return compare(REFERENCE, CANDIDATE, Y, GROUP, CLASSES, GROUPS, **options)


def cell(comparison: Comparison, kind: str, name: str) -> CellChange:
    (found,) = [c for c in comparison.cells if (c["kind"], c["name"]) == (kind, name)]
    return found


def test_twelve_people_by_hand() -> None:
    found = twelve(resamples=500, least=1)
    assert (found.n, found.churn) == (12, pytest.approx(5 / 12))
    assert found.reference.values["accuracy"] == 11 / 12
    assert found.candidate.values["accuracy"] == 8 / 12
    assert found.metrics["accuracy"]["change"]["value"] == pytest.approx(-3 / 12)
    assert found.metrics["accuracy_gap"]["candidate"]["value"] == pytest.approx(1 - 2 / 6)
    assert {k: v["value"] for k, v in found.degradation.items()} == pytest.approx(
        {
            # smoothed rates: false positives 0.5, 1.5 -> 3.5, 1.5 of 7; misses 1.5, 0.5 -> 1.5, 3.5
            "cev": 3**2 + 3**2,
            "sde": 6,
            "class_degradation_range": 3 / 6 - 0,
            "max_cell_drop": 1.0,
            "max_excess_drop": 4 / 6 - 3 / 12,
            "performance_degradation_fairness": 4 / 6 + 1 / 6,
        }
    )
    names = [(c["kind"], c["name"]) for c in found.cells]
    assert names == [
        ("class", "no"),
        ("class", "yes"),
        ("group", "a"),
        ("group", "b"),
        ("class x group", "no | a"),
        ("class x group", "no | b"),
        ("class x group", "yes | a"),
        ("class x group", "yes | b"),
    ]
    b = cell(found, "group", "b")
    assert (b["n"], b["gained"], b["lost"]) == (6, 0, 4)
    assert (b["reference"], b["candidate"], b["drop"]) == pytest.approx((1, 2 / 6, 4 / 6))
    assert b["excess_drop"] == pytest.approx(4 / 6 - 3 / 12)
    assert b["low"] < b["drop"] < b["high"]
    assert b["p"] == pytest.approx(2 / 2**4)
    assert (b["p_adjusted"] > 0.5, b["finding"]) == (True, "data do not tell")
    no = cell(found, "class", "no")
    assert (no["gained"], no["lost"], no["p"], no["drop"]) == (1, 1, 1, 0)
    yes_b = cell(found, "class x group", "yes | b")
    assert (yes_b["lost"], yes_b["p"], yes_b["p_adjusted"] > 0.5) == (3, 2 / 2**3, True)


def test_record_survives_json() -> None:
    y, group = [0, 0, 1, 0], [0, 0, 0, 1]
    found = compare([0, 1, 1, 0], [0, 0, 1, 1], y, group, CLASSES, GROUPS, resamples=50)
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["metrics"]["equalized_odds"]["change"]["value"] is None
    assert found.undefined == {"max_cell_drop": ("yes | b",)}
    empty = record["cells"][-1]
    assert (empty["name"], empty["n"], empty["drop"], empty["p"]) == ("yes | b", 0, None, None)
    assert record["reference"]["undefined"]["equal_opportunity"] == ["yes | b"]
    assert record["reference"]["by_group"][1] == {"name": "b", "n": 1, "accuracy": 1.0}
    assert record["resamples"] == 50


def test_single_model_intervals_are_those_of_the_pair() -> None:
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 3, 600), rng.integers(0, 2, 600)
    reference, candidate = np.where(rng.random((2, 600)) < 0.3, rng.integers(0, 3, 600), y)
    pair = compare(reference, candidate, y, group, "rst", GROUPS, resamples=4000).metrics
    alone = estimate(Outcomes.of([candidate], y, group, "rst", GROUPS), resamples=4000, seed=1)
    assert {f"reference {name}" for name in pair} == alone.keys()
    for name, found in pair.items():
        one, both = alone[f"reference {name}"], found["candidate"]
        width = max(one["high"] - one["low"], 1e-3)
        assert both["how"] == one["how"]
        assert both["low"] == pytest.approx(one["low"], abs=0.1 * width), name
        assert both["high"] == pytest.approx(one["high"], abs=0.1 * width), name


def test_pairing_is_kept() -> None:
    # One flip in a thousand: unpaired intervals of the drop would be an order of magnitude wider.
    y = np.zeros(1000, np.int64)
    reference = (np.arange(1000) < 300).astype(np.int64)
    candidate = (np.arange(1000) < 301).astype(np.int64)
    (cell,) = compare(reference, candidate, y, np.full(1000, -1), CLASSES).cells[:1]
    assert cell["drop"] == pytest.approx(0.001)
    assert -0.003 <= cell["low"] <= 0 <= 0.001 <= cell["high"] <= 0.005


ROWS = st.lists(
    st.tuples(*[st.integers(0, 2)] * 3, st.integers(-1, 1)), min_size=1, max_size=30
).map(np.array)


@given(ROWS)
@settings(max_examples=20, deadline=None)
def test_identical_predictions_show_no_degradation(rows: np.ndarray) -> None:
    reference, _, y, group = rows.T
    found = compare(reference, reference, y, group, "rst", GROUPS, resamples=20, least=2)
    assert found.churn == 0
    for metric in found.metrics.values():
        assert metric["change"]["value"] == 0 or math.isnan(metric["change"]["value"])
    for fall in found.degradation.values():
        low, value, high = fall["low"], fall["value"], fall["high"]
        # that nothing flipped among so few does not show that nothing would
        assert low <= value == 0 <= high or math.isnan(low)
    for changed in found.cells:
        assert changed["gained"] == changed["lost"] == 0
        assert changed["p"] == 1 or (changed["n"] < 2 and math.isnan(changed["p"]))


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_order_does_not_matter(rows: np.ndarray, random) -> None:
    order = random.sample(range(len(rows)), len(rows))
    records = [
        compare(*taken.T, "rst", GROUPS, resamples=20).to_dict() for taken in (rows, rows[order])
    ]
    assert records[0] == records[1]


@given(ROWS)
@settings(max_examples=20, deadline=None)
def test_flips_explain_the_drop(rows: np.ndarray) -> None:
    for changed in compare(*rows.T, "rst", GROUPS, resamples=2).cells:
        if changed["n"]:
            flips = (changed["lost"] - changed["gained"]) / changed["n"]
            assert changed["drop"] == pytest.approx(flips, abs=1e-12)


def test_tensors_and_no_groups() -> None:
    found = compare(
        torch.from_numpy(REFERENCE),
        torch.from_numpy(CANDIDATE),
        torch.from_numpy(Y),
        torch.full((12,), -1),
        CLASSES,
        resamples=50,
    )
    assert {c["kind"] for c in found.cells} == {"class"}
    assert "accuracy_gap" not in found.metrics
    of_classes = {"class_degradation_range", "max_cell_drop", "max_excess_drop", "cev", "sde"}
    assert set(found.degradation) == of_classes
    assert found.degradation["max_excess_drop"]["value"] == pytest.approx(3 / 6 - 3 / 12)


def served(n: int = 900) -> tuple[np.ndarray, ...]:
    """Reference, candidate, true classes and groups; the candidate fails b's class 1 more often."""
    rng = np.random.default_rng(3)
    y, group = rng.integers(0, 2, n), rng.integers(0, 3, n) - 1
    reference = np.where(rng.random(n) < 0.1, 1 - y, y)
    hurt = rng.random(n) < np.where((group == 1) & (y == 1), 0.4, 0.05)
    return reference, np.where(hurt, 1 - y, reference), y, group


def agree(comparison: Comparison, audited: Audit) -> None:
    """A comparison says of every cell and measure what the audit says, to the last digit."""
    cells = audited.cells[audited.cells["cell"] != "unknown"].to_dict("records")
    order = [(c["kind"], c["name"]) for c in comparison.cells]
    assert sorted(order, key=lambda c: c[0] != "class") == order
    names = [(c["attribute"].replace("sex", "group"), c["cell"]) for c in cells]
    assert order == names
    for mine, theirs in zip(comparison.cells, cells, strict=True):
        for key in mine.keys() - {"kind", "name"}:
            assert str(mine[key]) == str(theirs[key]), (theirs["cell"], key)
    measures = {m["measure"]: m for m in audited.measures.to_dict("records")}  # the last is by sex
    for name, metric in comparison.metrics.items():
        for role in ("reference", "candidate", "change"):
            row = [measures[name][f"{role}{end}"] for end in ("", "_low", "_high")]
            assert [metric[role][k] for k in ("value", "low", "high")] == row, name
        for p in ("p", "p_adjusted"):
            other = pytest.approx(measures[name][p], rel=1e-6, nan_ok=True)
            assert metric[p] == other, name  # type: ignore[literal-required]
    for name, fall in comparison.degradation.items():
        row = [measures[name][f"candidate{end}"] for end in ("", "_low", "_high")]
        assert str([fall[k] for k in ("value", "low", "high")]) == str(row), name


def test_a_comparison_and_an_audit_are_one() -> None:
    reference, candidate, y, group = served()
    sex = np.array(["a", "b", None], object)[group]
    names = ("0", "1")
    comparison = compare(reference, candidate, y, group, names, ("a", "b"), resamples=200)
    agree(comparison, audit(reference, candidate, y, groups={"sex": sex}, resamples=200))
    hurt = cell(comparison, "class x group", "1 | b")
    assert hurt["finding"] == "lost more than others"
    assert 0 < hurt["p_adjusted"] <= 2 * len(comparison.cells) * hurt["p"] / 0.9  # Bonferroni's
    measure = comparison.metrics["equal_opportunity"]
    assert 10 * measure["p"] < measure["p_adjusted"] < 1  # a tenth of the level is for measures


def test_confidence_of_networks_is_among_the_tests() -> None:
    reference, candidate, y, group = served()
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(len(y), 2)).astype(np.float32) for _ in range(2)]
    for scores, said in zip(logits, (reference, candidate), strict=True):
        scores[np.arange(len(y)), said] += 9
    facts = (torch.from_numpy(y), torch.from_numpy(group))
    networks = [Predictions(torch.from_numpy(scores), *facts) for scores in logits]
    found = compare_networks(*networks, ("0", "1"), ("a", "b"), resamples=200)
    shares = [Predictions(p.logits.softmax(1), *facts).logits.numpy() for p in networks]
    groups = {"sex": np.array(["a", "b", None], object)[group]}
    options = {"groups": groups, "class_names": [0, 1], "resamples": 200}
    agree(found, audit(*shares, y, **options))
    labels = compare(reference, candidate, y, group, ("0", "1"), ("a", "b"), resamples=200)
    sure, unsure = (cell(c, "group", "b") for c in (found, labels))
    assert sure["p"] == unsure["p"]
    assert sure["p_adjusted"] == unsure["p_adjusted"], "confidence is tested at another level"
    tests = [c.metrics["accuracy_gap"]["p_adjusted"] for c in (found, labels)]
    assert tests[0] > tests[1]


def test_bad_predictions_are_refused() -> None:
    with pytest.raises(InputError, match="one for each of the 12 examples"):
        compare(REFERENCE[:5], CANDIDATE, Y, GROUP, CLASSES, GROUPS)
