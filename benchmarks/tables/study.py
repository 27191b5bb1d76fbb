"""What RESULTS.md says of the study: Ballot against its rivals, tuning, and every task."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from typing import Any

from benchmarks.plans.study import ROUNDS, TASKS
from benchmarks.plans.tuning import LIKE, averages, choose
from benchmarks.tables.settings import HEAD, settings_of
from benchmarks.tables.tasks import summary as by_task
from benchmarks.tables.text import (
    GOALS,
    MEASURES,
    Index,
    Run,
    index_of,
    mean_text,
    measure_text,
    more_accurate,
    pairs,
    relative,
    seconds_text,
    steps_text,
    table_text,
)

RIVALS = ("magnitude", "lth")
POINT = 0.005
"""Half a point of accuracy: what the comparison at equal accuracy may spend against LTH."""


def summary(tasks: dict[str, list[Run]]) -> list[str]:
    """Ballot against magnitude pruning and lottery tickets."""
    rows, spending = [], []
    indexes = {task: index_of(runs) for task, runs in tasks.items()}
    for task, runs in tasks.items():
        index, notion = indexes[task], TASKS[task]["cells"]
        for sparsity in _sparsities(runs):
            equal, spent = _at_equal_accuracy(index, sparsity)
            for name in GOALS[notion]:
                changes = {r: relative(index, "ballot", r, sparsity, name) for r in RIVALS}
                rows.append(
                    [
                        task,
                        f"{sparsity:g}",
                        name,
                        str(len(changes["lth"])),
                        *(mean_text(changes[rival], 100, 0, "%") for rival in RIVALS),
                        mean_text(more_accurate(index, "ballot", "lth", sparsity), 100, 2),
                        mean_text(equal["variance"], 100, 0, "%"),
                        mean_text(equal["accuracy"], 100, 2),
                        _settings(index, sparsity),
                    ]
                )
            spending.append(
                [
                    task,
                    f"{sparsity:g}",
                    str(len(spent["accuracy"])),
                    mean_text(spent["variance"], 100, 0, "%"),
                    mean_text(spent["range"], 100, 0, "%"),
                    mean_text(spent["accuracy"], 100, 2),
                ]
            )
    head = ["task", "sparsity", "measure", "seeds", "Ballot against magnitude"]
    head += ["Ballot against LTH", "accuracy against LTH, points"]
    head += [f"both with offsets: {name} against LTH" for name in ("variance", "accuracy")]
    head.append(HEAD)
    return [
        "## Ballot against its rivals",
        "Relative change of each measure, paired by seed: negative is less unequal. The last two"
        " columns give every method class offsets fitted on validation, the strength chosen there"
        " as the least unequal one within half a point of plain LTH's accuracy, and compare what is"
        " left of the variance over cells.",
        table_text(head, rows),
        "### Ballot against its rivals, task by task",
        *by_task(indexes, {task: TASKS[task]["cells"] for task in tasks}, "ballot", RIVALS),
        "### What half a point of accuracy buys",
        "Ballot with class offsets, their strength chosen on validation as the least unequal one"
        " within half a point of plain LTH's accuracy (0 is among them), against plain LTH."
        " Variance and range are over the compared cells: for classes, CWV and MCD.",
        table_text(["task", "sparsity", "seeds", "variance", "range", "accuracy"], spending),
    ]


def _settings(index: Index, sparsity: float) -> str:
    """Of Ballot and its rivals, as far as they are recorded."""
    runs = {method: index.get((method, sparsity), {}).values() for method in ("ballot", *RIVALS)}
    return "; ".join(f"{method}: {settings_of(own)}" for method, own in runs.items() if own)


def _at_equal_accuracy(index: Index, sparsity: float) -> tuple[dict[str, list[float]], ...]:
    """Ballot's offset curve half a point below LTH, against LTH's there and LTH as it is."""
    equal: dict[str, list[float]] = defaultdict(list)
    spent: dict[str, list[float]] = defaultdict(list)
    for ballot, lth in pairs(index, "ballot", "lth", sparsity):
        least = lth["validation"]["accuracy"] - POINT
        ours = _within(ballot, least)
        for changes, theirs in ((equal, _within(lth, least)), (spent, lth["test"])):
            for name in ("variance", "range"):
                changes[name].append(ours[name] / theirs[name] - 1)
            changes["accuracy"].append(ours["accuracy"] - theirs["accuracy"])
    return equal, spent


def _within(run: Run, least: float) -> dict[str, float]:
    """The least unequal point of a run's offset curve, chosen and constrained on validation."""
    curve = [(run["validation"], run["test"])]
    curve += [(_of_split(row, "val"), _of_split(row, "test")) for row in run["offsets"]]
    allowed = [p for p in curve if p[0]["accuracy"] >= least]
    if not allowed:
        return max(curve, key=lambda p: p[0]["accuracy"])[1]
    return min(allowed, key=lambda p: p[0]["variance"])[1]


def _of_split(row: dict[str, float], split: str) -> dict[str, float]:
    return {name: row[f"{split}_{name}"] for name in ("accuracy", "variance", "range")}


def tuning() -> list[str]:
    """What each setting reached on validation, and which was chosen."""
    reached, chosen = averages(), choose()
    rows = [
        [
            task,
            method,
            _words(json.loads(setting)),
            f"{100 * figures['accuracy']:.2f}",
            f"{figures['unfair']:.3f}",
            "yes" if json.loads(setting) == chosen[task][method] else "",
        ]
        for task in TASKS
        for method, grid in reached.get(task, {}).items()
        for setting, figures in grid.items()
    ]
    return [
        "## Tuning",
        "Written by `python -m benchmarks tune`: what each setting reached on validation, averaged"
        " over sparsities and seeds (seeds 0 to 2 for adult, seed 0 elsewhere). Inequality is the"
        " mean of variance and range over the compared cells, relative to dense. Grids are shorter"
        " where a training run takes minutes. Ballot takes the least unequal setting among those"
        " whose accuracy is within 0.4 points of LTH's, or the most accurate one if none is. Ballot"
        f" and LTH prune in rounds, `levels={ROUNDS}`, on adult with 0.98 besides."
        + "".join(f" {a} takes the settings of {b}." for a, b in LIKE.items()),
        table_text(["task", "method", "setting", "accuracy", "inequality", "chosen"], rows),
    ]


def _words(setting: dict[str, Any]) -> str:
    parts = []
    for name, value in setting.items():
        parts += [_words(value)] if isinstance(value, dict) else [f"{name}={value}"]
    return ", ".join(parts) or "defaults"


def of_task(task: str, runs: list[Run]) -> list[str]:
    """Every variant on one task."""
    index, notion = index_of(runs), TASKS[task]["cells"]
    config = runs[0]["config"]
    rows = [
        [
            variant,
            f"{sparsity:g}",
            str(len(index[variant, sparsity])),
            measure_text(index[variant, sparsity].values(), "accuracy", 2),
            *(measure_text(index[variant, sparsity].values(), m) for _, m in MEASURES[notion]),
            steps_text(index[variant, sparsity].values()),
            seconds_text(index[variant, sparsity].values()),
            settings_of(index[variant, sparsity].values()),
        ]
        for variant in dict.fromkeys(run["variant"] for run in runs)
        for sparsity in _of_variant(index, variant)
    ]
    columns = [head for head, _ in MEASURES[notion]]
    head = ["method", "sparsity", "seeds", "accuracy", *columns, "steps", "seconds", HEAD]
    torch = " and ".join(sorted({run["environment"]["torch"] for run in runs}))
    return [
        f"## {task}",
        f"{config['data']}; model {config['model']['name']}; {config['training']}; compared are"
        f" cells of notion `{notion}`; {runs[0]['environment']['device']}, torch {torch}. Steps are"
        " relative to dense training.",
        table_text(head, rows),
        *_offsets(task, index, runs),
        *_matched(index, runs),
    ]


def _offsets(task: str, index: Index, runs: list[Run]) -> list[str]:
    rows = []
    for variant in ("dense", *RIVALS, "ballot"):
        for sparsity in _of_variant(index, variant):
            tested = [
                [run["test"], *(_of_split(row, "test") for row in run["offsets"])]
                for run in index[variant, sparsity].values()
            ]
            rows.append([variant, f"{sparsity:g}", *map(_pair_text, zip(*tested, strict=True))])
    strengths = [f"offsets {row['strength']:g}" for row in runs[0]["offsets"]]
    return [
        f"### {task}: class offsets as a control",
        "Accuracy / variance over the compared cells (x1e4), mean over seeds, for class offsets of"
        " rising strength fitted on validation.",
        table_text(["method", "sparsity", "none", *strengths], rows),
    ]


def _pair_text(values: tuple[dict[str, float], ...]) -> str:
    accuracy = statistics.mean(v["accuracy"] for v in values) * 100
    return f"{accuracy:.1f} / {statistics.mean(v['variance'] for v in values) * 1e4:.1f}"


def _matched(index: Index, runs: list[Run]) -> list[str]:
    narrow = sorted({r["variant"] for r in runs if r["variant"].startswith("narrow")})
    if not narrow:
        return []
    rows = []
    for variant in (*RIVALS, "ballot"):
        for sparsity in _sparsities(runs):
            gaps, accuracies = [], []
            for seed, run in index[variant, sparsity].items():
                dense = [index[n, 0.0][seed] for n in (*narrow, "dense") if seed in index[n, 0.0]]
                if not any(r["variant"] != "dense" for r in dense):
                    continue
                own = run["validation"]["accuracy"]
                match = min(dense, key=lambda r: abs(r["validation"]["accuracy"] - own))
                gaps.append(run["metrics"]["cwv"] / match["metrics"]["cwv"] - 1)
                accuracies.append(run["metrics"]["accuracy"] - match["metrics"]["accuracy"])
            text = [mean_text(gaps, 100, 0, "%"), mean_text(accuracies, 100, 2)]
            rows.append([variant, f"{sparsity:g}", str(len(gaps)), *text])
    return [
        "### Against a dense network of the same accuracy",
        f"Dense networks of smaller width ({', '.join(n.split()[1] for n in narrow)}, and the full"
        " one), matched by validation accuracy seed by seed: how much of the gap is not just"
        " accuracy.",
        table_text(
            ["method", "sparsity", "seeds", "CWV against the match", "accuracy against it"], rows
        ),
    ]


def _of_variant(index: Index, variant: str) -> list[float]:
    return sorted(sparsity for name, sparsity in index if name == variant)


def _sparsities(runs: list[Run]) -> list[float]:
    return sorted({r["sparsity"] for r in runs if r["sparsity"] > 0})
