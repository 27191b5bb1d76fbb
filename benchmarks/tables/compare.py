"""What RESULTS.md says of every method under one harness."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator

from benchmarks.plans.compare import (
    ITERATIONS,
    LIKE,
    METHODS,
    SEEDS,
    SHORT,
    SPARSITIES,
    TASKS,
    TUNED_AT,
    VARIANTS,
    chosen,
    methods_of,
)
from benchmarks.tables.settings import HEAD, settings_of
from benchmarks.tables.tasks import summary as by_task
from benchmarks.tables.text import (
    GOALS,
    SCALES,
    Index,
    mean_text,
    measure_text,
    more_accurate,
    relative,
    seconds_text,
    steps_text,
    table_text,
    values_of,
)

PRUNERS = ("snip", "fpgm", "lth")
"""The methods that BiFP was compared with in its paper."""


def introduction() -> list[str]:
    """What is compared, and how settings were chosen."""
    return [
        "## Every method under one harness",
        "From `results/compare.jsonl`, which `python -m benchmarks compare` fills. Every method's"
        f" settings were chosen on validation, at sparsity {TUNED_AT[0]:g} and a seed"
        f" ({TUNED_AT[1]}) that the runs below do not use, by one rule: of its grid in"
        " `plans/compare.py` the least unequal setting within a point of the dense network's"
        f" accuracy, or the most accurate one. {SEEDS} seeds, mean ± half width of the 95 %"
        " t-interval. LFW's attributes and UTKFace's labels are partly inferred by models."
        " Wavy_Hair and Big_Nose count as present above the median of their probabilities: at a"
        " half, 4 and 14 % of photographs have them, and several methods ended up predicting"
        " Big_Nose for nobody, which leaves no gap and serves nobody. On Adult the test figures of"
        " most methods had been seen before the grids of bifp, fair-scratch, safecompress and"
        " prune-then-fair were widened; validation chose. The settings of a method on a task stand"
        " in its table of all methods."
        + "".join(f" {a} takes the settings of {b}." for a, b in LIKE.items()),
    ]


def rivals(tasks: dict[str, Index]) -> list[str]:
    """Ballot against the methods that its paper leaves out."""
    rows = []
    others = ("safecompress", "fair-scratch", "lth", "magnitude")
    for task, sparsity, name in _rows_of(tasks):
        texts = [_against(tasks[task], "ballot", rival, sparsity, name) for rival in others]
        rows.append([task, f"{sparsity:g}", name, *texts])
    return [
        "### Ballot against the others",
        "Relative change of the gap, paired by seed (negative is less unequal), with the difference"
        " of accuracy in points in brackets; a seed in which the other has no gap is left out.",
        table_text(["task", "sparsity", "measure", *others], rows),
        "### Ballot against the others, task by task",
        *by_task(tasks, {task: TASKS[task]["cells"] for task in tasks}, "ballot", others),
    ]


def _rows_of(tasks: dict[str, Index]) -> Iterator[tuple[str, float, str]]:
    for task in tasks:
        for sparsity in SPARSITIES:
            for name in measures_of(task):
                yield task, sparsity, name


def measures_of(task: str) -> tuple[str, ...]:
    """The measures that a task's methods are compared by."""
    return GOALS[TASKS[task]["cells"]]


def _against(index: Index, ours: str, theirs: str, sparsity: float, name: str) -> str:
    gaps = relative(index, ours, theirs, sparsity, name)
    change = more_accurate(index, ours, theirs, sparsity)
    return f"{mean_text(gaps, 100, 0, '%')} ({mean_text(change, 100, 2)})" if gaps else "-"


def bifp(tasks: dict[str, Index]) -> list[str]:
    """BiFP against pruning, its terms, and what a gap costs in iterations."""
    rows, terms, steps = [], [], []
    for task, index in tasks.items():
        for name in measures_of(task):
            for sparsity in SPARSITIES:
                about = [task, f"{sparsity:g}", name]
                rows.append([*about, *_against_best(index, sparsity, name)])
                if index.get(("bip", sparsity)):
                    changes = [_against(index, v, "bifp", sparsity, name) for v in VARIANTS]
                    terms.append([*about, *changes])
            steps += [[task, name, *row] for row in _iterations(index, name)]
    head = ["task", "sparsity", "measure"]
    return [
        "### BiFP against pruning",
        "The least unequal of snip, fpgm and lth, by its mean over seeds on test, which favours"
        " it; bifp's change of the gap against it, with the difference of accuracy in points;"
        " and bifp's accuracy against the dense network, in points.",
        table_text([*head, "bifp against it", "bifp against dense"], rows),
        "### BiFP's terms",
        "What changes against bifp without the fairness term of the masks (without m), of the"
        " weights (without w), and of both (BiP): the gap, and accuracy in points.",
        table_text([*head, *VARIANTS], terms),
        "### What a gap costs in iterations",
        f"Training steps after the dense network, as a multiple of the dense network's, at"
        f" sparsity {SHORT:g}. bifp spends them on masks and weights at once, in halves;"
        " prune-then-fair on a plain stage and a fair one, in halves, or in `rounds` of"
        " removing a part and fine-tuning, as lottery tickets are found, and a fair stage. The"
        " shorter runs are the end of the schedule, at its low rates.",
        table_text(["task", "measure", "method", "steps", "gap", "accuracy", HEAD], steps),
    ]


def _against_best(index: Index, sparsity: float, name: str) -> list[str]:
    averages = {
        rival: statistics.mean(values_of(index[rival, sparsity].values(), name))
        for rival in PRUNERS
        if index.get((rival, sparsity))
    }
    ours, dense = index.get(("bifp", sparsity), {}), index.get(("dense", 0.0), {})
    if not averages or not ours:
        return ["-", "-"]
    best = min(averages, key=lambda rival: averages[rival])
    drops = [
        run["metrics"]["accuracy"] - dense[seed]["metrics"]["accuracy"]
        for seed, run in ours.items()
        if seed in dense
    ]
    text = _against(index, "bifp", best, sparsity, name)
    return [f"{best}: {text}", mean_text(drops, 100, 2)]


def _iterations(index: Index, name: str) -> list[list[str]]:
    rows = []
    for method in (*ITERATIONS, "bifp", "prune-then-fair"):
        runs = list(index.get((method, SHORT), {}).values())
        if runs:
            label = method.split(",")[0] + (", rounds" if "rounds" in method else "")
            extra = statistics.mean(r["steps"] / r["dense_steps"] - 1 for r in runs)
            reached = [measure_text(runs, name), measure_text(runs, "accuracy", 2)]
            rows.append((label, extra, [label, f"{extra:.2f}", *reached, settings_of(runs)]))
    return [row for *_, row in sorted(rows)]


def of_task(task: str, index: Index) -> list[str]:
    """Every method on one task."""
    measures = measures_of(task)
    rows = []
    for name in [name for name in methods_of(task) if name not in ITERATIONS]:
        dense = name == "dense"
        reached = [index.get((name, 0.0 if dense else s), {}).values() for s in SPARSITIES]
        runs = list(reached[0]) if dense else [run for by_seed in reached for run in by_seed]
        if runs:
            columns = [measure_text(r, m) for r in reached for m in ("accuracy", *measures)]
            rows.append([name, *columns, steps_text(runs), seconds_text(runs), settings_of(runs)])
    head = ["method"]
    for sparsity in SPARSITIES:
        head += [f"{sparsity:g}: accuracy", *measures]
    some = next(iter(next(iter(index.values())).values()))
    return [
        f"### All methods: {task}",
        f"{some['config']['data']}; model {some['config']['model']['name']};"
        f" {some['config']['training']}; cells of notion `{TASKS[task]['cells']}`;"
        f" {some['environment']['device']}, torch {some['environment']['torch']}. For each sparsity"
        " accuracy in % and the gap in points (CWV times 10,000); at the end training steps,"
        " relative to the dense network and with it, and seconds of a run on one core, both"
        " averaged over sparsities. Stages that runs share, such as the dense network and the"
        " rounds of lottery tickets, are counted in steps for each and in seconds where trained.",
        f"![Accuracy against gap](results/compare-{task}.svg)",
        table_text([*head, "steps", "seconds", HEAD], rows),
    ]


def points(task: str, index: Index) -> list[dict[str, tuple[float, float]]]:
    """At each sparsity: method -> accuracy and gap, as the plot of a task has them."""
    name = measures_of(task)[0]
    plotted = [method for method in methods_of(task) if method in METHODS]
    return [
        {
            method: tuple(
                SCALES.get(measure, 100) * statistics.mean(values_of(runs.values(), measure))
                for measure in ("accuracy", name)
            )
            for method in plotted
            if (runs := index.get((method, 0.0 if method == "dense" else sparsity)))
        }
        for sparsity in SPARSITIES
    ]


def settings(tuned: set[str]) -> list[str]:
    """Each method's chosen setting on each tuned task, and what else its grid has."""
    tasks, best = [task for task in TASKS if task in tuned], chosen()
    rows = []
    for name, (_, grid) in METHODS.items():
        if len(grid) > 1:
            picked = [json.dumps(best[task].get(name)).replace("null", "-") for task in tasks]
            rows.append([name, str(len(grid)), *picked])
    return [
        "### Settings chosen on validation",
        "Of methods with a grid, and its size; validation figures of every setting are in"
        " `results/compare_tuning.jsonl`.",
        table_text(["method", "grid", *tasks], rows),
    ]
