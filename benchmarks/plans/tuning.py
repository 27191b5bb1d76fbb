"""Tuning on validation: the same care for every method of the study.

No figure of a test split is recorded. Magnitude and LTH take the setting of the highest validation
accuracy, averaged over sparsities and seeds. Ballot rewinds as the tuned LTH does and takes the
least unequal setting among those whose accuracy is within 0.4 points of LTH's, or the most accurate
one when none is: the study allows 0.5.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from statistics import mean
from typing import Any

from benchmarks.plans.base import Job, Plan, Settings, configuration, merged
from benchmarks.plans.study import BALLOT, LTH, TASKS, in_rounds, sparsities
from benchmarks.records import finished

RECORDS = "tuning.jsonl"
MARGIN = 0.004
UNFAIR = ("variance", "range")
METHODS: dict[str, Settings] = {"magnitude": {"name": "magnitude"}, "lth": LTH, "ballot": BALLOT}
GRIDS: dict[str, list[Settings]] = {
    "magnitude": [{}, {"lr_factor": 1.0}, {"schedule": "gradual"}],
    "lth": [{}, {"rewind": "lr"}],
    "ballot": [
        {},
        {"refinement": {"strength": 1.0}},
        {"refinement": {"distill": 0.0}},
        {"refinement": {"offsets": True}},
    ],
}
OWN: dict[tuple[str, str], list[Settings]] = {
    # the short dense run is far behind its tickets: little is to be learned from it; offsets by
    # class do not move one group against another
    ("cifar-100-coarse", "ballot"): [
        {"refinement": {"distill": 0.0, "offsets": True}},
        {"refinement": {"distill": 0.0, "offsets": True, "strength": 0.25}},
        {"refinement": {"distill": 0.0, "offsets": True, "strength": 0.1}},
    ],
    # where training takes minutes
    ("cifar-100-coarse", "magnitude"): GRIDS["magnitude"][:2],
    ("utkface-race", "ballot"): [
        {},
        {"refinement": {"distill": 0.0}},
        {"refinement": {"distill": 0.0, "strength": 1.0}},
    ],
    **{(task, "ballot"): GRIDS["ballot"][:3] for task in ("adult-sex", "adult-race")},
}
"""Grids of tasks on which a method has another one."""
LIKE = {"utkface-race-x-gender": "utkface-race"}
"""Tasks that take the settings of another one: the same images, labels and model."""


def jobs() -> Iterator[Job]:
    """The grids; three seeds where training takes seconds, and Ballot after LTH."""
    for method, grid in GRIDS.items():
        for task in TASKS:
            if task in LIKE:
                continue
            for setting in OWN.get((task, method), grid):
                if method == "ballot":
                    setting = {**_rewind(choose().get(task, {}).get("lth", {})), **setting}
                for seed in range(3 if TASKS[task]["model"] == "mlp" else 1):
                    for sparsity in sparsities(task):
                        config = _configuration(task, method, setting, sparsity, seed)
                        notes = {"method": method, "setting": setting}
                        yield Job(task, method, sparsity, seed, config, notes)


def _configuration(
    task: str, method: str, setting: Settings, sparsity: float, seed: int
) -> Settings:
    whole = in_rounds(TASKS[task], merged(setting, METHODS[method]))
    return configuration(TASKS[task], whole, sparsity, seed)


def averages() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Task -> method -> setting as text -> validation figures averaged over runs."""
    runs: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in finished(RECORDS).values():
        task, method, setting = run["task"], run["method"], run["setting"]
        if run["config"] != _configuration(task, method, setting, run["sparsity"], run["seed"]):
            continue  # in a setting that the task no longer has
        runs[task, method, json.dumps(setting, sort_keys=True)].append(run["validation"])
    result: dict[str, Any] = {}
    for (task, method, text), reached in runs.items():
        figures = {name: mean(v["sparse"][name] for v in reached) for name in reached[0]["sparse"]}
        figures["unfair"] = mean(
            v["sparse"][name] / v["dense"][name] for v in reached for name in UNFAIR
        )
        result.setdefault(task, {}).setdefault(method, {})[text] = figures
    return result


def choose() -> dict[str, dict[str, Settings]]:
    """The setting of each method on each task."""
    chosen: dict[str, dict[str, Settings]] = {}
    for task, methods in averages().items():
        best = chosen[task] = {}
        for method, grid in methods.items():
            allowed = {}
            if method == "ballot":
                least = max(f["accuracy"] for f in methods["lth"].values()) - MARGIN
                allowed = {s: f for s, f in grid.items() if f["accuracy"] >= least}
            if allowed:
                setting = min(allowed, key=lambda s: allowed[s]["unfair"])
            else:
                setting = max(grid, key=lambda s: grid[s]["accuracy"])
            best[method] = json.loads(setting)
        if "lth" in best:  # what Ballot does where its grid was not run
            best.setdefault("ballot", _rewind(best["lth"]))
    return chosen | {task: chosen[other] for task, other in LIKE.items() if other in chosen}


def _rewind(lth: Settings) -> Settings:
    return {name: value for name, value in lth.items() if name == "rewind"}


PLAN = Plan(RECORDS, jobs, TASKS, tuning=True)
