"""Two checkouts have a process each and audit the same arrays in turn, so whatever else the machine
does meets both. Two attributes of three and five groups, one candidate, default settings. The
medians go to `results/audit-speed.json`, which RESULTS.md shows. The ratio of processor seconds
counts all threads, that of seconds what one waits for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def arrays(n: int, classes: int) -> tuple[np.ndarray, ...]:
    """Predictions of reference and candidate, true classes, and groups by two attributes."""
    rng = np.random.default_rng(0)
    y, sex, age = (rng.integers(0, k, n) for k in (classes, 3, 5))

    def predict(rate: float) -> np.ndarray:
        wrong = rng.random(n) < rate + 0.02 * sex
        return np.where(wrong, (y + rng.integers(1, classes, n)) % classes, y)

    return predict(0.1), predict(0.15), y, sex, age


def work(n: int, classes: int) -> None:
    """Audit once for every line of standard input; print seconds and processor seconds."""
    from fairsparse import audit

    reference, candidate, y, sex, age = arrays(n, classes)
    for _ in sys.stdin:
        began, spent = time.perf_counter(), time.process_time()
        audit(reference, candidate, y, groups={"sex": sex, "age": age})
        print(time.perf_counter() - began, time.process_time() - spent, flush=True)


def measure(base: Path, tree: Path, n: int, classes: int, repeats: int) -> dict[str, float]:
    """Medians of both trees, and the median of their ratios, turn by turn."""
    command = [sys.executable, __file__, str(n), str(classes)]
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(folder / "src")},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for folder in (base, tree)
    ]
    turns = np.array([[_once(worker) for worker in workers] for _ in range(repeats + 1)])[1:]
    for worker in workers:
        worker.communicate()
    before, after = turns[:, 0], turns[:, 1]  # (repeats, 2), without the turn that warms
    seconds, spent = np.median(after / before, axis=0)
    return {
        "seconds before": round(float(np.median(before[:, 0])), 3),
        "seconds": round(float(np.median(after[:, 0])), 3),
        "ratio": round(float(seconds), 2),
        "ratio of processor seconds": round(float(spent), 2),
    }


def _once(worker: subprocess.Popen[str]) -> list[float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("once\n")
    worker.stdin.flush()
    return [float(value) for value in worker.stdout.readline().split()]


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--base", type=Path, required=True, help="the checkout to compare with")
    parser.add_argument("--tree", type=Path, default=HERE.parent, help="by default, this one")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--repeats", type=int, default=9)


def main(args: Namespace) -> None:
    """Measure, print, and store."""
    from benchmarks.measure import versions
    from benchmarks.records import store

    base, tree = args.base.resolve(), args.tree.resolve()
    result = {"rows": args.rows, "attributes": 2, "repeats": args.repeats}
    for c in args.classes:
        result[f"{c} classes"] = measure(base, tree, args.rows, c, args.repeats)
    result |= {"processors": os.cpu_count(), "versions": versions("numpy", "scipy", "pandas")}
    store("audit-speed", result)
    print(result)


if __name__ == "__main__":
    work(*(int(word) for word in sys.argv[1:]))
