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
        " Rows of one seed speak of these networks, not of the methods. What the groups of each set"
        " mean: docs/data.md.",
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
        f" that are not the defaults: {settings}. What they say is of these networks, on those who"
        " are like the test examples, and not of the methods. Intervals are at 95 %, p-values"
        " adjusted over each audit.",
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
    whole = {row["case"]: row.get("false alarms") for row in stored["coverage"]}
    keys = ("drops covered", "excess drops covered", "some band misses", "false alarms")
    cells = [
        [
            row["case"],
            *(_percent(row[key]) for key in (*keys, "no worse, wrongly")),
            _percent(whole.get(row["case"])),
        ]
        for row in stored["cells"]
    ]
    intervals = [
        [row["case"], one["of"], _percent(one["covered"]), _ratio(one["width"]), _hows(one["how"])]
        for row in stored["coverage"]
        for one in row["intervals"]
        if not one["of"].startswith("reference ")  # as the candidate, whose cells lie further apart
    ]
    draws, few = stored["cells"][0]["draws"], stored["coverage"][0]["draws"]
    shares = ("anything", "found", "more", "asked first", "McNemar and Holm")
    power = [
        [f"{100 * r['harm']:.0f}", str(r["n"]), str(r["draws"]), *(_percent(r[k]) for k in shares)]
        for r in stored["power"]
    ]
    return [
        "## Coverage",
        "Written by `python -m benchmarks coverage`. Every example has a chance of its own of being"
        " right, and where nothing changed both models are right with that chance, independently:"
        f" hard cells churn more than easy ones. Of {draws:,} simulated test splits (chance alone"
        f" makes {_chance(draws)} points of 95 %, {_chance(draws, 0.05)} of 5 %): whether 95 %"
        " intervals of cells hold the true drop and excess drop, one at a time; whether any band of"
        " the audit misses; whether its cells report anything where nothing changed; whether it"
        f" calls a cell no worse that lost the margin or more. Last, of {few:,} whole audits with"
        f" their measures (chance makes {_chance(few, 0.05)} points of 5 %), whether they report"
        " anything.",
        table_text(
            [
                "case",
                "drops, %",
                "excess drops, %",
                "a band misses, %",
                "cells' alarms, %",
                "no worse wrongly, %",
                "audits' alarms, %",
            ],
            cells,
        ),
        f"Of these {few:,} audits, the share of measures' intervals that hold the true value"
        f" (chance makes {_chance(few)} points), their"
        " median width against an oracle's, 3.92 deviations of the estimate over the simulated"
        " splits, and how they came about. Those that"
        " are wider than an oracle's cover more often than they say; none is given where none"
        " covers.",
        table_text(["case", "interval of", "covered, %", "width", "how"], intervals),
        "Audits of three classes and four groups of n at 12 % churn, one of which loses some points"
        " of accuracy: how often the cells report anything at all (where nothing was lost, a false"
        " alarm), how often that group is found to have lost, and to have lost more than others;"
        " how often it is found where `--primary` asks of groups first; and by McNemar's tests of"
        " the four groups alone, with Holm's adjustment.",
        f"![{power_text(stored['power'])}](results/power.svg)",
        table_text(
            [
                "points lost",
                "n",
                "audits",
                "anything, %",
                "the group, %",
                "more than others, %",
                "asked first, %",
                "McNemar and Holm, %",
            ],
            power,
        ),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _ratio(width: float | None) -> str:
    return "-" if width is None else f"{width:.2f}"


def _hows(hows: list[str]) -> str:
    return ", ".join(hows)


def _chance(draws: int, share: float = 0.95) -> str:
    return f"{196 * math.sqrt(share * (1 - share) / draws):.1f}"


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
