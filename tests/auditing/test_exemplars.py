"""Exemplars by hand, against another library, and with nothing to find."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fairsparse.auditing.exemplars import exemplars
from fairsparse.core import InputError


def test_modes_and_distances_by_hand() -> None:
    dense = [["a", "b", "c", "a"], ["a", "b", "c", "b"], ["b", "b", "c", "c"]]
    pruned = [["b", "b", "a", "a"], ["b", "b", "c", "b"]]
    found = exemplars(dense, pruned, ["a", "b", "c", "a"], groups=["x", "y", "x", "y"])
    table = found.examples
    assert table["reference"].tolist() == ["a", "b", "c", "a"]  # the last is a tie of three
    assert table["candidate"].tolist() == ["b", "b", "a", "a"]  # and so are the last two
    assert table["modal"].tolist() == [True, False, True, False]
    assert table["taxicab"].tolist() == pytest.approx(
        [2 / 3 + 2 / 3, 0, 1 / 2 + 1 / 2, 1 / 6 + 1 / 6 + 1 / 3]
    )
    assert found.top(2).index.tolist() == [0, 2]
    x = found.cells.set_index(["attribute", "cell"]).loc[("group", "x")]
    assert (x["n"], x["exemplars"], x["share"]) == (2, 2, 1)
    assert np.isnan(x["ratio"])  # nobody else has any
    assert x["p"] == pytest.approx(2 / 6)  # 2 of 2 among 2 of 4: 1 of 6 ways, twice
    assert set(found.cells["attribute"]) == {"class", "group"}


def test_where_they_are_more_is_found() -> None:
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 3, 900), rng.choice(["a", "b", "c"], 900)
    hard = rng.random(900) < np.where(group == "c", 0.3, 0.05)
    dense = [np.where(rng.random(900) < 0.1, (y + 1) % 3, y) for _ in range(7)]
    pruned = [np.where(hard & (rng.random(900) < 0.9), (y + 1) % 3, d) for d in dense]
    found = exemplars(dense, pruned, y, groups=pd.DataFrame({"g": group}))
    cells = found.cells.set_index("cell")
    assert cells.loc["c", "p_adjusted"] < 1e-6
    assert cells.loc["c", "share_low"] > 0.15
    assert (cells.loc[["0", "1", "2"], "p_adjusted"] > 0.05).all()
    modal = found.examples["modal"].to_numpy()
    counts = pd.crosstab(group == "c", modal).to_numpy()[::-1, ::-1]
    assert cells.loc["c", "p"] == pytest.approx(stats.fisher_exact(counts).pvalue)
    assert cells.loc["c", "ratio"] == pytest.approx(
        modal[group == "c"].mean() / modal[group != "c"].mean()
    )


def test_populations_that_agree_have_none() -> None:
    y = np.arange(30) % 3
    found = exemplars([y, y], [y], y)
    assert not found.examples["modal"].any()
    assert (found.examples["taxicab"] == 0).all()
    assert (found.cells["p"] == 1).all()


@pytest.mark.parametrize(
    ("dense", "pruned", "message"),
    [
        ([], [[0, 1]], "there is no reference"),
        ([[0, 1]], [], "there is no candidate"),
        ([[0, 1]], [[0]], "candidate 0 has 1 predictions and y 2 labels"),
    ],
)
def test_bad_populations_are_refused(dense: list, pruned: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        exemplars(dense, pruned, [0, 1])


def test_networks_may_predict_classes_that_y_does_not_have() -> None:
    table = exemplars([["a", "b"]], [["c", "b"]], ["a", "b"]).examples
    assert table["candidate"].tolist() == ["c", "b"]
    assert table["taxicab"].tolist() == [2.0, 0.0]
