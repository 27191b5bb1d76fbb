"""What an audit could not see, and a reference that is none: by hand and against statsmodels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from fairsparse.auditing.basis import Basis, allowance, allowed, chance_p
from fairsparse.auditing.document import document
from fairsparse.auditing.engine import Audit, audit
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.gate import facts
from fairsparse.auditing.inputs.join import audit_files
from fairsparse.core import InputError

QUICK = Settings(resamples=50, least=1)


@pytest.mark.parametrize("right", [0.2, 0.34, 0.4, 0.9])
def test_chance_is_that_of_kappa(right: float) -> None:
    rng = np.random.default_rng(0)
    true = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
    said = np.where(rng.random(300) < right, true, rng.integers(0, 3, 300))
    table = np.zeros((3, 3))
    np.add.at(table, (true, said), 1)
    assert chance_p(said, true, 3) == pytest.approx(cohens_kappa(table).pvalue_one_sided)


def test_a_reference_at_chance_is_found() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    for name, reference, at_chance in (
        ("right", np.where(rng.random(400) < 0.1, 1 - y, y), 0),
        ("mostly wrong", np.where(rng.random(400) < 0.9, 1 - y, y), 1),
        ("drawn", rng.integers(0, 2, 400), 1),
        ("constant", np.ones(400, int), 1),
    ):
        found = audit(reference, y, y, resamples=50)
        assert facts(document(found), "candidate")["at_chance"] == at_chance, name
        told = "The reference is not shown to do better than chance" in " ".join(found.notes)
        assert told == bool(at_chance), name
    assert Basis(math.nan).at_chance  # no number is no proof


def test_unknown_groups_are_counted_once_and_by_attribute() -> None:
    y = np.arange(200) % 2
    sex = np.where(np.arange(200) < 3, None, "f")
    age = np.where((np.arange(200) > 0) & (np.arange(200) < 5), None, "old")
    found = audit(y, y, y, groups={"sex": sex, "age": age}, resamples=50)
    named = facts(document(found), "candidate")
    assert (named["unknown"], named["sex/unknown"], named["age/unknown"]) == (5, 3, 4)
    assert (named["unknown.share"], named["age/unknown.share"]) == (5 / 200, 4 / 200)
    assert named["unmatched"] == 0
    assert named["untested"] == 0  # cells of unknown groups are no groups


def files(folder: Path, **rows: range) -> dict[str, str]:
    """Files in which every id is right, by their names."""
    for name, ids in rows.items():
        frame = pd.DataFrame({"id": ids, "y": [i % 2 for i in ids]})
        frame["prediction"] = frame["y"]
        if name == "people":
            frame = frame[["id"]].assign(sex="f")
        frame.to_csv(folder / f"{name}.csv", index=False)
    return {name: str(folder / f"{name}.csv") for name in rows}


def audited(paths: dict[str, str], allow: int | float | None = None) -> Audit:
    others = {name: path for name, path in paths.items() if name not in ("first", "people")}
    return audit_files(
        paths["first"], others, paths.get("people"), settings=QUICK, allow_unmatched=allow
    )


@pytest.mark.parametrize(
    ("rows", "unmatched", "unknown"),
    [
        ({"first": range(100), "b": range(100)}, 0, 0),
        ({"first": range(100), "b": range(80)}, 20, 0),
        ({"first": range(80), "b": range(100)}, 20, 0),
        ({"first": range(90), "b": range(10, 100)}, 20, 0),  # ten of each, and not the same ten
        ({"first": range(100), "b": range(90), "c": range(95)}, 10, 0),
        ({"first": range(100), "b": range(100), "people": range(1)}, 0, 99),
        ({"first": range(100), "b": range(100), "people": range(140)}, 40, 0),
    ],
)
def test_examples_that_some_files_lack_are_counted_once(
    rows: dict[str, range], unmatched: int, unknown: int, tmp_path: Path
) -> None:
    found = audited(files(tmp_path, **rows))
    assert (found.basis.unmatched, found.basis.unknown) == (unmatched, unknown)
    named = facts(document(found), "b")
    assert named["unmatched"] == unmatched
    assert named["unmatched.share"] == unmatched / (unmatched + found.n)
    assert named["unknown"] == unknown


def test_more_than_is_allowed_is_refused(tmp_path: Path) -> None:
    paths = files(tmp_path, first=range(100), b=range(80))
    assert audited(paths).basis.allowed == 0
    for allow, most in ((20, 20), (0.2, 20), (30, 30), (1.0, 100)):
        assert audited(paths, allow).basis.allowed == most
    for refused in (19, 0, 0.19, 0.0):
        with pytest.raises(InputError, match=f"20 of 100 .* --allow-unmatched {refused} allows"):
            audited(paths, refused)
    assert allowed(0, 10, 0) == 0
    assert allowed(29, 71, 0.29) == 29  # which as a float is less than 29 of 100


@pytest.mark.parametrize("text", ["-1", "1.5", "-0.1", "nan", "many", "", "inf", "1e3"])
def test_an_allowance_is_a_number_or_a_share(text: str) -> None:
    with pytest.raises(InputError, match=r"takes a number of examples \(20\)"):
        allowance(text)
