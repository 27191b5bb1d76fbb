"""What RESULTS.md says of every method under one harness, from recorded runs; see compare.py."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from compare import (
    ITERATIONS,
    LIKE,
    METHODS,
    SEEDS,
    SHORT,
    SPARSITIES,
    TASKS,
    TUNED_AT,
    TUNING,
    VARIANTS,
    chosen,
    jobs,
    methods_of,
    recorded,
)
from settings import HEAD, settings_text
from study import finished
from tables import GOALS, mean_text, table_text

HERE = Path(__file__).resolve().parent
Run = dict[str, Any]
Index = dict[tuple[str, float], dict[int, Run]]
"""Method and sparsity -> seed -> run."""
PRUNERS = ("snip", "fpgm", "lth")
"""The methods that BiFP was compared with in its paper."""
SCALES = {"cwv": 1e4}
"""Of a measure in tables, where it is not points."""


def sections() -> list[str]:
    """Markdown of the comparison; its plots are written to results/."""
    tasks: dict[str, Index] = defaultdict(lambda: defaultdict(dict))
    for run in recorded():
        over_cells = {f"cells_{name}": run["test"][name] for name in ("variance", "range")}
        run = {**run, "metrics": {**run["metrics"], **over_cells}}
        tasks[run["task"]][run["method"], run["sparsity"]][run["seed"]] = run
    known = {task: tasks[task] for task in TASKS if task in tasks}
    parts = [
        "## Every method under one harness",
        "From `results/compare.jsonl`, which `python benchmarks/compare.py` fills. Every method's"
        f" settings were chosen on validation, at sparsity {TUNED_AT[0]:g} and a seed"
        f" ({TUNED_AT[1]}) that the runs below do not use, by one rule: of its grid in `compare.py`"
        " the least unequal setting within a point of the dense network's accuracy, or the most"
        f" accurate one. {SEEDS} seeds, mean ± half width of the 95 % t-interval. LFW's attributes"
        " and UTKFace's labels are partly inferred by models. Wavy_Hair and Big_Nose count as"
        " present above the median of their probabilities: at a half, 4 and 14 % of photographs"
        " have them, and several methods ended up predicting Big_Nose for nobody, which leaves no"
        " gap and serves nobody. On Adult the test figures of most"
        " methods had been seen before the grids of bifp, fair-scratch, safecompress and"
        " prune-then-fair were widened; validation chose. The settings of a method on a task stand"
        " in its table of all methods."
        + "".join(f" {a} takes the settings of {b}." for a, b in LIKE.items()),
        *_missing(known),
        *_rivals(known),
        *_bifp(known),
    ]
    for task, index in known.items():
        parts += _task(task, index)
    return [*parts, *_settings()]


def _missing(tasks: dict[str, Index]) -> list[str]:
    rows = []
    for task in TASKS:
        planned = len(jobs(task, False, []))
        found = sum(len(by_seed) for by_seed in tasks.get(task, {}).values())
        if found < planned:
            rows.append([task, str(found), str(planned)])
    if not rows:
        return []
    return [
        "### Not complete",
        "Runs recorded so far, of those planned; `compare.py` trains the rest.",
        table_text(["task", "recorded", "planned"], rows),
    ]


def _measures(task: str) -> tuple[str, ...]:
    return GOALS[TASKS[task]["cells"]]


def _rivals(tasks: dict[str, Index]) -> list[str]:
    rows, pooled = [], defaultdict(list)
    rivals = ("safecompress", "fair-scratch", "lth", "magnitude")
    for task, index in tasks.items():
        for sparsity in SPARSITIES:
            for name in _measures(task):
                row = [task, f"{sparsity:g}", name]
                for rival in rivals:
                    gaps = _change(index, "ballot", rival, sparsity, name)
                    row.append(_with_accuracy(gaps, index, "ballot", rival, sparsity))
                    if gaps:
                        kind = "class" if TASKS[task]["cells"] == "class" else "group"
                        pooled[kind, rival].append(statistics.mean(gaps))
                rows.append(row)
    if not rows:
        return []
    lines = [
        f"- per {kind}, against {rival}: {mean_text(values, 100, 1, '%')} over {len(values)} cells"
        " (task x sparsity x measure)"
        for (kind, rival), values in sorted(pooled.items())
    ]
    return [
        "### Ballot against the others",
        "Relative change of the gap, paired by seed (negative is less unequal), with the difference"
        " of accuracy in points in brackets; a seed in which the other has no gap is left out.",
        table_text(["task", "sparsity", "measure", *rivals], rows),
        "Average over cells:\n\n" + "\n".join(lines),
    ]


def _bifp(tasks: dict[str, Index]) -> list[str]:
    rows, terms, steps = [], [], []
    for task, index in tasks.items():
        for name in _measures(task):
            for sparsity in SPARSITIES:
                rows.append([task, f"{sparsity:g}", name, *_against_best(index, sparsity, name)])
                if index.get(("bip", sparsity)):
                    cells = [
                        _with_accuracy(
                            _change(index, other, "bifp", sparsity, name),
                            index,
                            other,
                            "bifp",
                            sparsity,
                        )
                        for other in VARIANTS
                    ]
                    terms.append([task, f"{sparsity:g}", name, *cells])
            steps += [[task, name, *row] for row in _iterations(index, name)]
    parts = []
    if rows:
        parts += [
            "### BiFP against pruning",
            "The least unequal of snip, fpgm and lth, by its mean over seeds on test, which favours"
            " it; bifp's change of the gap against it, with the difference of accuracy in points;"
            " and bifp's accuracy against the dense network, in points.",
            table_text(
                ["task", "sparsity", "measure", "bifp against it", "bifp against dense"], rows
            ),
        ]
    if terms:
        parts += [
            "### BiFP's terms",
            "What changes against bifp without the fairness term of the masks (without m), of the"
            " weights (without w), and of both (BiP): the gap, and accuracy in points.",
            table_text(["task", "sparsity", "measure", *VARIANTS], terms),
        ]
    if steps:
        parts += [
            "### What a gap costs in iterations",
            f"Training steps after the dense network, as a multiple of the dense network's, at"
            f" sparsity {SHORT:g}. bifp spends them on masks and weights at once, in halves;"
            " prune-then-fair on a plain stage and a fair one, in halves, or in `rounds` of"
            " removing a part and fine-tuning, as lottery tickets are found, and a fair stage. The"
            " shorter runs are the end of the schedule, at its low rates.",
            table_text(["task", "measure", "method", "steps", "gap", "accuracy", HEAD], steps),
        ]
    return parts


def _change(index: Index, ours: str, theirs: str, sparsity: float, name: str) -> list[float]:
    """Relative change of a measure, seed by seed, where theirs is above 0."""
    a, b = index.get((ours, sparsity), {}), index.get((theirs, sparsity), {})
    both = [(a[s]["metrics"][name], b[s]["metrics"][name]) for s in sorted(a.keys() & b.keys())]
    return [mine / other - 1 for mine, other in both if other > 0]


def _with_accuracy(gaps: list[float], index: Index, ours: str, theirs: str, sparsity: float) -> str:
    a, b = index.get((ours, sparsity), {}), index.get((theirs, sparsity), {})
    change = [
        a[s]["metrics"]["accuracy"] - b[s]["metrics"]["accuracy"]
        for s in sorted(a.keys() & b.keys())
    ]
    return f"{mean_text(gaps, 100, 0, '%')} ({mean_text(change, 100, 2)})" if gaps else "-"


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
    gaps = _change(index, "bifp", best, sparsity, name)
    text = _with_accuracy(gaps, index, "bifp", best, sparsity)
    return [f"{best}: {text}", mean_text(drops, 100, 2)]


def _average(by_seed: dict[int, Run], name: str) -> float:
    return statistics.mean(run["metrics"][name] for run in by_seed.values())


def _iterations(index: Index, name: str) -> list[list[str]]:
    rows = []
    for method in (*ITERATIONS, "bifp", "prune-then-fair"):
        runs = list(index.get((method, SHORT), {}).values())
        if runs:
            extra = [(r["steps"] - r["dense_steps"]) / r["dense_steps"] for r in runs]
            rows.append(
                (
                    statistics.mean(extra),
                    [
                        method.split(",")[0] + (", rounds" if "rounds" in method else ""),
                        f"{statistics.mean(extra):.2f}",
                        mean_text([r["metrics"][name] for r in runs], SCALES.get(name, 100), 1),
                        mean_text([r["metrics"]["accuracy"] for r in runs], 100, 2),
                        settings_text(runs[0]["config"]["methods"][0]),
                    ],
                )
            )
    rows.sort(key=lambda row: (row[1][0], row[0]))
    return [row for _, row in rows]


def _task(task: str, index: Index) -> list[str]:
    measures = _measures(task)
    rows = []
    for name in methods_of(task):
        runs = [run for s in SPARSITIES for run in index.get((name, s), {}).values()]
        if name in ITERATIONS or not (runs or index.get((name, 0.0))):
            continue
        row = [name]
        for sparsity in SPARSITIES:
            found = index.get((name, 0.0 if name == "dense" else sparsity), {})
            values = [r["metrics"] for r in found.values()]
            row.append(mean_text([v["accuracy"] for v in values], 100, 1))
            for m in measures:
                row.append(mean_text([v[m] for v in values], SCALES.get(m, 100), 1))
        runs = runs or list(index["dense", 0.0].values())
        seconds = [sum(v for k, v in r["seconds"].items() if k != "total") for r in runs]
        row.append(f"{statistics.mean(r['steps'] / r['dense_steps'] for r in runs):.1f}x")
        row.append(f"{statistics.mean(seconds):.0f}")
        row.append(settings_text(runs[0]["config"]["methods"][0]))
        rows.append(row)
    head = ["method"]
    for sparsity in SPARSITIES:
        head += [f"{sparsity:g}: accuracy", *measures]
    some = next(iter(next(iter(index.values())).values()))
    about = (
        f"{some['config']['data']}; model {some['config']['model']['name']};"
        f" {some['config']['training']}; cells of notion `{TASKS[task]['cells']}`;"
        f" {some['environment']['device']}, torch {some['environment']['torch']}. For each sparsity"
        " accuracy in % and the gap in points (CWV times 10,000); at the end training steps,"
        " relative to the dense network and with it, and seconds of a run on one core, both"
        " averaged over sparsities. Stages that runs share, such as the dense network and the"
        " rounds of lottery tickets, are counted in steps for each and in seconds where trained."
    )
    plot = _plot(task, index, measures[0])
    return [
        f"### All methods: {task}",
        about,
        f"![Accuracy against gap]({plot})",
        table_text([*head, "steps", "seconds", HEAD], rows),
    ]


def _plot(task: str, index: Index, name: str) -> str:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = task
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(SPARSITIES), figsize=(15, 4), sharey=True, sharex=True)
    shown = [n for n in methods_of(task) if n in METHODS and n != "dense"]
    scale = SCALES.get(name, 100)
    for at, sparsity in zip(axes, SPARSITIES, strict=True):
        for place, method in enumerate(shown):
            runs = index.get((method, sparsity), {})
            if runs:
                x, y = 100 * _average(runs, "accuracy"), scale * _average(runs, name)
                marker = "os^Dv"[place // 10 % 5]
                at.plot(x, y, marker, color=f"C{place % 10}", label=method)
        dense = index.get(("dense", 0.0), {})
        if dense:
            x, y = 100 * _average(dense, "accuracy"), scale * _average(dense, name)
            at.plot(x, y, "k*", markersize=11, label="dense")
        at.set(title=f"sparsity {sparsity:g}", xlabel="accuracy, %")
    unit = "points" if scale == 100 else "x 10,000"
    axes[0].set_ylabel(f"{name}, {unit}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.tight_layout()
    beside = figure.legend(
        handles, labels, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False
    )
    path = HERE / "results" / f"compare-{task}.svg"
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", bbox_extra_artists=[beside])
    plt.close(figure)
    return f"results/{path.name}"


def _settings() -> list[str]:
    """Each method's chosen setting on each task, and what else its grid has."""
    tuned = {line["task"] for line in finished(TUNING).values()}
    tasks = [task for task in TASKS if task in tuned]
    if not tasks:
        return []
    rows = []
    for name, (_, grid) in METHODS.items():
        if len(grid) > 1:
            picked = [json.dumps(chosen(task).get(name)).replace("null", "-") for task in tasks]
            rows.append([name, str(len(grid)), *picked])
    return [
        "### Settings chosen on validation",
        "Of methods with a grid, and its size; validation figures of every setting are in"
        " `results/compare_tuning.jsonl`.",
        table_text(["method", "grid", *tasks], rows),
    ]
