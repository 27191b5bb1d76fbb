"""Time of the bootstrap intervals, and the ratio to fairlearn's on a size that it can finish.

The predictions are a hard case: errors fall uniformly on all classes, so few combinations repeat.
Both sides of the ratio have the same predictions, the same number of resamples and two classes;
fairlearn is asked for the four rates by group, fairsparse computes all its metrics of one model.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import simulate, versions
from benchmarks.records import store
from fairsparse.fairness.inference.estimates import estimate
from fairsparse.fairness.measure.outcomes import Outcomes


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


def against_fairlearn(examples: int, groups: int, resamples: int) -> dict[str, Any]:
    """Seconds of both sides on predictions of two classes."""
    predicted, _, y, group = simulate(examples, 2, groups)
    names = ("no", "yes"), [str(g) for g in range(groups)]
    ours = seconds(
        lambda: estimate(Outcomes.of([predicted], y, group, *names), resamples=resamples),
        repeats=3,
    )
    theirs = seconds(lambda: fairlearn_bootstrap(predicted, y, group, resamples))
    return {
        "examples": examples,
        "classes": 2,
        "groups": groups,
        "resamples": resamples,
        "fairlearn_seconds": round(theirs, 3),
        "fairsparse_seconds": round(ours, 4),
        "ratio": round(theirs / ours),
    }


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--fairlearn-examples", type=int, default=20_000)
    parser.add_argument("--fairlearn-resamples", type=int, default=100)


def main(args: Namespace) -> None:
    """Run both parts, print them and write them to benchmarks/results."""
    names = [str(c) for c in range(args.classes)], [str(g) for g in range(args.groups)]
    data = simulate(args.examples, args.classes, args.groups)
    options = {"resamples": args.resamples}
    facts = (*data[2:], *names)
    one = seconds(lambda: estimate(Outcomes.of(data[:1], *facts), **options), repeats=3)
    two = seconds(lambda: estimate(Outcomes.of(data[:2], *facts), **options), repeats=3)
    result = {
        "examples": args.examples,
        "classes": args.classes,
        "groups": args.groups,
        "resamples": args.resamples,
        "distinct_pairs": len(np.unique(np.stack(data), axis=1).T),
        "seconds_one_model": round(one, 3),
        "seconds_paired_comparison": round(two, 3),
        "against_fairlearn": against_fairlearn(
            args.fairlearn_examples, args.groups, args.fairlearn_resamples
        ),
        "cpus": os.cpu_count(),
        "versions": versions("numpy", "scipy", "fairlearn"),
    }
    store("bootstrap", result)
    print(json.dumps(result, indent=2))
