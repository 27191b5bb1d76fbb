"""How often the audit's intervals hold what is true, and how often it raises a false alarm.

People are simulated, seeded: each example, or each cluster of them, has its own chance of being
right, drawn from a Beta distribution around the mean of its cell, and both models are right with
that chance, independently of each other. So hard cells churn more than easy ones, as real ones do.
Of each measure the share of draws is told whose 95 % interval holds the true value, and how wide
it is against that of an oracle who knows how much the estimate varies; then how often the tests of
an audit's cells, and the whole audit, report anything where nothing changed, and how often an audit
finds a group that lost a given number of points. Writes `results/coverage.json`, which RESULTS.md
shows; `--power` simulates the last alone and leaves the rest of that file.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measure import versions
from benchmarks.records import load, store
from fairsparse.auditing.cells import CellTable, Units, drawn_together
from fairsparse.auditing.engine import Audit, audit_codes
from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.findings import FINDINGS, LOST_MORE, Adjustment
from fairsparse.fairness.inference.design import Sample
from fairsparse.fairness.inference.estimates import ROLES
from fairsparse.fairness.inference.multiplicity import holm
from fairsparse.fairness.inference.paired import mcnemar
from fairsparse.fairness.measure.counts import Counts
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import evaluate
from fairsparse.fairness.measure.metrics import METRICS

SPREAD = 1.7
"""Of the chances within a cell: the sum of their Beta distribution's parameters."""
CHANGED = FINDINGS[:4]
"""Findings that say that something changed."""


@dataclass(frozen=True)
class Case:
    """Cells of a simulated test split: examples and both models' accuracy, by class and group."""

    name: str
    sizes: np.ndarray  # (C, G)
    rates: np.ndarray  # (2, C, G)
    cluster: int = 1  # examples of a person
    weighted: bool = False  # half of the examples count three times, and are harder

    @property
    def null(self) -> bool:
        """Whether nothing changed."""
        return bool((self.rates[0] == self.rates[1]).all())


def case(name: str, sizes: Any, before: Any, after: Any = None, **more: Any) -> Case:
    """A case of as many classes and groups as sizes and accuracies (C, G) make together."""
    first = np.asarray(before, float)
    second = first if after is None else np.asarray(after, float)
    shape = np.broadcast_shapes(np.shape(sizes), first.shape, second.shape)
    rates = np.stack([np.broadcast_to(x, shape) for x in (first, second)])
    return Case(name, np.broadcast_to(np.asarray(sizes), shape), rates, **more)


def _harmed(cells: int, rate: float, loss: float) -> np.ndarray:
    rates = np.full((cells, 1), rate)
    rates[-1] -= loss
    return rates


CASES = {
    one.name: one
    for one in (
        case("2 classes x 2 groups alike", 250, np.full((2, 2), 0.85)),
        case("groups of 9,000, 800 and 200", [[4500, 400, 100]] * 2, [[0.97, 0.9, 0.7]] * 2),
        case("groups of 4,800 and 200", [[2400, 100]] * 2, [[0.99, 0.6]] * 2),
        case("10 classes from .97 to .70", 1000, np.linspace(0.97, 0.7, 10)[:, None]),
        case("10 classes at .5", 200, np.full((10, 1), 0.5)),
        case("4 groups at .999", 500, np.full((2, 4), 0.999)),
        case("24 groups", 60, [np.linspace(0.95, 0.75, 24)] * 2),
        case("20 classes, one falls", 100, _harmed(20, 0.9, 0), _harmed(20, 0.9, 0.3)),
        case("100 classes, one falls", 100, _harmed(100, 0.9, 0), _harmed(100, 0.9, 0.3)),
        case(
            "groups of 90, 8 and 2 %, one falls",
            [[1350, 120, 30]] * 2,
            [[0.9, 0.85, 0.85]] * 2,
            [[0.89, 0.84, 0.6]] * 2,
        ),
        case("clusters of 3", [[750, 300]] * 2, [[0.9, 0.8]] * 2, cluster=3),
        case("clusters of 10", [[1750, 750]] * 2, [[0.9, 0.8]] * 2, cluster=10),
        case("weights", [[900, 300]] * 2, [[0.9, 0.8]] * 2, weighted=True),
    )
}
POWER_SIZES = (100, 300, 1000)
HARMS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2)
CHURN = 0.12
"""Share of the examples that flip, in the audits of which power is told."""


@dataclass(frozen=True)
class Split:
    """A simulated test split: both models' predictions, and what an audit takes."""

    first: np.ndarray
    second: np.ndarray
    examples: Examples


def draw(of: Case, rng: np.random.Generator) -> Split:
    """A test split of a case."""
    classes, groups = of.sizes.shape
    cell = np.repeat(np.arange(of.sizes.size), of.sizes.ravel())
    person = np.arange(len(cell)) // of.cluster  # of one cell each: sizes are multiples, or nearly
    y, group = cell // groups, cell % groups
    right = []
    weight = np.where(rng.random(len(cell)) < 0.5, 3.0, 1.0) if of.weighted else np.ones(len(cell))
    shift = 0.05 * (2 - weight) * of.weighted  # the mean of half at a weight of 1, half of 3: -.025
    base = rng.uniform(size=len(cell))[person]
    for rates in of.rates:
        mean = np.clip(rates.ravel()[cell] + shift, 0, 1)
        right.append(rng.random(len(cell)) < _chances(mean, base))
    wrong = (y + rng.integers(1, max(2, classes), len(cell))) % classes
    models = [np.where(r, y, wrong) for r in right]
    names = tuple(map(str, range(groups)))
    attributes = {"group": (group, names)} if groups > 1 else {}
    sampled = of.cluster > 1 or of.weighted
    sample = Sample(person, weight) if sampled else None
    examples = Examples(y, tuple(map(str, range(classes))), attributes, sample)
    return Split(models[0], models[1], examples)


def _chances(mean: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The quantiles of a distribution on two points that has that mean, and a Beta's variance."""
    spread = np.sqrt(mean * (1 - mean) / (SPREAD + 1))
    # as far above the mean as below it where that fits, else as far as a chance can be
    above = np.minimum(spread, 1 - mean)
    below = np.divide(spread**2, above, out=np.zeros_like(mean), where=above > 0)
    share = np.divide(below, above + below, out=np.ones_like(mean), where=above > 0)
    return np.where(uniform < share, mean + above, mean - below)


def truth(of: Case) -> dict[str, float]:
    """The measures of the rates themselves, from counts so large that they are the rates."""
    sizes = of.sizes / of.sizes.sum() * 1e9
    counts = []
    for rates in of.rates:
        n = sizes.T
        correct = (rates - 0.025 * of.weighted).T * n
        errors = (n - correct) / max(1, len(of.sizes) - 1)
        predicted = correct + errors.sum(-1, keepdims=True) - errors
        counts.append(Counts(n, correct, predicted, n.shape[0] if n.shape[0] > 1 else 0))
    values = [evaluate(METRICS, c) for c in counts]
    expected = {
        f"{role} {m}": float(v[m]) for role, v in zip(ROLES, values, strict=True) for m in v
    }
    expected |= {f"change {m}": float(values[1][m] - values[0][m]) for m in values[0]}
    return expected | {m: float(v) for m, v in evaluate(DEGRADATIONS, *counts).items()}


def coverage(name: str, draws: int, resamples: int) -> dict[str, Any]:
    """Share of draws whose interval holds the truth, its width against an oracle's, and alarms."""
    of = CASES[name]
    expected = truth(of)
    ends: dict[str, list[tuple[float, float, float]]] = {}
    hows: dict[str, set[str]] = {}
    alarms = 0
    for seed in range(draws):
        split = draw(of, np.random.default_rng([seed, 1]))
        audit = _audit(split, Settings(resamples=resamples, seed=seed))
        alarms += bool(_changed(audit))
        for attribute, contrast in audit.contrasts["candidate"].items():
            groups = attribute == "group"
            for key, one in contrast.estimates.items():
                metric = DEGRADATIONS[key] if key in DEGRADATIONS else METRICS[key.split()[1]]
                # where there are groups, classes do not stand in for them
                if (metric.cells not in ("all", "class")) != groups and of.sizes.shape[1] > 1:
                    continue
                ends.setdefault(key, []).append((one["low"], one["value"], one["high"]))
                hows.setdefault(key, set()).add(one["how"])
    rows = [
        {"of": key, **_covers(np.array(ends[key]), expected[key]), "how": sorted(hows[key])}
        for key in ends
        if key in expected and not np.isnan(expected[key])
    ]
    result: dict[str, Any] = {"case": name, "draws": draws, "intervals": rows}
    return result | ({"false alarms": round(alarms / draws, 4)} if of.null else {})


def _covers(ends: np.ndarray, expected: float) -> dict[str, Any]:
    low, value, high = ends.T
    defined = ~np.isnan(low)
    if not defined.any():
        return {"covered": None, "width": None}
    inside = (low[defined] - 1e-9 <= expected) & (expected <= high[defined] + 1e-9)
    oracle = 3.92 * np.nanstd(value)
    width = float(np.median(high[defined] - low[defined]) / oracle) if oracle > 0 else None
    return {
        "covered": round(float(inside.mean()), 4),
        "width": None if width is None else round(width, 2),
    }


def _audit(split: Split, settings: Settings) -> Audit:
    return audit_codes(split.first, {"candidate": split.second}, split.examples, settings)


def _changed(audit: Audit) -> bool:
    cells = audit.cells["finding"].isin(CHANGED).any()
    return bool(cells or (audit.measures["p_adjusted"] < audit.settings.alpha).any())


def cells(name: str, draws: int) -> dict[str, Any]:
    """Of drops and excess drops: coverage one at a time, of all bands at once, and alarms."""
    of, settings = CASES[name], Settings()
    sizes = {"low": [], "excess_low": []}  # type: ignore[var-annotated]
    alarms = outside = told = wrong = 0
    for seed in range(draws):
        split = draw(of, np.random.default_rng([seed, 2]))
        table = _cells(split, settings, seed)
        drop, excess = _true_drops(of, table["attribute"])
        tested = table["p"].notna().to_numpy()
        for start, true in (("", drop), ("excess_", excess)):
            low, high = (table[f"{start}{end}"].to_numpy()[tested] for end in ("low", "high"))
            true = true[tested]
            sizes[f"{start}low"].append(((low - 1e-9 <= true) & (true <= high + 1e-9)).mean())
        band = table[tested]
        miss = (band["band_low"] - 1e-9 > drop[tested]) | (band["band_high"] + 1e-9 < drop[tested])
        miss |= band["excess_band_low"] - 1e-9 > excess[tested]
        miss |= band["excess_band_high"] + 1e-9 < excess[tested]
        outside += bool(miss.any())
        alarms += bool(table["finding"].isin(CHANGED).any())
        safe = table["finding"].to_numpy() == "no worse"
        told, wrong = told + safe.sum(), wrong + bool((drop[safe] >= settings.margin).any())
    return {
        "case": name,
        "draws": draws,
        "drops covered": round(float(np.mean(sizes["low"])), 4),
        "excess drops covered": round(float(np.mean(sizes["excess_low"])), 4),
        "some band misses": round(outside / draws, 4),
        "false alarms": round(alarms / draws, 4) if of.null else None,
        "no worse, wrongly": round(wrong / draws, 4),
    }


def _cells(split: Split, settings: Settings, seed: int) -> Any:
    """The cells of an audit without its measures, which take most of the time."""
    examples = split.examples
    right = [p == examples.y for p in (split.first, split.second)]
    units = Units.of(examples, examples.crossed(settings.depth), right)
    table = CellTable.of(units, 1, settings.least)
    tested = table.frame["n"].to_numpy() >= settings.least
    drawn = drawn_together(units, 1, tested, seed)
    return Adjustment([table], *drawn, replace(settings, seed=seed)).adjust([])[0]


def _true_drops(of: Case, kinds: Any) -> tuple[np.ndarray, np.ndarray]:
    """True drops and excess drops of all cells, in the order of an audit."""
    drop = of.rates[0] - of.rates[1]
    share = of.sizes / of.sizes.sum()
    overall = (drop * share).sum()
    by_class = (drop * of.sizes).sum(1) / of.sizes.sum(1)
    by_group = (drop * of.sizes).sum(0) / of.sizes.sum(0)
    parts = [by_class, by_group, drop.ravel()] if drop.shape[1] > 1 else [by_class]
    drops = np.concatenate(parts)
    assert len(drops) == len(kinds)
    return drops, drops - overall


def power(harm: float, n: int, draws: int) -> dict[str, Any]:
    """How often audits of 4 groups of `n`, 3 classes, find the one that lost, and anything at all.

    As often beside it, McNemar's test of each group with Holm's adjustment over the four.
    """
    hits = dict.fromkeys(("anything", "found", "more", "asked first", "McNemar and Holm"), 0)
    for seed in range(draws):
        split = _harm(harm, n, np.random.default_rng([seed, n, round(1000 * harm)]))
        plain, asked = (
            _cells(split, Settings(primary=primary), seed) for primary in (None, "group")
        )
        mine = (plain["attribute"] == "group") & (plain["cell"] == "3")
        hits["anything"] += bool(plain["finding"].isin(CHANGED).any())
        hits["found"] += bool(plain["finding"][mine].isin((LOST_MORE, "lost")).any())
        hits["more"] += bool((plain["finding"][mine] == LOST_MORE).any())
        hits["asked first"] += bool(asked["finding"][mine].isin((LOST_MORE, "lost")).any())
        group = split.examples.attributes["group"][0]
        right = [p == split.examples.y for p in (split.first, split.second)]
        lost, gained = (np.bincount(group[a & ~b], minlength=4) for a, b in (right, right[::-1]))
        hits["McNemar and Holm"] += bool(holm(mcnemar(lost, gained))[3] < 0.05)
    return {"harm": harm, "n": n, "draws": draws, **{k: v / draws for k, v in hits.items()}}


def _harm(harm: float, n: int, rng: np.random.Generator) -> Split:
    group = np.repeat(np.arange(4), n)
    y, right = rng.integers(0, 3, 4 * n), rng.random(4 * n) < 0.85
    churn = max(CHURN, harm)
    lost = (churn + harm * (group == 3)) / 2 / 0.85
    gained = (churn - harm * (group == 3)) / 2 / 0.15
    after = np.where(right, rng.random(4 * n) >= lost, rng.random(4 * n) < gained)
    models = [np.where(r, y, (y + 1) % 3) for r in (right, after)]
    names = tuple("0123")
    return Split(models[0], models[1], Examples(y, names[:3], {"group": (group, names)}))


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--draws", type=int, default=300, help="whole audits of each case")
    parser.add_argument("--cells", type=int, default=2000, help="audits of cells alone")
    parser.add_argument("--audits", type=int, default=400, help="of each size and loss")
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--power", action="store_true", help="how often losses are found, alone")


def main(args: Namespace) -> None:
    """Run all simulations on all processors and write the result."""
    stored = load("coverage") if args.power else {}
    with ProcessPoolExecutor(args.jobs) as pool:
        for name, rows in _plan(args, pool):
            began = time.time()
            stored[name] = list(rows)
            stored[f"seconds of {name}"] = round(time.time() - began)
            for row in stored[name]:
                print({k: v for k, v in row.items() if k != "intervals"}, flush=True)
    stored |= {"resamples": args.resamples, "versions": versions("numpy", "scipy")}
    store("coverage", stored)


def _plan(args: Namespace, pool: ProcessPoolExecutor) -> Iterator[tuple[str, Iterator[Any]]]:
    if not args.power:
        yield "cells", pool.map(partial(cells, draws=args.cells), CASES)
        whole = partial(coverage, draws=args.draws, resamples=args.resamples)
        yield "coverage", pool.map(whole, CASES)
    curve = [(harm, n) for n in POWER_SIZES for harm in HARMS]
    yield "power", pool.map(partial(power, draws=args.audits), *zip(*curve, strict=True))
