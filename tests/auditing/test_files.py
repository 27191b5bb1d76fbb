"""Audits of files: every format gives what the arrays give, and bad files are told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_audit import people

from fairsparse.auditing.engine import Audit, audit
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.inputs.columns import Columns
from fairsparse.auditing.inputs.join import audit_files, join
from fairsparse.core import InputError

N = 400
QUICK = Settings(resamples=50)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same predictions in several forms; ids are not in the same order."""
    case, ids = people(N), np.arange(N) * 3 + 7
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(N)
    classes = ["cat", "dog", "owl"]

    def table(what: str, order: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({"id": ids, "y": case["y"], "prediction": case[what]}).iloc[order]

    table("reference", np.arange(N)).to_csv(tmp_path / "a.csv", index=False)
    table("candidate", shuffled).to_csv(tmp_path / "b.csv", index=False)
    table("candidate", shuffled).to_parquet(tmp_path / "b.parquet", index=False)
    scores = np.full((N, 3), 0.1)
    scores[np.arange(N), np.searchsorted(classes, case["candidate"])] = 0.8
    names = np.array(classes)
    np.savez(tmp_path / "b.npz", id=ids[shuffled], scores=scores[shuffled], class_names=names)
    wide = pd.DataFrame(scores, columns=[f"score_{c}" for c in classes])
    wide.insert(0, "id", ids)
    wide.to_csv(tmp_path / "wide.csv", index=False)
    pd.DataFrame({"id": ids, "sex": case["sex"], "age": case["age"]}).to_csv(
        tmp_path / "people.csv", index=False
    )
    return {p.name: p for p in tmp_path.iterdir()}


def run(files: dict[str, Path], candidate: str, **more: Any) -> Audit:
    groups = more.pop("groups", "people.csv")
    return audit_files(
        str(files["a.csv"]),
        {"b": str(files[candidate])},
        groups and str(files[groups]),
        settings=QUICK,
        **more,
    )


@pytest.mark.parametrize("form", ["b.csv", "b.parquet", "b.npz", "wide.csv"])
def test_every_form_gives_what_the_arrays_give(files: dict[str, Path], form: str) -> None:
    case = people(N)
    groups = {"sex": case["sex"], "age": case["age"]}
    expected = audit(
        case["reference"], {"b": case["candidate"]}, case["y"], groups=groups, resamples=50
    )
    found = run(files, form)
    pd.testing.assert_frame_equal(found.cells, expected.cells)
    pd.testing.assert_frame_equal(found.measures, expected.measures)
    assert found.notes == ()


def test_small_blocks_read_the_same(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(files, "b.csv")
    monkeypatch.setattr("fairsparse.auditing.inputs.columns._BLOCK", 300)
    pd.testing.assert_frame_equal(run(files, "b.csv").cells, whole.cells)


def test_what_does_not_match_is_told(files: dict[str, Path]) -> None:
    for name, rows in (("b.csv", slice(0, 350)), ("people.csv", slice(100, None))):
        pd.read_csv(files[name]).iloc[rows].to_csv(files[name], index=False)
    found = run(files, "b.csv")
    assert found.n == 350
    sex = found.frame("sex")
    assert sex["n"].sum() == 350
    known = pd.read_csv(files["people.csv"])["id"].isin(pd.read_csv(files["b.csv"])["id"]).sum()
    assert sex.loc["unknown", "n"] == 350 - known > 0
    told = " ".join(found.notes)
    assert "50 of 400 rows of" in told
    assert f"{350 - known} examples are not in" in told


def test_labels_of_the_groups_file_are_not_guessed(files: dict[str, Path]) -> None:
    truth = pd.read_csv(files["a.csv"])[["id", "y"]]
    for name in ("a.csv", "b.csv"):
        pd.read_csv(files[name]).drop(columns="y").to_csv(files[name], index=False)
    groups = pd.read_csv(files["people.csv"]).merge(truth, on="id")
    groups.to_csv(files["people.csv"], index=False)
    assert run(files, "b.csv").n == N
    labelled = pd.read_csv(files["b.csv"]).merge(truth, on="id")
    labelled.to_csv(files["wide.csv"], index=False)  # then they need not have all
    groups.iloc[:390].to_csv(files["people.csv"], index=False)
    assert run(files, "wide.csv").frame("sex").loc["unknown", "n"] == 10
    groups.iloc[:390].to_csv(files["people.csv"], index=False)
    with pytest.raises(InputError, match="y is empty in 10 of 400 rows"):
        run(files, "b.csv")


def test_every_kind_of_nothing_is_an_unknown_group(files: dict[str, Path]) -> None:
    frame = pd.read_csv(files["people.csv"]).drop(columns="age").astype({"sex": object})
    frame["number"] = np.where(np.arange(N) % 2, 1.0, 2.0)
    frame.loc[:9, "sex"], frame.loc[10:14, "sex"], frame.loc[:6, "number"] = "", None, np.nan
    frame.to_parquet(files["people.csv"].with_suffix(".parquet"), index=False)
    files["people.parquet"] = files["people.csv"].with_suffix(".parquet")
    found = run(files, "b.csv", groups="people.parquet")
    assert found.attributes["number"] == ("1", "2")
    assert found.attributes["sex"] == ("a", "b")
    assert found.frame("sex").loc["unknown", "n"] == 15
    assert found.frame("number").loc["unknown", "n"] == 7


def test_rows_without_ids_are_matched_by_order(files: dict[str, Path]) -> None:
    for name in ("a.csv", "wide.csv", "people.csv"):
        pd.read_csv(files[name]).drop(columns="id").to_csv(files[name], index=False)
    found = run(files, "wide.csv")
    assert found.n == N
    assert "matched by their order" in found.notes[0]


def test_other_names_of_columns(files: dict[str, Path]) -> None:
    names = {"id": "key", "y": "truth", "prediction": "said"}
    for name in ("a.csv", "b.csv", "people.csv"):
        pd.read_csv(files[name]).rename(columns=names).to_csv(files[name], index=False)
    found = run(files, "b.csv", columns=Columns("key", "truth", "said"), attributes=["age"])
    assert set(found.attributes) == {"age"}
    assert found.n == N


def test_groups_may_be_columns_of_the_reference(files: dict[str, Path]) -> None:
    both = pd.read_csv(files["a.csv"]).merge(pd.read_csv(files["people.csv"]), on="id")
    both.to_csv(files["a.csv"], index=False)
    found = run(files, "b.csv", groups=None, attributes=["sex"])
    assert found.attributes == {"sex": ("a", "b")}


def test_ids_are_not_mangled(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,y,prediction\n007,0,0\n7,1,1\n,1,0\n")
    with pytest.raises(InputError, match="1 rows have no id"):
        audit_files(str(tmp_path / "a.csv"), {"b": str(tmp_path / "a.csv")}, settings=QUICK)
    (tmp_path / "a.csv").write_text("id,y,prediction\n007,0,0\n7,1,1\n")
    found = audit_files(str(tmp_path / "a.csv"), {"b": str(tmp_path / "a.csv")}, settings=QUICK)
    assert found.n == 2


def edit(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[dict], None]:
    def do(files: dict[str, Path]) -> None:
        change(pd.read_csv(files[name])).to_csv(files[name], index=False)

    return do


def put(column: str, value: Any, row: int = 5) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def do(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[row, column] = value
        return frame

    return do


BAD = {
    "labels": (edit("b.csv", put("y", "emu")), "b.csv", "true classes differ in 1 of 400"),
    "duplicate ids": (edit("b.csv", put("id", 7)), "b.csv", "1 ids occur more than once.*7"),
    "no match": (
        edit("b.csv", lambda f: f.assign(id=f["id"] + 1)), "b.csv", "no id of .* is in all other",
    ),
    "nan score": (
        edit("wide.csv", put("score_dog", np.nan)), "wide.csv", "not a number in 1 rows.*row 6",
    ),
    "sum": (
        edit("wide.csv", put("score_dog", 0.4)), "wide.csv", "do not sum to 1 in 1 rows",
    ),
    "no prediction": (
        edit("b.csv", lambda f: f.drop(columns="prediction")), "b.csv", "neither a column",
    ),
    "empty prediction": (edit("b.csv", put("prediction", None)), "b.csv", "empty in 1 of 400"),
    "strange class": (
        edit("b.csv", put("prediction", "emu")), "b.csv", "have: emu; known: cat, dog, owl",
    ),
    "no group column": (
        edit("people.csv", lambda f: f.rename(columns={"sex": "Sex"})), "b.csv", "no column 'sex'",
    ),
    "no ids": (
        edit("b.csv", lambda f: f.drop(columns="id").iloc[:9]), "b.csv", "differ in length",
    ),
    "text scores": (edit("wide.csv", put("score_cat", "x")), "wide.csv", "cannot be read"),
    "no rows": (edit("b.csv", lambda f: f.iloc[:0]), "b.csv", "holds no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_told_in_one_line(files: dict[str, Path], case: str) -> None:
    spoil, candidate, message = BAD[case]
    spoil(files)
    with pytest.raises(InputError, match=message) as told:
        run(files, candidate, attributes=["sex"])
    assert "\n" not in str(told.value)


def test_confidence_is_that_of_what_is_predicted_in_every_form(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    scores = rng.dirichlet(np.ones(3), N)
    classes = ["cat", "dog", "owl"]
    said = rng.choice(classes, N)  # not always the largest
    case = people(N)
    table = pd.DataFrame(scores, columns=[f"score_{c}" for c in classes])
    table = table.assign(y=case["y"], prediction=said)
    table.to_csv(tmp_path / "s.csv", index=False)
    table.to_parquet(tmp_path / "s.parquet", index=False)
    arrays = {"y": case["y"], "scores": scores, "class_names": np.array(classes)}
    np.savez(tmp_path / "s.npz", **arrays, prediction=said)
    np.savez(tmp_path / "largest.npz", **arrays)
    monkeypatch.setattr("fairsparse.auditing.inputs.columns._BLOCK", 2000)
    expected = scores[np.arange(N), np.searchsorted(classes, said)]
    for name in ("s.csv", "s.parquet", "s.npz"):
        found = join({"reference": str(tmp_path / name)})
        np.testing.assert_allclose(found.confidence["reference"], expected, rtol=1e-5)
        names = np.array(found.examples.class_names)
        assert names[found.predicted["reference"]].tolist() == said.tolist()
    found = join({"reference": str(tmp_path / "largest.npz")})
    np.testing.assert_allclose(found.confidence["reference"], scores.max(1), rtol=1e-5)
    assert found.predicted["reference"].tolist() == scores.argmax(1).tolist()
    table.assign(score_cat=-table["score_cat"]).to_csv(tmp_path / "n.csv", index=False)
    assert join({"reference": str(tmp_path / "n.csv")}).confidence == {}


def test_faults_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"y": ["a", "b"] * 200, "score_a": 0.5, "score_b": 0.5})
    table.loc[[150, 390], "score_a"] = 0.75
    table.to_csv(tmp_path / "s.csv", index=False)
    monkeypatch.setattr("fairsparse.auditing.inputs.columns._BLOCK", 200)
    with pytest.raises(InputError, match=r"sum to 1 in 2 rows, first in row 151 \(1.25\)"):
        join({"reference": str(tmp_path / "s.csv")})
    table.loc[[70, 399], "score_b"] = np.inf
    table.to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(InputError, match="not a number in 2 rows, first in row 71"):
        join({"reference": str(tmp_path / "s.csv")})


def test_scores_are_renormalised_only_when_asked(files: dict[str, Path]) -> None:
    frame = pd.read_csv(files["wide.csv"])
    frame[["score_cat", "score_dog", "score_owl"]] *= 2
    frame.to_csv(files["wide.csv"], index=False)
    found = run(files, "wide.csv", renormalise=True)
    assert found.n == N


def test_an_archive_of_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", y=np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="must hold arrays of numbers or text"):
        audit_files(str(tmp_path / "a.npz"), {"b": str(tmp_path / "a.npz")})


def test_an_unknown_kind_of_file_names_those_that_are_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"read from .csv, .parquet, .npz or a run directory"):
        audit_files(str(tmp_path / "a.pkl"), {"b": "c"})
    with pytest.raises(InputError, match="no such file"):
        audit_files(str(tmp_path / "a.csv"), {"b": "c"})
