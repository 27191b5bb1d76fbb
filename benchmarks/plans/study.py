"""The study: Ballot against dense, magnitude and lottery tickets on real data.

Every choice is made on validation; the test split is read once a run, at its end. After each run
class offsets of several strengths are fitted on its validation predictions and read on test, for
every method alike: the curve of accuracy against gap that a free correction gives.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.plans.base import FACES, SMALL, Job, Plan, Settings, adult, configuration, merged
from benchmarks.records import load

UTKFACE: Settings = {
    "data": {"name": "utkface", "target": "gender", "groups": ["race"], "limit": 8000},
    "model": "small-cnn",
    "training": FACES,
    "seeds": 5,
}
TASKS: dict[str, Settings] = {
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
    "utkface-race": {**UTKFACE, "cells": "group"},
    # gender is the target, so race x gender is the class within the group
    "utkface-race-x-gender": {**UTKFACE, "cells": "class-group"},
    "adult-sex": {**adult("sex"), "seeds": 5},
    "adult-race": {**adult("race"), "seeds": 5},
}

PLAIN = {
    "form": "none",
    "warmup": 0,
    "plateau": 0,
    "rewinds": 0,
    "keep": "last",
    "recalibrate": 0,
    "offsets": False,
}
ROUNDS = [0.5, 0.75, 0.9, 0.95]
LTH = {"name": "lth", "levels": ROUNDS}
BALLOT = {"name": "ballot", "levels": ROUNDS, "retries": 0}
VARIANTS: dict[str, Settings] = {
    "dense": {"name": "dense"},
    "magnitude": {"name": "magnitude"},
    "lth": LTH,
    "ballot": BALLOT,
    "ballot, strength 0.25": {**BALLOT, "refinement": {"strength": 0.25}},
    "ballot, strength 0.5": {**BALLOT, "refinement": {"strength": 0.5}},
    "ballot, strength 1": {**BALLOT, "refinement": {"strength": 1.0}},
    "ballot, selection off": {**BALLOT, "lambda_conflict": 0.0, "importance": "magnitude"},
    "ballot, refinement off": {**BALLOT, "refinement": {**PLAIN, "distill": 0.0}},
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


def jobs() -> Iterator[Job]:
    """The whole study, each seed's main comparison first."""
    tuned = load("tuned")
    for task in TASKS:
        chosen = tuned.get(task, {})
        for seed in range(TASKS[task]["seeds"]):
            for variant in _variants(task, seed):
                main = chosen.get("ballot", {}).get("refinement", {})
                if variant == "ballot, strength 0.5" and main.get("strength", 0.5) == 0.5:
                    continue  # the main one is that
                dense = variant == "dense" or variant.startswith("narrow")
                for sparsity in [0.0] if dense else sparsities(task):
                    config = _configuration(task, variant, sparsity, seed, chosen)
                    yield Job(task, variant, sparsity, seed, config, {})


def _variants(task: str, seed: int) -> list[str]:
    if seed >= ABLATED.get(task, 0):
        return [*MAIN, *BESIDE.get(task, [])]
    narrow = () if TASKS[task]["model"] == "mlp" else NARROW
    return [*VARIANTS, *(f"narrow {width}" for width in narrow)]


def _configuration(
    task: str, variant: str, sparsity: float, seed: int, chosen: Settings
) -> Settings:
    method = VARIANTS.get(variant, {"name": "dense"})
    if variant == "lth, same refinement":
        method = {**method, "refinement": chosen.get("ballot", {}).get("refinement", {})}
    method = merged(chosen.get(method["name"], {}), method)
    setting = TASKS[task]
    if variant in BLIND:
        same = [t for t in TASKS.values() if {**t, "cells": ""} == {**setting, "cells": ""}]
        setting = same[0]
    width = int(variant.split()[1]) if variant.startswith("narrow") else None
    return configuration(setting, in_rounds(setting, method), sparsity, seed, width)


def in_rounds(task: Settings, method: Settings) -> Settings:
    """A method with one more round for the small networks of tables, which are pruned further."""
    more = task["model"] == "mlp" and "levels" in method
    return {**method, "levels": [*ROUNDS, 0.98]} if more else method


def sparsities(task: str) -> list[float]:
    """Sparsities a task's networks are pruned to."""
    return [0.9, 0.95, 0.98] if TASKS[task]["model"] == "mlp" else [0.9, 0.95]


PLAN = Plan("study.jsonl", jobs, TASKS, by_seed=True)
