"""Audits of real runs: dense against magnitude-pruned and Ballot-pruned networks.

The networks are those of `sets`, and with the same WORK its trainings are taken, not repeated.
Of the first seed the audit is written to `WORK/audits/SET`, with exemplars over all seeds where
there are several; `results/audits.json` keeps what RESULTS.md shows. Nothing is tuned.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from benchmarks.plans import sets
from benchmarks.plans.base import configuration
from benchmarks.records import load, store
from benchmarks.runs import run_one

SETS = ("utkface", "lfw", "cifar-100")
RESAMPLES = 2000


def audited(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """Train what is missing of a set, audit it, and return what is kept."""
    from fairsparse.auditing.examples import Settings
    from fairsparse.auditing.inputs.join import audit_files
    from fairsparse.report.audit.page import write

    places: dict[str, list[str]] = {method: [] for method in sets.AUDITED}
    task: Any = None
    for seed in range(sets.SETS[name]["seeds"]):
        for method, settings in sets.AUDITED.items():
            plain = configuration(sets.SETS[name], settings, sets.SPARSITY, seed)
            result, task = run_one(plain, data, folder)
            place = folder / "audits" / name / f"{method}-seed{seed}"
            places[method].append(str(result.save(place)))
    began = time.perf_counter()
    first = {method: paths[0] for method, paths in places.items()}
    audit = audit_files(f"{first['ballot']}:dense", first, settings=Settings(resamples=RESAMPLES))
    took = time.perf_counter() - began
    write(audit, folder / "audits" / name / "audit")
    several = {method: paths for method, paths in places.items() if len(paths) > 1}
    return {
        "n": audit.n,
        "tests": audit.tests,
        "seconds": round(took, 1),
        "candidates": {method: _candidate(audit, method) for method in audit.candidates},
        "exemplars": {
            method: _exemplars(paths, task, folder / "audits" / name / f"exemplars-{method}")
            for method, paths in several.items()
        },
    }


def _candidate(audit: Any, method: str) -> dict[str, Any]:
    cells, measures, overall, sure = (
        frame[frame["candidate_name"] == method]
        for frame in (audit.cells, audit.measures, audit.overall, audit.calibration)
    )
    tested = cells[cells["excess_p"].notna()]
    worst = tested.loc[tested["excess_drop"].idxmax()]
    accuracy = measures[measures["measure"] == "accuracy"].iloc[0]
    changed = measures[(measures["p_adjusted"] < 0.05) & (measures["measure"] != "accuracy")]
    return {
        "accuracy": [float(accuracy[k]) for k in ("reference", "candidate")],
        "change": [float(accuracy[k]) for k in ("change", "change_low", "change_high")],
        "churn": float(overall["churn"].iloc[0]),
        "findings": {k: int(v) for k, v in cells["finding"].value_counts().items()},
        "worst": f"{worst['attribute']}: {worst['cell']}",
        "worst_n": int(worst["n"]),
        "worst_excess": [float(worst[k]) for k in ("excess_drop", "excess_low", "excess_high")],
        "worst_p": float(worst["excess_p_adjusted"]),
        "changed": [f"{r['measure']} ({r['attribute']})" for _, r in changed.iterrows()],
        "overconfidence": [float(sure[k].iloc[0]) for k in ("reference", "candidate")],
    }


def _exemplars(paths: list[str], task: Any, folder: Path) -> dict[str, Any]:
    from fairsparse.auditing.exemplars import exemplars_codes
    from fairsparse.auditing.inputs.examples_of import of_task
    from fairsparse.auditing.inputs.join import join
    from fairsparse.report.exemplars import ExemplarReport, write

    n = len(paths)
    dense = {f"dense {i}": f"{path}:dense" for i, path in enumerate(paths)}
    joined = join({**dense, **{f"pruned {i}": path for i, path in enumerate(paths)}})
    codes = list(joined.predicted.values())
    exemplars = exemplars_codes(codes[:n], codes[n:], joined.examples)
    report = ExemplarReport(exemplars, n, n, joined.labels, of_task(task).viewer(joined.rows))
    write(report, folder)
    cells = exemplars.cells[exemplars.cells["n"] >= 30]
    most = cells.loc[cells["share"].idxmax()]
    return {
        "share": float(exemplars.examples["modal"].mean()),
        "most": f"{most['attribute']}: {most['cell']}",
        "most_share": float(most["share"]),
        "most_p": float(most["p_adjusted"]),
    }


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/sets"))
    parser.add_argument("--only", nargs="+", default=SETS, choices=SETS)


def main(args: Namespace) -> None:
    """Audit each set and record it."""
    for name in args.only:
        kept = audited(name, args.data, args.work)
        store("audits", {**load("audits"), name: kept})
        print(name, json.dumps(kept, indent=2), flush=True)
