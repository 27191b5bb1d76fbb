"""Time of the bootstrap intervals, and the ratio to fairlearn's on a size that it can finish.

    python benchmarks/bootstrap.py

The predictions are a hard case: errors fall uniformly on all classes, so few combinations repeat.
Both sides of the ratio have the same predictions, the same number of resamples and two classes;
fairlearn is asked for the four rates by group, fairsparse computes all its metrics of one model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fairsparse.fairness.estimates import estimate
from fairsparse.fairness.outcomes import Outcomes

RESULT = Path(__file__).parent / "results" / "bootstrap.json"


def simulate(n: int, classes: int, groups: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return reference (80 % right) and candidate (fewer), true classes and groups, each (n,)."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(0, classes, n), rng.integers(0, groups, n)

    def predict(base: np.ndarray, changed: float) -> np.ndarray:
        return np.where(rng.random(n) < changed, rng.integers(0, classes, n), base)

    reference = predict(y, 0.2)
    return reference, predict(reference, 0.05), y, group


def seconds(task: Callable[[], Any], repeats: int = 1) -> float:
    """Return the shortest of `repeats` runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return min(times)


def fairlearn_bootstrap(
    predicted: np.ndarray, y: np.ndarray, group: np.ndarray, resamples: int
) -> None:
    """Bootstrap accuracy, selection rate, and true and false positive rate by group."""
    from fairlearn import metrics
    from sklearn.metrics import accuracy_score

    rates = {
        "accuracy": accuracy_score,
        "selection_rate": metrics.selection_rate,
        "true_positive_rate": metrics.true_positive_rate,
        "false_positive_rate": metrics.false_positive_rate,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = metrics.MetricFrame(
            metrics=rates,
            y_true=y,
            y_pred=predicted,
            sensitive_features=group,
            n_boot=resamples,
            ci_quantiles=[0.025, 0.975],
            random_state=0,
        )
        frame.difference_ci()


def main() -> None:
    """Run both parts, print them and write them to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--fairlearn-examples", type=int, default=20_000)
    parser.add_argument("--fairlearn-resamples", type=int, default=100)
    args = parser.parse_args()

    names = [str(c) for c in range(args.classes)], [str(g) for g in range(args.groups)]
    data = simulate(args.examples, args.classes, args.groups)
    options = {"resamples": args.resamples}
    facts = (*data[2:], *names)
    one = seconds(lambda: estimate(Outcomes.of(data[:1], *facts), **options), repeats=3)
    two = seconds(lambda: estimate(Outcomes.of(data[:2], *facts), **options), repeats=3)

    size, resamples = args.fairlearn_examples, args.fairlearn_resamples
    predicted, _, y, group = simulate(size, 2, args.groups)
    binary = ("no", "yes"), names[1]

    def ours() -> Any:
        return estimate(Outcomes.of([predicted], y, group, *binary), resamples=resamples)

    fast = seconds(ours, repeats=3)
    theirs = seconds(lambda: fairlearn_bootstrap(predicted, y, group, resamples))

    result = {
        "examples": args.examples,
        "classes": args.classes,
        "groups": args.groups,
        "resamples": args.resamples,
        "distinct_pairs": len(np.unique(np.stack(data), axis=1).T),
        "seconds_one_model": round(one, 3),
        "seconds_paired_comparison": round(two, 3),
        "against_fairlearn": {
            "examples": size,
            "classes": 2,
            "groups": args.groups,
            "resamples": resamples,
            "fairlearn_seconds": round(theirs, 3),
            "fairsparse_seconds": round(fast, 4),
            "ratio": round(theirs / fast),
        },
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in ("numpy", "scipy", "fairlearn")}
        | {"python": platform.python_version()},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
