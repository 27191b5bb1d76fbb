"""Every real data set by one configuration of a few lines: dense, lottery tickets and Ballot.

    python benchmarks/sets.py --data DATA --work WORK [--only compas]

Nothing is tuned. Runs are added to
`results/sets.jsonl` and skipped where it holds them; `study.py --tables` writes them into
`RESULTS.md`. DATA holds one folder a set: those of `study.py`, `lfw`, `compas`, `law-school`,
`dutch-census`, `credit-default`, `german-credit`, and `tweets/davidson_dialect.csv.gz` with columns
tweet, label, dialect and split.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from study import SMALL, append, finished, key, run_one, summary, tables

RESULTS = Path(__file__).resolve().parent / "results" / "sets.jsonl"
SPARSITY, LEVELS = 0.9, [0.5, 0.75]
METHODS: dict[str, dict[str, Any]] = {
    "dense": {"name": "dense"},
    "lth": {"name": "lth", "levels": LEVELS},
    # the default when these were run
    "ballot": {"name": "ballot", "levels": LEVELS, "retries": 2},
}
TABLE = {"model": {"name": "mlp"}, "training": {"epochs": 8, "lr": 0.05}, "seeds": 3}
FACES = {
    "model": {"name": "small-cnn"},
    "training": {"epochs": 5, **SMALL, "augment": ["flip"]},
    "seeds": 3,
}
SETS: dict[str, dict[str, Any]] = {
    "adult": {**TABLE, "data": {"name": "adult", "groups": ["sex"]}, "cells": "equalized-odds"},
    "compas": {**TABLE, "data": {"name": "compas"}, "cells": "equalized-odds"},
    "law-school": {**TABLE, "data": {"name": "law-school"}, "cells": "equalized-odds"},
    "dutch-census": {**TABLE, "data": {"name": "dutch-census"}, "cells": "equalized-odds"},
    "credit-default": {**TABLE, "data": {"name": "credit-default"}, "cells": "equalized-odds"},
    "german-credit": {
        **TABLE,
        "data": {"name": "german-credit"},
        "training": {"epochs": 15, "lr": 0.02, "batch_size": 32},
        "cells": "equalized-odds",
    },
    "utkface": {
        **FACES,
        "data": {"name": "utkface", "groups": ["race"], "size": 32},
        "cells": "group",
    },
    "lfw": {
        **FACES,
        "data": {"name": "lfw", "target": "Smiling", "size": 32},
        "cells": "equalized-odds",
    },
    "tweets": {
        "data": {
            "name": "text",
            "path": "davidson_dialect.csv.gz",
            "text": "tweet",
            "groups": ["dialect"],
            "unknown": ["-1"],
            "split_column": "split",
            "max_length": 48,
        },
        "model": {"name": "bert"},
        "training": {"epochs": 4, "lr": 1e-3, "optimizer": "adamw", "warmup": 0.1},
        "cells": "group",
        "seeds": 1,
    },
    "cifar-100": {
        "data": {"name": "cifar-100", "labels": "fine", "limit": 12500},
        "model": {"name": "resnet20"},
        "training": {
            "epochs": 8,
            **SMALL,
            "lr": 0.1,
            "warmup": 0.1,
            "augment": ["crop", "flip"],
        },
        "cells": "class",
        "seeds": 1,
    },
}


def configuration(name: str, method: str, seed: int) -> dict[str, Any]:
    """The run configuration of a method on a set, without the place of the data."""
    setting = {k: v for k, v in SETS[name].items() if k != "seeds"}
    sparsity = 0.0 if method == "dense" else SPARSITY
    return {**setting, "methods": [METHODS[method]], "sparsities": [sparsity], "seeds": [seed]}


def work(name: str, data: Path, folder: Path) -> None:
    """Do a set's runs that are not recorded yet."""
    from fairsparse.fairness.cells import Cells

    for seed in range(SETS[name]["seeds"]):
        for method in METHODS:
            plain = configuration(name, method, seed)
            if key(name, plain) in finished(RESULTS):
                continue
            began = time.time()
            result, made = run_one(plain, data, folder)
            cells = Cells(plain["cells"], made.class_names, made.group_names)
            line = summary(name, method, plain["sparsities"][0], seed, result, cells)
            line |= {"config": plain, "sizes": result.record["data"]["sizes"]}
            append(RESULTS, line)
            test = line["test"]
            print(
                f"{name:15s} {method:7s} seed {seed}  {time.time() - began:4.0f} s  accuracy"
                f" {test['accuracy']:.4f}  range {test['range']:.3f}",
                flush=True,
            )


def main() -> None:
    """Train what is missing, one set after another, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/sets"))
    parser.add_argument("--only", action="append", default=[], choices=list(SETS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        work(args.one, args.data, args.work)
        return
    running: list[subprocess.Popen[bytes]] = []
    for name in args.only or SETS:
        while sum(p.poll() is None for p in running) >= args.jobs:
            time.sleep(0.5)
        command = [sys.executable, *sys.argv, "--one", name]
        running.append(subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}))
    code = max(p.wait() for p in running)
    tables()
    sys.exit(code)


if __name__ == "__main__":
    main()
