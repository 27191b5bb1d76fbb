"""The audit of arrays: by hand, its invariants, its findings, and what it refuses."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from fairlearn.metrics import MetricFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, cohen_kappa_score

import fairsparse
from fairsparse.auditing.cells import Units, drawn_together
from fairsparse.auditing.engine import Audit, audit
from fairsparse.auditing.examples import Examples
from fairsparse.auditing.findings import FINDINGS, LOST_LESS, LOST_MORE, NEITHER
from fairsparse.core import InputError


def people(n: int = 3000, harm: float = 0.25, seed: int = 0) -> dict[str, np.ndarray]:
    """A candidate that fails old people of group b more often, and nobody else."""
    rng = np.random.default_rng(seed)
    y = rng.choice(["cat", "dog", "owl"], n)
    sex, age = rng.choice(["a", "b"], n), rng.choice(["old", "young"], n, p=[0.3, 0.7])
    wrong = np.array(["dog", "owl", "cat"])[np.searchsorted(["cat", "dog", "owl"], y)]
    reference = np.where(rng.random(n) < 0.1, wrong, y)
    hurt = (sex == "b") & (age == "old") & (rng.random(n) < harm)
    return {
        "y": y,
        "reference": reference,
        "candidate": np.where(hurt, wrong, reference),
        "sex": sex,
        "age": age,
    }


def audited(case: dict[str, np.ndarray], **more: object) -> Audit:
    groups = {"sex": case["sex"], "age": case["age"]}
    options = {"groups": groups, "resamples": 400, **more}
    return audit(case["reference"], case["candidate"], case["y"], **options)  # type: ignore[arg-type]


def test_the_harmed_crossing_is_found_and_only_it() -> None:
    case = people()
    found = audited(case)
    cells = found.cells.set_index(["attribute", "cell"])
    assert cells.loc[("sex x age", "b | old"), "finding"] == LOST_MORE
    behind = found.cells[found.cells["finding"] == LOST_MORE]
    assert set(behind["attribute"]) >= {"sex x age", "sex", "age"}
    assert not any("a" in c.split(" | ") or "young" in c.split(" | ") for c in behind["cell"])
    row = cells.loc[("sex x age", "b | old")]
    mask = (case["sex"] == "b") & (case["age"] == "old")
    right = [(case[m] == case["y"])[mask] for m in ("reference", "candidate")]
    assert row["n"] == mask.sum()
    assert row["drop"] == pytest.approx(right[0].mean() - right[1].mean())
    overall = (case["reference"] == case["y"]).mean() - (case["candidate"] == case["y"]).mean()
    assert row["excess_drop"] == pytest.approx(row["drop"] - overall)
    assert row["excess_low"] > 0
    lost = int((right[0] & ~right[1]).sum())
    assert row["p"] == pytest.approx(binomtest(lost, lost, 0.5).pvalue)
    assert set(found.cells["finding"]) <= set(FINDINGS)
    assert set(found.attributes) == {"sex", "age", "sex x age"}
    assert set(cells.index.get_level_values(0)) == {
        "class", "sex", "age", "class x sex", "class x age", "sex x age",
    }  # fmt: skip


def test_figures_agree_with_fairlearn_and_scikit_learn() -> None:
    case = people(600)
    found = audited(case)
    frame = found.frame("sex")
    theirs = MetricFrame(
        metrics=accuracy_score, y_true=case["y"], y_pred=case["candidate"],
        sensitive_features=case["sex"],
    )  # fmt: skip
    assert frame["candidate"].to_dict() == pytest.approx(theirs.by_group.to_dict())
    gap = found.measures.query("attribute == 'sex' and measure == 'accuracy_gap'")
    assert gap["candidate"].item() == pytest.approx(theirs.difference())
    kappa = cohen_kappa_score(case["reference"], case["candidate"])
    assert found.overall["kappa"].item() == pytest.approx(kappa)
    churn = (case["reference"] != case["candidate"]).mean()
    assert found.overall["churn"].item() == pytest.approx(churn)


def test_nothing_changed_is_found_as_no_worse_or_unsure() -> None:
    case = people(harm=0.0)
    found = audited(case, margin=0.02)
    assert (found.cells["drop"] == 0).all()
    assert set(found.cells["finding"]) <= {"no worse", "data do not tell"}
    assert "no worse" in set(found.cells["finding"])
    assert (found.cells["p"] == 1).all()
    assert (found.measures["p"].dropna() == 1).all()


def test_unknown_groups_have_a_row_of_their_own() -> None:
    case = people(400)
    sex = case["sex"].astype(object)
    sex[:50] = None
    found = audit(case["reference"], case["candidate"], case["y"], groups=pd.Series(sex, name="s"))
    frame = found.frame("group")
    assert frame["n"].sum() == 400
    assert frame.loc["unknown", "n"] == 50
    assert found.attributes["group"] == ("a", "b")
    assert "cat | unknown" not in set(found.cells["cell"])
    cells = found.cells.set_index(["attribute", "cell"])
    right = [case[m] == case["y"] for m in ("reference", "candidate")]
    overall = right[0].mean() - right[1].mean()  # of those whose group is unknown, too
    for attribute, cell in (("group", "b"), ("class x group", "cat | b")):
        row = cells.loc[(attribute, cell)]
        assert row["excess_drop"] == pytest.approx(row["drop"] - overall)
    sex[:50] = ""
    empty = audit(case["reference"], case["candidate"], case["y"], groups=sex)
    pd.testing.assert_frame_equal(empty.cells, found.cells)


def test_overall_figures_by_hand() -> None:
    y, first, second = ([*text, *text] for text in ("aabbcc", "abbaca", "abacbc"))
    found = audit(first, second, y, class_names="abc", resamples=5).overall.iloc[0]
    # of the last four of six the candidate loses one, is wrong otherwise, loses and gains one
    assert (found["n"], found["lost"], found["gained"]) == (12, 4, 2)
    assert found["both_wrong_differently"] == 2
    assert found["churn"] == pytest.approx(4 / 6)
    chance = (3 * 2 + 2 * 2 + 1 * 2) / 36
    assert found["kappa"] == pytest.approx((2 / 6 - chance) / (1 - chance))


def test_small_cells_are_shown_and_not_tested() -> None:
    case = people(300)
    found = audited(case, least=80)
    small = found.cells[found.cells["n"] < 80]
    assert len(small) > 3
    assert set(small["finding"]) == {"too few"}
    assert small[["p", "excess_p", "p_adjusted", "band_low", "detectable"]].isna().all(axis=None)
    assert small["low"].notna().all()
    assert found.tests < audited(case, least=1).tests


def test_several_candidates_are_ranked_by_whom_they_leave_behind() -> None:
    bad, good = people(harm=0.6), people(harm=0.02)
    found = audit(
        bad["reference"],
        {"bad": bad["candidate"], "good": good["candidate"]},
        bad["y"],
        groups={"sex": bad["sex"], "age": bad["age"]},
        resamples=100,
    )
    assert found.candidates == ("good", "bad")
    assert set(found.cells["candidate_name"]) == {"good", "bad"}
    one = audited(bad, resamples=100)
    merged = found.cells.query("candidate_name == 'bad'").reset_index(drop=True)
    pd.testing.assert_series_equal(merged["p"], one.cells["p"])
    assert (merged["p_adjusted"] >= one.cells["p_adjusted"] - 1e-12).all()


def test_labels_may_be_text_numbers_scores_or_tensors() -> None:
    y = np.array([0, 1, 2, 1, 0, 2] * 20)
    first = np.where(np.arange(120) % 7 == 0, (y + 1) % 3, y)
    second = np.where(np.arange(120) % 5 == 0, (y + 1) % 3, y)
    plain = audit(first, second, y, resamples=20)
    others = [
        audit(first.astype(float), second.astype(str), list(y), resamples=20),
        audit(*map(torch.from_numpy, (first, second, y)), resamples=20),
        audit(pd.Series(first), np.eye(3)[second], y, class_names=[0, 1, 2], resamples=20),
    ]
    for other in others:
        pd.testing.assert_frame_equal(plain.cells, other.cells)
        assert other.class_names == ("0", "1", "2")


@given(st.randoms(use_true_random=False))
@settings(max_examples=5, deadline=None)
def test_order_does_not_matter(random) -> None:
    case = people(200)
    order = random.sample(range(200), 200)
    one, other = audited(case), audited({k: v[order] for k, v in case.items()})
    pd.testing.assert_frame_equal(one.cells, other.cells)
    pd.testing.assert_frame_equal(one.measures, other.measures)


FLIPS = ["lost", "gained", LOST_MORE, LOST_LESS]


@pytest.mark.parametrize(
    ("sizes", "accuracy"),
    [
        ([200] * 3, [0.85] * 3),
        ([2400, 200], [0.99, 0.6]),  # who is served worse flips more often, and loses no more
        ([2000, 400, 100], [0.97, 0.9, 0.7]),
    ],
)
def test_the_whole_audit_seldom_raises_a_false_alarm(sizes: list, accuracy: list) -> None:
    rng, alarms, n = np.random.default_rng(0), 0, sum(sizes)
    group = np.repeat(np.arange(len(sizes)), sizes)
    for seed in range(40):
        rate = np.array(accuracy)[group]
        own = rng.beta(1.7 * rate, 1.7 * (1 - rate))  # each example has a chance of its own
        y = rng.integers(0, 2, n)
        models = [np.where(rng.random(n) < own, y, 1 - y) for _ in range(2)]
        found = audit(*models, y, groups=group, resamples=50, seed=seed)
        changed = found.cells["finding"].isin(FLIPS).any()
        alarms += bool(changed or (found.measures["p_adjusted"] < 0.05).any())
    assert alarms <= 6  # of 40 at 5 %, more than 6 in one of a hundred and fifty


def test_a_group_that_loses_everything_is_found_among_many_tests() -> None:
    rng, n = np.random.default_rng(0), 1200
    y = rng.integers(0, 2, n)
    attributes = {name: rng.choice(["a", "b", "c"], n) for name in "stuv"}
    first = np.where(rng.random(n) < 0.1, 1 - y, y)
    worse = np.where(attributes["s"] == "c", 1 - y, first)
    found = audit(first, {"worse": worse, "same": first}, y, groups=attributes, resamples=100)
    cells = found.cells.set_index(["candidate_name", "attribute", "cell"])
    assert cells.loc[("worse", "s", "c"), "finding"] == LOST_MORE
    measures = found.measures.set_index(["candidate_name", "attribute", "measure"])["p_adjusted"]
    assert measures[("worse", "s", "accuracy_gap")] < 1e-6
    assert not (found.cells.query("candidate_name == 'same'")["finding"].isin(FLIPS)).any()


def test_cells_too_many_to_be_drawn_together_are_taken_for_independent() -> None:
    case = people(2000, harm=0.12)
    together = audited(case, resamples=20)
    with pytest.MonkeyPatch.context() as few:
        few.setattr("fairsparse.auditing.cells._TOGETHER", 0)
        apart = audited(case, resamples=20)
    mine, theirs = (a.cells["p_adjusted"].dropna().to_numpy() for a in (together, apart))
    assert (mine <= theirs + 0.01).all()
    assert (mine < theirs - 0.01).any()
    width = [(a.cells["band_high"] - a.cells["band_low"]).mean() for a in (together, apart)]
    assert 0.8 * width[1] < width[0] < width[1]


def test_cells_are_drawn_with_the_correlation_that_they_have() -> None:
    rng, n = np.random.default_rng(0), 600
    y, g = rng.integers(0, 2, (2, n))
    right = [rng.random(n) < 0.8, rng.random(n) < 0.7]
    names = ("0", "1")
    examples = Examples(y, names, {"g": (g, names)})
    units = Units.of(examples, examples.crossed(1), right)
    drawn, column = drawn_together(units, 1, np.ones(8, bool), 0)
    lost = right[0].astype(int) - right[1]
    cells = [y == 0, y == 1, g == 0, g == 1, *((y == c) & (g == k) for c in (0, 1) for k in (0, 1))]
    rows = rng.integers(0, n, (4000, n))
    drops = np.stack([(lost * c)[rows].sum(1) / c[rows].sum(1) for c in cells], 1)
    both = np.concatenate([drops, drops - lost[rows].mean(1)[:, None]], 1)
    expected = np.corrcoef(both.T)
    found = np.corrcoef(drawn[:, column[:, 0].ravel()].T)
    assert found == pytest.approx(expected, abs=0.06)


def test_findings_are_what_the_bands_say() -> None:
    found = audited(people())
    cells = found.cells[found.cells["p"].notna()]
    lost, more = cells["band_low"] > 0, cells["excess_band_low"] > 0
    assert set(cells.loc[more, "finding"]) == {LOST_MORE}
    assert set(cells.loc[lost & ~more, "finding"]) <= {"lost", LOST_LESS, LOST_MORE}
    assert (cells.loc[cells["finding"] == LOST_LESS, "excess_band_high"] <= 0).all()
    assert (cells.loc[cells["finding"] == "no worse", "band_high"] < 0.01).all()
    unsure = cells["finding"] == "data do not tell"
    assert (cells.loc[unsure, "band_low"] <= 0).all()
    assert (cells.loc[unsure, "band_high"] >= 0.01).all()
    assert cells["detectable"].notna().equals(unsure)
    width = cells["high"] - cells["low"]
    assert (cells["band_high"] - cells["band_low"] > width - 1e-9).mean() > 0.9


def test_what_is_asked_first_is_tested_at_the_full_level() -> None:
    case = people(1400, harm=0.11)
    plain, asked = (audited(case, primary=p).cells for p in (None, "sex x age"))
    mine, harmed = plain["attribute"] == "sex x age", plain["cell"] == "b | old"
    tested = mine & plain["p"].notna()
    assert (asked.loc[tested, "p_adjusted"] <= plain.loc[tested, "p_adjusted"]).all()
    assert (asked["finding"][mine & harmed] != "data do not tell").all()
    assert (
        asked.loc[~mine, "p_adjusted"].dropna() >= plain.loc[~mine, "p_adjusted"].dropna()
    ).all()
    nothing = audited(people(harm=0.0), primary="sex").cells
    rest = nothing["attribute"] != "sex"
    assert (nothing.loc[rest, "p_adjusted"].dropna() == 1).all()
    assert set(nothing.loc[rest, "finding"]) == {"data do not tell"}
    with pytest.raises(InputError, match=r"primary 'sax' is no attribute \(did you mean 'sex'"):
        audited(case, primary="sax")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidate": np.array(["cat"] * 5)}, "candidate has 5 predictions and y 3,000 labels"),
        ({"y": np.array(["cat", None] * 1500, object)}, "y lacks 1,500 of 3,000 values"),
        (
            {"candidate": np.array(["emu"] * 3000)},
            "candidate has classes that others do not have: emu",
        ),
        ({"sex": np.array(["a"] * 7)}, "groups 'sex' has 7 values for 3,000 examples"),
        ({"candidate": np.zeros((3000, 3))}, "scores of 3 classes and class_names names none"),
    ],
)
def test_bad_arrays_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        audited({**people(), **change})


@pytest.mark.parametrize("names", [["class"], ["class x sex"], ["sex", "age", "sex x age"]])
def test_names_that_an_audit_uses_are_refused(names: list[str]) -> None:
    case = people(100)
    groups = dict.fromkeys(names, case["sex"])
    with pytest.raises(InputError, match="an attribute cannot be called"):
        audit(case["reference"], case["candidate"], case["y"], groups=groups)


@pytest.mark.parametrize("name", ["reference", "y"])
def test_a_candidate_does_not_take_the_name_of_what_it_is_held_against(name: str) -> None:
    case = people(100)
    with pytest.raises(InputError, match=f"a candidate cannot be called '{name}'; rename it"):
        audit(case["reference"], {name: case["candidate"]}, case["y"])


def test_a_group_may_be_called_unknown() -> None:
    case = people(200)
    sex = np.where(case["sex"] == "a", "unknown", case["sex"]).astype(object)
    sex[:40] = None
    found = audit(case["reference"], case["candidate"], case["y"], groups=sex, resamples=20)
    assert found.frame("group").index.tolist() == ["b", "unknown", "unknown group"]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [({"margin": 0.0}, "margin must be above 0"), ({"depth": 0}, "depth must be at least 1")],
)
def test_bad_settings_are_refused(settings_: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        audited(people(100), **settings_)


def test_a_frame_that_is_not_there_names_those_that_are() -> None:
    found = audited(people(100), resamples=20)
    with pytest.raises(InputError, match=r"no cells of 'race'.*attributes: age, class"):
        found.frame("race")


def test_it_is_the_packages_function() -> None:
    assert fairsparse.audit is audit
    assert not math.isnan(fairsparse.audit([0, 1], [0, 1], [0, 1], resamples=5).n)


def test_confidence_is_audited_where_both_models_give_probabilities() -> None:
    case = people()
    names = ["cat", "dog", "owl"]

    def shares(predicted: np.ndarray, sure: np.ndarray) -> np.ndarray:
        rest = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
        rest[np.arange(len(sure)), np.searchsorted(names, predicted)] = sure
        return rest

    confidence = np.full(len(case["y"]), 0.9)
    models = {m: shares(case[m], confidence) for m in ("reference", "candidate")}
    found = audited({**case, **models}, class_names=names)
    rows = found.calibration.set_index(["attribute", "cell"])
    assert list(rows.index.get_level_values(0)) == ["all", *["sex"] * 2, *["age"] * 2,
                                                    *["sex x age"] * 4]  # fmt: skip
    hurt = rows.loc[("sex x age", "b | old")]
    mask = (case["sex"] == "b") & (case["age"] == "old")
    accuracy = [(case[m] == case["y"])[mask].mean() for m in ("reference", "candidate")]
    assert hurt["n"] == mask.sum()
    assert [hurt["reference"], hurt["candidate"]] == pytest.approx([0.9 - a for a in accuracy])
    assert hurt["candidate_ece"] == pytest.approx(abs(0.9 - accuracy[1]))  # all in one bin
    assert hurt["p_adjusted"] < 0.05
    assert rows.loc[("sex x age", "a | young"), "p_adjusted"] == 1
    gaps = found.measures[found.measures["measure"] == "calibration_gap"].set_index("attribute")
    assert set(gaps.index) == {"sex", "age"}
    sex = rows.loc["sex", "candidate"]
    assert gaps.loc["sex", "candidate"] == pytest.approx(sex.max() - sex.min())
    assert 0 < gaps.loc["sex", "p"] < 0.05
    assert gaps.loc["sex", "change_low"] > 0
    labels = audited(case)
    assert labels.calibration.empty
    assert found.tests == labels.tests + 9 + 2
    one = audited({**case, "reference": models["reference"]}, class_names=names)
    assert one.calibration.empty  # the candidate has labels alone
    pd.testing.assert_frame_equal(
        found.cells.drop(columns=[c for c in found.cells if c.endswith("adjusted")]),
        labels.cells.drop(columns=[c for c in labels.cells if c.endswith("adjusted")]),
    )


def test_a_group_that_neither_model_serves_is_told() -> None:
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 2, 3000), rng.choice(["a", "b", "c"], 3000)
    coin = rng.integers(0, 2, (2, 3000))
    models = [np.where(group == "c", coin[i], y) for i in (0, 1)]
    models[1] = np.where((group == "b") & (rng.random(3000) < 0.5), 1 - y, models[1])
    found = audit(*models, y, groups=group, resamples=20).cells.set_index(["attribute", "cell"])
    assert found.loc[("group", "c"), "finding"] == NEITHER
    assert found.loc[("group", "a"), "finding"] == LOST_LESS
    # guessing serves b no worse now, but it was served: what is told is that it lost
    assert found.loc[("group", "b"), "finding"] == LOST_MORE


def test_guessing_is_right_as_often_as_a_rare_class_occurs() -> None:
    y = np.repeat([0, 1], [900, 100])
    right = np.repeat([1, 0, 1, 0], [880, 20, 40, 60]).astype(bool)
    both = np.where(right, y, 1 - y)  # finds 40 % of a class of 10 %: far more than guessing
    found = audit(both, both, y, groups=["one"] * 1000, resamples=20).cells
    assert found.set_index("cell")["guessed"].to_dict() == {
        "0": 0.5, "1": 0.1, "one": 0.5, "0 | one": 0.5, "1 | one": 0.1,
    }  # fmt: skip
    assert NEITHER not in set(found["finding"])
