"""The study: Ballot against dense, magnitude and lottery tickets on real data.

    python benchmarks/study.py --data DATA --work WORK [--jobs 2] [--only fashion-mnist]
    python benchmarks/study.py --tables

The first form trains whatever `benchmarks/results/study.jsonl` does not hold yet and adds it there,
one line a run; it can be interrupted and started again, and jobs share dense networks and rounds
through WORK. The second form writes `benchmarks/RESULTS.md` from that file. DATA holds the data
sets in their official layouts, one folder each: FashionMNIST, cifar-100-python, UTKFace, adult.

Every choice is made on validation; the test split is read once a run, at its end. After each run
class offsets of several strengths are fitted on its validation predictions and read on test, for
every method alike: the curve of accuracy against gap that a free correction gives.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "study.jsonl"
TUNED = HERE / "results" / "tuned.json"
SMALL = {"lr": 0.05, "precision": "bf16", "channels_last": True}
ROUNDS = [0.5, 0.75, 0.9, 0.95]
OFFSETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

TASKS: dict[str, dict[str, Any]] = {
    "fashion-mnist": {
        "data": {"name": "fashion-mnist", "limit": 30000, "val": 0.2},
        "model": "small-cnn",
        "training": {"epochs": 8, **SMALL},
        "cells": "class",
        "seeds": 5,
    },
    "cifar-100-coarse": {
        "data": {"name": "cifar-100", "labels": "coarse", "limit": 12000, "val": 0.15},
        "model": "resnet20",
        "training": {"epochs": 8, **SMALL, "lr": 0.1, "warmup": 0.1, "augment": ["crop", "flip"]},
        "cells": "class",
        "seeds": 3,
    },
    "utkface-race": {
        "data": {"name": "utkface", "target": "gender", "groups": ["race"], "limit": 8000},
        "model": "small-cnn",
        "training": {"epochs": 5, **SMALL, "augment": ["flip"]},
        "cells": "group",
        "seeds": 5,
    },
    # gender is the target, so race x gender is the class within the group
    "utkface-race-x-gender": {
        "data": {"name": "utkface", "target": "gender", "groups": ["race"], "limit": 8000},
        "model": "small-cnn",
        "training": {"epochs": 5, **SMALL, "augment": ["flip"]},
        "cells": "class-group",
        "seeds": 5,
    },
    "adult-sex": {
        "data": {"name": "adult", "groups": ["sex"], "cal": 0.2, "val": 0.2},
        "model": "mlp",
        "training": {"epochs": 8, "lr": 0.05},
        "cells": "equalized-odds",
        "seeds": 5,
    },
    "adult-race": {
        "data": {"name": "adult", "groups": ["race"], "cal": 0.2, "val": 0.2},
        "model": "mlp",
        "training": {"epochs": 8, "lr": 0.05},
        "cells": "equalized-odds",
        "seeds": 5,
    },
}
FOLDERS = {
    "fashion-mnist": "FashionMNIST",
    "cifar-100": "",
    "utkface": "UTKFace",
    "adult": "adult",
    "image-table": "lfw",
    "lfw": "lfw",
    "text": "tweets",
}
"""Folder of each data set within DATA; a configuration may name a file within it."""

PLAIN = {
    "form": "none",
    "warmup": 0,
    "plateau": 0,
    "rewinds": 0,
    "keep": "last",
    "recalibrate": 0,
    "offsets": False,
}
LTH = {"name": "lth", "levels": ROUNDS}
BALLOT = {"name": "ballot", "levels": ROUNDS, "retries": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "dense": {"name": "dense"},
    "magnitude": {"name": "magnitude"},
    "lth": LTH,
    "ballot": BALLOT,
    "ballot, strength 0.25": {**BALLOT, "refinement": {"strength": 0.25}},
    "ballot, strength 0.5": {**BALLOT, "refinement": {"strength": 0.5}},
    "ballot, strength 1": {**BALLOT, "refinement": {"strength": 1.0}},
    "ballot, selection off": {**BALLOT, "lambda_conflict": 0.0, "importance": "magnitude"},
    "ballot, refinement off": {
        **BALLOT,
        "refinement": {**PLAIN, "distill": 0.0},
    },
    "ballot, conflict reversed": {**BALLOT, "lambda_conflict": -0.5},
    "ballot, random mask": {**BALLOT, "mask": "random"},
    "ballot, distillation off": {**BALLOT, "refinement": {"distill": 0.0}},
    "lth, same refinement": {**LTH, "refinement": {}},
    "lth, distillation alone": {**LTH, "refinement": {**PLAIN, "distill": 0.5}},
}
MAIN = ("dense", "magnitude", "lth", "ballot")
BLIND = ("dense", "magnitude", "lth")
"""Variants that look at no cells: trained once for tasks that differ in these alone."""
ABLATED = {"fashion-mnist": 1, "adult-sex": 2, "adult-race": 2}
"""Seeds with all variants, where a training run takes seconds; elsewhere the main ones alone."""
BESIDE = {"cifar-100-coarse": ["ballot, strength 0.5"]}
"""Variants on every seed of a task besides the main ones."""
NARROW = (3, 4, 6, 8)
"""Widths of the narrower dense networks that are matched to a pruned one by validation accuracy."""


def jobs(only: list[str], variants: list[str]) -> list[tuple[str, str, float, int]]:
    """(task, variant, sparsity, seed) of the whole study, each seed's main comparison first."""
    todo = []
    for task, setting in TASKS.items():
        mlp = setting["model"] == "mlp"
        for seed in range(setting["seeds"]):
            wanted = list(VARIANTS)
            if seed >= ABLATED.get(task, 0):
                wanted = [*MAIN, *BESIDE.get(task, [])]
            elif not mlp:
                wanted += [f"narrow {width}" for width in NARROW]
            for variant in wanted:
                if (only and task not in only) or (variants and variant not in variants):
                    continue
                if variant == "ballot, strength 0.5" and _strength(task) == 0.5:
                    continue  # the main one is that
                dense = variant == "dense" or variant.startswith("narrow")
                todo += [(task, variant, s, seed) for s in ([0.0] if dense else sparsities(task))]
    return todo


def _strength(task: str) -> float:
    strength: float = tuned(task).get("ballot", {}).get("refinement", {}).get("strength", 0.5)
    return strength


def configuration(task: str, variant: str, sparsity: float, seed: int) -> dict[str, Any]:
    """The run configuration of one job, without the place of the data."""
    method = VARIANTS.get(variant, {"name": "dense"})
    if variant == "lth, same refinement":
        method = {**method, "refinement": tuned(task).get("ballot", {}).get("refinement", {})}
    chosen = tuned(task).get(method["name"], {})
    setting = TASKS[task]
    if variant in BLIND:
        same = [t for t in TASKS.values() if {**t, "cells": ""} == {**setting, "cells": ""}]
        setting = same[0]
    width = int(variant.split()[1]) if variant.startswith("narrow") else None
    return configuration_of(setting, merged(chosen, method), sparsity, seed, width)


def configuration_of(
    setting: dict[str, Any],
    method: dict[str, Any],
    sparsity: float,
    seed: int,
    width: int | None = None,
) -> dict[str, Any]:
    """The run configuration of a method in the setting of a task."""
    if setting["model"] == "mlp" and "levels" in method:
        method = {**method, "levels": [*ROUNDS, 0.98]}
    return {
        "data": setting["data"],
        "model": {"name": setting["model"]} | ({"width": width} if width else {}),
        "training": setting["training"],
        "cells": setting["cells"],
        "methods": [method],
        "sparsities": [sparsity],
        "seeds": [seed],
    }


def merged(chosen: dict[str, Any], method: dict[str, Any]) -> dict[str, Any]:
    """A variant on top of tuned settings; the refinement's options are merged one by one."""
    result = {**chosen, **method}
    if isinstance(chosen.get("refinement"), dict) and isinstance(method.get("refinement"), dict):
        result["refinement"] = {**chosen["refinement"], **method["refinement"]}
    return result


@cache
def tuned(task: str) -> dict[str, dict[str, Any]]:
    """Settings that `tune.py` chose for each method on a task."""
    if not TUNED.exists():
        return {}
    settings: dict[str, dict[str, Any]] = json.loads(TUNED.read_text()).get(task, {})
    return settings


def sparsities(task: str) -> list[float]:
    """Sparsities a task's networks are pruned to."""
    return [0.9, 0.95, 0.98] if TASKS[task]["model"] == "mlp" else [0.9, 0.95]


def key(task: str, config: dict[str, Any]) -> str:
    """Text that identifies a job by all that determines it."""
    return json.dumps([task, config], sort_keys=True)


def finished(path: Path) -> dict[str, dict[str, Any]]:
    """Recorded runs by their configuration."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {key(line["task"], line["config"]): line for line in lines}


def work(task: str, seed: int, variants: list[str], data: Path, folder: Path) -> None:
    """Do the runs of one task and seed that are not recorded yet."""
    from fairsparse.fairness.cells import Cells

    for name, variant, sparsity, which in jobs([task], variants):
        plain = configuration(name, variant, sparsity, which)
        if which != seed or key(task, plain) in finished(RESULTS):
            continue
        result, task_ = run_one(plain, data, folder)
        cells = Cells(TASKS[task]["cells"], task_.class_names, task_.group_names)
        line = {**summary(task, variant, sparsity, seed, result, cells), "config": plain}
        test = line["test"]
        append(RESULTS, line)
        print(
            f"{task:22s} {variant:26s} {sparsity:<5} seed {seed}"
            f"  accuracy {test['accuracy']:.4f}  variance {test['variance']:.5f}"
            f"  range {test['range']:.3f}",
            flush=True,
        )


def run_one(plain: dict[str, Any], data: Path, folder: Path) -> tuple[Any, Any]:
    """Train what a configuration asks for; return its `Result` and its `Task`."""
    import torch

    from fairsparse.checkpoint import Stages
    from fairsparse.experiments.config import make_config
    from fairsparse.experiments.execute import execute
    from fairsparse.experiments.run import make_method, make_model, make_task
    from fairsparse.fairness.cells import Cells

    torch.set_num_threads(1)
    name = plain["data"]["name"]
    path = str(data / FOLDERS.get(name, name) / plain["data"].get("path", ""))
    config = make_config({**plain, "data": {**plain["data"], "path": path}})
    name = json.dumps(config.data, sort_keys=True)
    made = _tasks[name] = _tasks.get(name) or make_task(config)
    cells = Cells(config.cells, made.class_names, made.group_names)
    seed, sparsity = config.seeds[0], config.sparsities[0]
    result = execute(
        make_model(config, made, seed),
        made,
        make_method(config.methods[0], sparsity),
        cells,
        config.training,
        seed=seed,
        stages=Stages(folder / "stages" / plain["data"]["name"]),
        progress=None,
        config=plain,
        model_info={"name": plain["model"]["name"], "options": {}},
        resamples=200,
        siblings=[make_method(m, sparsity or 0.9) for m in (LTH, BALLOT)],
    )
    return result, made


_tasks: dict[str, Any] = {}
"""Tasks by their data section: each is read once a process."""


def summary(
    task: str, variant: str, sparsity: float, seed: int, result: Any, cells: Any
) -> dict[str, Any]:
    """What the tables need of a run."""
    import torch

    from fairsparse.fairness.offsets import fit_offsets
    from fairsparse.fairness.spread import spread
    from fairsparse.types import Predictions

    arrays = {name: torch.from_numpy(a) for name, a in result.predictions.items()}
    val, test = (
        Predictions(arrays[f"{s}_sparse"], arrays[f"{s}_y"], arrays[f"{s}_group"])
        for s in ("val", "test")
    )
    record = result.record
    metrics = {
        name: entry["candidate"]["value"] for name, entry in record["audit"]["metrics"].items()
    }
    curve = []
    for strength in OFFSETS:
        offsets = fit_offsets(val, cells, strength)
        row: dict[str, float] = {"strength": strength}
        for name, p in (("val", val), ("test", test)):
            moved = p._replace(logits=p.logits + offsets)
            now = spread(cells, moved)
            row |= {
                f"{name}_accuracy": now.accuracy,
                f"{name}_variance": now.variance,
                f"{name}_range": now.range,
            }
        curve.append(row)
    return {
        "task": task,
        "variant": variant,
        "sparsity": sparsity,
        "seed": seed,
        "metrics": metrics,
        "validation": record["validation"]["sparse"],
        "test": _spread(spread(cells, test)),
        "offsets": curve,
        "status": record["status"],
        "rounds": record["rounds"],
        "steps": record["cost"]["steps"],
        "dense_steps": record["cost"]["dense_steps"],
        "seconds": record["timings"],
        "parameters": record["model"]["parameters"],
        "environment": record["environment"],
        "fingerprint": record["data"]["fingerprint"],
    }


def _spread(value: Any) -> dict[str, float]:
    return {"accuracy": value.accuracy, "variance": value.variance, "range": value.range}


def append(path: Path, line: dict[str, Any]) -> None:
    """Append one line to a file of results; writers of several processes take turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(line, sort_keys=True) + "\n")


def tables() -> None:
    """Write RESULTS.md from what is recorded."""
    from tables import write

    planned = {key(job[0], configuration(*job)) for job in jobs([], [])}
    write([run for name, run in finished(RESULTS).items() if name in planned])


def main() -> None:
    """Train what is missing, or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/study"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", action="append", default=[], choices=list(TASKS))
    parser.add_argument("--variants", action="append", default=[], choices=list(VARIANTS))
    parser.add_argument("--one", nargs=2, metavar=("TASK", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--tables", action="store_true")
    args = parser.parse_args()
    if args.tables:
        tables()
        return
    if args.data is None:
        parser.error("--data is needed to train; --tables writes the tables alone")
    if args.one:
        work(args.one[0], int(args.one[1]), args.variants, args.data, args.work)
        return
    pairs = sorted({(t, s) for t, _, _, s in jobs(args.only, args.variants)}, key=lambda p: p[1])
    running: list[subprocess.Popen[bytes]] = []
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for task, seed in pairs:
        while sum(p.poll() is None for p in running) >= args.jobs:
            time.sleep(0.5)
        extra = [part for v in args.variants for part in ("--variants", v)]
        running.append(
            subprocess.Popen(
                [
                    sys.executable,
                    __file__,
                    "--data",
                    str(args.data),
                    "--work",
                    str(args.work),
                    "--one",
                    task,
                    str(seed),
                    *extra,
                ],
                env=env,
            )
        )
    codes = [p.wait() for p in running]
    sys.exit(max(codes, default=0))


if __name__ == "__main__":
    main()
