"""Records of runs that did not happen, audited for real: predictions are drawn, not trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fairsparse.auditing.compare import compare
from fairsparse.fairness.measure.outcomes import Confusion
from fairsparse.record import Record
from fairsparse.report.run import page as of_a_run
from fairsparse.report.sweep import page as of_a_sweep

TEN = [f"digit {i}" for i in range(10)]
FIVE = ["north", "east", "south", "west", "x" * 60]
HOSTILE = ["<script>alert(1)</script>", 'A & B "x"', "$a_b^$ 日本", "it's\n<b>"]
MANY = [f"class {i}" for i in range(100)]


def record(
    classes: Sequence[str],
    groups: Sequence[str] = (),
    *,
    method: str = "lth",
    sparsity: float = 0.9,
    seed: int = 0,
    cells: str = "class",
    n: int = 600,
    loss: float = 0.1,
    options: dict[str, Any] | None = None,
    layers: int = 4,
    epochs: int = 6,
    resamples: int = 100,
) -> dict[str, Any]:
    """Return a record whose later classes and groups lose more."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(classes), n)
    group = rng.integers(-1, len(groups), n) if groups else np.full(n, -1)

    def predict(rate: np.ndarray) -> np.ndarray:
        wrong = rng.random(n) < rate
        return np.where(wrong, (y + 1) % len(classes), y)

    dense = predict(np.full(n, 0.08))
    sparse = dense
    if method != "dense":
        harm = loss * (y / len(classes) + 0.5 * np.maximum(group, 0) / max(len(groups), 1))
        sparse = np.where(rng.random(n) < harm, predict(np.full(n, 1.0)), dense)
        fixed = rng.random(n) < 0.02
        sparse = np.where(fixed, y, sparse)
    audit = compare(dense, sparse, y, group, classes, groups, resamples=resamples, seed=seed)
    total = 1000 * layers
    gone = 0.0 if method == "dense" else sparsity
    options = {"sparsity": gone, "tolerance": 0.01, **(options or {})}
    stages = ["dense"] if method == "dense" else ["dense", f"{method} 0.50", f"{method} 0.90"]
    tables = [Confusion.count(p, y, group, classes, groups).table.tolist() for p in (dense, sparse)]
    made = {
        "fairsparse": "0.1.0",
        "counts": dict(zip(("dense", "sparse"), tables, strict=True)),
        "run": f"{method}-{gone:g}-seed{seed}",
        "config": {"data": {"name": "drawn"}, "methods": [{"name": method}], "seeds": [seed]},
        "environment": {"python": "3.12.1", "torch": "2.7", "device": "cpu", "threads": 2},
        "data": {
            "name": "drawn",
            "fingerprint": "0a1b2c3d",
            "sizes": {"train": 9000, "cal": 500, "val": 500, "test": n},
            "class_names": list(classes),
            "group_names": list(groups),
            "attributes": ["region"] if groups else [],
            "notes": "Drawn at random; licence CC0.",
        },
        "model": {
            "name": "small-cnn",
            "options": {},
            "class": "SmallCNN",
            "input_shape": [1, 8, 8],
            "n_classes": len(classes),
            "parameters": total + 20,
            "prunable": total,
            "layers": [
                {
                    "name": f"features.{i}.weight",
                    "shape": [10, 100],
                    "total": 1000,
                    "kept": round(1000 * (1 - gone)),
                }
                for i in range(layers)
            ],
        },
        "method": {
            "name": method,
            "summary": "A method made up.",
            "reference": "Nobody 2024",
            "options": options,
        },
        "seed": seed,
        "cells": cells,
        "sparsity": {
            "asked": gone,
            "measured": gone,
            "kept": round(total * (1 - gone)),
            "total": total,
        },
        "masks": "0a1b2c3d",
        "status": "feasible",
        "rounds": []
        if method == "dense"
        else [
            {
                "sparsity": s,
                "val_accuracy": 0.9,
                "val_drop": 0.005,
                "feasible": True,
                "layers": {"a": 1},
            }
            for s in (0.5, 0.9)
        ],
        "audit": audit.to_dict(),
        "validation": {
            "dense": {"accuracy": 0.921, "variance": 0.00123, "range": 0.113},
            "sparse": {"accuracy": 0.913, "variance": 0.00234, "range": 0.157},
        },
        "history": [
            {
                "stage": stage,
                "epoch": e,
                "step": 10 * e,
                "loss": 2.0 / (e + 1),
                "accuracy": 1 - 0.5 / (e + 1),
                "worst": 1 - 0.9 / (e + 1),
                "worst_cell": classes[-1],
                "lr": 0.1,
            }
            for stage in stages
            for e in range(epochs)
        ],
        "cost": {"steps": 60 * len(stages), "dense_steps": 60},
        "timings": {**dict.fromkeys(stages, 2.0), "total": 2.5 * len(stages), "audit": 0.7},
        "memory": {stage: 0.5 + 0.25 * i for i, stage in enumerate(stages)},
    }
    return json.loads(json.dumps(made, allow_nan=False))


def sweep_records() -> list[dict[str, Any]]:
    plan = [("dense", 0.0, 0.0), ("lth", 0.8, 0.3), ("lth", 0.9, 0.5), ("ballot", 0.9, 0.1)]
    return [
        record(TEN, FIVE[:3], method=m, sparsity=s, loss=loss, seed=seed, cells="group")
        for seed in (0, 1, 2)
        for m, s, loss in plan
    ]


def of_records(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, of records as JSON holds them: as such tests change them."""

    def call(made: Any, *more: Any) -> Any:
        read = Record.model_validate
        return function([read(r) for r in made] if isinstance(made, list) else read(made), *more)

    return call


run_report = of_records(of_a_run.run_report)
comparison_report = of_records(of_a_sweep.comparison_report)
