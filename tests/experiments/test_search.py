"""Searches whose answer is known, and what they may look at, leave behind and refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairsparse import InputError, load, make_config
from fairsparse.cli.summary import verdict
from fairsparse.data.task import Split, Task
from fairsparse.experiments import search as module
from fairsparse.experiments.plan import Setup
from fairsparse.experiments.search import Search, bisect, search
from fairsparse.fairness.steering.budget import Budget
from runs import TINY, tree

# enough examples that resamples of validation miss no class
LTH = {
    **TINY,
    "data": {"name": "digits", "limit": 600, "val": 0.3},
    "training": {"epochs": 3, "batch_size": 16},
    "methods": [{"name": "lth", "fraction": 0.6}],
}
ASKED = Search(budget=Budget(0.9), low=0.5, high=0.9, resolution=0.1)


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=60, unique=True),
    st.integers(-1, 1001),
    st.integers(1, 12),
)
def test_bisection_finds_the_boundary(points: list[int], limit: int, runs: int) -> None:
    grid, asked = sorted(float(p) for p in points), []

    def within(sparsity: float) -> bool:
        asked.append(sparsity)
        return sparsity <= limit

    found = bisect(within, grid, runs)
    assert len(asked) == len(set(asked)) <= runs
    assert set(asked) <= set(grid)
    good = [s for s in asked if s <= limit]
    assert found == (max(good) if good else None)
    if runs >= 2 + np.log2(len(grid)):
        best = [s for s in grid if s <= limit]
        assert found == (best[-1] if best else None)
        assert len(asked) <= 2 + np.ceil(np.log2(len(grid)))


def test_grids_end_where_they_were_asked_to() -> None:
    assert Search(Budget(0.1), 0.5, 0.5).grid() == [0.5]
    assert Search(Budget(0.1), 0.5, 0.6, 0.5).grid() == [0.5, 0.6]
    assert Search(Budget(0.1), 0.1, 0.4, 0.1).grid() == [0.1, 0.2, 0.3, 0.4]
    assert len(Search(Budget(0.1)).grid()) == 49


@pytest.mark.parametrize("bad", [{"low": 0.9, "high": 0.5}, {"high": 1.0}, {"low": -0.1}])
def test_ranges_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"low|high"):
        Search(Budget(0.1), **bad)


class Stub:
    """Stands in for training: what pruning costs is the fourth power of the sparsity."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.evaluated: list[float] = []
        self.confirmed: list[float] = []
        self.changes = changes
        monkeypatch.setattr(module, "evaluate", self.evaluate)
        monkeypatch.setattr(module, "confirm", self.confirm)

    def figures(self, sparsity: float, budget: Budget) -> dict[str, Any]:
        bound = sparsity**4
        figures = {"dense_accuracy": 0.9, "accuracy": 0.8, "value": bound / 2, "bound": bound}
        figures |= {"sparsity": sparsity, "status": "feasible", "within": budget.keeps(bound)}
        return {**figures, **self.changes}

    def evaluate(self, setup: Setup, budget: Budget) -> dict[str, Any]:
        (sparsity,) = setup.config.sparsities
        assert setup.method.sparsity == sparsity
        self.evaluated.append(sparsity)
        return self.figures(sparsity, budget)

    def confirm(self, setup: Setup, budget: Budget, folder: Path) -> dict[str, Any]:
        (sparsity,) = setup.config.sparsities
        self.confirmed.append(sparsity)
        return {**self.figures(sparsity, budget), "run": folder.name}


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        (0.5, 0.84),  # the fourth root of a half is 0.8409
        (0.5**4, 0.5),
        (0.9**4, 0.9),
        (0.9, 0.97),  # 0.9740
    ],
)
def test_the_answer_in_closed_form(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: float, answer: float
) -> None:
    stub = Stub(monkeypatch)
    found = search(make_config(LTH), Search(budget=Budget(limit)), tmp_path / "out")
    assert found["chosen"] == answer
    assert stub.confirmed == [answer]
    assert len(stub.evaluated) <= 8  # 49 sparsities: two ends and at most six halvings
    assert stub.evaluated[:2] == [0.5, 0.98]
    stored = json.loads((tmp_path / "out" / "search.json").read_text())
    assert stored.pop("digest")
    assert found == stored
    assert [c["sparsity"] for c in found["candidates"]] == stub.evaluated


def test_few_runs_give_the_best_that_was_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stub = Stub(monkeypatch)
    found = search(make_config(LTH), Search(budget=Budget(0.5), runs=3), tmp_path)
    assert stub.evaluated == [0.5, 0.98, 0.74]
    assert found["chosen"] == 0.74
    text = " ".join(verdict(found)).replace("\xa0", " ")
    assert "is 74 %; the next, 98 %, is not" in text
    assert "looked at 3 candidates" in text


def test_nothing_within_is_said_and_nothing_confirmed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stub = Stub(monkeypatch)
    found = search(make_config(LTH), Search(budget=Budget(0.05)), tmp_path)
    assert stub.evaluated == [0.5]
    assert stub.confirmed == []
    assert (found["chosen"], found["confirmation"]) == (None, None)
    (sentence,) = verdict(found)
    assert "Even the lowest sparsity, 50\xa0%, is not within" in sentence
    assert "its upper bound is 6.25\xa0points" in sentence
    assert search(make_config(LTH), Search(budget=Budget(0.05)), tmp_path) == found
    assert stub.evaluated == [0.5]


def test_an_undefined_bound_is_no_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Stub(monkeypatch, bound=None, within=False)
    (sentence,) = verdict(search(make_config(LTH), Search(budget=Budget(0.9)), tmp_path))
    assert "its upper bound is undefined, for cells have too few" in sentence


def test_a_kill_at_any_candidate_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, asked = make_config(LTH), Search(budget=Budget(0.5))
    whole = Stub(monkeypatch)
    expected = search(config, asked, tmp_path / "whole")
    out = tmp_path / "out"
    for last in (1, 3):
        broken = Stub(monkeypatch)

        def evaluate(*args: Any, stub: Stub = broken, most: int = last) -> dict[str, Any]:
            if len(stub.evaluated) == most:
                raise KeyboardInterrupt
            return stub.evaluate(*args)

        monkeypatch.setattr(module, "evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            search(config, asked, out)
        assert not json.loads((out / "search.json").read_text())["complete"]
        (out / ".search.json.x.tmp").write_bytes(b"{")
    rest = Stub(monkeypatch)
    assert search(config, asked, out) == expected
    assert rest.evaluated == whole.evaluated[4:]
    assert tree(out) == tree(tmp_path / "whole")
    assert search(config, asked, out) == expected
    assert len(rest.confirmed) == 1


class Sealed(Split):
    """A split that must not be looked at until it is opened."""

    opened = True

    def __getattribute__(self, name: str) -> Any:
        if name in ("x", "y", "group", "batch", "raw", "subset") and not Sealed.opened:
            raise AssertionError(f"the test split's {name} was looked at")
        return super().__getattribute__(name)


def test_the_test_split_is_not_touched_before_the_confirmation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain_task, plain_confirm = module.make_task, module.confirm
    tested: list[float] = []

    def make_task(config: Any) -> Task:
        task = plain_task(config)
        sealed = Sealed(*(getattr(task.test, k) for k in ("x", "y", "group", "transform")))
        made = replace(task, test=sealed)
        monkeypatch.setattr(Sealed, "opened", False)
        return made

    def confirm(setup: Setup, budget: Budget, folder: Path) -> dict[str, Any]:
        with pytest.raises(AssertionError, match="looked at"):
            len(setup.task.test)
        monkeypatch.setattr(Sealed, "opened", True)
        tested.append(setup.config.sparsities[0])
        return plain_confirm(setup, budget, folder)

    monkeypatch.setattr(module, "make_task", make_task)
    monkeypatch.setattr(module, "confirm", confirm)
    found = search(make_config(LTH), ASKED, tmp_path)
    assert tested == [found["chosen"]]
    assert len(found["candidates"]) > 1


def test_figures_are_those_of_the_networks(tmp_path: Path) -> None:
    config = make_config(LTH)
    asked = Search(budget=Budget(0.4, "cell-drop"), low=0.5, high=0.97, resolution=0.1)
    found = search(config, asked, tmp_path)
    test = found["confirmation"]
    result = load(tmp_path / test["run"])
    assert [p.name for p in tmp_path.glob("lth-*")] == [test["run"]]
    assert result.record["sparsity"]["asked"] == found["chosen"] == test["sparsity"]
    chosen = next(c for c in found["candidates"] if c["sparsity"] == found["chosen"])
    for split, figures in (("val", chosen), ("test", test)):
        y = result.predictions[f"{split}_y"]
        right = {
            kind: result.predictions[f"{split}_{kind}"].argmax(1) == y
            for kind in ("dense", "sparse")
        }
        assert figures["accuracy"] == pytest.approx(right["sparse"].mean())
        assert figures["dense_accuracy"] == pytest.approx(right["dense"].mean())
        drop = right["dense"].astype(float) - right["sparse"]
        assert figures["value"] == pytest.approx(max(drop[y == k].mean() for k in range(10)))
        assert figures["bound"] >= figures["value"]
    for c in found["candidates"]:
        assert c["within"] == (c["bound"] <= 0.4 and c["status"] == "feasible")


@pytest.mark.parametrize("status", ["collapsed", "eps_infeasible"])
def test_a_network_that_is_not_feasible_is_not_within(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str
) -> None:
    if status == "collapsed":
        monkeypatch.setattr("fairsparse.experiments.execute.guesses", lambda *_: True)
        config = make_config(LTH)
    else:
        ballot = {"name": "ballot", "levels": [0.4], "tolerance": 0.0, "retries": 0}
        config = make_config({**LTH, "methods": [ballot]})
    found = search(config, Search(budget=Budget(2.0), low=0.97, high=0.97), tmp_path)
    (only,) = found["candidates"]
    assert (only["status"], only["within"]) == (status, False)
    assert only["bound"] <= 2
    assert f"the method calls its network {status}" in verdict(found)[0]


def test_what_the_test_split_does_not_confirm_is_said() -> None:
    base = {"accuracy": 0.8, "dense_accuracy": 0.9, "value": 0.02, "status": "feasible"}
    found: dict[str, Any] = {
        "candidates": [{**base, "sparsity": 0.5, "bound": 0.04, "within": True}],
        "chosen": 0.5,
        "search": {"budget": {"measure": "excess-drop", "limit": 0.05}},
    }
    for bound, said in ((0.06, "does not confirm it"), (0.05, "This confirms it"), (None, "not")):
        within = bound == 0.05
        found["confirmation"] = {**base, "bound": bound, "within": within, "run": "r"}
        assert said in verdict(found)[-1]
        assert ("This confirms" in verdict(found)[-1]) == within
    assert "no higher one was tried" in verdict(found)[0]


def test_another_search_or_other_things_in_the_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Stub(monkeypatch)
    config, out = make_config(LTH), tmp_path / "out"
    search(config, ASKED, out)
    before = tree(out)
    for other, asked, words in (
        (make_config({**LTH, "seeds": [3]}), ASKED, "another search .config differ"),
        (config, Search(budget=Budget(0.8), low=0.5, high=0.9, resolution=0.1), "search differ"),
    ):
        with pytest.raises(InputError, match=words):
            search(other, asked, out)
    text = (out / "search.json").read_text()
    old = json.loads(text)  # as earlier versions wrote it
    del old["digest"]
    (out / "search.json").write_text(json.dumps({**old, "fingerprint": "0"}))
    with pytest.raises(InputError, match="the data have changed"):
        search(config, ASKED, out)
    edited = text.replace('"fingerprint": "', '"fingerprint": "0')
    for damaged in (text[:40], "[]", "{}", edited):
        (out / "search.json").write_text(damaged)
        with pytest.raises(InputError, match="is damaged"):
            search(config, ASKED, out)
    (out / "search.json").write_text(text)
    assert tree(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not a search directory"):
        search(config, ASKED, tmp_path / "mine")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["lth", "magnitude"]}, "names the methods lth, magnitude and the seeds 0"),
        ({"seeds": [0, 1]}, "the seeds 0, 1; choose, for example with .* --set seeds=0"),
        ({"methods": ["dense"]}, "names the methods dense"),
        ({"methods": [{"name": "lth", "grouping": "2:4"}]}, "0.5"),
        ({"methods": [{"name": "lth", "floor": 0.4}]}, "floor"),
    ],
)
def test_what_cannot_be_searched(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        search(make_config({**LTH, **changes}), ASKED, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
