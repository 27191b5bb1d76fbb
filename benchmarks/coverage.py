"""How often the audit's intervals hold what is true, and how often it raises a false alarm.

People are simulated, seeded: two models that are right together more often than apart, at known
rates by class and group. Of each measure the share of draws is told whose 95 % interval holds the
true value, at 30, 100 and 1,000 examples in each cell; then how often an audit reports anything
where nothing changed, and how often it finds a group that lost a given number of points. Writes
`results/coverage.json`, which RESULTS.md shows; `--power` simulates the audits alone and leaves
the rest of that file.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measure import versions
from benchmarks.records import load, store
from fairsparse.auditing.engine import audit
from fairsparse.auditing.findings import LOST_MORE
from fairsparse.fairness.inference.estimates import ROLES, estimate
from fairsparse.fairness.inference.paired import Pairs, excess_drop, paired_drop
from fairsparse.fairness.measure.counts import Counts
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Outcomes

SIZES = (30, 100, 1000)
POWER_SIZES = (30, 100, 300, 1000)
HARMS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2)
TOGETHER = 0.6
"""Share of the examples on which one draw decides for both models."""

# accuracies of (reference, candidate) by class, or by class and group
CLASSES = {
    "all alike": (np.full(10, 0.85), np.full(10, 0.8)),
    "mildly apart": (np.linspace(0.92, 0.82, 10), np.linspace(0.9, 0.76, 10)),
    "far apart": (np.linspace(0.95, 0.6, 10), np.linspace(0.93, 0.5, 10)),
    "one weak": (np.array([0.9] * 9 + [0.7]), np.array([0.88] * 9 + [0.5])),
}
GROUPS = {
    "2 groups alike": (np.full((2, 2), 0.85), np.full((2, 2), 0.8)),
    "2 groups apart": (np.array([[0.9, 0.8]] * 2), np.array([[0.88, 0.68]] * 2)),
    "4 groups apart": (
        np.array([[0.9, 0.88, 0.85, 0.8]] * 2),
        np.array([[0.9, 0.86, 0.8, 0.65]] * 2),
    ),
}
OF_CLASSES = ("accuracy", "cwv", "mcd", "worst_class_accuracy")
OF_GROUPS = ("accuracy_gap", "demographic_parity", "equal_opportunity", "equalized_odds")


def draw(
    rates: tuple[np.ndarray, np.ndarray], n: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Return both models' predictions, true classes and groups; rates are (C,) or (C, G)."""
    table = [r if r.ndim == 2 else r[:, None] for r in rates]
    classes, groups = table[0].shape
    y = np.repeat(np.arange(classes), groups * n)
    group = np.tile(np.repeat(np.arange(groups), n), classes)
    one, other = rng.random((2, len(y)))
    other = np.where(rng.random(len(y)) < TOGETHER, one, other)
    wrong = (y + rng.integers(1, classes, len(y))) % classes
    first, second = (
        np.where(u < r[y, group], y, wrong) for u, r in zip((one, other), table, strict=True)
    )
    return first, second, y, group


def truth(rates: tuple[np.ndarray, np.ndarray], measures: tuple[str, ...]) -> dict[str, float]:
    """The measures of the rates themselves, from counts so large that they are the rates."""
    counts = []
    for r in rates:
        table = r if r.ndim == 2 else r[:, None]
        classes, groups = table.shape
        n = np.full((groups, classes), 10.0**6)
        correct = table.T * n
        errors = (n - correct) / (classes - 1)
        predicted = correct + errors.sum(-1, keepdims=True) - errors
        counts.append(Counts(n, correct, predicted, groups if r.ndim == 2 else 0))
    expected = {}
    for measure in measures:
        values = [float(METRICS[measure].function(c)) for c in counts]
        expected |= {f"{role} {measure}": v for role, v in zip(ROLES, values, strict=True)}
        expected[f"change {measure}"] = values[1] - values[0]
    return expected


def coverage(case: str, n: int, draws: int, resamples: int) -> dict[str, Any]:
    """Share of draws whose interval holds the truth, by measure, and how the intervals came."""
    rates = {**CLASSES, **GROUPS}[case]
    measures = OF_CLASSES if case in CLASSES else OF_GROUPS
    expected = truth(rates, measures)
    drops = (rates[0] - rates[1]).reshape(len(rates[0]), -1)
    groups = drops.shape[1] if case in GROUPS else 0
    cell = drops.mean(0) if groups else drops[:, 0]
    expected |= {"drop of a cell": cell[-1], "extra drop": cell[-1] - drops.mean()}
    inside: dict[str, list[bool]] = {name: [] for name in expected}
    wide: dict[str, int] = {}
    for seed in range(draws):
        first, second, y, group = draw(rates, n, np.random.default_rng([seed, n]))
        names = ([str(c) for c in range(len(rates[0]))], [str(g) for g in range(groups)])
        group = group if groups else np.full(len(y), -1)
        outcomes = Outcomes.of([first, second], y, group, *names)
        estimated = estimate(outcomes, resamples=resamples, seed=seed)
        bounds = {}
        for name in [name for name in expected if name in estimated]:
            interval = estimated[name]
            bounds[name] = interval["low"], interval["high"]
            wide.setdefault(name, 0)
            wide[name] += interval["how"] in ("all cells at once", "percentile")
        axis = 1 if groups else 0
        mine = Pairs(*(x.sum(axis)[-1:] for x in outcomes.pairs))
        everyone = Pairs(*(x.sum()[None] for x in outcomes.pairs))
        bounds["drop of a cell"] = tuple(float(b[0]) for b in paired_drop(mine))  # type: ignore[assignment]
        bounds["extra drop"] = tuple(float(b[0]) for b in excess_drop(mine, everyone)[1])  # type: ignore[assignment]
        for name, (low, high) in bounds.items():
            inside[name].append(low - 1e-9 <= expected[name] <= high + 1e-9)
    return {
        "case": case,
        "n": n,
        "draws": draws,
        "covered": {name: round(float(np.mean(v)), 4) for name, v in inside.items()},
        "warned": {name: round(count / draws, 3) for name, count in wide.items()},
    }


def alarm(harm: float, n: int, draws: int, resamples: int) -> dict[str, Any]:
    """How often an audit of 3 classes, 4 groups of `n` reports anything, and the harmed group."""
    anything = named = 0
    for seed in range(draws):
        rng = np.random.default_rng([seed, n, round(1000 * harm)])
        rates = (np.full((3, 4), 0.85), np.full((3, 4), 0.85))
        rates[1][:, 3] -= harm
        first, second, y, group = draw(rates, -(-n // 3), rng)
        report = audit(first, second, y, groups=group, resamples=resamples, seed=seed)
        says = report.cells["finding"].isin([LOST_MORE, "lost", "gained"])
        anything += bool(says.any() or (report.measures["p_adjusted"] < 0.05).any())
        mine = (report.cells["attribute"] == "group") & (report.cells["cell"] == "3")
        named += bool((report.cells["finding"][mine] == LOST_MORE).any())
    return {
        "harm": harm,
        "n": n,
        "draws": draws,
        "any finding": round(anything / draws, 4),
        "harmed group found": round(named / draws, 4),
    }


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--power", action="store_true", help="how often losses are found, alone")


def main(args: Namespace) -> None:
    """Run all simulations on all processors and write the result."""
    began = time.time()
    stored = load("coverage") if args.power else {}
    plan = [(case, n) for case in (*CLASSES, *GROUPS) for n in SIZES]
    curve = [(harm, n) for n in POWER_SIZES for harm in HARMS]
    with ProcessPoolExecutor(args.jobs) as pool:
        if not args.power:
            cover = partial(coverage, draws=args.draws, resamples=args.resamples)
            stored["coverage"] = list(pool.map(cover, *zip(*plan, strict=True)))
            stored["seconds"] = round(time.time() - began)
        began = time.time()
        tell = partial(alarm, draws=args.audits, resamples=args.resamples)
        stored["power"] = list(pool.map(tell, *zip(*curve, strict=True)))
    stored |= {
        "seconds_of_power": round(time.time() - began),
        "resamples": args.resamples,
        "versions": versions("numpy", "scipy"),
    }
    store("coverage", stored)
    for row in stored["coverage"]:
        print(row["case"], row["n"], row["covered"])
    for row in stored["power"]:
        print(row)
