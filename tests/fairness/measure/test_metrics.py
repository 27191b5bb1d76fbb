"""Metrics against hand-worked tables, fairlearn, and their own invariants."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from fairlearn import metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from fairsparse.core import InputError
from fairsparse.fairness.inference.calibration import CALIBRATIONS
from fairsparse.fairness.measure.counts import Counts
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import Rates, evaluate
from fairsparse.fairness.measure.metrics import METRICS, measure
from fairsparse.fairness.measure.outcomes import Confusion

# Eight people: a has 3 of 4 right (TPR 1/2, FPR 0), b has 2 of 4 right (TPR 1, FPR 2/3).
Y = np.array([0, 0, 1, 1, 0, 0, 0, 1])
PREDICTED = np.array([0, 0, 1, 0, 0, 1, 1, 1])
GROUP = np.array([0, 0, 0, 0, 1, 1, 1, 1])
CLASSES, GROUPS = ("no", "yes"), ("a", "b")


def eight() -> Confusion:
    return Confusion.count(PREDICTED, Y, GROUP, CLASSES, GROUPS)


def test_eight_people_by_hand() -> None:
    report = measure(eight())
    assert report.values == pytest.approx(
        {
            "accuracy": 5 / 8,
            "accuracy_gap": 3 / 4 - 2 / 4,
            "average_odds": (1 / 2 + 2 / 3) / 2,
            "cwv": (1 / 30) ** 2,  # classes 3/5 and 2/3: half their distance, squared
            "cwv_corrected": (1 / 30) ** 2 - 0.5 * ((3 / 5 * 2 / 5 / 4) + (2 / 3 * 1 / 3 / 2)) / 2,
            "demographic_parity": 3 / 4 - 1 / 4,
            "equal_opportunity": 1 - 1 / 2,
            "equalized_odds": 2 / 3,
            "mcd": 2 / 3 - 3 / 5,
            "worst_cell_accuracy": 1 / 3,
            "worst_class_accuracy": 3 / 5,
            "worst_group_accuracy": 1 / 2,
        }
    )
    assert (report.n, report.n_unknown, report.undefined) == (8, 0, {})
    assert report.by_class == (("no", 5, 3 / 5), ("yes", 3, 2 / 3))
    assert report.by_group == (("a", 4, 3 / 4), ("b", 4, 2 / 4))
    assert report.by_cell == (
        ("no | a", 2, 1.0),
        ("no | b", 3, 1 / 3),
        ("yes | a", 2, 1 / 2),
        ("yes | b", 1, 1.0),
    )


def test_three_classes_one_against_the_rest_by_hand() -> None:
    table = np.zeros((2, 3, 3), np.int64)
    table[0] = [[4, 0, 0], [0, 4, 0], [0, 0, 2]]  # group a: all right
    table[1] = [[1, 1, 0], [0, 2, 2], [1, 0, 3]]  # group b: 10 examples, 6 right
    values = measure(Confusion(table, ("r", "s", "t"), GROUPS)).values
    # predicted shares a (4, 4, 2)/10, b (2, 3, 5)/10
    assert values["demographic_parity"] == pytest.approx(0.3)
    # true positive rates of b: 1/2, 2/4, 3/4
    assert values["equal_opportunity"] == pytest.approx(0.5)
    # false positive rates of b: 1/8, 1/6, 2/6
    assert values["equalized_odds"] == pytest.approx(0.5)
    assert values["average_odds"] == pytest.approx((0.5 + 1 / 6) / 2)
    assert values["worst_cell_accuracy"] == pytest.approx(0.5)


def test_class_wise_variance_of_the_textbook_example() -> None:
    right = np.array([90, 80, 60, 50])
    table = np.diag(right)
    table[[0, 1, 2, 3], [1, 2, 3, 0]] += 100 - right
    values = measure(Confusion(table[None], tuple("wxyz"))).values
    assert values["cwv"] == pytest.approx(0.025)
    assert values["mcd"] == pytest.approx(0.4)
    noise = (0.09 + 0.16 + 0.24 + 0.25) / 4 / 99
    assert values["cwv_corrected"] == pytest.approx(0.025 - 0.75 * noise)
    assert not any(METRICS[name].needs_groups for name in values)


def test_debiased_variance_is_unbiased() -> None:
    accuracy, n = np.array([0.9, 0.7, 0.8, 0.6, 0.75]), np.array([20, 30, 15, 40, 25])
    rng = np.random.default_rng(0)
    right = rng.binomial(n, accuracy, (20_000, 5))[:, None]
    sizes = np.broadcast_to(n, right.shape)
    values = evaluate(METRICS, Counts(sizes, right, sizes, 0))
    mean, error = values["cwv_corrected"].mean(), values["cwv_corrected"].std() / math.sqrt(20_000)
    assert abs(mean - accuracy.var()) < 4 * error
    assert values["cwv"].mean() - accuracy.var() > 20 * error  # what is being corrected


def test_perfect_predictor_of_a_group_without_positives_has_no_equal_opportunity() -> None:
    y, group = np.array([0, 1, 1, 0, 0]), np.array([0, 0, 0, 1, 1])
    report = measure(Confusion.count(y, y, group, CLASSES, GROUPS))
    assert math.isnan(report.values["equal_opportunity"])
    assert report.undefined == {
        "average_odds": ("yes | b",),
        "equal_opportunity": ("yes | b",),
        "equalized_odds": ("yes | b",),
        "worst_cell_accuracy": ("yes | b",),
    }
    assert report.values["accuracy_gap"] == 0
    assert json.loads(json.dumps(report.to_dict()))["values"]["equal_opportunity"] is None


def test_class_without_examples_is_named() -> None:
    report = measure(Confusion.count([0, 1, 1], [0, 1, 1], [-1] * 3, ("r", "s", "t")))
    assert report.undefined["cwv"] == report.undefined["worst_cell_accuracy"] == ("t",)
    assert report.undefined["cwv_corrected"] == ("r", "t")  # one example has no variance
    assert report.values["accuracy"] == 1


def test_unknown_group_counts_in_accuracy_and_in_no_comparison() -> None:
    known = measure(eight())
    more = measure(
        Confusion.count(
            np.append(PREDICTED, [1, 1]),
            np.append(Y, [0, 0]),
            np.append(GROUP, [-1, -1]),
            CLASSES,
            GROUPS,
        )
    )
    assert (more.n, more.n_unknown) == (10, 2)
    assert more.values["accuracy"] == 5 / 10
    assert more.by_class[0] == ("no", 7, 3 / 7)
    for name in METRICS:
        if METRICS[name].needs_groups:
            assert more.values[name] == known.values[name]


PEOPLE = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)), min_size=2, max_size=60
)


@given(PEOPLE)
@settings(max_examples=60, deadline=None)
def test_agrees_with_fairlearn_wherever_defined(people: list[tuple[int, int, int]]) -> None:
    predicted, y, group = np.array(people).T
    groups = tuple("abc"[: max(2, group.max() + 1)])
    values = measure(Confusion.count(predicted, y, group, CLASSES, groups)).values
    present = [(y[group == g] == c).any() for g in range(len(groups)) for c in (0, 1)]
    assert math.isnan(values["equalized_odds"]) == (not all(present))
    positives = all(present[1::2])
    assert math.isnan(values["equal_opportunity"]) == (not positives)
    given_ = {"y_true": y, "y_pred": predicted, "sensitive_features": group}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = oracle.MetricFrame(metrics=accuracy_score, **given_)
        theirs = {
            "demographic_parity": oracle.demographic_parity_difference(**given_),
            "equal_opportunity": oracle.equal_opportunity_difference(**given_),
            "equalized_odds": oracle.equalized_odds_difference(**given_),
            "average_odds": oracle.equalized_odds_difference(**given_, agg="mean"),
            "accuracy_gap": frame.difference(),
            "worst_group_accuracy": frame.group_min(),
        }
    for name, value in theirs.items():
        if not math.isnan(values[name]):
            assert values[name] == pytest.approx(value), name
    if all(present):
        assert not any(math.isnan(values[name]) for name in theirs)


def accuracy_score(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float((np.asarray(y_true) == np.asarray(y_pred)).mean())


def test_degradation_by_hand() -> None:
    reference = Confusion.count(Y, Y, GROUP, CLASSES, GROUPS).counts
    values = evaluate(DEGRADATIONS, reference, eight().counts)
    assert {name: float(value) for name, value in values.items()} == pytest.approx(
        {
            # smoothed rates grow 3 and 5 times for the false positives of the classes, and 5 and 3
            "cev": 1 + 1,
            "sde": 2,
            "class_degradation_range": 2 / 5 - 1 / 3,
            "max_cell_drop": 2 / 3,  # no | b
            "max_excess_drop": 2 / 4 - 3 / 8,  # b beyond the overall drop
            "performance_degradation_fairness": 2 / 4 - 1 / 4,
        }
    )


def test_tensors_count_as_arrays_do() -> None:
    tensors = [torch.from_numpy(a) for a in (PREDICTED, Y, GROUP)]
    counted = Confusion.count(*tensors, CLASSES, GROUPS)
    np.testing.assert_array_equal(counted.table, eight().table)
    assert counted.table[1].tolist() == [[1, 2], [0, 1]]  # [group b, true, predicted]


@pytest.mark.parametrize(
    ("predicted", "y", "group", "message"),
    [
        ([0, 2], [0, 1], [0, 1], "predicted classes go from 0 to 2; allowed are 0 .. 1"),
        ([0, 1], [0, -1], [0, 1], "true classes go from -1 to 0"),
        ([0, 1], [0, 1], [0, 2], r"groups go from 0 to 2; allowed are -1 \.\. 1"),
        ([0], [0, 1], [0, 1], "predicted classes must be whole numbers, one for each of the 2"),
        ([0.0, 1.0], [0, 1], [0, 1], "got float64"),
        ([], [], [], "at least one"),
    ],
)
def test_bad_codes_are_refused(predicted, y, group, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Confusion.count(predicted, y, group, CLASSES, GROUPS)


def test_tables_of_different_names_do_not_add() -> None:
    with pytest.raises(InputError, match="different class or group names"):
        eight() + Confusion.count(PREDICTED, Y, GROUP, CLASSES, ("a", "c"))


def test_every_metric_is_described() -> None:
    metrics = [r[name] for r in (METRICS, DEGRADATIONS, CALIBRATIONS) for name in r]
    for one in metrics:
        assert one.summary.endswith("."), one.name
        assert one.facts.startswith(f"{one.label}, "), one.name
    assert len({one.name for one in metrics}) == len({one.label for one in metrics}) == len(metrics)


def test_whose_a_metric_is() -> None:
    whose = {name: (METRICS[name].told_of(False), METRICS[name].told_of(True)) for name in METRICS}
    assert {name for name, told in whose.items() if told == (True, False)} == {
        "accuracy", "cwv", "cwv_corrected", "mcd", "worst_class_accuracy",
    }  # fmt: skip
    # where cells are classes, the worst of them has a line already
    assert whose["worst_cell_accuracy"] == (False, True)
    assert not METRICS["worst_cell_accuracy"].needs_groups
    drop = DEGRADATIONS["max_cell_drop"]
    assert drop.told_of(False)
    assert drop.told_of(True)
    counted = {name for name in METRICS if METRICS[name].of_inequality}
    assert set(METRICS) - counted == {"accuracy", "cwv_corrected"}


def test_a_faster_way_is_a_way_to_the_same_number() -> None:
    rng = np.random.default_rng(1)
    counts = Counts.of(rng.integers(0, 4, (6, 4, 3, 3)), 3)
    for name in METRICS:
        interval = METRICS[name].interval
        if isinstance(interval, Rates):
            hits, n = interval.counts(counts)
            with np.errstate(invalid="ignore"):
                found = hits / n
            ranges = np.ptp(found, axis=-1)
            half = max(1, ranges.shape[-1] // 2)
            expected = {
                "smallest": found.min((-1, -2)),
                "range": ranges.max(-1),
                "mean range": ((ranges[:, :half] + ranges[:, -half:]) / 2).max(-1),
            }[interval.reduce]
            np.testing.assert_allclose(METRICS[name].function(counts), expected, err_msg=name)
