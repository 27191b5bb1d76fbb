"""Candidates against each other: the better one, luck, and what is said of the chosen one."""

import numpy as np
import pytest
from scipy.stats import binomtest

from fairsparse.auditing.cells import CellTable, Units, drawn_together
from fairsparse.auditing.engine import Audit, audit
from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.findings import Adjustment
from fairsparse.auditing.ranking import ranked


def several(losses: dict[str, float], n: int = 3000, seed: int = 0, churn: float = 0.03) -> Audit:
    """Candidates that lose these shares of group b, on the same examples."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(0, 2, n), rng.choice(["a", "b"], n)
    first = np.where(rng.random(n) < 0.1, 1 - y, y)
    candidates = {}
    for name, loss in losses.items():
        moved = np.where(rng.random(n) < churn, 1 - first, first)
        candidates[name] = np.where((group == "b") & (rng.random(n) < loss), 1 - y, moved)
    return audit(first, candidates, y, groups={"g": group}, resamples=20, seed=seed)


def test_the_better_one_is_shown_to_be_better() -> None:
    found = several({"bad": 0.3, "good": 0.0, "fair": 0.01})
    assert found.candidates[-1] == "bad"
    place = found.ranking.set_index("candidate_name")
    assert (place.loc["bad", "rank_low"], place.loc["bad", "rank_high"]) == (3, 3)
    assert place.loc["good", "rank_low"] == 1
    assert place.loc["good", "rank_high"] == 2, "it is not told from fair"
    versus = found.versus.set_index(["first", "second"]).loc[("bad", "good")]
    assert versus["low"] > 0.1
    assert "g: b" in versus["better"]
    assert versus["worse"] == []
    unclear = found.versus.set_index(["first", "second"]).loc[("good", "fair")]
    assert unclear["better"] == unclear["worse"] == []


def test_two_candidates_are_compared_by_mcnemars_test() -> None:
    rng = np.random.default_rng(1)
    y = np.zeros(500, int)
    models = [(rng.random(500) < rate).astype(int) for rate in (0.1, 0.12, 0.18)]
    found = audit(
        models[0], {"one": models[1], "two": models[2]}, y, class_names=[0, 1], resamples=5
    )
    (row,) = found.versus.to_dict("records")
    lost = int(((models[1] == 0) & (models[2] == 1)).sum())
    gained = int(((models[1] == 1) & (models[2] == 0)).sum())
    exact = binomtest(lost, lost + gained).pvalue
    assert row["change"] == pytest.approx((gained - lost) / 500)
    assert exact * 0.5 < row["p"] <= exact
    assert row["p_adjusted"] >= row["p"]


def test_what_is_said_of_the_chosen_one_knows_of_the_choice() -> None:
    """Of twelve candidates of one law the luckiest one's own interval misses far too often."""
    naive = corrected = 0
    names = tuple(map(str, range(12)))
    for seed in range(150):
        rng = np.random.default_rng(seed)
        group = np.repeat([0, 1], 400)
        first = rng.random(800) < 0.9
        flips = rng.random((12, 800)) < np.where(group == 1, 0.1, 0.02)
        right = [first, *(first & ~flips)]
        examples = Examples(np.zeros(800, np.int64), ("n", "y"), {"g": (group, ("a", "b"))})
        units = Units.of(examples, examples.crossed(1), right)
        tables = [CellTable.of(units, i + 1, 30) for i in range(12)]
        tested = tables[0].frame["n"].to_numpy() >= 30
        cells, _ = Adjustment(tables, *drawn_together(units, 12, tested, seed), Settings()).adjust(
            []
        )
        cells.insert(0, "candidate_name", np.repeat(names, len(tested)))
        chosen = ranked(cells).iloc[0]
        mine = cells[(cells["candidate_name"] == chosen["candidate_name"]) & (cells["cell"] == "b")]
        true = 0.9 * (0.1 - 0.02) / 2  # what group b loses beyond the average
        naive += bool(mine["excess_high"].item() < true)
        corrected += bool(chosen["worst_high"] < true)
    assert naive > 10, "of 150; the interval is for 2.5 % on this side"
    assert corrected <= 6


def test_a_single_candidate_has_nobody_to_be_compared_with() -> None:
    found = several({"only": 0.1})
    assert len(found.versus) == 0
    assert found.ranking[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1]]
