"""Studies pool over tasks, with seeds nested; sparsities and measures are no units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from benchmarks.tables.tasks import Change, change, pooled_text, summary
from benchmarks.tables.text import Index, index_of

# by sparsity and seed: how the gap changes, and accuracy
FIRST = {0.9: [(-0.1, 0.01), (-0.2, 0.02), (-0.3, 0.03)]}
FIRST[0.95] = [(-0.3, 0.01), (-0.4, 0.02), (-0.5, 0.03)]
SECOND = {0.9: [(-0.4, 0.0)] * 3, 0.95: [(-0.6, 0.0)] * 3}


def index(
    changes: Mapping[float, Sequence[tuple[float, float]]], name: str = "accuracy_gap"
) -> Index:
    """Runs of lth with a gap of 0.2 and an accuracy of 0.8, and of ballot changed against them."""
    runs = []
    for sparsity, by_seed in changes.items():
        for seed, (gap, accuracy) in enumerate(by_seed):
            about = {"sparsity": sparsity, "seed": seed}
            ours = {name: 0.2 * (1 + gap), "accuracy": 0.8 + accuracy}
            runs.append({**about, "variant": "ballot", "metrics": ours})
            theirs = {name: 0.2, "accuracy": 0.8}
            runs.append({**about, "variant": "lth", "metrics": theirs})
    return index_of(runs)


def rows_and_lines(tasks: Mapping[str, Index], notion: str = "group") -> tuple[list[str], str]:
    parts = summary(tasks, dict.fromkeys(tasks, notion), "ballot", ("lth",))
    return parts[1].splitlines()[2:], parts[-1]


def test_two_tasks_of_three_seeds_and_two_sparsities() -> None:
    # of the first, means over sparsities are -20, -30 and -40 % by seed, with a deviation of 10
    # over seeds: t of 2 degrees of freedom is 4.303, and 4.303 * 10 / sqrt(3) = 24.8
    one = change(index(FIRST), "ballot", "lth", "accuracy_gap")
    assert one.gaps == pytest.approx([-0.2, -0.3, -0.4])
    assert one.accuracies == pytest.approx([0.01, 0.02, 0.03])
    rows, pooled = rows_and_lines({"a-sex": index(FIRST), "b-sex": index(SECOND)})
    assert rows == [
        "| a-sex | accuracy_gap | -30 ± 25 % (2.00 ± 2.48) |",
        "| b-sex | accuracy_gap | -50 ± 0 % (0.00 ± 0.00) |",
    ]
    assert pooled == "- per group: too few to pool, 2 tasks of 2 data sets"


def test_more_sparsities_make_no_interval_narrower() -> None:
    more = {s / 2: values for s, values in FIRST.items()}
    twice = rows_and_lines({"a-sex": index({**FIRST, **more})})
    assert twice == rows_and_lines({"a-sex": index(FIRST)})


def test_five_tasks_have_an_interval_over_tasks() -> None:
    # means of -10 to -50 % have a deviation of 15.81: with t of 4 degrees of freedom, 2.776,
    # 2.776 * 15.81 / sqrt(5) = 19.6; seeds that differ widely change nothing but the rows
    means = {f"{name}-sex": -0.1 * k for k, name in enumerate("abcde", 1)}
    tasks = {
        task: index({0.9: [(mean - 0.1, 0.0), (mean + 0.1, 0.0)]}) for task, mean in means.items()
    }
    _, pooled = rows_and_lines(tasks)
    assert pooled == (
        "- per group, accuracy_gap, against lth: -30 ± 20 % over 5 tasks of 5 data sets"
    )
    _, pooled = rows_and_lines({k: v for k, v in tasks.items() if k != "c-sex"})
    assert "too few to pool, 4 tasks" in pooled
    assert "±" not in pooled


def test_tasks_of_one_data_set_are_told() -> None:
    of_faces = {"lfw-a": -0.1, "lfw-b": -0.2, "lfw-c": -0.3, "adult-sex": -0.4, "utkface-r": -0.5}
    assert pooled_text(of_faces) == "-30 ± 20 % over 5 tasks of 3 data sets"


def test_measures_of_one_network_are_not_pooled() -> None:
    def both(gap: float) -> Index:
        runs = index({0.9: [(gap, 0.0)] * 2}, "cwv")
        for (variant, _), by_seed in runs.items():
            for run in by_seed.values():
                run["metrics"]["mcd"] = 0.3 if variant == "lth" else 0.15
        return runs

    tasks = {f"{name}-class": both(-0.1 * k) for k, name in enumerate("abcde", 1)}
    rows, pooled = rows_and_lines(tasks, "class")
    assert rows[:2] == [
        "| a-class | cwv | -10 ± 0 % (0.00 ± 0.00) |",
        "| a-class | mcd | -50 ± 0 % (0.00 ± 0.00) |",
    ]
    assert pooled.splitlines() == [
        "- per class, cwv, against lth: -30 ± 20 % over 5 tasks of 5 data sets",
        "- per class, mcd, against lth: -50 ± 0 % over 5 tasks of 5 data sets",
    ]


def test_runs_without_a_gap_to_compare_with_are_counted() -> None:
    runs = index(FIRST)
    runs["lth", 0.95][2]["metrics"]["accuracy_gap"] = 0.0
    one = change(runs, "ballot", "lth", "accuracy_gap")
    assert one.gaps == pytest.approx([-0.2, -0.3, -0.3])
    assert (one.left_out, one.of) == (1, 6)
    ((row,), _) = rows_and_lines({"a-sex": runs})
    assert row.endswith("(2.00 ± 2.48), 1 of 6 runs left out |")
    assert change(runs, "ballot", "snip", "accuracy_gap") == Change([], [], 0, 0)


def test_one_seed_has_no_interval() -> None:
    ((row,), _) = rows_and_lines({"a-sex": index({0.9: [(-0.1, 0.0)], 0.95: [(-0.3, 0.0)]})})
    assert row == "| a-sex | accuracy_gap | -20 % (0.00) |"
