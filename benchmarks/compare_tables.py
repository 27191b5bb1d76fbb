"""COMPARISON.md and its plots from recorded runs; see compare.py."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from compare import ABLATIONS, METHODS, SEEDS, SPARSITIES, TASKS, TUNED_AT, chosen, methods_of
from tables import GOALS, MEASURES, mean_text, table_text

HERE = Path(__file__).resolve().parent
Run = dict[str, Any]
Index = dict[tuple[str, float], dict[int, Run]]
PRUNERS = ("snip", "fpgm", "lth")
"""The methods that BiFP was compared with in its paper."""


def write(runs: list[Run], tuning: list[Run]) -> None:
    """Write COMPARISON.md and one plot a task, next to this file and in results/."""
    tasks: dict[str, Index] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        over_cells = {f"cells_{name}": run["test"][name] for name in ("variance", "range")}
        run = {**run, "metrics": {**run["metrics"], **over_cells}}
        tasks[run["task"]][run["method"], run["sparsity"]][run["seed"]] = run
    parts = [
        "# Every method under one harness",
        "Written by `python benchmarks/compare.py --tables` from `results/compare.jsonl`; edit"
        " neither. Figures are of the test split, in points (CWV as variance of fractions times"
        " 10,000), mean over seeds ± half width of the 95 % t-interval over seeds. Every method's"
        f" settings were chosen on validation, at sparsity {TUNED_AT[0]:g} and a seed"
        f" ({TUNED_AT[1]}) that the study does not use, by one rule: of its grid in `compare.py`"
        " the least unequal setting within a point of the dense network's accuracy, or the most"
        " accurate one. Grids differ in size; each is listed at the end. LFW's attributes and"
        " UTKFace's labels are partly inferred by models.",
        *_missing(tasks),
        *_goals(tasks),
    ]
    for task in [name for name in TASKS if name in tasks]:
        parts += _task(task, tasks[task])
    parts += _settings(tuning)
    (HERE / "COMPARISON.md").write_text("\n\n".join(parts) + "\n")


def _missing(tasks: dict[str, Index]) -> list[str]:
    rows = []
    for task in TASKS:
        names = methods_of(task)
        planned = SEEDS * (1 + len(SPARSITIES) * (len(names) - 1))
        found = sum(len(by_seed) for by_seed in tasks.get(task, {}).values())
        if found < planned:
            rows.append([task, str(found), str(planned)])
    if not rows:
        return []
    return [
        "## Not complete",
        "Runs recorded so far, of those planned; `compare.py` trains the rest.",
        table_text(["task", "recorded", "planned"], rows),
    ]


def _goals(tasks: dict[str, Index]) -> list[str]:
    parts = []
    for task, index in tasks.items():
        measures = GOALS[TASKS[task]["cells"]]
        rows = []
        for sparsity in SPARSITIES:
            for name in measures:
                rows.append(
                    [
                        f"{sparsity:g}",
                        name,
                        _change(index, "ballot", "safecompress", sparsity, name),
                        _change(index, "ballot", "fair-scratch", sparsity, name),
                        _change(index, "ballot", "lth", sparsity, name),
                        *_against_best(index, sparsity, name),
                    ]
                )
        head = [
            "sparsity",
            "measure",
            "ballot against safecompress",
            "ballot against fair-scratch",
            "ballot against lth",
            "bifp against the least unequal of snip, fpgm, lth",
            "bifp's accuracy against dense",
        ]
        parts += [f"### {task}", table_text(head, rows), _iterations(index, measures[0])]
    about = (
        "Relative change paired by seed (negative is less unequal), with the difference of accuracy"
        " in points in brackets."
    )
    return ["## Against the goals", about, *parts] if parts else []


def _change(index: Index, ours: str, theirs: str, sparsity: float, name: str) -> str:
    a, b = index.get((ours, sparsity), {}), index.get((theirs, sparsity), {})
    seeds = sorted(a.keys() & b.keys())
    relative = [a[s]["metrics"][name] / b[s]["metrics"][name] - 1 for s in seeds]
    accuracy = [a[s]["metrics"]["accuracy"] - b[s]["metrics"]["accuracy"] for s in seeds]
    if not seeds:
        return "-"
    return f"{mean_text(relative, 100, 0, '%')} ({mean_text(accuracy, 100, 2)})"


def _against_best(index: Index, sparsity: float, name: str) -> list[str]:
    rivals = [rival for rival in PRUNERS if index.get((rival, sparsity))]
    ours, dense = index.get(("bifp", sparsity), {}), index.get(("dense", 0.0), {})
    if not rivals or not ours:
        return ["-", "-"]
    best = min(rivals, key=lambda r: _average(index[r, sparsity], name))
    drops = [
        r["metrics"]["accuracy"] - dense[s]["metrics"]["accuracy"]
        for s, r in ours.items()
        if s in dense
    ]
    change = _change(index, "bifp", best, sparsity, name)
    return [f"{best}: {change}", mean_text(drops, 100, 2)]


def _average(by_seed: dict[int, Run], name: str) -> float:
    return statistics.mean(run["metrics"][name] for run in by_seed.values())


def _iterations(index: Index, name: str) -> str:
    """Training steps after the dense network, BiFP's beside those of pruning and then repairing."""
    rows = []
    for method in ("bifp", "bifp without m", "bifp without w", "bip", "prune-then-fair", "ballot"):
        for sparsity in SPARSITIES:
            by_seed = index.get((method, sparsity), {})
            if by_seed:
                extra = [
                    (r["steps"] - r["dense_steps"]) / r["dense_steps"] for r in by_seed.values()
                ]
                gaps = [r["metrics"][name] for r in by_seed.values()]
                accuracies = [r["metrics"]["accuracy"] for r in by_seed.values()]
                rows.append(
                    [
                        method,
                        f"{sparsity:g}",
                        f"{statistics.mean(extra):.2f}",
                        mean_text(gaps, 100, 2),
                        mean_text(accuracies, 100, 2),
                    ]
                )
    head = ["method", "sparsity", "steps after dense / dense steps", name, "accuracy"]
    return table_text(head, rows) if rows else ""


def _task(task: str, index: Index) -> list[str]:
    columns = MEASURES[TASKS[task]["cells"]]
    rows = []
    for name in methods_of(task):
        for sparsity in (0.0, *SPARSITIES):
            runs = list(index.get((name, sparsity), {}).values())
            if not runs:
                continue
            seconds = [sum(v for k, v in r["seconds"].items() if k != "total") for r in runs]
            rows.append(
                [
                    name,
                    f"{sparsity:g}",
                    str(len(runs)),
                    mean_text([r["metrics"]["accuracy"] for r in runs], 100, 2),
                    *(
                        mean_text([r["metrics"][m] for r in runs], scale, 1)
                        for _, m, scale in columns
                    ),
                    f"{statistics.mean(r['steps'] / r['dense_steps'] for r in runs):.1f}x",
                    f"{statistics.mean(seconds):.0f}",
                ]
            )
    head = ["method", "sparsity", "seeds", "accuracy", *(c[0] for c in columns), "steps", "seconds"]
    some = next(iter(next(iter(index.values())).values()))
    about = (
        f"{some['config']['data']}; model {some['config']['model']['name']};"
        f" {some['config']['training']}; cells of notion `{TASKS[task]['cells']}`;"
        f" {some['environment']['device']}, torch {some['environment']['torch']}."
    )
    plot = _plot(task, index, GOALS[TASKS[task]["cells"]][0])
    return [f"## {task}", about, f"![Accuracy against gap]({plot})", table_text(head, rows)]


def _plot(task: str, index: Index, name: str) -> str:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = task
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(SPARSITIES), figsize=(15, 4), sharey=True, sharex=True)
    shown = [n for n in methods_of(task) if n not in ABLATIONS and n != "dense"]
    for at, sparsity in zip(axes, SPARSITIES, strict=True):
        for place, method in enumerate(shown):
            runs = index.get((method, sparsity), {})
            if runs:
                x, y = 100 * _average(runs, "accuracy"), 100 * _average(runs, name)
                marker = "os^Dv"[place // 10 % 5]
                at.plot(x, y, marker, color=f"C{place % 10}", label=method)
        dense = index.get(("dense", 0.0), {})
        if dense:
            x, y = 100 * _average(dense, "accuracy"), 100 * _average(dense, name)
            at.plot(x, y, "k*", markersize=11, label="dense")
        at.set(title=f"sparsity {sparsity:g}", xlabel="accuracy, %")
    axes[0].set_ylabel(f"{name}, points")
    axes[-1].legend(bbox_to_anchor=(1.02, 1), loc="upper left", fontsize=7, frameon=False)
    figure.tight_layout()
    path = HERE / "results" / f"compare-{task}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return f"results/{path.name}"


def _settings(tuning: list[Run]) -> list[str]:
    rows = []
    for task in TASKS:
        best = chosen(task)
        for line in tuning:
            if line["task"] == task:
                reached = line["validation"]["sparse"]
                rows.append(
                    [
                        task,
                        line["method"],
                        json.dumps(line["setting"]),
                        f"{100 * reached['accuracy']:.2f}",
                        f"{100 * reached['range']:.1f}",
                        "yes" if best.get(line["method"]) == line["setting"] else "",
                    ]
                )
    if not rows:
        return []
    order = {name: i for i, name in enumerate(METHODS)}
    rows.sort(key=lambda row: (list(TASKS).index(row[0]), order[row[1]]))
    head = ["task", "method", "setting", "accuracy", "range over cells", "chosen"]
    return ["## Tuning", "Validation figures of the grids.", table_text(head, rows)]
