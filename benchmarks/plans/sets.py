"""Every real data set by one configuration of a few lines: dense, lottery tickets and Ballot.

Nothing is tuned. DATA holds one folder a set: those of the study, `lfw`, `compas`, `law-school`,
`dutch-census`, `credit-default`, `german-credit`, and `tweets/davidson_dialect.csv.gz` with columns
tweet, label, dialect and split.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.plans.base import FACES, SMALL, Job, Plan, Settings, configuration

SPARSITY, LEVELS = 0.9, [0.5, 0.75]
METHODS: dict[str, Settings] = {
    "dense": {"name": "dense"},
    "lth": {"name": "lth", "levels": LEVELS},
    # the default when these were run
    "ballot": {"name": "ballot", "levels": LEVELS, "retries": 2},
}
AUDITED: dict[str, Settings] = {"magnitude": {"name": "magnitude"}, "ballot": METHODS["ballot"]}
"""Methods whose networks are audited against the dense ones."""
TABLE = {
    "model": "mlp",
    "training": {"epochs": 8, "lr": 0.05},
    "cells": "equalized-odds",
    "seeds": 3,
}
FACE = {"model": "small-cnn", "training": FACES, "seeds": 3}
SETS: dict[str, Settings] = {
    "adult": {**TABLE, "data": {"name": "adult", "groups": ["sex"]}},
    "compas": {**TABLE, "data": {"name": "compas"}},
    "law-school": {**TABLE, "data": {"name": "law-school"}},
    "dutch-census": {**TABLE, "data": {"name": "dutch-census"}},
    "credit-default": {**TABLE, "data": {"name": "credit-default"}},
    "german-credit": {
        **TABLE,
        "data": {"name": "german-credit"},
        "training": {"epochs": 15, "lr": 0.02, "batch_size": 32},
    },
    "utkface": {
        **FACE,
        "data": {"name": "utkface", "groups": ["race"], "size": 32},
        "cells": "group",
    },
    "lfw": {
        **FACE,
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
        "model": "bert",
        "training": {"epochs": 4, "lr": 1e-3, "optimizer": "adamw", "warmup": 0.1},
        "cells": "group",
        "seeds": 1,
    },
    "cifar-100": {
        "data": {"name": "cifar-100", "labels": "fine", "limit": 12500},
        "model": "resnet20",
        "training": {"epochs": 8, **SMALL, "lr": 0.1, "warmup": 0.1, "augment": ["crop", "flip"]},
        "cells": "class",
        "seeds": 1,
    },
}


def jobs() -> Iterator[Job]:
    """Every method on every set."""
    for task, setting in SETS.items():
        for seed in range(setting["seeds"]):
            for name, method in METHODS.items():
                sparsity = 0.0 if name == "dense" else SPARSITY
                config = configuration(setting, method, sparsity, seed)
                yield Job(task, name, sparsity, seed, config, {})


PLAN = Plan("sets.jsonl", jobs, SETS)
