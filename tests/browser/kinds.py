"""Every kind of report that the package writes, made from names that cause trouble; see KINDS."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fairsparse
from fairsparse.auditing.engine import audit
from fairsparse.auditing.exemplars import exemplars
from fairsparse.report import exemplars as exemplars_report
from fairsparse.report.audit.page import html
from fairsparse.report.explain import page
from report.made import MANY, TEN, comparison_report, record, run_report
from runs import TINY

TAG, FORMULA, LONG, RIGHT = "<script>alert(1)</script>", "=1+1", "x" * 150, "مرحبا بالعالم"
HOSTILE = [TAG, FORMULA, LONG, RIGHT]
PEOPLE = ["$a_b^$ 日本", TAG, RIGHT, LONG]


def run() -> str:
    """A pruned network, compared over classes within groups."""
    made = record(HOSTILE, PEOPLE, cells="class-group", n=2000, loss=0.4)
    made["data"] |= {"name": LONG, "notes": f"{TAG} {LONG}", "attributes": [TAG]}
    made["config"]["data"] = {"name": LONG, "path": "/" + LONG}
    made["model"]["layers"][1]["name"] = LONG
    return run_report(made)


def many() -> str:
    """A network of a hundred classes and sixty layers, pruned in four rounds."""
    made = record(MANY, n=4000, layers=60, loss=0.4)
    made["method"]["options"]["levels"] = [0.2, 0.4, 0.6, 0.9]
    return run_report(made)


def dense() -> str:
    """A network that nothing was taken from."""
    return run_report(record(TEN, PEOPLE, method="dense", cells="equalized-odds"))


def sweep() -> str:
    """Several methods, sparsities and seeds."""
    plan = [("dense", 0.0, 0.0), ("lth", 0.8, 0.3), ("lth", 0.9, 0.5), ("ballot", 0.9, 0.1)]
    plan += [(LONG, 0.9, 0.2), ("fair-scratch", 0.9, 0.3), ("safecompress", 0.9, 0.6)]
    made = [
        record(HOSTILE, PEOPLE, method=m, sparsity=s, loss=loss, seed=seed, cells="group")
        for seed in (0, 1, 2)
        for m, s, loss in plan
    ]
    made.append(record(HOSTILE, PEOPLE, method="lth", cells="group", options={TAG: LONG}))
    return comparison_report(made, {made[1]["run"]: "lth 1/report.html"})


def _audit(*names: str) -> str:
    rng = np.random.default_rng(0)
    y = rng.choice(HOSTILE, 3000)
    place, age = rng.choice(PEOPLE, 3000), rng.choice(["young", "old", FORMULA], 3000)

    def predicted(harm: float) -> np.ndarray:
        wrong = rng.random(3000) < 0.05 + harm * (place == PEOPLE[0])
        return np.where(wrong, np.roll(y, 1), y)

    candidates = {name: predicted(0.4 * i) for i, name in enumerate(names, 1)}
    groups = {TAG: place, "age": age}
    return html(audit(predicted(0.0), candidates, y, groups=groups, resamples=50))


def plain_audit(*names: str) -> str:
    """Candidates that fail old people more often, and nobody else."""
    rng = np.random.default_rng(0)
    y, age = rng.choice(["no", "yes"], 4000), rng.choice(["old", "young"], 4000)
    other = np.where(y == "yes", "no", "yes")
    before = np.where(rng.random(4000) < 0.1, other, y)
    candidates = {
        name: np.where((age == "old") & (rng.random(4000) < 0.05), other, before) for name in names
    }
    return html(audit(before, candidates, y, groups={"age": age}, resamples=50))


def plain_run() -> str:
    """A pruned network that loses some of ten classes."""
    return run_report(record(TEN, n=4000, loss=0.3))


def one_candidate() -> str:
    """One model's predictions against another's."""
    return _audit(TAG)


def several_candidates() -> str:
    """The same for several, with their ranking."""
    return _audit("smaller", LONG, RIGHT)


def of_exemplars(pictures: bool) -> str:
    """Examples on which networks part, as pictures or as texts."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 120)
    before, after = ([np.where(rng.random(120) < p, (y + 1) % 4, y)] for p in (0.05, 0.4))
    groups = {TAG: rng.choice(PEOPLE, 120)}
    names = [HOSTILE[i] for i in range(4)]
    made = exemplars(
        [[names[i] for i in before[0]]],
        [[names[i] for i in after[0]]],
        [names[i] for i in y],
        groups=groups,
    )

    def show(i: int) -> Any:
        if pictures:
            return rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        return HOSTILE[i % 4] + " and more words " * 9

    labels = [LONG if i == 0 else f"{TAG} {i}" for i in range(120)]
    return exemplars_report.html(exemplars_report.ExemplarReport(made, 1, 1, labels, show))


def _explained(folder: Path, config: dict[str, Any], line: bool) -> str:
    from fairsparse.experiments.explain import explain

    fairsparse.run(fairsparse.make_config(config), folder / "runs")
    runs = sorted(p.parent for p in (folder / "runs").rglob("record.json"))
    found = explain(runs[0], runs[1] if line else None, examples=3, sample=40)
    return page.html(found)


def explained_pictures() -> str:
    """What networks look at in pictures, and the line from one network to another."""
    config = {
        **TINY,
        "model": {"name": "small-cnn", "width": 4},
        "training": {"epochs": 4, "batch_size": 32, "lr": 0.05},
        "sparsities": [0.85],
        "seeds": [0, 1],
    }
    with tempfile.TemporaryDirectory() as name:
        return _explained(Path(name), config, line=True)


def explained_texts() -> str:
    """What networks look at in texts."""
    rng = np.random.default_rng(0)
    small = {"vocab_size": 100, "hidden": 16, "heads": 2, "intermediate": 24, "layers": 1}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "texts.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label", "place"])
            for i in range(400):
                happy = int(rng.integers(0, 2))
                said = rng.choice(["day", "<b>", RIGHT, LONG], 2).tolist()
                said.insert(1, ("awful", "wonderful")[happy])
                rows.writerow([" ".join(said), (TAG, LONG)[happy], PEOPLE[i % 4]])
        config = {
            **TINY,
            "data": {"name": "text", "path": str(path), "groups": ["place"], "vocab_size": 100},
            "model": {"name": "bert", **small},
            "training": {"epochs": 6, "batch_size": 32, "lr": 0.01, "optimizer": "adamw"},
            "cells": "group",
            "sparsities": [0.95],
        }
        return _explained(Path(name), config, line=False)


KINDS: dict[str, tuple[Callable[[], str], list[str]]] = {
    "run": (run, [*HOSTILE, PEOPLE[0]]),
    "run of many classes": (many, ["features.0.weight"]),
    "dense run": (dense, [*TEN, *PEOPLE]),
    "sweep": (sweep, [*PEOPLE, LONG]),
    "audit": (one_candidate, [*HOSTILE, *PEOPLE]),
    "audit of several": (several_candidates, [*HOSTILE, *PEOPLE, "smaller"]),
    "exemplars in pictures": (partial(of_exemplars, True), [*HOSTILE, *PEOPLE]),
    "exemplars in texts": (partial(of_exemplars, False), [*HOSTILE, *PEOPLE]),
    "explained pictures": (explained_pictures, ["digits"]),
    "explained texts": (explained_texts, [TAG, LONG, *PEOPLE]),
}
"""Of each kind: what makes its page, and texts that have to be read there."""
