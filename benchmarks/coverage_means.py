"""How often intervals of overconfidence and of heat maps' correlations hold what is true.

Simulated, seeded, as in `coverage`: confidence of two models with known overconfidence in four
groups, and correlations that are skewed as those of heat maps are. Writes
`results/coverage_means.json`, which RESULTS.md shows.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import Any

import numpy as np

from benchmarks.records import store
from fairsparse.explain.agreement import weighted_mean
from fairsparse.fairness.inference import calibration

GROUPS = 4
CHANGES = {
    "nothing changed": (0.0, 0.0),
    "surer by 3 points": (0.0, 0.03),
    "one group loses 15 points": (0.15, 0.0),
}
"""Accuracy that the first group loses, and confidence that everybody gains."""
# the mean of 1 - Gamma, of a mixture, of tanh of a normal, and of a uniform
SHAPES = {
    "mostly near 1": lambda rng, n: np.clip(1 - rng.gamma(0.7, 0.15, n), -1, 1),
    "a tenth near 0": lambda rng, n: np.where(
        rng.random(n) < 0.1, rng.normal(0, 0.1, n), rng.normal(0.9, 0.05, n)
    ),
    "around a half": lambda rng, n: np.tanh(rng.normal(0.6, 0.5, n)),
    "anything": lambda rng, n: rng.uniform(-1, 1, n),
}


def people(n: int, lost: float, surer: float, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Confidence (2, N) and rates of being right (2, N) of two models, and groups."""
    group = np.repeat(np.arange(GROUPS), n)
    rate = rng.beta(6, 1.5, n * GROUPS)
    after = np.clip(rate + rng.normal(0, 0.05, n * GROUPS), 0, 1)
    sure = np.clip(rate + 0.05, 0, 1)
    later = np.clip(sure + surer + rng.normal(0, 0.03, n * GROUPS), 0, 1)
    return (
        np.stack([sure, later]),
        np.stack([rate, np.clip(after - lost * (group == 0), 0, 1)]),
        group,
    )


def calibrated(case: str, n: int, draws: int) -> dict[str, Any]:
    """Coverage of overconfidence, its change, its range and that range's change; false alarms."""
    lost, surer = CHANGES[case]
    confidence, rates, group = people(200_000, lost, surer, np.random.default_rng(999))
    over = confidence - rates
    truth = np.stack([over[:, group == g].mean(1) for g in range(GROUPS)], axis=1)
    gaps = calibration.gap(truth)
    inside: dict[str, list[float]] = {}
    for seed in range(draws):
        rng = np.random.default_rng([seed, n])
        confidence, rates, group = people(n, lost, surer, rng)
        luck = rng.random(len(group))
        again = np.where(rng.random(len(group)) < 0.8, luck, rng.random(len(group)))
        correct = np.stack([luck, again]) < rates
        s = calibration.cell_sums(confidence, correct, group, GROUPS)
        for name, (low, high), value in (
            ("overconfidence of a group", calibration.overconfidence(s, 1), truth[1]),
            ("its change", calibration.change(s), truth[1] - truth[0]),
            ("calibration gap", calibration.gap_bounds(s, 1), gaps[1]),
            ("change of the gap", calibration.gap_change(s), gaps[1] - gaps[0]),
        ):
            inside.setdefault(name, []).append(float(((low <= value) & (value <= high)).mean()))
        if not lost and not surer:
            p, (low, high) = calibration.change_test(s), calibration.gap_change(s)
            inside.setdefault("test of a change: false alarms", []).append(float((p < 0.05).mean()))
            inside.setdefault("test of the gap: false alarms", []).append(
                float(low > 0 or high < 0)
            )
    return {"case": case, "n": n, **{k: round(float(np.mean(v)), 4) for k, v in inside.items()}}


def alike(shape: str, n: int, draws: int) -> dict[str, Any]:
    """Coverage of the mean of skewed correlations."""
    draw = SHAPES[shape]
    truth = draw(np.random.default_rng(999), 4_000_000).mean()
    hits = 0
    for seed in range(draws):
        rng = np.random.default_rng([seed, n])
        mean = weighted_mean(draw(rng, n), np.ones(n), 1000, rng)
        hits += mean.low <= truth <= mean.high
    return {"case": shape, "n": n, "mean correlation": round(float(hits) / draws, 4)}


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--draws", type=int, default=1000)


def main(args: Namespace) -> None:
    """Simulate everything and write the result."""
    began = time.time()
    result = {
        "draws": args.draws,
        "calibration": [calibrated(c, n, args.draws) for c in CHANGES for n in (30, 100, 1000)],
        "maps": [alike(s, n, args.draws) for s in SHAPES for n in (10, 20, 50, 200)],
    }
    result["seconds"] = round(time.time() - began)
    store("coverage_means", result)
    for row in (*result["calibration"], *result["maps"]):
        print(row)
