"""Audits of real runs: dense against magnitude-pruned and Ballot-pruned networks.

    python benchmarks/audits.py --data DATA --work WORK [--only utkface]

The networks are those of `sets.py`, and with the same WORK its trainings are taken, not repeated.
Of the first seed the audit is written to `WORK/audits/SET`, with exemplars over all seeds where
there are several; `results/audits.json` keeps what RESULTS.md shows. Nothing is tuned.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import sets
from settings import settings_text
from study import run_one
from tables import table_text

RESULT = Path(__file__).resolve().parent / "results" / "audits.json"
SETS = ("utkface", "lfw", "cifar-100")
CANDIDATES: dict[str, dict[str, Any]] = {
    "magnitude": {"name": "magnitude"},
    "ballot": sets.METHODS["ballot"],
}
RESAMPLES = 2000


def audited(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """Train what is missing of a set, audit it, and return what is kept."""
    from fairsparse.auditing.audit_report import write
    from fairsparse.auditing.examples import Settings
    from fairsparse.auditing.join import audit_files

    places: dict[str, list[str]] = {method: [] for method in CANDIDATES}
    task: Any = None
    for seed in range(sets.SETS[name]["seeds"]):
        for method, given in CANDIDATES.items():
            plain = {**sets.configuration(name, "lth", seed), "methods": [given]}
            result, task = run_one(plain, data, folder)
            place = folder / "audits" / name / f"{method}-seed{seed}"
            places[method].append(str(result.save(place)))
    began = time.perf_counter()
    first = {method: paths[0] for method, paths in places.items()}
    found = audit_files(f"{first['ballot']}:dense", first, settings=Settings(resamples=RESAMPLES))
    took = time.perf_counter() - began
    write(found, folder / "audits" / name / "audit")
    several = {method: paths for method, paths in places.items() if len(paths) > 1}
    return {
        "n": found.n,
        "tests": found.tests,
        "seconds": round(took, 1),
        "candidates": {method: _candidate(found, method) for method in found.candidates},
        "exemplars": {
            method: _exemplars(paths, task, folder / "audits" / name / f"exemplars-{method}")
            for method, paths in several.items()
        },
    }


def _candidate(found: Any, method: str) -> dict[str, Any]:
    cells, measures, overall, sure = (
        frame[frame["candidate_name"] == method]
        for frame in (found.cells, found.measures, found.overall, found.calibration)
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
    from fairsparse.auditing.exemplars_report import Found, write
    from fairsparse.auditing.inputs import of_task
    from fairsparse.auditing.join import join

    n = len(paths)
    dense = {f"dense {i}": f"{path}:dense" for i, path in enumerate(paths)}
    joined = join({**dense, **{f"pruned {i}": path for i, path in enumerate(paths)}})
    codes = list(joined.predicted.values())
    found = exemplars_codes(codes[:n], codes[n:], joined.examples)
    write(Found(found, n, n, joined.labels, of_task(task).shown(joined.rows)), folder)
    cells = found.cells[found.cells["n"] >= 30]
    most = cells.loc[cells["share"].idxmax()]
    return {
        "share": float(found.examples["modal"].mean()),
        "most": f"{most['attribute']}: {most['cell']}",
        "most_share": float(most["share"]),
        "most_p": float(most["p_adjusted"]),
    }


def _cell(name: str) -> str:
    return name.replace("|", "\\|")  # which would end a column


def sections() -> list[str]:
    """What RESULTS.md says of them."""
    if not RESULT.exists():
        return []
    rows, examples = [], []
    for name, kept in json.loads(RESULT.read_text()).items():
        for method, c in kept["candidates"].items():
            low, high = (100 * v for v in c["change"][1:])
            few, many = (100 * v for v in c["worst_excess"][1:])
            counted = c["findings"]
            excess = f"{100 * c['worst_excess'][0]:.1f} ({few:.1f} to {many:.1f})"
            rows.append(
                [
                    name,
                    method,
                    f"{kept['n']:,}",
                    f"{100 * c['accuracy'][0]:.1f} to {100 * c['accuracy'][1]:.1f}",
                    f"{100 * c['change'][0]:+.1f} ({low:+.1f} to {high:+.1f})",
                    f"{100 * c['churn']:.1f}",
                    f"{counted.get('lost more than others', 0)} of {sum(counted.values())}",
                    f"{_cell(c['worst'])} (n = {c['worst_n']})",
                    f"{excess}, p {c['worst_p']:.2g}",
                    ", ".join(c["changed"]) or "none",
                    " to ".join(f"{100 * v:+.1f}" for v in c["overconfidence"]),
                ]
            )
        for method, e in kept["exemplars"].items():
            examples.append(
                [
                    name,
                    method,
                    f"{100 * e['share']:.1f}",
                    f"{_cell(e['most'])}: {100 * e['most_share']:.1f}, p {e['most_p']:.2g}",
                ]
            )
    head = [
        "set", "candidate", "n", "accuracy", "change, points", "churn, %",
        "cells that lost more than others", "largest excess drop", "points, adjusted p",
        "measures of inequality that changed", "confidence less accuracy",
    ]  # fmt: skip
    settings = "; ".join(f"{name}: {settings_text(m)}" for name, m in CANDIDATES.items())
    parts = [
        "## Audits of real runs",
        "Written by `python benchmarks/audits.py`: dense networks of `sets.py` (seed 0) against"
        " magnitude pruning and Ballot, both at sparsity 0.9, by `fairsparse audit`. Settings"
        f" that are not the defaults: {settings}. Intervals are at 95 %, p-values adjusted over"
        " each audit.",
        table_text(head, rows),
    ]
    if examples:
        parts += [
            "Exemplars over three seeds: the share of test examples where most pruned networks"
            " predict what most dense ones do not, and the cell of 30 examples or more with the"
            " largest share.",
            table_text(["set", "candidate", "share, %", "most in"], examples),
        ]
    return parts


def main() -> None:
    """Audit each set and record it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/sets"))
    parser.add_argument("--only", action="append", default=[], choices=SETS)
    args = parser.parse_args()
    for name in args.only or SETS:
        kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        kept[name] = audited(name, args.data, args.work)
        RESULT.write_text(json.dumps(kept, indent=1) + "\n")
        print(name, json.dumps(kept[name], indent=1), flush=True)


if __name__ == "__main__":
    main()
