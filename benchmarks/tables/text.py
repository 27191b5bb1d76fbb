"""Measures, means and tables as text, and runs of two methods paired by seed."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from benchmarks.plans.base import Plan
from fairsparse.report.sweep.sweep import Mean

Run = dict[str, Any]
Index = dict[tuple[str, float], dict[int, Run]]
"""Method or variant and sparsity -> seed -> run."""
MEASURES = {
    "class": (
        ("CWV x1e4", "cwv"),
        ("corrected CWV x1e4", "cwv_corrected"),
        ("MCD", "mcd"),
        ("worst class", "worst_class_accuracy"),
    ),
    "group": (
        ("accuracy gap", "accuracy_gap"),
        ("worst group", "worst_group_accuracy"),
        ("equalized odds", "equalized_odds"),
        ("class CWV x1e4", "cwv"),
    ),
    "class-group": (
        ("gap over race x gender", "cells_range"),
        ("variance over it x1e4", "cells_variance"),
        ("worst of it", "worst_cell_accuracy"),
        ("gap over race", "accuracy_gap"),
    ),
    "equalized-odds": (
        ("equalized odds", "equalized_odds"),
        ("average odds", "average_odds"),
        ("accuracy gap", "accuracy_gap"),
        ("demographic parity", "demographic_parity"),
    ),
}
"""Notion of cells -> heads and names of the columns of a task."""
GOALS = {
    "class": ("cwv", "mcd"),
    "group": ("accuracy_gap",),
    "class-group": ("cells_range",),
    "equalized-odds": ("equalized_odds",),
}
SCALES = {"cwv": 1e4, "cwv_corrected": 1e4, "cells_variance": 1e4}
"""Of a measure in tables, where it is not points."""


def by_task(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Task -> its runs, with what is measured over cells among their metrics."""
    tasks: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        over_cells = {f"cells_{name}": run["test"][name] for name in ("variance", "range")}
        tasks[run["task"]].append({**run, "metrics": {**run["metrics"], **over_cells}})
    return tasks


def index_of(runs: list[Run]) -> Index:
    """Runs of a task by what they are."""
    index: Index = defaultdict(dict)
    for run in runs:
        index[run["variant"], run["sparsity"]][run["seed"]] = run
    return index


def pairs(index: Index, ours: str, theirs: str, sparsity: float) -> list[tuple[Run, Run]]:
    """Runs of two methods that have the seed in common."""
    a, b = index.get((ours, sparsity), {}), index.get((theirs, sparsity), {})
    return [(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]


def relative(index: Index, ours: str, theirs: str, sparsity: float, name: str) -> list[float]:
    """Relative change of a measure, seed by seed, where theirs is above 0."""
    both = [
        (a["metrics"][name], b["metrics"][name]) for a, b in pairs(index, ours, theirs, sparsity)
    ]
    return [mine / other - 1 for mine, other in both if other > 0]


def more_accurate(index: Index, ours: str, theirs: str, sparsity: float) -> list[float]:
    """Difference of accuracy, seed by seed."""
    return [
        a["metrics"]["accuracy"] - b["metrics"]["accuracy"]
        for a, b in pairs(index, ours, theirs, sparsity)
    ]


def values_of(runs: Iterable[Run], name: str) -> list[float]:
    """A metric of each run."""
    return [run["metrics"][name] for run in runs]


def steps_text(runs: Iterable[Run]) -> str:
    """Training steps relative to the dense network's, on average."""
    return f"{statistics.mean(run['steps'] / run['dense_steps'] for run in runs):.1f}x"


def seconds_text(runs: Iterable[Run]) -> str:
    """Seconds of all stages of a run on average, whichever run made them."""
    apart = ("total", "audit")
    spent = [sum(v for k, v in run["seconds"].items() if k not in apart) for run in runs]
    return f"{statistics.mean(spent):.0f}"


def measure_text(runs: Iterable[Run], name: str, digits: int = 1) -> str:
    """Mean of a metric over seeds, in points or ten thousandths."""
    return mean_text(values_of(runs, name), SCALES.get(name, 100), digits)


def mean_text(values: Iterable[float], scale: float, digits: int, unit: str = "") -> str:
    """Mean over units and half width of its 95 % t-interval; a dash where one is undefined."""
    mean = Mean.of(values)
    if math.isnan(mean.value):
        return "-"
    text = f"{scale * mean.value:.{digits}f}"
    if mean.n > 1:
        text += f" ± {scale * (mean.high - mean.value):.{digits}f}"
    return f"{text} {unit}".strip()


def kind_of(notion: str) -> str:
    """Whom a task's cells tell apart: classes or groups."""
    return "class" if notion == "class" else "group"


def table_text(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def missing(plan: Plan, command: str, runs: list[Run]) -> list[str]:
    """What is planned and not recorded yet: a table that looks complete must be."""
    # a variant whose change is the tuned setting already is the same run
    planned = Counter(task for task, _ in {(job.task, job.key) for job in plan.jobs()})
    recorded = Counter(run["task"] for run in runs)
    rows = [[t, str(recorded[t]), str(n)] for t, n in planned.items() if recorded[t] < n]
    if not rows:
        return []
    return [
        "### Not complete",
        f"Runs recorded so far, of those planned: `python -m benchmarks {command}` does the rest.",
        table_text(["task", "recorded", "planned"], rows),
    ]
