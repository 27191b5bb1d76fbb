"""A ledger: what it costs, what costs nothing, and that nothing of it is lost."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairsparse.auditing.engine import Audit
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.inputs.columns import Columns
from fairsparse.auditing.inputs.join import audit_files
from fairsparse.auditing.ledger import level, spend
from fairsparse.core import InputError

QUICK = Settings(resamples=50)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = rng.choice(["no", "yes"], 300)
    frame = pd.DataFrame({"id": np.arange(300), "y": y})
    for name in ("dense", "one", "two"):
        flip = rng.random(300) < 0.2
        frame["prediction"] = np.where(flip, np.where(y == "yes", "no", "yes"), y)
        frame.to_csv(f"{name}.csv", index=False)
    frame["sex"] = rng.choice(["f", "m"], 300)
    frame[["id", "sex"]].to_csv("people.csv", index=False)
    return tmp_path


def audited(*candidates: str, groups: str | None = None, **settings: int) -> Audit:
    return audit_files(
        "dense.csv",
        {Path(name).stem: name for name in candidates},
        groups,
        settings=Settings(**{"resamples": 50, **settings}),
        ledger=Path("ledger.json"),
    )


def test_levels_sum_to_alpha() -> None:
    levels = [level(0.05, k) for k in range(1, 100_000)]
    assert 0.04999 < sum(levels) < 0.05
    assert levels == sorted(levels, reverse=True)


def test_each_new_question_costs_and_an_old_one_does_not() -> None:
    first = audited("one.csv")
    assert (first.basis.audits, first.settings.alpha) == (1, level(0.05, 1))
    assert "this is the first audit of this test set" in first.notes[0]
    second = audited("two.csv")
    assert (second.basis.audits, second.settings.alpha) == (2, level(0.05, 2))
    assert "was audited before: this is audit 2 of it, and tested at 0.76 %" in second.notes[0]
    again = audited("one.csv")
    assert again.basis == first.basis
    assert again.cells.equals(first.cells)
    book = json.loads(Path("ledger.json").read_text())
    (entries,) = book["test_sets"].values()
    assert [entry["candidates"] for entry in entries] == [["one"], ["two"]]
    # other groups and other tests are other questions, other draws and other words are not
    assert audited("one.csv", resamples=60).basis.audits == 1
    assert audited("one.csv", groups="people.csv").basis.audits == 3
    assert audited("one.csv", groups="people.csv", least=5).basis.audits == 4
    assert audited("one.csv", "two.csv").basis.audits == 5
    assert audited("two.csv", "one.csv").basis.audits == 5


def test_other_clusters_and_weights_are_other_questions() -> None:
    people = pd.read_csv("people.csv")
    people["person"], people["weight"] = people["id"] // 3, 1 + people["id"] % 2
    people["renamed"], people["heavier"] = "p" + people["person"].astype(str), 2 + people["id"] % 3
    people["pair"] = people["id"] // 2
    people.to_csv("persons.csv", index=False)
    people[::-1].to_csv("turned.csv", index=False)

    def place(file: str = "persons.csv", **columns: str) -> int | None:
        reading = {"attributes": ["sex"], "columns": Columns(**columns)}
        book = Path("ledger.json")
        found = audit_files(
            "dense.csv", {"one": "one.csv"}, file, settings=QUICK, ledger=book, **reading
        )
        return found.basis.audits

    assert [place(), place(cluster="person"), place(cluster="pair")] == [1, 2, 3]
    assert [place(weights="weight"), place(weights="heavier")] == [4, 5]
    # the same units by other names, and rows in another order, are the same question
    assert [place(cluster="renamed"), place("turned.csv", cluster="person")] == [2, 2]
    assert [place("turned.csv", weights="weight"), place()] == [4, 1]


def test_a_test_set_is_known_by_ids_and_true_classes_alone() -> None:
    assert [audited(f"{name}.csv").basis.audits for name in ("two", "one")] == [1, 2]
    for name in ("dense", "one"):  # other order of rows, other kind of file, another name
        frame = pd.read_csv(f"{name}.csv").sample(frac=1, random_state=1)
        frame.to_parquet(f"{name}.parquet", index=False)
    Path("renamed.parquet").write_bytes(Path("one.parquet").read_bytes())
    same = audit_files(
        "dense.parquet", {"x": "renamed.parquet"}, settings=QUICK, ledger=Path("ledger.json")
    )
    assert same.basis.audits == 2
    pd.read_csv("two.csv")[:299].to_csv("two.csv", index=False)  # a candidate that lacks a row
    assert audited("two.csv").basis.audits == 3
    for name in ("dense", "one"):
        frame = pd.read_csv(f"{name}.csv")
        frame.loc[0, "y"] = "no" if frame.loc[0, "y"] == "yes" else "yes"
        frame.to_csv(f"{name}.csv", index=False)
    assert audited("one.csv").basis.audits == 1


def test_rows_without_ids_are_known_by_their_order() -> None:
    for name in ("dense", "one", "two"):
        pd.read_csv(f"{name}.csv").drop(columns="id").to_csv(f"{name}.csv", index=False)
    assert [audited(f"{name}.csv").basis.audits for name in ("one", "two", "one")] == [1, 2, 1]
    for name in ("dense", "one"):
        pd.read_csv(f"{name}.csv")[::-1].to_csv(f"{name}.csv", index=False)
    assert audited("one.csv").basis.audits == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "x", "test_sets": {}}', '{"test_sets": 1}', "[" * 100_000]
)
def test_a_damaged_ledger_is_refused_and_left_alone(text: str) -> None:
    Path("ledger.json").write_text(text)
    with pytest.raises(InputError, match=r"ledger.json: not a ledger of format fairs"):
        audited("one.csv")
    assert Path("ledger.json").read_text() == text


def test_what_is_refused_costs_nothing() -> None:
    pd.read_csv("one.csv")[:100].to_csv("one.csv", index=False)
    with pytest.raises(InputError, match="200 of 300 examples"):
        audit_files("dense.csv", {"a": "one.csv"}, allow_unmatched=0, ledger=Path("ledger.json"))
    assert not Path("ledger.json").exists()


def _spend(path: Path, asked: str) -> int:
    return spend(path, "test set", asked, ["a"], QUICK)[1]


def test_audits_at_the_same_time_have_places_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.json"
    asked = [(path, f"question {i}") for i in range(24)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        places = pool.starmap(_spend, asked, chunksize=1)
    assert sorted(places) == list(range(1, 25))
    assert [_spend(*one) for one in asked] == places
