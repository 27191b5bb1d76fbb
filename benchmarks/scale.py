"""Time and memory of an audit of ten million predictions, and the ratio to resampling rows.

Writes two Parquet files and one of groups to a temporary folder, then audits them in a process of
its own, whose peak memory is measured: a thousand classes, sixty-four groups, two thousand
resamples, on two processors or whatever there are. The ratio is to a bootstrap of rows of the same
measures, on a size that both finish. Writes `results/scale.json`, which RESULTS.md shows.

`--csv-gib` writes two CSV files of scores, each of that size, and audits them with the command
`fairsparse audit`: its seconds and peak resident memory join that file, the rest of it stays.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from benchmarks.measure import alone, peak_gib, simulate, versions
from benchmarks.records import load, store
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.inputs.join import audit_files
from fairsparse.fairness.inference.estimates import estimate
from fairsparse.fairness.measure.metric import evaluate
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Confusion, Outcomes
from fairsparse.report.audit.page import write

CLASSES, REGIONS, BANDS = 20, 8, 3
"""Of the CSV files: classes, and groups by two attributes."""
PIECE = 200_000


def prepare(folder: Path, n: int, classes: int, groups: int) -> None:
    """Write reference, candidate and groups, the candidate's rows in another order."""
    reference, candidate, y, group = simulate(n, classes, groups)
    ids = np.arange(n)
    order = np.random.default_rng(1).permutation(n)
    tables = {
        "reference": {"id": ids, "y": y, "prediction": reference},
        "candidate": {"id": ids[order], "prediction": candidate[order]},
        "groups": {"id": ids, "group": group},
    }
    for name, columns in tables.items():
        frame = pd.DataFrame({k: v.astype(np.int32) for k, v in columns.items()})
        frame.to_parquet(folder / f"{name}.parquet", index=False)


def audit_once(folder: Path, resamples: int) -> dict[str, Any]:
    """Audit and write the report: seconds and peak memory."""
    began = time.perf_counter()
    audit = audit_files(
        str(folder / "reference.parquet"),
        {"candidate": str(folder / "candidate.parquet")},
        str(folder / "groups.parquet"),
        settings=Settings(resamples=resamples),
    )
    computed = time.perf_counter()
    write(audit, folder / "audit")
    return {
        "seconds": round(computed - began, 1),
        "seconds_to_write_the_report": round(time.perf_counter() - computed, 1),
        "peak_GiB": peak_gib(),
        "cells": len(audit.cells),
        "tests": audit.tests,
    }


def ratio(n: int, resamples: int) -> dict[str, float]:
    """Seconds of both bootstraps of all measures of two models, ten classes and four groups."""
    rows = simulate(n, 10, 4)
    names = [str(c) for c in range(10)], [str(g) for g in range(4)]
    began = time.perf_counter()
    estimate(Outcomes.of(rows[:2], *rows[2:], *names), resamples=resamples)
    ours = time.perf_counter() - began
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(resamples):
        take = rng.integers(0, n, n)
        first, second, y, group = (a[take] for a in rows)
        for predicted in (first, second):
            evaluate(METRICS, Confusion.count(predicted, y, group, *names).counts)
    theirs = time.perf_counter() - began
    return {
        "examples": n,
        "resamples": resamples,
        "by_counts_seconds": round(ours, 2),
        "by_rows_seconds": round(theirs, 2),
        "ratio": round(theirs / ours, 1),
    }


def scores(y: np.ndarray, sure: float, rng: np.random.Generator) -> np.ndarray:
    """Probabilities (N, C) of a model that is the more often right the surer it is."""
    raw = rng.standard_exponential((len(y), CLASSES), dtype=np.float32)
    raw[np.arange(len(y)), y] += rng.exponential(sure, len(y))
    return np.round((raw / raw.sum(1, keepdims=True)).astype(float), 6)


def write_csv(folder: Path, size: int) -> int:
    """Write reference.csv (with y and groups) and candidate.csv, each of `size` bytes or more."""
    rng = np.random.default_rng(0)
    rows, places = 0, {name: folder / f"{name}.csv" for name in ("reference", "candidate")}
    with places["reference"].open("wb") as first, places["candidate"].open("wb") as second:
        while min(first.tell(), second.tell()) < size:
            y = rng.integers(0, CLASSES, PIECE)
            groups = {
                "region": rng.integers(0, REGIONS, PIECE),
                "band": rng.integers(0, BANDS, PIECE),
            }
            harmed = np.where(groups["region"] == REGIONS - 1, 3.0, 5.0)
            ids = {"id": np.arange(rows, rows + PIECE)}
            tables = (
                (first, {**ids, "y": y, **groups}, scores(y, 6.0, rng)),
                (second, ids, scores(y, harmed, rng)),
            )
            for file, columns, values in tables:
                every = {**columns, **{f"score_{c}": values[:, c] for c in range(CLASSES)}}
                options = pa.csv.WriteOptions(include_header=rows == 0)
                pa.csv.write_csv(pa.table(every), file, options)
            rows += PIECE
    return rows


def audit_csv(gib: float) -> dict[str, Any]:
    """Seconds and peak memory of `fairsparse audit` on CSV files of `gib` GiB each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = round(gib * 2**30)
        if shutil.disk_usage(folder).free < 3 * size:
            raise SystemExit(f"{folder} needs {3 * gib:g} GiB of free disk; set TMPDIR")
        rows = write_csv(folder, size)
        sizes = [(folder / f"{n}.csv").stat().st_size / 2**30 for n in ("reference", "candidate")]
        command = [sys.executable, "-m", "fairsparse", "audit", "--out", str(folder / "audit")]
        command += ["--reference", str(folder / "reference.csv")]
        command += ["--candidate", str(folder / "candidate.csv")]
        command += ["--group", "region", "--group", "band"]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        # this process has had no other child, so the peak of children is that of the audit
        peak = peak_gib(resource.RUSAGE_CHILDREN)
    return {
        "rows": rows,
        "classes": CLASSES,
        "groups": REGIONS * BANDS,
        "reference_GiB": round(sizes[0], 2),
        "candidate_GiB": round(sizes[1], 2),
        "seconds": round(seconds, 1),
        "peak_GiB": peak,
    }


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--examples", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--csv-gib", type=float, help="audit CSV files of this size instead")


def main(args: Namespace) -> None:
    """Run one part, print it and write it to benchmarks/results."""
    stored = load("scale")
    if args.csv_gib:
        result = {**stored, "csv": audit_csv(args.csv_gib)}
    else:
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name), args.examples, args.classes, args.groups)
            audited = alone(audit_once, Path(name), args.resamples)
        result = {
            "examples": args.examples,
            "classes": args.classes,
            "groups": args.groups,
            "resamples": args.resamples,
            **audited,
            "against_rows": ratio(200_000, 500),
            "versions": versions("numpy", "scipy", "pyarrow"),
        }
        result |= {"csv": stored["csv"]} if "csv" in stored else {}
    store("scale", result)
    print(json.dumps(result, indent=2))
