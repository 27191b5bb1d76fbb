"""One notation of labels, groups and ids, whatever holds them; what does not fit is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

import fairsparse
from fairsparse.auditing.document import document
from fairsparse.auditing.engine import Audit, audit
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.inputs.columns import Columns, read
from fairsparse.auditing.inputs.groups import groups_of
from fairsparse.auditing.inputs.join import audit_files
from fairsparse.auditing.inputs.labels import Coded, Notation, column, text
from fairsparse.core import InputError

N = 400
_rng = np.random.default_rng(0)
Y = _rng.integers(0, 2, N)
REF = np.where(_rng.random(N) < 0.1, 1 - Y, Y)
CAND = np.where(_rng.random(N) < 0.25, 1 - Y, Y)
G = _rng.choice(["a", "b"], N)
ACCURACY = float((REF == Y).mean()), float((CAND == Y).mean())
QUICK = Settings(resamples=20)
Put = Callable[[str, dict[str, Any]], str]


def arrays(reference: Any = REF, candidate: Any = CAND, y: Any = Y, **more: Any) -> Audit:
    return audit(reference, candidate, y, **{"resamples": 20, **more})


def accuracy(found: Audit) -> tuple[float, float]:
    rows = found.cells[found.cells["attribute"] == "class"]
    sums = ((rows[model] * rows["n"]).sum() / N for model in ("reference", "candidate"))
    return tuple(round(float(v), 12) for v in sums)  # type: ignore[return-value]


def files(reference: str, candidate: str, groups: str | None = None, **more: Any) -> Audit:
    notation = Notation(**{k: more.pop(k) for k in ("missing", "positive", "bins") if k in more})
    columns = Columns(**more.pop("columns", {}), notation=notation)
    named = {"c": candidate}
    return audit_files(reference, named, groups, settings=QUICK, columns=columns, **more)


@pytest.fixture(params=["csv", "parquet", "npz"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Put:
    """Write columns as one kind of file, and say where."""

    def write(name: str, columns: dict[str, Any]) -> str:
        path = tmp_path / f"{name}.{request.param}"
        if request.param == "npz":
            np.savez(path, **{k: np.asarray(v) for k, v in columns.items()})
        elif request.param == "csv":
            pd.DataFrame(columns).to_csv(path, index=False)
        else:
            pd.DataFrame(columns).to_parquet(path, index=False)
        return str(path)

    return write


YES = np.array(["no", "yes"])
SAME = {
    "true": lambda v: v.astype(bool),
    "decimal": lambda v: v.astype(float),
    "half": lambda v: v.astype(np.float16),
    "text": lambda v: v.astype(str),
    "decimal text": lambda v: np.char.add(v.astype(str), ".0"),
    "bytes": lambda v: v.astype(str).astype("S"),
    "big-endian": lambda v: v.astype(">i4"),
    "TRUE": lambda v: np.array(["FALSE", "TRUE"])[v],
    "space": lambda v: np.char.add(" ", v.astype(str)),
}


@pytest.mark.parametrize("spelled", SAME)
@pytest.mark.parametrize("side", ["y", "reference", "candidate"])
def test_equal_numbers_are_one_class_in_arrays(spelled: str, side: str) -> None:
    case = {"y": Y, "reference": REF, "candidate": CAND}
    found = arrays(**{**case, side: SAME[spelled](case[side])})
    assert found.class_names == ("0", "1")
    assert accuracy(found) == ACCURACY


@pytest.mark.parametrize("spelled", [s for s in SAME if s not in ("half", "bytes", "big-endian")])
def test_equal_numbers_are_one_class_in_files(spelled: str, put: Put) -> None:
    one = put("one", {"y": SAME[spelled](Y), "prediction": REF})
    other = put("other", {"prediction": SAME[spelled](CAND), "y": Y})
    found = files(one, other)
    assert found.class_names == ("0", "1")
    assert accuracy(found) == ACCURACY


def test_truth_is_true_where_all_are(put: Put) -> None:
    case = {"y": Y.astype(bool), "reference": REF.astype(bool)}
    assert arrays(candidate=np.array(["false", "true"])[CAND], **case).class_names == (
        "False",
        "True",
    )
    path = put("a", {"y": Y.astype(bool), "prediction": np.array(["false", "TRUE"])[REF]})
    assert files(path, path).class_names == ("False", "True")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"y": YES[Y]}, "reference is right for no example: it predicts 1, 0 where the true"),
        ({"y": Y + 5}, "reference is right for no example"),
        ({"reference": 1 - Y}, "reference is right for no example"),
        ({"candidate": YES[CAND]}, "candidate has classes that others do not have: no, yes"),
        (
            {"y": YES[Y], "reference": np.array(["no", "Yes"])[REF], "candidate": YES[CAND]},
            "reference predicts Yes, which no example is, and never yes; write classes in one",
        ),
        ({"y": Y + 1, "candidate": CAND + 1}, "reference predicts 0, which no .* and never 2"),
    ],
)
def test_another_notation_is_refused_by_name(case: dict, message: str, put: Put) -> None:
    with pytest.raises(InputError, match=message):
        arrays(**case)
    columns = {"y": Y, "reference": REF, "candidate": CAND, **case}
    one = put("reference", {"y": columns["y"], "prediction": columns["reference"]})
    other = put("candidate", {"prediction": columns["candidate"]})
    with pytest.raises(InputError, match=re.sub("^(reference|candidate)", r"\1.*", message)):
        files(one, other)


def test_a_class_that_no_example_has_is_told() -> None:
    told = "reference predicts 2, which no example is."
    assert told in arrays(reference=np.where(np.arange(N) < 5, 2, REF)).notes


@pytest.mark.parametrize("nothing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_what_is_missing_is_no_class(nothing: Any) -> None:
    lacking = [nothing, *YES[Y[1:]]]
    for values in (lacking, np.array(lacking, object), pd.Series(lacking, dtype=object)):
        with pytest.raises(InputError, match="y lacks 1 of 400 values; leave those rows out"):
            arrays(YES[REF], YES[CAND], values)
    known = arrays(groups=[None if g == "a" else g for g in G])
    assert known.frame("group").index.tolist() == ["b", "unknown"]


def test_masked_arrays_and_text_nan_are_no_classes() -> None:
    masked = np.ma.masked_array(Y, np.arange(N) < 7)
    with pytest.raises(InputError, match="y lacks 7 of 400 values"):
        arrays(y=masked)
    with pytest.raises(InputError, match="'nan' is a class; leave out rows without a label"):
        arrays(YES[REF], YES[CAND], np.array([float("nan"), *YES[Y[1:]]]))  # numpy made it text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (REF.astype(complex), "of complex128; numbers of at most 64 bits"),
        (REF.astype(np.longdouble), "of float128; numbers of at most 64 bits"),
        (np.zeros(N, [("a", int)]), "reference is of .*; numbers of at most 64 bits"),
        (np.zeros(N, "V4"), "numbers of at most 64 bits"),
        ([[1], [1, 2]] * 200, "reference has rows of different lengths"),
        ([{}] * N, "reference holds lists or other objects"),
        ([b"\xff"] * N, "labels of bytes must be UTF-8 text"),
        (set(REF), r"must be one value for each example; got shape \(\)"),
        (3, r"must be one value for each example; got shape \(\)"),
    ],
)
def test_what_is_no_label_is_told_in_one_line(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        arrays(reference=values)
    assert "\n" not in str(told.value)


def test_other_holders_of_arrays() -> None:
    frames = (pd.Categorical, torch.tensor, pd.Series, list, pd.Index, lambda v: pd.array(v))
    for hold in frames:
        found = arrays(hold(REF), hold(CAND), hold(Y), groups=hold(Y))
        assert accuracy(found) == ACCURACY
        assert found.attributes == {"group": ("0", "1")}
    assert accuracy(arrays(reference=torch.tensor(REF).to(torch.bfloat16))) == ACCURACY


@given(st.integers(-(10**20), 10**20))
def test_a_number_is_one_label_however_it_is_written(value: int) -> None:
    spelled = [value, str(value), f"{value}.0", Decimal(value), f" {value} ", f"{value}".encode()]
    assert {text(v) for v in spelled} == {str(value)}
    assert text(f"00{value}") == f"00{value}"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.floats())
def test_a_label_is_its_own_label(word: str, number: float) -> None:
    assert text(text(word)) == text(word)
    if number == number:
        assert text(text(number)) == text(number) == text(str(number))


def test_numbers_that_differ_are_different_labels() -> None:
    words = ["1", "01", "1.5", "1e30", "1" + "0" * 29 + "1", "-1", "1_0", "0x1", "10"]
    assert len({text(w) for w in words}) == len(words)


# pandas


def shuffled(values: Any, seed: int) -> Any:
    return values.sample(frac=1, random_state=seed)


def test_objects_of_pandas_are_matched_by_index() -> None:
    expected = arrays(groups={"g": G})
    y, ref, cand = (pd.Series(v, index=np.arange(N) + 7) for v in (Y, REF, CAND))
    groups = pd.DataFrame({"g": G}, index=y.index)
    for given_ in (groups, groups["g"].rename(None).to_frame("g"), {"g": groups["g"]}):
        several = {"g": shuffled(given_["g"], 3)} if isinstance(given_, dict) else given_[::-1]
        found = arrays(shuffled(ref, 1), shuffled(cand, 2), y, groups=several)
        pd.testing.assert_frame_equal(found.cells, expected.cells)
    # arrays are in the order of y
    found = arrays(REF, CAND, y, groups=groups[::-1])
    pd.testing.assert_frame_equal(found.cells, expected.cells)


def test_scores_of_a_table_are_matched_by_index_and_by_name() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.dirichlet([1, 1], N), rng.dirichlet([1, 1], N)
    expected = arrays(first, second, groups=G, class_names=["0", "1"])
    table = pd.DataFrame(first, columns=["0", "1"])[["1", "0"]]
    found = arrays(table[::-1], pd.DataFrame(second), pd.Series(Y), groups=G, class_names=[0, 1])
    pd.testing.assert_frame_equal(found.cells, expected.cells)
    pd.testing.assert_frame_equal(found.calibration, expected.calibration)
    with pytest.raises(InputError, match="reference has columns of scores no, yes and classes are"):
        arrays(table.set_axis(["no", "yes"], axis=1), second, class_names=[0, 1])


@pytest.mark.parametrize("index", [range(1, N + 1), [0] * N, [*range(1, N), 1]])
def test_another_index_is_refused(index: Any) -> None:
    with pytest.raises(InputError, match="the index of groups 'g' is not that of y; give both"):
        arrays(y=pd.Series(Y), groups={"g": pd.Series(G, index=index)})


def test_compare_matches_objects_of_pandas_too() -> None:
    group = pd.Series((G == "b").astype(int))
    facts = (["no", "yes"], ["a", "b"])
    expected = fairsparse.compare(REF, CAND, Y, group.to_numpy(), *facts, resamples=20)
    y, reference = pd.Series(Y), pd.Series(REF)
    found = fairsparse.compare(reference[::-1], CAND, y, group[::-1], *facts, resamples=20)
    assert str(found.cells) == str(expected.cells)  # NaN is not equal to itself
    with pytest.raises(InputError, match="the index of group is not that of y"):
        fairsparse.compare(REF, CAND, y, group.set_axis(range(1, N + 1)), *facts)


def test_one_index_may_have_doubles() -> None:
    y, groups = (pd.Series(v, index=[0] * N) for v in (Y, G))
    pd.testing.assert_frame_equal(arrays(y=y, groups=groups).cells, arrays(groups=G).cells)


# the positive class


def test_the_positive_class_is_named_whatever_the_order() -> None:
    words = np.array(["denied", "approved"])
    case = {"reference": words[REF], "candidate": words[CAND], "y": words[Y], "groups": G}
    rates = {}
    for positive in ("approved", "denied"):
        by = [
            ((case["candidate"] == positive) & (case["y"] == positive) & (g == G)).sum()
            / ((case["y"] == positive) & (g == G)).sum()
            for g in "ab"
        ]
        rates[positive] = max(by) - min(by)
    assert abs(rates["approved"] - rates["denied"]) > 0.01
    for names in (None, ["approved", "denied"], ["denied", "approved"]):
        for positive in (None, "approved", "denied"):
            found = arrays(**case, class_names=names, positive=positive)
            row = found.measures.set_index("measure").loc["equal_opportunity"]
            told = positive or "denied"  # the last by the alphabet
            assert row["candidate"] == pytest.approx(rates[told])
            assert found.positive == document(found)["positive"] == told
            assert any(f"The positive class is '{told}'" in note for note in found.notes)


def test_the_positive_class_does_not_hang_on_the_order_of_columns(tmp_path: Path) -> None:
    scores = np.random.default_rng(2).dirichlet([1, 1], N)
    words = np.array(["denied", "approved"])
    for name, order in (("a", (0, 1)), ("b", (1, 0))):
        table = pd.DataFrame({f"score_{words[i]}": scores[:, i] for i in order})
        table.assign(y=words[Y], g=G).to_csv(tmp_path / f"{name}.csv", index=False)
    found = [
        files(str(tmp_path / f"{name}.csv"), str(tmp_path / "a.csv"), attributes=["g"])
        for name in "ab"
    ]
    assert found[0].positive == found[1].positive == "denied"
    pd.testing.assert_frame_equal(found[0].measures, found[1].measures)
    other = files(str(tmp_path / "a.csv"), str(tmp_path / "a.csv"), positive="approved")
    assert other.positive == "approved"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"positive": "yess", "y": YES[Y], "reference": YES[REF], "candidate": YES[CAND]},
         r"positive 'yess' is not one of two classes \(did you mean 'yes'\?\)"),
        ({"positive": 2, "y": np.arange(N) % 3}, "positive '2' is not one of two classes"),
    ],
)  # fmt: skip
def test_a_positive_class_that_is_none_is_refused(case: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        arrays(**case)


def test_the_positive_class_may_be_true() -> None:
    assert arrays(y=Y.astype(bool), positive=True).positive == "1"
    assert arrays(y=Y.astype(bool), positive=False).positive == "0"
    assert arrays(y=np.arange(N) % 3).positive is None


# groups


WORDS = np.array(["NA", "None", "null", "n/a", "", "x"])[np.arange(N) % 6]


def test_only_an_empty_field_is_missing_unless_words_are_listed(put: Put) -> None:
    one = put("one", {"y": Y, "prediction": REF})
    people = put("people", {"g": WORDS})
    named = {"NA": 67, "None": 67, "null": 67, "n/a": 67, "x": 66, "unknown": 66}
    for found in (files(one, one, people), arrays(groups={"g": WORDS})):
        assert found.frame("g")["n"].to_dict() == named
        assert any("Words that are groups of g: NA, None, n/a, null." in n for n in found.notes)
    listed = {"None": 67, "n/a": 67, "x": 66, "unknown": 66 + 67 + 67}
    words = ["NA", "null"]
    for found in (
        files(one, one, people, missing=words),
        arrays(groups={"g": WORDS}, missing=words),
    ):
        assert found.frame("g")["n"].to_dict() == listed
        assert "Read as missing, besides empty fields: NA, null." in found.notes


def test_a_word_for_nothing_is_no_class(put: Put) -> None:
    y = np.where(np.arange(N) < 3, "?", YES[Y])
    path = put("a", {"y": y, "prediction": y})
    with pytest.raises(InputError, match="y is empty in 3 of 400 rows"):
        files(path, path, missing=["?"])


AGES = np.random.default_rng(3).integers(18, 90, N)
MAILS = [f"p{i}@example.org" for i in range(N)]


def test_a_column_that_tells_rows_apart_is_no_group(put: Put) -> None:
    one = put("one", {"y": Y, "prediction": REF})
    people = put("people", {"region": G, "mail": MAILS})
    message = "column 'mail' has 400 values in 400 rows and is no group of people"
    for attempt in (
        lambda: files(one, one, people),
        lambda: files(one, one, people, attributes=["mail"]),
        lambda: arrays(groups={"region": G, "mail": MAILS}),
    ):
        with pytest.raises(InputError, match=message) as told:
            attempt()
        assert "example.org" not in str(told.value)
    assert set(files(one, one, people, attributes=["region"]).attributes) == {"region"}


def test_numbers_are_put_into_ranges_when_asked(put: Put) -> None:
    one = put("one", {"y": Y, "prediction": REF})
    people = put("people", {"region": G, "age": AGES})
    with pytest.raises(InputError, match=r"column 'age' holds 7\d different numbers; --bins age=4"):
        files(one, one, people)
    by_name = files(one, one, people, attributes=["age"])
    assert len(by_name.attributes["age"]) == len(set(AGES))
    assert any("numbers of age is a group; --bins age=4" in note for note in by_name.notes)
    for found in (
        files(one, one, people, bins={"age": 3}),
        arrays(groups={"region": G, "age": AGES}, bins={"age": 3}),
    ):
        sizes = found.frame("age")["n"]
        ends = [tuple(map(int, name.split(" to "))) for name in sizes.index]
        assert [((low <= AGES) & (high >= AGES)).sum() for low, high in ends] == sizes.tolist()
        assert (sizes - N / 3).abs().max() < 12
        assert ends == sorted(ends)


def test_ranges_by_hand() -> None:
    def ranges(values: list, k: int) -> dict:
        coded, _ = groups_of("x", column("x", values), Notation(bins={"x": k}))
        return {name: (coded.codes == i).sum() for i, name in enumerate(coded.names)}

    assert ranges([1, 2, 3, 4, 9, 10], 2) == {"1 to 3": 3, "4 to 10": 3}
    assert ranges([5, 5, 5, 5, 7, 10], 3) == {"5": 4, "7 to 10": 2}
    assert ranges(["9", "10", "-1", None, 0.5], 2) == {"-1 to 0.5": 2, "9 to 10": 2}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"bins": {"aeg": 4}}, r"no attribute 'aeg' \(did you mean 'age'\?\)"),
        ({"bins": {"g": 4}}, "column 'g' holds other than numbers and cannot be put into 4"),
        ({"bins": {"age": 1}}, "bins of 'age' must be a whole number from 2; got 1"),
        ({"bins": "age=4"}, "bins must name columns"),
        ({"missing": "NA"}, "missing must be a list of words; got 'NA'"),
        ({"margin": "0.01"}, "margin must be a number; got '0.01'"),
        ({"depth": 1.5}, "depth must be a whole number; got 1.5"),
        ({"least": True}, "least must be a whole number; got True"),
        ({"alpha": float("nan")}, "alpha must be above 0 and below 1; got nan"),
        ({"seed": None}, "seed must be a whole number; got None"),
        ({"margn": 0.1}, r"no option 'margn' \(did you mean 'margin'\?\)"),
    ],
)
def test_bad_options_are_told_in_one_line(more: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        arrays(groups={"age": AGES, "g": G}, **more)
    assert "\n" not in str(told.value)


def test_groups_in_odd_shapes_are_refused() -> None:
    for groups, message in (
        (np.zeros((N, 2)), r"groups 'group' must be one value for each example; got shape"),
        ({"a": 3}, "groups 'a' must be one value for each"),
        (pd.DataFrame(np.c_[Y, Y], columns=["a", "a"]), "groups have a name twice"),
        ({1: Y, "1": Y}, "groups have a name twice"),
    ):
        with pytest.raises(InputError, match=message):
            arrays(groups=groups)


# files


IDS = 10**18 * (1 + np.arange(N) % 9) + np.arange(N)


@pytest.mark.parametrize(
    "ids",
    [
        IDS,
        IDS.astype(np.uint64) + np.uint64(2**63),
        [f"u{i}" for i in range(N)],
        [f"{i:04d}" for i in range(N)],
        np.arange(N).astype(float),
        [f"{'0' * (i % 3)}{i}" for i in range(1, N + 1)],
        pd.Categorical([f"u{i}" for i in range(N)]),
        [f"u{i}".encode() for i in range(N)],
        pd.date_range("2020-01-01", periods=N).astype(str),
    ],
    ids=["19 digits", "20 digits", "texts", "zeros", "decimal", "mixed", "kinds", "bytes", "days"],
)
def test_ids_match_across_formats(tmp_path: Path, ids: Any) -> None:
    frame = pd.DataFrame({"id": ids, "y": Y, "prediction": REF, "cand": CAND})
    plain = frame.assign(id=[v.decode() if isinstance(v, bytes) else v for v in ids])
    plain[["id", "y", "prediction"]].to_csv(tmp_path / "a.csv", index=False)
    other = frame[["id", "cand"]].rename(columns={"cand": "prediction"})[::-1]
    other.to_parquet(tmp_path / "b.parquet", index=False)
    values = np.asarray(other["id"])
    values = values.astype(str) if values.dtype == object and values[0] is str else values
    if values.dtype == object:
        values = values.astype("S" if isinstance(values[0], bytes) else str)
    np.savez(tmp_path / "b.npz", id=values, prediction=other["prediction"])
    for name in ("b.parquet", "b.npz"):
        found = files(str(tmp_path / "a.csv"), str(tmp_path / name))
        assert accuracy(found) == ACCURACY
        assert found.notes == ()


def test_numbers_match_texts_and_007_is_not_7(tmp_path: Path) -> None:
    ids = ["007", "7", *map(str, range(8, 106))]
    frame = pd.DataFrame({"id": ids, "y": Y[:100], "prediction": REF[:100]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    numbers = frame.iloc[1:].assign(id=frame["id"].iloc[1:].astype(int))
    numbers.to_parquet(tmp_path / "b.parquet")
    found = files(str(tmp_path / "a.csv"), str(tmp_path / "b.parquet"))
    assert found.n == 99
    assert found.notes == (f"1 of 100 rows of {tmp_path / 'a.csv'} have no match.",)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.arange(N) + 2.0**60, "ids are decimal numbers beyond 2.*53, which have lost digits"),
        ([[i] for i in range(N)], "ids are of list<.*>; whole numbers or texts are needed"),
        ([None, *range(1, N)], "1 rows have no id"),
        (["", *map(str, range(1, N))], "1 rows have no id"),
        ([1.0, *range(1, N)], "1 ids occur more than once, such as 1"),
        (["1.0", "1", *[f"x{i}" for i in range(2, N)]], "1 ids occur more than once, such as 1"),
        (np.arange(N) % 2 == 0, "ids are of bool; whole numbers or texts are needed"),
    ],
)
def test_ids_that_are_none_are_told(tmp_path: Path, ids: Any, message: str) -> None:
    path = str(tmp_path / "a.parquet")
    pd.DataFrame({"id": ids, "y": Y, "prediction": REF}).to_parquet(path)
    with pytest.raises(InputError, match=message):
        files(path, path)


def test_files_without_a_common_id_are_named_apart(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 0), ("c", 1000)):
        table = pd.DataFrame({"id": np.arange(N) + first, "y": Y, "prediction": REF})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    a, b, c = (str(tmp_path / f"{name}.csv") for name in "abc")
    with pytest.raises(InputError, match=rf"no id of {c} is in all other files: it has 1000.*{a}"):
        audit_files(a, {"b": b, "c": c}, settings=QUICK)


@pytest.mark.parametrize("rows", [N, 300])
def test_a_key_that_files_share_stops_a_match_by_order(put: Put, rows: int) -> None:
    order = np.random.default_rng(4).permutation(N)[:rows]
    keys = np.array([f"u{i}" for i in range(N)])
    one = put("one", {"user_id": keys, "y": Y, "prediction": REF})
    other = put("other", {"user_id": keys[order], "prediction": CAND[order]})
    with pytest.raises(InputError, match="'user_id' differs; match rows by it with --id user_id"):
        files(one, other)
    people = put("people", {"user_id": keys[order], "sex": G[order]})
    with pytest.raises(InputError, match="match rows by it with --id user_id"):
        files(one, one, people)
    with pytest.raises(InputError, match="match rows by it with --id user_id"):
        files(one, one, people, attributes=["sex"])
    found = files(one, other, people, columns={"id": "user_id"})
    assert found.n == rows
    expected = arrays(REF[order], CAND[order], Y[order], groups={"sex": G[order]})
    columns = ["attribute", "cell", "n", "reference", "candidate", "lost"]
    pd.testing.assert_frame_equal(found.cells[columns], expected.cells[columns])


def test_columns_that_agree_or_are_no_keys_do_not_stop_it(put: Put) -> None:
    loss = np.random.default_rng(5).random(N)
    one = put("one", {"user_id": np.arange(N), "y": Y, "prediction": REF, "loss": loss, "g": G})
    other = put("other", {"user_id": np.arange(N), "prediction": CAND, "loss": loss / 2, "g": G})
    assert accuracy(files(one, other)) == ACCURACY


@pytest.mark.parametrize(("mark", "called"), [(";", ";"), ("\t", "tab"), ("|", r"\|")])
def test_another_separator_is_told(tmp_path: Path, mark: str, called: str) -> None:
    one, people = tmp_path / "a.csv", tmp_path / "p.csv"
    pd.DataFrame({"y": Y, "prediction": REF}).to_csv(one, index=False)
    pd.DataFrame({"sex": G, "age": AGES / 2}).to_csv(people, index=False, sep=mark, decimal=",")
    with pytest.raises(InputError, match=rf"one column, 'sex.age', .* separated by '{called}'"):
        files(str(one), str(one), str(people))


def test_line_breaks_in_fields_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairsparse.auditing.inputs.columns._BLOCK", 500)
    notes = [f'line {i}\nsecond, "line"\r\n1,1' + "x" * (i % 50) for i in range(N)]
    table = pd.DataFrame({"y": Y, "note": notes, "prediction": REF, "g": G})
    table.to_csv(tmp_path / "a.csv", index=False)
    assert (tmp_path / "a.csv").stat().st_size > 20 * 500
    contents = read(str(tmp_path / "a.csv"), Columns(), ["g"])
    assert contents.n == N
    for column_, expected in ((contents.truth, Y), (contents.prediction, REF)):
        assert isinstance(column_, Coded)
        assert np.array(column_.names)[column_.codes].tolist() == expected.astype(str).tolist()


def test_bytes_are_texts(tmp_path: Path) -> None:
    raw = [word.encode() for word in YES[Y]]
    table = pa.table(
        {"y": raw, "prediction": pa.array([w.encode() for w in YES[REF]], pa.large_binary())}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    np.savez(tmp_path / "b.npz", prediction=YES[CAND].astype("S"))
    found = files(str(tmp_path / "a.parquet"), str(tmp_path / "b.npz"))
    assert found.class_names == ("no", "yes")
    assert accuracy(found) == ACCURACY
    pq.write_table(pa.table({"prediction": [b"\xff"] * N}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet: cannot be read \(.*UTF8"):
        files(str(tmp_path / "a.parquet"), str(tmp_path / "c.parquet"))


DAY = np.array(["2020-01-01"], "M8[D]")
KINDS: dict[str, tuple[Any, str]] = {
    "big-endian": (CAND.astype(">i8"), ""),
    "big-endian decimal": (CAND.astype(">f4"), ""),
    "half": (CAND.astype(np.float16), ""),
    "bytes": (CAND.astype(str).astype("S"), ""),
    "complex": (CAND.astype(complex), "prediction is of complex128"),
    "longdouble": (CAND.astype(np.longdouble), "prediction is of float128"),
    "structured": (np.zeros(N, [("a", int)]), r"prediction(\.npy)? is of"),
    "void": (np.zeros(N, "V3"), r"prediction(\.npy)? is of"),
    "days": (DAY.repeat(N), "classes that others do not have: 2020-01-01"),
    "list": (pa.array([[1]] * N), "column 'prediction' holds list<"),
    "struct": (pa.array([{"a": 1}] * N), "column 'prediction' holds struct<"),
    "map": (pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())), "holds map<"),
    "decimal": (pa.array([Decimal(int(v)) for v in CAND]), ""),
    "none": (pa.nulls(N), "prediction is empty in 400 of 400 rows"),
    "view": (pa.array(CAND.astype(str)).cast(pa.string_view()), ""),
    "fixed bytes": (pa.array([str(v).encode() for v in CAND], pa.binary(1)), ""),
    "kinds of bytes": (pa.array([str(v).encode() for v in CAND]).dictionary_encode(), ""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_or_told_in_one_line(tmp_path: Path, kind: str) -> None:
    values, message = KINDS[kind]
    one = str(tmp_path / "a.npz")
    np.savez(one, y=Y, prediction=REF)
    if isinstance(values, np.ndarray):
        other = str(tmp_path / "b.npz")
        np.savez(other, prediction=values)
    else:
        other = str(tmp_path / "b.parquet")
        pq.write_table(pa.table({"prediction": values}), other)
    if not message:
        assert accuracy(files(one, other)) == ACCURACY
        return
    with pytest.raises(InputError, match=message) as told:
        files(one, other)
    assert "\n" not in str(told.value)
    assert other in str(told.value)


def test_scores_in_other_notations(tmp_path: Path) -> None:
    one = str(tmp_path / "a.csv")
    pd.DataFrame({"y": Y.astype(float), "prediction": REF}).to_csv(one, index=False)
    sure = np.eye(2)[CAND] * 0.8 + 0.1
    wide = {"score_False": sure[:, 0], "score_True": sure[:, 1]}
    pd.DataFrame(wide).to_csv(tmp_path / "wide.csv", index=False)
    names = {"bytes": [b"0", b"1"], "truth": [False, True], "decimal": [0.0, 1.0]}
    for name, classes in names.items():
        np.savez(tmp_path / f"{name}.npz", scores=sure.astype(">f4"), class_names=classes)
    for other in ("wide.csv", *(f"{name}.npz" for name in names)):
        assert accuracy(files(one, str(tmp_path / other))) == ACCURACY
    np.savez(tmp_path / "c.npz", scores=sure.astype(complex))
    with pytest.raises(InputError, match=r"scores must be numbers \(N, C\); got complex128"):
        files(one, str(tmp_path / "c.npz"))
    twice = {"score_1": sure[:, 0], "score_1.0": sure[:, 1]}
    pd.DataFrame(twice).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(InputError, match="has scores of one class twice"):
        files(one, str(tmp_path / "twice.csv"))


# fairlearn


def test_fairlearns_words_are_taken() -> None:
    expected = arrays(groups=G)
    both = {"reference": REF, "candidate": CAND}
    for found in (
        audit(y_true=Y, y_pred=both, sensitive_features=G, resamples=20),
        audit(REF, y_true=Y, y_pred=CAND, sensitive_features=G, resamples=20),
        fairsparse.audit(REF, CAND, Y, sensitive_features=G, resamples=20),
    ):
        pd.testing.assert_frame_equal(found.cells, expected.cells)
        pd.testing.assert_frame_equal(found.measures, expected.measures)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"y_true": Y, "y_pred": CAND}, "there is no reference; give audit"),
        ({"y_true": Y, "reference": REF}, "there is no candidate; give audit"),
        ({"reference": REF, "candidate": CAND}, "there is no y; give audit"),
        ({"y_true": Y, "y_pred": {"reference": REF}}, "there is no candidate; give audit"),
        ({"y": Y, "y_true": Y, "reference": REF, "candidate": CAND}, "y and y_true are one"),
        ({}, "there is no reference, y, candidate"),
    ],
)
def test_what_is_not_given_or_twice_is_told(given_: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        audit(**given_)


@pytest.mark.parametrize("positive", [0, 1])
def test_the_metric_frame_agrees_with_fairlearns_and_with_the_audit(positive: int) -> None:
    age = np.random.default_rng(6).choice(["old", "young"], N)
    found = arrays(groups={"sex": G, "age": age}, positive=positive)
    for model, said in (("reference", REF), (None, CAND)):
        frame = found.to_metricframe(model, ["sex"])
        theirs = MetricFrame(
            metrics={"accuracy": accuracy_score, "selection_rate": selection_rate,
                     "true_positive_rate": true_positive_rate},
            y_true=positive == Y, y_pred=said == positive, sensitive_features={"sex": G},
        )  # fmt: skip
        shared = list(theirs.by_group)
        pd.testing.assert_frame_equal(
            frame.by_group[shared].astype(float), theirs.by_group.astype(float)
        )
        rows = found.measures.query("attribute == 'sex'").set_index("measure")
        role = "candidate" if model is None else model
        gaps = frame.difference()
        assert rows.loc["accuracy_gap", role] == pytest.approx(gaps["accuracy"])
        assert rows.loc["demographic_parity", role] == pytest.approx(gaps["selection_rate"])
        assert rows.loc["equal_opportunity", role] == pytest.approx(gaps["true_positive_rate"])
        odds = max(gaps["true_positive_rate"], gaps["false_positive_rate"])
        assert rows.loc["equalized_odds", role] == pytest.approx(odds)
        by_cell = found.frame("sex")
        assert frame.by_group["accuracy"].to_numpy() == pytest.approx(by_cell[role].to_numpy())
        assert frame.by_group["count"].tolist() == by_cell["n"].tolist()
    assert found.to_metricframe().by_group.index.names == ["sex", "age"]


def test_the_metric_frame_of_several_classes_and_unknown_groups() -> None:
    groups = [None if i < 30 else g for i, g in enumerate(G)]
    y = np.arange(N) % 3
    found = arrays(np.where(Y, y, 0), y, y, groups=groups)
    frame = found.to_metricframe("reference")
    assert list(frame.by_group) == ["count", "accuracy"]
    expected = (np.where(Y, y, 0) == y)[:30].mean()
    assert frame.by_group.loc["unknown", "accuracy"] == pytest.approx(expected)
    for call, message in (
        (lambda: found.to_metricframe("other"), "there is no model 'other'; there are: reference"),
        (lambda: found.to_metricframe(attributes=["g"]), "there is no attribute 'g'"),
        (lambda: arrays().to_metricframe(), "a MetricFrame needs groups"),
    ):
        with pytest.raises(InputError, match=message):
            call()
