from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from fairsparse.core import InputError
from fairsparse.data import DATASETS
from fairsparse.data.task import SPLITS

table = DATASETS["table"]


def people(n=120):
    i = np.arange(n)
    return pd.DataFrame(
        {
            "age": 20.0 + i % 50,
            "city": np.array(["Rome", "Oslo", "Bonn"])[i % 3],
            "code": i % 4,
            "sex": np.array(["f", "m"])[i % 2],
            "owner": i // 4,
            "hired": np.array(["no", "yes"])[i // 2 % 2],
        }
    )


def write(tmp_path, frame, name="people.csv"):
    path = tmp_path / name
    (frame.to_parquet if name.endswith("parquet") else frame.to_csv)(path, index=False)
    return path


@pytest.mark.parametrize("name", ["people.csv", "people.csv.gz", "people.parquet"])
def test_table(tmp_path, name):
    task = table(write(tmp_path, people(), name), "hired", groups=("sex",), drop=("owner",))
    assert [len(getattr(task, s)) for s in SPLITS] == [80, 8, 8, 24]
    assert task.class_names == ("no", "yes")
    assert task.group_names == ("f", "m")
    assert task.input_shape == (2 + 3 + 2,)  # age, code; city; sex
    x = torch.cat([getattr(task, s).x for s in SPLITS])
    group = torch.cat([getattr(task, s).group for s in SPLITS])
    assert torch.equal(x[:, -1], group.float())


def test_table_roles_of_columns(tmp_path):
    path = write(tmp_path, people())
    task = table(path, "hired", groups=("sex", "city"), categorical=("code", "city"), drop=("sex",))
    assert task.group_names == tuple(f"{s} x {c}" for s in "fm" for c in ("Bonn", "Oslo", "Rome"))
    assert task.input_shape == (2 + 4 + 3,)  # age, owner; code; city
    alone = table(path, "hired", drop=("city", "code", "sex"), identity="owner")
    assert alone.input_shape == (1,)
    assert alone.group_names == ()


def test_table_identity(tmp_path):
    frame = people()
    frame["age"] = frame["owner"].astype(float)  # the feature says whose row it is
    path = write(tmp_path, frame)
    drop = ("city", "code", "sex")
    task = table(path, "hired", identity="owner", drop=drop)
    owners = [set(getattr(task, s).x[:, 0].tolist()) for s in SPLITS]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 30
    frame["owner"] = frame["owner"].astype(float)
    frame.loc[:59, "owner"] = np.nan  # rows without identity are not one person
    sizes = [
        len(getattr(table(write(tmp_path, frame), "hired", identity="owner", drop=drop), s))
        for s in SPLITS
    ]
    assert sum(sizes) == 120
    assert abs(sizes[3] - 24) <= 2


def test_table_missing_values(tmp_path):
    frame = people(n=90)
    frame["split"] = np.array(["train", "cal", "val", "test", "train"])[np.arange(90) // 4 % 5]
    rows = np.flatnonzero(frame["split"] == "train")
    frame["age"] = np.nan
    frame.loc[rows, "age"] = 10.0
    frame.loc[rows[:3], "age"] = 40.0
    frame.loc[frame.index[frame["split"] != "train"][0], "sex"] = None
    frame.loc[rows[5], "city"] = None
    task = table(
        write(tmp_path, frame),
        "hired",
        groups=("sex",),
        drop=("owner", "code", "sex"),
        split_column="split",
    )
    unknown = sum(int((getattr(task, s).group == -1).sum()) for s in SPLITS)
    assert unknown == 1
    assert task.input_shape == (1 + 4,)  # age; city with the missing one
    # The median of the training rows is 10, not the mean and not a value of other rows.
    n, high = len(rows), 3
    mean = 10 + 30 * high / n
    std = 30 * (high * (n - high)) ** 0.5 / n
    torch.testing.assert_close(task.test.x[:, 0], torch.full((len(task.test),), (10 - mean) / std))


def test_table_split_column(tmp_path):
    frame = people()
    frame["part"] = np.where(np.arange(120) < 90, "train", "test")
    task = table(write(tmp_path, frame), "hired", split_column="part")
    assert len(task.test) == 30
    assert len(task.cal) == len(task.val) == 5 + 4  # of 46 and 44
    frame.loc[3, "part"] = "dev"
    frame.loc[4, "part"] = None
    with pytest.raises(InputError, match=r"'part' has the values \(missing\), dev; allowed"):
        table(write(tmp_path, frame), "hired", split_column="part")


def test_table_fingerprint_and_limit(tmp_path):
    path = write(tmp_path, people())

    def build(seed):
        return table(path, "hired", groups=("sex",), seed=seed, limit=40)

    assert build(1).fingerprint == build(1).fingerprint
    assert build(1).fingerprint != build(2).fingerprint
    assert [len(getattr(build(0), s)) for s in SPLITS] == [32, 4, 4, 24]


def with_value(column, row, value):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            None,
            {"target": "hire"},
            r"no column 'hire' \(did you mean 'hired'\?\); its columns: age",
        ),
        (None, {"groups": ("gender",)}, "no column 'gender'"),
        (None, {"drop": ("x",)}, "no column 'x'"),
        (None, {"categorical": ("x",)}, "no column 'x'"),
        (None, {"drop": ("age", "city", "code", "sex", "owner")}, "no feature columns are left"),
        (with_value("hired", [3, 7], None), {}, r"'hired' is missing in 2 rows \(first: row 4\)"),
        (with_value("hired", slice(None), "no"), {}, r"has 1 class \(no\)"),
        (with_value("age", 6, -np.inf), {}, "column 'age' is infinite in row 7"),
        (
            with_value("age", slice(None), None),
            {"categorical": ("city", "sex")},
            "'age' has no value",
        ),
        (with_value("sex", slice(None), None), {"groups": ("sex",)}, "no row has a known value"),
        (lambda f: f.iloc[:0], {}, "has no rows"),
    ],
)
def test_table_bad_input(tmp_path, change, options, message):
    path = write(tmp_path, people() if change is None else change(people()))
    with pytest.raises(InputError, match=message):
        table(path, **({"target": "hired"} | options))


def test_table_too_many_categories(tmp_path):
    names = [f"n{i % 1001}" for i in range(5005)]
    frame = pd.DataFrame({"name": names, "y": np.arange(5005) % 2})
    with pytest.raises(InputError, match="column 'name' has 1001 categories, at most 1000"):
        table(write(tmp_path, frame), "y")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "no readable table"),
        ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "more fields than its header"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "no readable table"),
        ("t.csv", b"a,b\n0,1,2\n1,3,4\n", "more fields than its header"),
        ("t.csv", b"a,b\n\xff\xfe,1\n", "no readable table"),
        ("t.csv.gz", b"a,b\n1,2\n", "no readable table"),
        ("t.parquet", b"a,b\n1,2\n", "no readable table"),
    ],
)
def test_unreadable_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        table(tmp_path / name, "a")


def rows(n=900):
    i = np.arange(n)
    frame = people(n)[["city", "sex", "hired"]]
    frame["joined"] = [f"2020-{1 + k % 9:02d}-{1 + k % 27:02d}" for k in i]
    frame["letter"] = [f"Dear {k}" for k in i]
    return frame


def test_a_column_that_tells_rows_apart_is_no_feature_unless_asked_for(tmp_path):
    path = write(tmp_path, rows())
    with pytest.raises(InputError, match="column 'letter' has 900 texts in 900 rows; drop it"):
        table(path, "hired")
    dropped = table(path, "hired", drop=("letter",))
    assert dropped.input_shape == (3 + 2 + 27,)
    assert dropped.notes.endswith("Features: 'joined' became 27 categories, of dates.")
    assert table(path, "hired", categorical=("letter",)).input_shape[0] > 500
    days = rows().assign(joined=pd.date_range("2020-01-01", periods=900).astype(str))
    for frame in (days, days.assign(joined=pd.to_datetime(days["joined"]))):
        name = "p.parquet" if frame is not days else "p.csv"
        with pytest.raises(InputError, match=r"'joined' has 900 dates in 900 rows.*the year"):
            table(write(tmp_path, frame, name), "hired", drop=("letter",))
    numbered = rows().assign(row=np.arange(900)[::-1])
    assert (
        "'row' numbers the rows"
        in table(write(tmp_path, numbered), "hired", drop=("letter", "joined")).notes
    )


def test_a_column_that_tells_rows_apart_is_no_group(tmp_path):
    path = write(tmp_path, rows())
    with pytest.raises(InputError, match="group column 'letter' has 900 values in 900 rows"):
        table(path, "hired", groups=("sex", "letter"), drop=("letter",))


def test_what_is_listed_as_categorical_adds_to_what_holds_no_numbers(tmp_path):
    task = table(write(tmp_path, people()), "hired", categorical=("code",), drop=("owner",))
    assert task.input_shape == (1 + 3 + 4 + 2,)  # age; city, code, sex


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.jsonl"])
def test_only_an_empty_field_is_missing_unless_words_are_listed(tmp_path, name):
    frame = people()[["city", "sex", "hired"]].astype(object)
    words = np.array(["f", "m", "NA", "None", "null", "n/a", ""], object)[np.arange(120) // 2 % 7]
    frame["sex"] = words
    path = tmp_path / name
    if name.endswith("jsonl"):
        frame.to_json(path, orient="records", lines=True)
    else:
        write(tmp_path, frame, name)
    every = table(path, "hired", groups=("sex",), drop=("sex",))
    assert every.group_names == ("NA", "None", "f", "m", "n/a", "null")
    listed = table(path, "hired", groups=("sex",), drop=("sex",), missing=("NA", "null"))
    assert listed.group_names == ("None", "f", "m", "n/a")
    unknown = sum(int((getattr(listed, s).group == -1).sum()) for s in SPLITS)
    assert unknown == int(np.isin(words, ["NA", "null", ""]).sum())


def test_a_word_among_numbers_is_told_and_may_be_listed(tmp_path):
    frame = people().astype({"age": object})
    frame.loc[[4, 9], "age"] = "NA"
    path = write(tmp_path, frame)
    with pytest.raises(InputError, match="'age' holds numbers, and 'NA' in row 5; list that in"):
        table(path, "hired")
    assert table(path, "hired", missing=("NA",)).input_shape == (3 + 3 + 2,)


def test_bytes_are_texts(tmp_path):
    frame = people()
    expected = table(write(tmp_path, frame, "a.parquet"), "hired", groups=("sex",))
    for column in ("hired", "sex", "city"):
        frame[column] = frame[column].str.encode("utf-8")
    task = table(write(tmp_path, frame, "b.parquet"), "hired", groups=("sex",))
    assert task.fingerprint == expected.fingerprint
    frame.loc[3, "city"] = b"\xff"
    with pytest.raises(InputError, match="'city' holds bytes that are no UTF-8 text"):
        table(write(tmp_path, frame, "c.parquet"), "hired")


def test_lists_are_texts_and_may_be_dropped(tmp_path):
    frame = people().assign(tags=[[i % 3] for i in range(120)])
    path = write(tmp_path, frame, "a.parquet")
    assert table(path, "hired", drop=("tags",)).input_shape == (3 + 3 + 2,)
    assert table(path, "hired").input_shape == (3 + 3 + 2 + 3,)


@pytest.mark.parametrize(("mark", "called"), [(";", ";"), ("\t", "tab"), ("|", r"\|")])
def test_another_separator_is_told(tmp_path, mark, called):
    people().to_csv(tmp_path / "t.csv", index=False, sep=mark)
    with pytest.raises(InputError, match=f"one column, .*separated by '{called}'; write the file"):
        table(tmp_path / "t.csv", "hired")


def test_missing_table(tmp_path):
    with pytest.raises(InputError, match=r"no file .*t\.csv; expected a table"):
        table(tmp_path / "t.csv", "a")
