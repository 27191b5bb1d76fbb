"""Which ids look like several rows of one person."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

import fairsparse
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.inputs.clusters import suspicion
from fairsparse.auditing.inputs.columns import Columns
from fairsparse.auditing.inputs.join import audit_files
from fairsparse.core import InputError


@pytest.mark.parametrize(
    "ids",
    [
        [f"p{i // 2:03}_{i % 2:02}.jpg" for i in range(40)],
        [f"person-{i // 4}/frame{i % 4}.png" for i in range(80)],
        [f"user{i // 3}:{i % 3}" for i in range(60)],
        [f"Aaron_Peirsol{i // 2}_{i % 2:04}" for i in range(50)],
    ],
)
def test_several_rows_of_one_person_are_suspected(ids: list[str]) -> None:
    line = suspicion(pd.Index(ids))
    assert line is not None
    assert f"in {len(ids)} rows" in line
    assert "--cluster" in line


@pytest.mark.parametrize(
    "ids",
    [
        range(100),
        [f"img_{i:05}.jpg" for i in range(100)],
        [f"{i:08x}" for i in range(100)],
        [f"{'ab'[i % 2]}_{i}" for i in range(100)],  # two units: a split, or a source
        [f"p{i}_0.jpg" for i in range(100)],
        ["p1_0", "p1_1", "p2_0"],
        [f"2020-{i // 28 + 1:02}-{i % 28 + 1:02}" for i in range(300)],
    ],
)
def test_ids_that_only_count_are_not(ids: list[str]) -> None:
    assert suspicion(pd.Index(ids)) is None


def files(folder: Path, kind: str) -> tuple[str, str, dict]:
    """Files of two models, the first with persons and weights, and the arrays in them."""
    rng = np.random.default_rng(0)
    n = 1200
    y, person = rng.integers(0, 2, n), rng.integers(0, 120, n)
    models = [np.where(rng.random(n) < 0.1, 1 - y, y) for _ in range(2)]
    arrays = {"y": y, "person": person, "weight": rng.choice([1.0, 2.5], n)}
    ids = [f"x{i}" for i in range(n)]
    tables = (
        {"id": ids, "prediction": models[0], **arrays, "sex": rng.choice(["f", "m"], n)},
        {"id": ids[::-1], "prediction": models[1][::-1]},
    )
    paths = [str(folder / f"{name}.{kind}") for name in ("a", "b")]
    for path, table in zip(paths, tables, strict=True):
        if kind == "npz":
            np.savez(path, **{k: np.asarray(v) for k, v in table.items()})
        elif kind == "csv":
            pd.DataFrame(table).to_csv(path, index=False)
        else:
            pd.DataFrame(table).to_parquet(path, index=False)
    return *paths, {**tables[0], "models": models}


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_files_and_arrays_with_clusters_and_weights_are_audited_alike(
    kind: str, tmp_path: Path
) -> None:
    first, second, arrays = files(tmp_path, kind)
    columns = Columns(cluster="person", weights="weight")
    settings = Settings(resamples=20)
    found = audit_files(
        first, {"candidate": second}, attributes=["sex"], columns=columns, settings=settings
    )
    expected = fairsparse.audit(
        *arrays["models"],
        arrays["y"],
        groups={"sex": arrays["sex"]},
        cluster=arrays["person"],
        weights=arrays["weight"],
        resamples=20,
    )
    pd.testing.assert_frame_equal(found.cells, expected.cells)
    assert (found.cells["effective_n"] < found.cells["n"]).all()
    assert set(found.attributes) == {"sex"}


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    first, second, _ = files(tmp_path, "csv")
    with pytest.raises(InputError, match="--cluster people: no file has that column"):
        audit_files(first, {"b": second}, columns=Columns(cluster="people"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cluster": [1, 2]}, "cluster must name one for each of the 4 examples; got 2"),
        ({"cluster": [1, 1, 1, 1]}, "cluster: all examples are in '1'"),
        ({"cluster": [1, 1, None, 2]}, "of which 1 are missing"),
        ({"weights": [1, 0, 1, 1]}, "weights must be finite numbers above 0"),
        ({"weights": [1, np.nan, 1, 1]}, "weights must be finite numbers above 0"),
        ({"weights": ["a", "b", "c", "d"]}, "weights must be numbers"),
    ],
)
def test_bad_clusters_and_weights_are_refused(more: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fairsparse.audit([0, 1, 0, 1], [0, 1, 1, 1], [0, 1, 0, 1], **more)


def test_a_series_of_clusters_is_aligned_by_its_index() -> None:
    rng = np.random.default_rng(0)
    y = pd.Series(rng.integers(0, 2, 300))
    first, second = (y.where(pd.Series(rng.random(300)) > r, 1 - y) for r in (0.1, 0.2))
    person = pd.Series(rng.integers(0, 60, 300))
    plain = fairsparse.audit(first, second, y, cluster=person, resamples=20)
    turned = fairsparse.audit(first, second, y, cluster=person[::-1], resamples=20)
    pd.testing.assert_frame_equal(plain.cells, turned.cells)


def weighted(more: dict | None = None) -> tuple[dict, np.ndarray]:
    """The arguments of an audit of people who weigh 1 to 3, and how much each does."""
    rng = np.random.default_rng(3)
    y, sex = rng.integers(0, 2, 500), rng.choice(["f", "m"], 500)
    first, second = (np.where(rng.random(500) < r, y, 1 - y) for r in (0.9, 0.7))
    weight = np.where(y == 1, 3.0, 1.0)
    given = {"reference": first, "candidate": second, "y": y, "groups": {"sex": sex}}
    return {**given, "resamples": 20, **(more or {})}, weight


def test_agreement_is_by_weight_and_examples_are_counted() -> None:
    given, weight = weighted()
    (found,) = fairsparse.audit(**given, weights=weight).overall.to_dict("records")
    apart = given["reference"] != given["candidate"]
    assert found["churn"] == pytest.approx((weight * apart).sum() / weight.sum())
    pair = given["reference"], given["candidate"]
    assert found["kappa"] == pytest.approx(cohen_kappa_score(*pair, sample_weight=weight))
    right = [p == given["y"] for p in pair]
    assert (found["lost"], found["gained"]) == (
        (right[0] & ~right[1]).sum(), (~right[0] & right[1]).sum(),
    )  # fmt: skip


def test_the_cells_of_a_range_have_their_examples_whatever_they_weigh() -> None:
    given, weight = weighted({"least": 260})
    found = fairsparse.audit(**given, weights=weight).measures.set_index("measure")
    gap = found.loc["accuracy_gap"]
    sizes = pd.Series(given["groups"]["sex"]).value_counts()
    assert gap["candidate_lowest_n"] == sizes[gap["candidate_lowest"]]
    assert gap["candidate_few"], "neither group has as many examples, though both weigh more"
    assert found.loc["performance_degradation_fairness", "candidate_highest_n"] <= 500


def test_fairlearns_rates_are_weighted_as_the_audits_are() -> None:
    given, weight = weighted()
    found = fairsparse.audit(**given, weights=weight)
    frame = found.to_metricframe().by_group
    expected = found.frame("sex")
    assert frame["accuracy"].to_dict() == pytest.approx(expected["candidate"].to_dict())
    assert frame["count"].to_dict() == expected["n"].to_dict()


def test_what_guessing_gets_right_is_by_weight() -> None:
    given, weight = weighted()
    cells = fairsparse.audit(**given, weights=weight).cells.query("attribute == 'class'")
    common = weight[given["y"] == 0].sum() / weight.sum()
    assert cells["guessed"].tolist() == pytest.approx([common, 0.5])


def test_a_few_people_do_not_show_a_reference_to_be_better_than_chance() -> None:
    """Five people with 100 pictures each, of whom four are right: luck, and not 500 cases."""
    person = np.repeat(np.arange(5), 100)
    y = person % 2
    said = np.where(person < 4, y, 1 - y)
    alone, together = (
        fairsparse.audit(said, said, y, cluster=c, resamples=5).basis for c in (None, person)
    )
    assert not alone.at_chance
    assert together.at_chance
    many = np.arange(500)
    assert not fairsparse.audit(said, said, y, cluster=many, resamples=5).basis.at_chance


def test_confidence_that_is_not_told_is_told_of() -> None:
    given, weight = weighted()
    shares = {k: np.eye(2)[given[k]] * 0.8 + 0.1 for k in ("reference", "candidate")}
    found = fairsparse.audit(**{**given, **shares}, class_names=[0, 1], weights=weight)
    assert found.calibration.empty
    assert any("Confidence is not told" in note for note in found.notes)
