"""Every method under one harness: tune each on validation, train all, write the tables.

    python benchmarks/compare.py --data DATA --work WORK --tune [--only adult-sex]
    python benchmarks/compare.py --data DATA --work WORK [--only adult-sex] [--methods bifp ...]
    python benchmarks/compare.py --tables

The first form runs each method's grid at one sparsity and seed and appends validation figures to
`results/compare_tuning.jsonl`; the second takes each method's best setting and trains what
`results/compare.jsonl` does not hold yet. Both can be interrupted and started again. The third
writes `RESULTS.md`, of which this is one part. DATA is as for `study.py`, with the table of LFW as
`lfw/labels.csv`.

The rule of choice is one for all: of a method's grid, the least unequal setting among those within
a point of the dense network's accuracy on validation, or the most accurate one when none is.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from study import SMALL, append, finished, key, merged, run_one, summary, tables

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "compare.jsonl"
TUNING = HERE / "results" / "compare_tuning.jsonl"
SPARSITIES = (0.7, 0.8, 0.9, 0.95)
TUNED_AT = (0.9, 100)
"""Sparsity and seed of the grids; the study's seeds are others."""
SEEDS = 3
POINT = 0.01
LEVELS = {"levels": [0.5, 0.7, 0.8, 0.9, 0.95]}
FACES = {"epochs": 5, **SMALL, "augment": ["flip"]}
SIDE = 32
"""Pixels a side that faces are resized to: a study of hundreds of runs on two cores."""


def _lfw(target: str, at: str) -> dict[str, Any]:
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


TASKS: dict[str, dict[str, Any]] = {
    "adult-sex": {
        "data": {"name": "adult", "groups": ["sex"], "cal": 0.2, "val": 0.2},
        "model": "mlp",
        "training": {"epochs": 8, "lr": 0.05},
        "cells": "equalized-odds",
    },
    "fashion-mnist": {
        "data": {"name": "fashion-mnist", "limit": 12000, "val": 0.2},
        "model": "small-cnn",
        "training": {"epochs": 6, **SMALL},
        "cells": "class",
    },
    "utkface-race": {
        "data": {
            "name": "utkface",
            "target": "gender",
            "groups": ["race"],
            "limit": 8000,
            "size": SIDE,
        },
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
METHODS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
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
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bifp without m": ("bifp", NO_TERM["m"]),
    "bifp without w": ("bifp", NO_TERM["w"]),
    "bip": ("bifp", {**NO_TERM["m"], **NO_TERM["w"]}),
}
"""Name -> a method and the change to its tuned setting, at every sparsity."""
ITERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
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


def configuration(task: str, method: dict[str, Any], sparsity: float, seed: int) -> dict[str, Any]:
    """The run configuration of a method on a task, without the place of the data."""
    setting = TASKS[task]
    return {
        "data": setting["data"],
        "model": {"name": setting["model"]},
        "training": setting["training"],
        "cells": setting["cells"],
        "methods": [method],
        "sparsities": [0.0 if method["name"] == "dense" else sparsity],
        "seeds": [seed],
    }


@cache
def chosen(task: str) -> dict[str, dict[str, Any]]:
    """Each method's best setting on a task, by the validation figures of its grid."""
    task = LIKE.get(task, task)
    grids: dict[str, list[dict[str, Any]]] = {}
    found = finished(TUNING)
    for name, given, *_ in jobs(task, True, []):
        line = found.get(key(task, _plain(given)))
        if line is not None:
            grids.setdefault(name, []).append(line)
    result = {}
    for name, lines in grids.items():
        least = lines[0]["validation"]["dense"]["accuracy"] - POINT
        within = [v for v in lines if v["validation"]["sparse"]["accuracy"] >= least]
        best = (
            min(within, key=_unequal)
            if within
            else max(lines, key=lambda v: v["validation"]["sparse"]["accuracy"])
        )
        result[name] = best["setting"]
    return result


def _unequal(line: dict[str, Any]) -> float:
    dense, sparse = (line["validation"][m] for m in ("dense", "sparse"))
    return float(sum(sparse[k] / max(dense[k], 1e-6) for k in ("variance", "range")))


def jobs(task: str, tune: bool, wanted: list[str]) -> list[tuple[str, dict[str, Any], float, int]]:
    """(method, configuration, sparsity, seed) of a task's grids, or of its study."""
    result = []
    for name in [n for n in methods_of(task) if not wanted or n in wanted]:
        if tune and task in LIKE:
            break
        if tune and name in METHODS:
            base, grid = METHODS[name]
            for setting in grid:
                config = configuration(task, merged(setting, base), *TUNED_AT)
                result.append((name, {**config, "setting": setting}, *TUNED_AT))
        if tune:
            continue
        of, change = {**VARIANTS, **ITERATIONS}.get(name, (name, {}))
        method = {**merged(chosen(task).get(of, {}), METHODS[of][0]), **change}
        for seed in range(SEEDS):
            for sparsity in sparsities(name):
                result.append((name, configuration(task, method, sparsity, seed), sparsity, seed))
    return result


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the note of which setting it tries."""
    return {k: v for k, v in given.items() if k != "setting"}


def recorded() -> list[dict[str, Any]]:
    """The recorded runs that the study plans: those of superseded settings are left out."""
    planned = {key(task, job[1]) for task in TASKS for job in jobs(task, False, [])}
    return [run for name, run in finished(RESULTS).items() if name in planned]


def work(task: str, tune: bool, wanted: list[str], data: Path, folder: Path) -> None:
    """Do a task's runs that are not recorded yet; one that fails is told and left out."""
    from fairsparse.fairness.cells import Cells
    from fairsparse.types import InputError

    if task.startswith("lfw"):
        prepare_lfw(data, TASKS[task]["data"]["path"])
    for name, given, sparsity, seed in jobs(task, tune, wanted):
        plain = _plain(given)
        path = TUNING if tune else RESULTS
        if key(task, plain) in finished(path):
            continue
        began = time.time()
        try:
            result, made = run_one(plain, data, folder)
        except InputError as error:
            print(f"{task:15s} {name:22s} {sparsity:<5} seed {seed}: {error}", flush=True)
            continue
        reached = result.record["validation"]["sparse"]
        line = {
            "task": task,
            "method": name,
            "sparsity": sparsity,
            "seed": seed,
            "setting": given.get("setting"),
            "validation": result.record["validation"],
            "config": plain,
        }
        if not tune:
            cells = Cells(TASKS[task]["cells"], made.class_names, made.group_names)
            line |= summary(task, name, sparsity, seed, result, cells)
        append(path, line)
        print(
            f"{task:15s} {name:22s} {sparsity:<5} seed {seed}  {time.time() - began:4.0f} s"
            f"  validation: accuracy {reached['accuracy']:.4f}  range {reached['range']:.3f}",
            flush=True,
        )


def prepare_lfw(data: Path, file: str) -> None:
    """Write the table of one inferred attribute; identities keep their split.

    It is present where its probability is above a half or, of attributes that few have by that
    measure, above the median of the training split: of 4 and 14 % in one class a network that
    predicts the other for everybody is within reach of the dense one, and has no gap.
    """
    target, _, at = file.removeprefix("lfw-").removesuffix(".csv").rpartition("-")
    path = data / "lfw" / file
    if path.exists():
        return
    with (data / "lfw" / "labels.csv").open(newline="") as source:
        rows = [row for row in csv.DictReader(source) if row["has_pred"] == "True"]
    known = [float(row[target]) for row in rows if row["test"] != "True"]
    least = 0.5 if at == "half" else statistics.median(known)
    made = path.with_suffix(".part")
    with made.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["file", "label", "gender", "person", "split"])
        for row in rows:
            label = f"{'' if float(row[target]) > least else 'not '}{target.lower()}"
            gender = {"0": "male", "1": "female"}.get(row["gender"], "")
            split = "test" if row["test"] == "True" else "train"
            writer.writerow([row["file"], label, gender, row["person_id"], split])
    made.rename(path)


def main() -> None:
    """Tune, train what is missing, or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/compare"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", action="append", default=[], choices=list(TASKS))
    parser.add_argument(
        "--methods", nargs="+", default=[], choices=[*METHODS, *VARIANTS, *ITERATIONS]
    )
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tables:
        tables()
        return
    if args.data is None:
        parser.error("--data is needed to train; --tables writes the tables alone")
    if args.one:
        work(args.one, args.tune, args.methods, args.data, args.work)
        return
    running: list[subprocess.Popen[bytes]] = []
    for task in args.only or TASKS:
        while sum(p.poll() is None for p in running) >= args.jobs:
            time.sleep(0.5)
        command = [sys.executable, *sys.argv, "--one", task]
        running.append(subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}))
    sys.exit(max(p.wait() for p in running))


if __name__ == "__main__":
    main()
