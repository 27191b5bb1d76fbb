"""Every method under one harness, each tuned on validation by one rule.

Of a method's grid, run at one sparsity and seed, the least unequal setting is taken among those
within a point of the dense network's accuracy on validation, or the most accurate one when none is.
DATA has the table of LFW as `lfw/labels.csv`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.plans.base import FACES, SMALL, Job, Plan, Settings, adult, configuration, merged
from benchmarks.plans.study import UTKFACE
from benchmarks.records import finished

RECORDS, TUNING = "compare.jsonl", "compare_tuning.jsonl"
SPARSITIES = (0.7, 0.8, 0.9, 0.95)
TUNED_AT = (0.9, 100)
"""Sparsity and seed of the grids; the study's seeds are others."""
SEEDS = 3
POINT = 0.01
LEVELS = {"levels": [0.5, 0.7, 0.8, 0.9, 0.95]}
SIDE = 32
"""Pixels a side that faces are resized to: a study of hundreds of runs on two cores."""


def _lfw(target: str, at: str) -> Settings:
    return {
        "data": {
            "name": "image-table",
            "path": f"lfw-{target}-{at}.csv",
            "groups": ["gender"],
            "split_column": "split",
            "identity": "person",
            "size": SIDE,
            "val": 0.2,
        },
        "model": "small-cnn",
        "training": {**FACES, "epochs": 4},
        "cells": "equalized-odds",
    }


TASKS: dict[str, Settings] = {
    "adult-sex": adult("sex"),
    "fashion-mnist": {
        "data": {"name": "fashion-mnist", "limit": 12000, "val": 0.2},
        "model": "small-cnn",
        "training": {"epochs": 6, **SMALL},
        "cells": "class",
    },
    "utkface-race": {
        "data": {**UTKFACE["data"], "size": SIDE},
        "model": "small-cnn",
        "training": FACES,
        "cells": "group",
    },
    "lfw-wavy-hair": _lfw("Wavy_Hair", "median"),
    "lfw-big-nose": _lfw("Big_Nose", "median"),
    "lfw-smiling": _lfw("Smiling", "half"),
}
LIKE = {"lfw-wavy-hair": "lfw-big-nose"}
"""Tasks of the same images, which take the settings chosen for another target."""
PARTLY = ("lfw-wavy-hair", "lfw-smiling")
"""Tasks without the variants: those of the third target of these images stand for them."""

IN_LAYERS = {"grouping": "channel", "scope": "layerwise"}
"""Whole channels, as many of each layer: one ranking over layers empties some of them."""
TUNE_LR = [{"lr_factor": 0.1}, {"lr_factor": 1.0}]
RECOVER = [{"finetune": 0.5, "lr_factor": 1.0}, {"finetune": 1.0, "lr_factor": 1.0}]
REST, RATES = ("frozen", "trained"), (0.3, 3.0)
WHOLE = {"search": 1.0}
BIFP = [
    {"search": 0.5},
    *({**WHOLE, "lambda_mask": x, "lambda_weight": x} for x in (0.5, 1.0, 2.0)),
    *({**WHOLE, "mask_lr": x} for x in (1.0, 10.0)),
    {"search": 0.75, "finetune": 0.25},
]
METHODS: dict[str, tuple[Settings, list[Settings]]] = {
    "dense": ({"name": "dense"}, [{}]),
    "magnitude": ({"name": "magnitude"}, TUNE_LR),
    "lth": ({"name": "lth", **LEVELS}, [{}, {"rewind": "lr"}]),
    "snip": ({"name": "init", "criterion": "snip"}, [{}]),
    "fpgm": ({"name": "magnitude", "criterion": "fpgm", **IN_LAYERS}, TUNE_LR),
    "safecompress": (
        {"name": "safecompress"},
        [
            {},
            *({"cost_weight": x} for x in (0.3, 3.0)),
            {"rule": "lexicographic"},
            {"rule": "lexicographic", "tolerance": 0.03},
        ],
    ),
    "fair-scratch": (
        {"name": "fair-scratch"},
        [
            *({"lam": x, "rest": r} for r in REST for x in (0.1, 0.3, 1.0)),
            *(
                {"lam": x, "rest": r, "lr_factor": f}
                for r in REST
                for f in RATES
                for x in (0.1, 0.3)
            ),
        ],
    ),
    "prune-then-fair": (
        {"name": "prune-then-fair"},
        [{**a, "refinement": b} for a in TUNE_LR for b in ({}, {"form": "penalty"})],
    ),
    "bifp": ({"name": "bifp"}, BIFP),
    "bifp filters": ({"name": "bifp", **IN_LAYERS}, BIFP),
    "ballot": (
        {"name": "ballot", "retries": 0, **LEVELS},
        [
            {**a, "refinement": b}
            for a in ({}, {"rewind": "lr"})
            for b in ({}, {"strength": 1.0}, {"form": "penalty"})
        ],
    ),
    "random": ({"name": "init", "criterion": "random"}, [{"scope": "erk"}, {"scope": "layerwise"}]),
    "grasp": ({"name": "init", "criterion": "grasp"}, [{}]),
    "synflow": ({"name": "init", "criterion": "synflow"}, [{}]),
    "lamp": ({"name": "magnitude", "criterion": "lamp"}, TUNE_LR),
    "taylor": ({"name": "magnitude", "criterion": "taylor"}, TUNE_LR),
    "obd": ({"name": "magnitude", "criterion": "obd"}, TUNE_LR),
    "l1 filters": ({"name": "magnitude", "criterion": "l1", **IN_LAYERS}, TUNE_LR),
    "hrank": ({"name": "magnitude", "criterion": "hrank", **IN_LAYERS}, TUNE_LR),
    "entropy": ({"name": "magnitude", "criterion": "entropy", **IN_LAYERS}, TUNE_LR),
    "fairprune": ({"name": "fairprune"}, RECOVER),
    "fairgrape": ({"name": "fairgrape"}, [{}]),
    "performance-weighted": ({"name": "performance-weighted", "lr_factor": 1.0}, [{}]),
    "distill": ({"name": "distill"}, TUNE_LR),
    "ceag": ({"name": "ceag"}, [{**a, "dual_rate": b} for a in TUNE_LR for b in (0.01, 0.1)]),
    "equalized-loss": ({"name": "equalized-loss"}, TUNE_LR),
    "fair-then-prune": ({"name": "fair-then-prune"}, TUNE_LR),
}
"""Name -> what is always set, and the grid: the methods of the goals first."""
SHORT = 0.9
"""The sparsity of the runs that compare what a gap costs in iterations."""
NO_TERM = {"m": {"lambda_mask": 0.0}, "w": {"lambda_weight": 0.0}}
VARIANTS: dict[str, tuple[str, Settings]] = {
    "bifp without m": ("bifp", NO_TERM["m"]),
    "bifp without w": ("bifp", NO_TERM["w"]),
    "bip": ("bifp", {**NO_TERM["m"], **NO_TERM["w"]}),
}
"""Name -> a method and the change to its tuned setting, at every sparsity."""
ITERATIONS: dict[str, tuple[str, Settings]] = {
    **{f"bifp, {x:g}": ("bifp", {"search": x / 2, "finetune": 0.0}) for x in (0.1, 0.2, 0.5)},
    **{
        f"prune-then-fair, {2 * x:g}": ("prune-then-fair", {"finetune": x, "fair_share": x})
        for x in (0.05, 0.1, 0.25, 0.5)
    },
    "prune-then-fair, rounds": ("prune-then-fair", {"levels": LEVELS["levels"][:-1]}),
}
"""The same at `SHORT` alone; the number is of steps after the dense network, in its own."""
FILTERS = ("l1 filters", "fpgm", "hrank", "entropy", "bifp filters")
"""Of whole channels: compared where there are channels."""


def methods_of(task: str) -> list[str]:
    """Methods that can prune a task's model, and their variants."""
    mlp = TASKS[task]["model"] == "mlp"
    every = [*METHODS, *(() if task in PARTLY else [*VARIANTS, *ITERATIONS])]
    return [name for name in every if not (mlp and name in FILTERS)]


def sparsities(name: str) -> tuple[float, ...]:
    """Where a method or variant is trained."""
    if name == "dense":
        return (0.0,)
    return (SHORT,) if name in ITERATIONS else SPARSITIES


def grids() -> Iterator[Job]:
    """Every setting of each method's grid."""
    sparsity, seed = TUNED_AT
    for task in [task for task in TASKS if task not in LIKE]:
        for name in [name for name in methods_of(task) if name in METHODS]:
            base, settings = METHODS[name]
            for setting in settings:
                trained = 0.0 if name == "dense" else sparsity
                config = configuration(TASKS[task], merged(setting, base), trained, seed)
                notes = {"method": name, "setting": setting}
                yield Job(task, name, sparsity, seed, config, notes)


def chosen() -> dict[str, dict[str, Settings]]:
    """Task -> method -> its best setting, by the validation figures of its grid."""
    runs = finished(TUNING)
    reached: dict[str, dict[str, list[Any]]] = {task: {} for task in TASKS}
    for job in grids():
        if job.key in runs:
            reached[job.task].setdefault(job.name, []).append(runs[job.key])
    best = {
        task: {name: _best(grid)["setting"] for name, grid in methods.items()}
        for task, methods in reached.items()
    }
    return best | {task: best[other] for task, other in LIKE.items()}


def _best(grid: list[dict[str, Any]]) -> dict[str, Any]:
    def accuracy(run: dict[str, Any]) -> float:
        return float(run["validation"]["sparse"]["accuracy"])

    def unequal(run: dict[str, Any]) -> float:
        dense, sparse = (run["validation"][m] for m in ("dense", "sparse"))
        return float(sum(sparse[k] / max(dense[k], 1e-6) for k in ("variance", "range")))

    least = grid[0]["validation"]["dense"]["accuracy"] - POINT
    within = [run for run in grid if accuracy(run) >= least]
    return min(within, key=unequal) if within else max(grid, key=accuracy)


def jobs() -> Iterator[Job]:
    """Every method in its chosen setting, and the variants of some."""
    settings = chosen()
    for task in TASKS:
        for name in methods_of(task):
            of, change = {**VARIANTS, **ITERATIONS}.get(name, (name, {}))
            method = {**merged(settings[task].get(of, {}), METHODS[of][0]), **change}
            notes = {"method": name, "setting": None}
            for seed in range(SEEDS):
                for sparsity in sparsities(name):
                    config = configuration(TASKS[task], method, sparsity, seed)
                    yield Job(task, name, sparsity, seed, config, notes)


PLAN = Plan(RECORDS, jobs, TASKS)
GRIDS = Plan(TUNING, grids, TASKS, tuning=True)
