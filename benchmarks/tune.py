"""Tuning on validation: the same care for every method of the study.

    python benchmarks/tune.py --data DATA --work WORK [--only fashion-mnist] [--method lth]
    python benchmarks/tune.py --choose

The first form runs each method's grid on the study's tasks and appends the validation figures to
`benchmarks/results/tuning.jsonl`; it can be interrupted and started again, and shares its trained
networks with the study through WORK. The second form writes the chosen settings to
`benchmarks/results/tuned.json`, which the study reads. No figure of a test split is recorded.

Magnitude and LTH take the setting of the highest validation accuracy, averaged over sparsities and
seeds. Ballot rewinds as the tuned LTH does and takes the least unequal setting among those whose
accuracy is within 0.4 points of LTH's, or the most accurate one when none is: the study allows 0.5.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from study import (
    BALLOT,
    LTH,
    TASKS,
    TUNED,
    append,
    configuration_of,
    finished,
    key,
    merged,
    run_one,
    sparsities,
)

RESULTS = Path(__file__).resolve().parent / "results" / "tuning.jsonl"
MARGIN = 0.004
UNFAIR = ("variance", "range")
GRID: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "magnitude": (
        {"name": "magnitude"},
        [{}, {"lr_factor": 1.0}, {"schedule": "gradual"}],
    ),
    "lth": (LTH, [{}, {"rewind": "lr"}]),
    "ballot": (
        BALLOT,
        [
            {},
            {"refinement": {"strength": 1.0}},
            {"refinement": {"distill": 0.0}},
            {"refinement": {"offsets": True}},
        ],
    ),
}
OWN: dict[tuple[str, str], list[dict[str, Any]]] = {
    # the short dense run is far behind its tickets: little is to be learned from it; offsets by
    # class do not move one group against another
    ("cifar-100-coarse", "ballot"): [
        {"refinement": {"distill": 0.0, "offsets": True}},
        {"refinement": {"distill": 0.0, "offsets": True, "strength": 0.25}},
        {"refinement": {"distill": 0.0, "offsets": True, "strength": 0.1}},
    ],
    ("utkface-race", "ballot"): [
        {},
        {"refinement": {"distill": 0.0}},
        {"refinement": {"distill": 0.0, "strength": 1.0}},
    ],
    **{(task, "ballot"): GRID["ballot"][1][:3] for task in ("adult-sex", "adult-race")},
}
"""Grids of tasks on which a method has another one."""
SHORT = {
    ("cifar-100-coarse", "magnitude"): 2,
}
"""How many settings of a grid are tried, the first ones, where training takes minutes."""
LIKE = {"utkface-race-x-gender": "utkface-race"}
"""Tasks that take the settings of another one: the same images, labels and model."""


def jobs(only: list[str], methods: list[str]) -> list[tuple[str, str, dict[str, Any], float, int]]:
    """(task, method, setting, sparsity, seed); three seeds where training takes seconds."""
    return [
        (task, method, setting, sparsity, seed)
        for method in methods or GRID
        for task in only or TASKS
        if task not in LIKE
        for setting in OWN.get((task, method), GRID[method][1])[: SHORT.get((task, method))]
        for seed in range(3 if TASKS[task]["model"] == "mlp" else 1)
        for sparsity in sparsities(task)
    ]


def work(only: list[str], methods: list[str], data: Path, folder: Path) -> None:
    """Run what is not recorded yet."""
    for task, method, setting, sparsity, seed in jobs(only, methods):
        if method == "ballot":
            setting = {**_rewind(choose().get(task, {}).get("lth", {})), **setting}
        plain = configuration_of(TASKS[task], merged(setting, GRID[method][0]), sparsity, seed)
        if key(task, plain) in finished(RESULTS):
            continue
        result, _ = run_one(plain, data, folder)
        line = {
            "task": task,
            "method": method,
            "setting": setting,
            "sparsity": sparsity,
            "seed": seed,
            "validation": result.record["validation"],
            "config": plain,
        }
        append(RESULTS, line)
        reached = line["validation"]["sparse"]
        print(
            f"{task:22s} {method:10s} {setting} {sparsity} seed {seed}"
            f"  accuracy {reached['accuracy']:.4f}  variance {reached['variance']:.5f}"
            f"  range {reached['range']:.3f}",
            flush=True,
        )


def averages() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Task -> method -> setting as text -> validation figures averaged over runs."""
    runs: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in finished(RESULTS).values():
        task, setting = line["task"], merged(line["setting"], GRID[line["method"]][0])
        if line["config"] != configuration_of(TASKS[task], setting, line["sparsity"], line["seed"]):
            continue  # in a setting that the task no longer has
        runs[line["task"], line["method"], json.dumps(line["setting"], sort_keys=True)].append(
            line["validation"]
        )
    result: dict[str, Any] = {}
    for (task, method, setting), found in runs.items():
        figures = {name: mean(v["sparse"][name] for v in found) for name in found[0]["sparse"]}
        figures["unfair"] = mean(
            v["sparse"][name] / v["dense"][name] for v in found for name in UNFAIR
        )
        result.setdefault(task, {}).setdefault(method, {})[setting] = figures
    return result


def choose() -> dict[str, dict[str, dict[str, Any]]]:
    """The setting of each method on each task."""
    chosen: dict[str, dict[str, dict[str, Any]]] = {}
    for task, methods in averages().items():
        best = chosen[task] = {}
        for method, grid in methods.items():
            allowed = grid
            if method == "ballot":
                least = max(f["accuracy"] for f in methods["lth"].values()) - MARGIN
                allowed = {s: f for s, f in grid.items() if f["accuracy"] >= least}
            if method == "ballot" and allowed:
                setting = min(allowed, key=lambda s: allowed[s]["unfair"])
            else:
                setting = max(grid, key=lambda s: grid[s]["accuracy"])
            best[method] = json.loads(setting)
        if "lth" in best:  # what Ballot does where its grid was not run
            best.setdefault("ballot", _rewind(best["lth"]))
    return chosen | {task: chosen[other] for task, other in LIKE.items() if other in chosen}


def rows() -> list[list[str]]:
    """Task, method, setting, what it reached on validation, and whether it was chosen."""
    found, chosen = averages(), choose()
    return [
        [
            task,
            method,
            _words(json.loads(setting)),
            f"{100 * figures['accuracy']:.2f}",
            f"{figures['unfair']:.3f}",
            "yes" if json.loads(setting) == chosen[task][method] else "",
        ]
        for task in TASKS
        for method, grid in found.get(task, {}).items()
        for setting, figures in grid.items()
    ]


def _words(setting: dict[str, Any]) -> str:
    parts = []
    for name, value in setting.items():
        parts += [_words(value)] if isinstance(value, dict) else [f"{name}={value}"]
    return ", ".join(parts) or "defaults"


def _rewind(lth: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in lth.items() if name == "rewind"}


def main() -> None:
    """Run the grids, or choose from what they gave."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/study"))
    parser.add_argument("--only", action="append", default=[], choices=list(TASKS))
    parser.add_argument("--method", action="append", default=[], choices=list(GRID))
    parser.add_argument("--choose", action="store_true")
    args = parser.parse_args()
    if args.choose:
        TUNED.write_text(json.dumps(choose(), indent=2, sort_keys=True) + "\n")
        return
    if args.data is None:
        parser.error("--data is needed to train; --choose only chooses")
    work(args.only, args.method, args.data, args.work)


if __name__ == "__main__":
    main()
