"""What RESULTS.md says of the real sets, of audits and of measurements that stand alone."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from benchmarks.plans.sets import AUDITED, METHODS, SETS, SPARSITY
from benchmarks.tables.plots import power_text
from benchmarks.tables.settings import HEAD, settings_of, settings_text
from benchmarks.tables.text import GOALS, Run, measure_text, seconds_text, table_text


def sets(runs: list[Run]) -> list[str]:
    """Dense, lottery tickets and Ballot on every real set."""
    seeds: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        seeds[run["task"], run["variant"]].append(run)
    rows = [
        [
            name,
            f"{runs[0]['sizes']['train']:,} / {runs[0]['sizes']['test']:,}",
            runs[0]["config"]["model"]["name"],
            method,
            str(len(runs)),
            measure_text(runs, "accuracy", 2),
            ", ".join(f"{m} {measure_text(runs, m)}" for m in GOALS[SETS[name]["cells"]]),
            seconds_text(runs),
            settings_of(runs),
        ]
        for name in SETS
        for method in METHODS
        if (runs := seeds[name, method])
    ]
    head = ["set", "train / test", "model", "method", "seeds", "accuracy", "gap", "seconds"]
    head.append(HEAD)
    return [
        "## Every real data set by one configuration",
        f"Written by `python -m benchmarks sets`: sparsity {SPARSITY:g}, nothing tuned."
        " What the groups of each set mean: docs/data.md.",
        table_text(head, rows),
    ]


def audits(stored: dict[str, Any]) -> list[str]:
    """Audits of dense against pruned networks of real sets."""
    rows = [
        _audited(name, method, audit["n"], candidate)
        for name, audit in stored.items()
        for method, candidate in audit["candidates"].items()
    ]
    exemplars = [
        [
            name,
            method,
            f"{100 * e['share']:.1f}",
            f"{_cell(e['most'])}: {100 * e['most_share']:.1f}, p {e['most_p']:.2g}",
        ]
        for name, audit in stored.items()
        for method, e in audit["exemplars"].items()
    ]
    head = [
        "set", "candidate", "n", "accuracy", "change, points", "churn, %",
        "cells that lost more than others", "largest excess drop", "points, adjusted p",
        "measures of inequality that changed", "confidence less accuracy",
    ]  # fmt: skip
    settings = "; ".join(f"{name}: {settings_text(m)}" for name, m in AUDITED.items())
    return [
        "## Audits of real runs",
        "Written by `python -m benchmarks audits`: dense networks of `sets` (seed 0) against"
        " magnitude pruning and Ballot, both at sparsity 0.9, by `fairsparse audit`. Settings"
        f" that are not the defaults: {settings}. Intervals are at 95 %, p-values adjusted over"
        " each audit.",
        table_text(head, rows),
        "Exemplars over three seeds: the share of test examples where most pruned networks"
        " predict what most dense ones do not, and the cell of 30 examples or more with the"
        " largest share.",
        table_text(["set", "candidate", "share, %", "most in"], exemplars),
    ]


def _audited(name: str, method: str, n: int, candidate: dict[str, Any]) -> list[str]:
    before, after = (100 * v for v in candidate["accuracy"])
    change, low, high = (100 * v for v in candidate["change"])
    excess, least, most = (100 * v for v in candidate["worst_excess"])
    findings = candidate["findings"]
    return [
        name,
        method,
        f"{n:,}",
        f"{before:.1f} to {after:.1f}",
        f"{change:+.1f} ({low:+.1f} to {high:+.1f})",
        f"{100 * candidate['churn']:.1f}",
        f"{findings.get('lost more than others', 0)} of {sum(findings.values())}",
        f"{_cell(candidate['worst'])} (n = {candidate['worst_n']})",
        f"{excess:.1f} ({least:.1f} to {most:.1f}), p {candidate['worst_p']:.2g}",
        ", ".join(candidate["changed"]) or "none",
        " to ".join(f"{100 * v:+.1f}" for v in candidate["overconfidence"]),
    ]


def _cell(name: str) -> str:
    return name.replace("|", "\\|")  # which would end a column


def coverage(stored: dict[str, Any]) -> list[str]:
    """How often intervals cover, alarms are false, and losses are detected."""
    rows = [
        [row["case"], str(row["n"]), name, f"{100 * covered:.1f}", _share(row["warned"].get(name))]
        for row in stored["coverage"]
        for name, covered in row["covered"].items()
        if not name.startswith("reference ")  # as the candidate, whose cells lie further apart
    ]
    draws = stored["coverage"][0]["draws"]
    half = 196 * math.sqrt(0.95 * 0.05 / draws)
    power = [
        [f"{100 * r['harm']:.0f}", str(r["n"]), str(r["draws"])]
        + [f"{100 * r[k]:.1f}" for k in ("any finding", "harmed group found")]
        for r in stored["power"]
    ]
    return [
        "## Coverage",
        f"Written by `python -m benchmarks coverage`: of {draws} simulated test splits, the share"
        f" whose 95 % interval holds the true value (chance alone gives {95 - half:.1f} to"
        f" {95 + half:.1f} %), and the share of intervals that were wide and said so: all cells at"
        " once, or percentiles, where a range does not stand out from sampling. n is the size of a"
        " cell: of a class, or of a class within a group.",
        table_text(["case", "n", "interval of", "covered, %", "wide, %"], rows),
        "An audit of three classes and four groups of n, one of which loses some points of"
        " accuracy: how often it reports anything at all (where nothing was lost, a false alarm),"
        " and how often that group is found to have lost more than others.",
        f"![{power_text(stored['power'])}](results/power.svg)",
        table_text(["points lost", "n", "audits", "anything, %", "the group, %"], power),
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def coverage_means(stored: dict[str, Any]) -> list[str]:
    """The same of confidence and of heat maps."""
    rows = [
        [row["case"], str(row["n"]), name, f"{100 * value:.1f}"]
        for row in (*stored["calibration"], *stored["maps"])
        for name, value in row.items()
        if name not in ("case", "n")
    ]
    return [
        "### Of confidence and of heat maps",
        f"Written by `python -m benchmarks coverage-means`, {stored['draws']} draws each: how often"
        " intervals of overconfidence over four groups of n (of one group of them, on average), of"
        " the calibration gap, and of the mean of n heat maps' correlations hold the true value,"
        " and how often tests are below 0.05 where nothing changed.",
        table_text(["case", "n", "interval or test", "%"], rows),
    ]


def plain(name: str, stored: dict[str, Any]) -> list[str]:
    """A measurement as it is stored."""
    rows = [[k, str(v)] for k, v in stored.items() if not isinstance(v, (dict, list))]
    rows += [
        [f"{k}: {inner}", str(value)]
        for k, v in stored.items()
        if isinstance(v, dict)
        for inner, value in v.items()
    ]
    return [
        f"## {name.capitalize()}",
        f"Written by `python -m benchmarks {name}`.",
        table_text(["what", "value"], rows),
    ]
