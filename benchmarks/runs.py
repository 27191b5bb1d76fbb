"""Train what a plan asks for and its records do not hold yet.

A run that is recorded is skipped: a command can be interrupted and given again. Runs share dense
networks and rounds through WORK. DATA holds the data sets in their official layouts, one folder
each.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import time
from argparse import ArgumentParser, Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measure import alone
from benchmarks.plans import compare, sets, study, tuning
from benchmarks.plans.base import Job, Plan
from benchmarks.records import append, finished, store

PLANS = {"study": study, "tune": tuning, "compare": compare, "sets": sets}
OFFSETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
FOLDERS = {
    "fashion-mnist": "FashionMNIST",
    "cifar-100": "",
    "utkface": "UTKFace",
    "image-table": "lfw",
    "text": "tweets",
}
"""Folder of a data set within DATA, where it is not its name; a task may name a file within it."""


def run_one(plain: dict[str, Any], data: Path, folder: Path) -> tuple[Any, Any]:
    """Train what a configuration asks for; return its `Result` and its `Task`."""
    import torch

    from fairsparse.checkpoint import Stages
    from fairsparse.experiments.config import make_config
    from fairsparse.experiments.plan import Setup, make_method, make_task
    from fairsparse.experiments.run import run_one as run_setup

    torch.set_num_threads(1)
    name = plain["data"]["name"]
    path = str(data / FOLDERS.get(name, name) / plain["data"].get("path", ""))
    config = make_config({**plain, "data": {**plain["data"], "path": path}, "resamples": 200})
    section = json.dumps(config.data, sort_keys=True)
    task = _tasks[section] = _tasks.get(section) or make_task(config)
    siblings = [
        make_method(method, config.sparsities[0] or 0.9) for method in (study.LTH, study.BALLOT)
    ]
    stages = Stages(folder / "stages" / name)
    return run_setup(Setup(config, task, stages, siblings=siblings)), task


_tasks: dict[str, Any] = {}
"""Tasks by their data section: each is read once a process."""


def summary(result: Any, cells: Any) -> dict[str, Any]:
    """What the tables need of a run."""
    import torch

    from fairsparse.core import Predictions

    arrays = {name: torch.from_numpy(a) for name, a in result.predictions.items()}
    val, test = (
        Predictions(arrays[f"{s}_sparse"], arrays[f"{s}_y"], arrays[f"{s}_group"])
        for s in ("val", "test")
    )
    record = result.record
    metrics = {name: entry["candidate"]["value"] for name, entry in record.audit.metrics.items()}
    return {
        "metrics": metrics,
        "validation": record.validation["sparse"],
        "test": _figures(cells, test),
        "offsets": _with_offsets(val, test, cells),
        "status": record.status,
        "rounds": record.rounds,
        "steps": record.cost.steps,
        "dense_steps": record.cost.dense_steps,
        "seconds": record.timings,
        "parameters": record.model.parameters,
        "environment": record.environment,
        "fingerprint": record.data.fingerprint,
        "sizes": record.data.sizes,
    }


def _with_offsets(val: Any, test: Any, cells: Any) -> list[dict[str, float]]:
    """The curve of accuracy against gap of class offsets that are fitted on validation."""
    from fairsparse.fairness.steering.corrections import fit_offsets

    curve = []
    for strength in OFFSETS:
        offsets = fit_offsets(val, cells, strength)
        row: dict[str, float] = {"strength": strength}
        for split, p in (("val", val), ("test", test)):
            moved = _figures(cells, p._replace(logits=p.logits + offsets))
            row |= {f"{split}_{name}": value for name, value in moved.items()}
        curve.append(row)
    return curve


def _figures(cells: Any, predictions: Any) -> dict[str, float]:
    from fairsparse.fairness.steering.spread import spread

    reached = spread(cells, predictions)
    return {name: getattr(reached, name) for name in ("accuracy", "variance", "range")}


def work(
    plan: Plan, task: str, seed: int | None, names: list[str], data: Path, folder: Path
) -> None:
    """Do a task's runs, or those of one seed; one that fails is told and left out."""
    from fairsparse.core import InputError

    for job in plan.jobs():
        if job.task != task or seed not in (None, job.seed):
            continue
        if (names and job.name not in names) or job.key in finished(plan.records):
            continue
        about = f"{task:22s} {job.name:26s} {job.sparsity:<5} seed {job.seed}"
        began = time.time()
        try:
            run = trained(plan, job, data, folder)
        except InputError as error:
            print(f"{about}: {error}", flush=True)
            continue
        append(plan.records, run)
        reached = run["validation"]["sparse"] if plan.tuning else run["validation"]
        figures = "".join(f"  {k} {reached[k]:.5f}" for k in ("accuracy", "variance", "range"))
        print(f"{about}  {time.time() - began:4.0f} s  validation:{figures}", flush=True)


def trained(plan: Plan, job: Job, data: Path, folder: Path) -> dict[str, Any]:
    """Do one run; return its record."""
    from fairsparse.fairness.cells import Cells

    file = job.config["data"].get("path", "")
    if file.startswith("lfw-"):
        prepare_lfw(data / "lfw", file)
    result, task = run_one(job.config, data, folder)
    run = {"task": job.task, "sparsity": job.sparsity, "seed": job.seed, "config": job.config}
    if plan.tuning:
        return {**run, **job.notes, "validation": result.record.validation}
    cells = Cells(plan.tasks[job.task]["cells"], task.class_names, task.group_names)
    return {**run, **job.notes, "variant": job.name, **summary(result, cells)}


def prepare_lfw(folder: Path, file: str) -> None:
    """Write the table of one inferred attribute; identities keep their split.

    It is present where its probability is above a half or, of attributes that few have by that
    measure, above the median of the training split: of 4 and 14 % in one class a network that
    predicts the other for everybody is within reach of the dense one, and has no gap.
    """
    target, _, at = file.removeprefix("lfw-").removesuffix(".csv").rpartition("-")
    path = folder / file
    if path.exists():
        return
    with (folder / "labels.csv").open(newline="") as source:
        rows = [row for row in csv.DictReader(source) if row["has_pred"] == "True"]
    trained_on = [float(row[target]) for row in rows if row["test"] != "True"]
    least = 0.5 if at == "half" else statistics.median(trained_on)
    part = path.with_suffix(".part")
    with part.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["file", "label", "gender", "person", "split"])
        for row in rows:
            label = f"{'' if float(row[target]) > least else 'not '}{target.lower()}"
            gender = {"0": "male", "1": "female"}.get(row["gender"], "")
            split = "test" if row["test"] == "True" else "train"
            writer.writerow([row["file"], label, gender, row["person_id"], split])
    part.rename(path)


def arguments(parser: ArgumentParser) -> None:
    """Options of a plan's command."""
    command = parser.get_default("command")
    plan: Plan = PLANS[command].PLAN
    parser.add_argument("--data", type=Path, metavar="DATA")
    shared = "study" if command == "tune" else command
    parser.add_argument("--work", type=Path, metavar="WORK", default=Path("runs") / shared)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    names = list(dict.fromkeys(job.name for job in plan.jobs()))
    parser.description = f"{parser.description}\n{PLANS[command].__doc__}"
    for option, values in (("--only", list(plan.tasks)), ("--methods", names)):
        about = {"nargs": "+", "action": "extend", "default": [], "choices": values}
        parser.add_argument(option, **about, metavar="NAME", help="; ".join(values))
    if command == "compare":
        parser.add_argument("--tune", action="store_true", help="run the grids instead")
    if command == "tune":
        parser.add_argument("--choose", action="store_true", help="write what the grids chose")


def main(args: Namespace) -> None:
    """Train what is missing, tasks and sometimes seeds beside each other."""
    if vars(args).get("choose"):
        store("tuned", tuning.choose(), sort_keys=True)
        return
    if args.data is None:
        raise SystemExit("--data is needed to train")
    plan: Plan = compare.GRIDS if vars(args).get("tune") else PLANS[args.command].PLAN
    jobs = [job for job in plan.jobs() if not args.only or job.task in args.only]
    units = dict.fromkeys((job.task, job.seed if plan.by_seed else None) for job in jobs)
    os.environ["OMP_NUM_THREADS"] = "1"
    with ThreadPoolExecutor(args.jobs) as pool:
        waiting = [
            pool.submit(alone, work, plan, *unit, args.methods, args.data, args.work)
            for unit in sorted(units, key=lambda unit: unit[1] or 0)
        ]
    for unit in waiting:
        unit.result()
