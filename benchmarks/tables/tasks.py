"""What many runs say together: tasks are the units, and seeds are nested within them.

Sparsities, and measures of one network, are no further units: they share its training and its test
examples. They are averaged, or stand beside each other, before anything has an interval.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.tables.text import GOALS, Index, kind_of, mean_text, pairs, table_text
from fairsparse.report.phrases import plural

FEWEST = 5
"""Tasks that a pooled figure takes; fewer stand in a table, each by itself."""


class Change(NamedTuple):
    """What a method changes against another one on a task.

    Attributes
    ----------
    gaps, accuracies : list of float
        One value a seed, each a mean over sparsities: relative change of the measure, and
        difference of accuracy, as fractions.
    left_out, of : int
        Runs in which the other has no gap, so that nothing is relative to it, of all that both
        methods have.
    """

    gaps: list[float]
    accuracies: list[float]
    left_out: int
    of: int


def change(index: Index, ours: str, theirs: str, measure: str) -> Change:
    """Runs of two methods paired by seed and averaged over sparsities within each seed."""
    by_seed = defaultdict(list)
    for sparsity in sorted(sparsity for name, sparsity in index if name == ours):
        for a, b in pairs(index, ours, theirs, sparsity):
            by_seed[a["seed"]].append((a["metrics"], b["metrics"]))
    gaps, accuracies, used = [], [], 0
    for both in by_seed.values():
        relative = [a[measure] / b[measure] - 1 for a, b in both if b[measure] > 0]
        used += len(relative)
        if relative:
            gaps.append(statistics.mean(relative))
        accuracies.append(statistics.mean(a["accuracy"] - b["accuracy"] for a, b in both))
    of = sum(map(len, by_seed.values()))
    return Change(gaps, accuracies, of - used, of)


def summary(
    tasks: Mapping[str, Index], notions: Mapping[str, str], ours: str, rivals: Sequence[str]
) -> list[str]:
    """Each task by itself, and the mean over tasks where there are enough of them."""
    changes = {
        (task, measure): {rival: change(index, ours, rival, measure) for rival in rivals}
        for task, index in tasks.items()
        for measure in GOALS[notions[task]]
    }
    rows = [[*about, *map(_text, by_rival.values())] for about, by_rival in changes.items()]
    name = ours.capitalize()
    return [
        f"What {name} changes on each task: the measure in %, with accuracy in points in brackets,"
        " averaged over sparsities within each seed, then over seeds, with the 95 % t-interval over"
        " seeds. A row speaks of the methods, trained anew, on this task and its test split, and of"
        " no other task. A run in which the other has no gap has no relative change; it is left out"
        f" and counted, which favours {name}.",
        table_text(["task", "measure", *rivals], rows),
        f"What is said of tasks like these takes {FEWEST} of them or more: the mean of the tasks'"
        " means, with Student's 95 % interval over tasks. Tasks of one data set share examples, so"
        " that the interval can be too narrow still.",
        "\n".join(_pooled(changes, notions)),
    ]


def _text(one: Change) -> str:
    if not one.gaps:
        return "-"
    text = f"{mean_text(one.gaps, 100, 0, '%')} ({mean_text(one.accuracies, 100, 2)})"
    return text + (f", {one.left_out} of {one.of} runs left out" if one.left_out else "")


def _pooled(
    changes: Mapping[tuple[str, str], Mapping[str, Change]], notions: Mapping[str, str]
) -> list[str]:
    """A line for each kind of cells, measure of them and rival, or one for what has too few tasks.

    Tasks of groups have one measure each, and are taken together.
    """
    kinds: dict[tuple[str, int], dict[tuple[str, str], Mapping[str, Change]]] = defaultdict(dict)
    for (task, measure), by_rival in changes.items():
        place = GOALS[notions[task]].index(measure)
        kinds[kind_of(notions[task]), place][task, measure] = by_rival
    lines = []
    for (kind, _), some in sorted(kinds.items()):
        measures = " or ".join(dict.fromkeys(measure for _, measure in some))
        for rival in next(iter(some.values())):
            means = {
                task: statistics.mean(by_rival[rival].gaps)
                for (task, _), by_rival in some.items()
                if by_rival[rival].gaps
            }
            about = f", {measures}, against {rival}" if len(means) >= FEWEST else ""
            lines.append(f"- per {kind}{about}: {pooled_text(means)}")
    return list(dict.fromkeys(lines))


def pooled_text(means: Mapping[str, float]) -> str:
    """The mean over tasks with its interval, or that they are too few; from each task's mean.

    Tasks are named after their data sets, as in `lfw-smiling`.

    >>> pooled_text({"a-x": -0.4, "b-x": -0.2})
    'too few to pool, 2 tasks of 2 data sets'
    """
    sets = {name.partition("-")[0] for name in means}
    of = f"{plural(len(means), 'task')} of {plural(len(sets), 'data set')}"
    if len(means) < FEWEST:
        return f"too few to pool, {of}"
    return f"{mean_text(means.values(), 100, 0, '%')} over {of}"
