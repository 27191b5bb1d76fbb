"""Means over seeds, and the report that compares many runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MANY, TEN, comparison_report, of_records, record, sweep_records
from page import BAR, SPACE, Page
from scipy import stats

from fairsparse.core import InputError
from fairsparse.report.sweep import sweep as sweeps
from fairsparse.report.sweep.sweep import Mean, paired

gather = of_records(sweeps.gather)


@pytest.fixture(scope="module")
def shown() -> Page:
    return Page(comparison_report(sweep_records(), {"lth-0.9-seed1": "lth 1/report.html"}))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8).filter(lambda v: np.std(v) > 1e-6))
def test_seed_intervals_are_students(values: list[float]) -> None:
    found = Mean.of(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(sum(values) / len(values))


def test_one_seed_has_no_interval_and_an_undefined_seed_no_mean() -> None:
    one, undefined = Mean.of([0.5]), Mean.of([0.5, None, 0.7])
    assert (one.value, one.n) == (0.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(undefined.value)


def test_sweep_means_agree_with_the_records(shown: Page) -> None:
    made = [r for r in sweep_records() if r["run"].startswith("lth-0.9")]
    row = shown.row("lth", f"90{SPACE}%", "3", "3 of 3")
    for entry, metric in ((4, "accuracy"), (9, "accuracy_gap")):
        values = [100 * r["audit"]["candidate"]["values"][metric] for r in made]
        half = 4.302652729911275 * np.std(values, ddof=1) / math.sqrt(3)  # t(0.975, 2)
        mean = np.mean(values)
        ends = max(mean - half, 0), min(mean + half, 100)  # of a share: 0 to 100 %
        assert row[entry] == f"{mean:.2f} %¦{ends[0]:.2f} to {ends[1]:.2f} %"
    assert np.mean(values) - 4.302652729911275 * np.std(values, ddof=1) / math.sqrt(3) < 0
    dense = [100 * r["audit"]["reference"]["values"]["accuracy"] for r in made]
    assert shown.row("dense", f"0{SPACE}%", "3")[4].startswith(f"{np.mean(dense):.2f} %¦")
    single = Page(comparison_report(made[:1])).row("lth", f"90{SPACE}%", "1")
    assert [entry.split(BAR)[1] for entry in single[4:]] == ["-"] * 8


def test_sweep_shows_sizes_cells_costs_and_links(shown: Page) -> None:
    found, made = shown, sweep_records()
    north = [c["n"] for r in made for c in r["audit"]["cells"] if c["name"] == "north"]
    assert f"north n = {min(north)}–{max(north)}" in found.text.replace(SPACE, " ")
    cells = {
        name: [
            100 * cell[role]
            for r in made
            if r["run"].startswith(name) and r["sparsity"]["asked"] == 0.9
            for cell in r["audit"]["cells"]
            if cell["name"] == "north"
        ]
        for name, role in (("lth", "candidate"), ("ballot", "candidate"))
    }
    row = found.row("north", f"{min(north)}–{max(north)}")
    for text, name in zip(row[3:], ("lth", "ballot"), strict=True):
        assert text.startswith(f"{np.mean(cells[name]):.2f} %")
    row = found.row("ballot", f"90{SPACE}%", f"3.00{SPACE}x")
    assert row[3:] == ["3.00 x", "6.0 s", "0.7 s", "1.00 GiB"]  # audit beside all stages
    assert [a["href"] for tag, a in found.tags if tag == "a"] == ["lth 1/report.html"]


def test_other_options_are_another_method_and_a_repeated_run_is_no_seed() -> None:
    plain = record(TEN, resamples=20)
    other = record(TEN, resamples=20, options={"refinement": {"strength": 0.25}})
    sweep = gather([plain, plain, other])
    assert [(row.label, len(row.runs)) for row in sweep.rows] == [("lth", 1), ("lth-2", 1)]
    text = Page(comparison_report([plain, other]))
    assert text.row("lth-2", "refinement.strength = 0.25")


def test_paired_differences_use_the_seeds_in_common() -> None:
    made = [record(TEN, method=m, seed=s, resamples=20) for m in "ab" for s in (0, 1, 2)]
    for i, r in enumerate(made):
        r["audit"]["metrics"]["accuracy"]["change"]["value"] = -0.005
        r["audit"]["candidate"]["values"]["cwv"] = [0.3, 0.31, 0.32, 0.1, 0.1, 0.1][i]
    a, b = gather(made[:-1]).rows
    assert paired(a, b, "cwv") == pytest.approx(Mean.of([0.2, 0.21]))
    text = comparison_report(made)
    assert "smallest variance over classes (CWV) is that of b" in text
    assert "−0.21000" in text
    assert "do not tell which of the two is less unequal" not in text
    for r in made[3:]:
        r["audit"]["candidate"]["values"]["cwv"] = 0.305
    assert "do not tell which of the two is less unequal" in comparison_report(made)
    assert "too few seeds" in comparison_report([made[0], made[3]])
    made[4]["audit"]["metrics"]["accuracy"]["change"]["value"] = -0.02
    text = comparison_report(made).replace(SPACE, " ")
    assert "smallest" not in text
    assert "Not compared: b, for accuracy fell by 2.00 points, and 1.00 points are toler" in text


def test_records_that_cannot_be_compared_are_refused() -> None:
    made = record(TEN, resamples=20)
    elsewhere = {**made, "data": {**made["data"], "name": "other"}}
    with pytest.raises(InputError, match="data sets drawn, other"):
        comparison_report([made, elsewhere])
    with pytest.raises(InputError, match="fairness notions class, group"):
        comparison_report([made, {**made, "cells": "group"}])
    with pytest.raises(InputError, match="at least one record"):
        comparison_report([])


def test_tasks_are_not_pooled_as_seeds() -> None:
    """Runs of other targets, splits of people or training are no more seeds of one method."""
    made = [record(TEN, seed=seed, resamples=20) for seed in (0, 1)]

    def other(**parts: dict[str, object]) -> list[dict[str, object]]:
        config = {k: {**made[1]["config"].get(k, {}), **part} for k, part in parts.items()}
        return [made[0], {**made[1], "config": {**made[1]["config"], **config}}]

    with pytest.raises(InputError, match=r"got data\.target age and not set; make one report"):
        comparison_report(other(data={"target": "age"}))
    with pytest.raises(InputError, match=r"got training\.epochs 9 and not set"):
        comparison_report(other(training={"epochs": 9}))
    with pytest.raises(InputError, match=r"got model\.width 4 and not set"):
        comparison_report(other(model={"width": 4}))
    names = (["digit 0", "digit 1"], ["digit 0", "digit 2"])
    apart = [record(classes, seed=i, resamples=20) for i, classes in enumerate(names)]
    with pytest.raises(InputError, match="classes digit 0 / digit 1, digit 0 / digit 2"):
        comparison_report(apart)
    changed = {**made[1], "data": {**made[1]["data"], "fingerprint": "ffff"}}
    with pytest.raises(InputError, match="data of seed None, fingerprint 0a1b2c3d and ffff"):
        comparison_report([made[0], changed])
    # another draw of the splits has other content
    drawn = {**other(data={"seed": 3})[1], "data": changed["data"]}
    assert len(gather([made[0], drawn]).rows[0].runs) == 2
    assert len(gather(other(data={"seed": 3})).rows[0].runs) == 2


def test_a_report_says_whether_it_speaks_of_networks_or_of_methods() -> None:
    made = [record(TEN, method=m, seed=s, resamples=20) for m in "ab" for s in (0, 1)]
    assert "speaks of that network, not of the method" in comparison_report([made[0], made[2]])
    assert "speaks of that network, not of the method" in comparison_report(made[:3])
    several = comparison_report(made)
    assert "speaks of that network" not in several
    assert "figures speak of the methods, trained anew, on this data set" in several


def test_the_plot_of_many_cells_shows_those_that_the_dense_network_serves_worst() -> None:
    runs = [record(MANY, n=4000, resamples=20)]
    accuracy = {c["name"]: c["reference"] for c in runs[0]["audit"]["cells"]}
    plots = Page(comparison_report(runs)).plot
    (labels,) = (texts for name, texts in plots.items() if "of 100, the 30 that the dense" in name)
    names = [label.split("  ")[0] for label in labels if label.startswith("class ")]
    assert [accuracy[name] for name in names] == sorted(accuracy.values())[:30]
