"""From a configuration to run directories: data, model, method, check, audit, record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairsparse import yamls
from fairsparse.checkpoint import Stages, locked, write_tensors, write_text
from fairsparse.core import Diverged, InputError
from fairsparse.data import Task
from fairsparse.experiments.config import RunConfig, make_config
from fairsparse.experiments.execute import execute
from fairsparse.experiments.plan import (
    Job,
    Setup,
    make_method,
    make_model,
    make_task,
    options,
    plan,
    preflight,
    single,
    with_precision,
)
from fairsparse.experiments.result import Result
from fairsparse.experiments.settings import read_values
from fairsparse.record import Record, read_record
from fairsparse.report.sweep.page import comparison_report
from fairsparse.training import Progress


def run(config: RunConfig, out: Path, progress: Progress | None = None) -> list[Record]:
    """Do all runs of a configuration and return their records.

    Finished stages and runs found in `out` are taken as they are, so the same call continues what
    was interrupted. A configuration of a single run fills `out` itself; several runs get a
    directory each and one comparison report. Whatever the user can mend is an `InputError`, before
    training where it can be known before.
    """
    there = out / "config.yaml"
    goes_on = config.training.precision == "auto" and there.is_file()
    config = with_precision(config, read_values(there) if goes_on else None)
    check_out(out, config)
    task = make_task(config)
    jobs = plan(config)
    preflight(config, task, jobs)
    with locked(out):
        check_out(out, config)  # another process may have been there since
        return _run_all(config, task, jobs, out, progress)


def _run_all(
    config: RunConfig, task: Task, jobs: Sequence[Job], out: Path, progress: Progress | None
) -> list[Record]:
    """Do the runs that are not in `out` yet, and compare all."""
    folders = [out if len(jobs) == 1 else out / job.name for job in jobs]
    alone = [config if len(jobs) == 1 else single(config, job) for job in jobs]
    done = [_finished(*place, task) for place in zip(folders, alone, strict=True)]
    if not (out / "config.yaml").exists():
        write_text(out / "config.yaml", config.to_yaml())
    tidy(out)
    stages = Stages(out / "stages")
    records = []
    siblings = [make_method(job.method, job.sparsity) for job in jobs]
    for one, folder, record in zip(alone, folders, done, strict=True):
        if record is None:
            try:
                result = run_one(Setup(one, task, stages, progress, siblings))
            except Diverged as error:
                raise _kept(error, folder, out / "stages") from None
            result.save(folder)
            record = result.record
        records.append(record)
    if len(jobs) > 1:
        names = [job.name for job in jobs]
        links = {name: f"{name}/report.html" for name in names}
        named = [
            record.model_copy(update={"run": name})
            for record, name in zip(records, names, strict=True)
        ]
        write_text(out / "report.html", comparison_report(named, links))
    return records


def _kept(error: Diverged, folder: Path, stages: Path) -> InputError:
    """Store the last good state of a run that diverged; return what to tell."""
    n = len(list(stages.glob("*.safetensors")))
    where = f"{n} finished stage{'s' * (n != 1)} in {stages}"
    if error.state is None:
        return InputError(f"{error}; no epoch of this stage was good, and kept are {where}")
    path = folder / "last-good.safetensors"
    write_tensors(path, error.state, {"kind": "last good", "step": error.step})
    return InputError(f"{error}; kept are the weights of step {error.step} in {path} and {where}")


def run_one(setup: Setup) -> Result:
    """Do the one run that a configuration asks for."""
    named = setup.config.model
    model = make_model(setup.config, setup.task, setup.seed)
    return execute(model, setup, {"name": named["name"], "options": options(named)})


def check_out(out: Path, config: RunConfig) -> None:
    """Raise `InputError` unless `out` is absent, empty, or already the directory of `config`."""
    path = out / "config.yaml"
    if not path.is_file():
        check_free(out, "run")
        return
    try:
        there = yamls.values(yamls.read(path), str(path))
    except InputError:
        there = None
    if not isinstance(there, dict):
        raise InputError(f"{path} is damaged; restore it, or delete its directory and run again")
    check_same(out, "the runs of another configuration", completed(there, config), config.to_dict())


def check_free(out: Path, kind: str) -> None:
    """Raise `InputError` unless there is nothing at `out` but what a killed run was writing."""
    if out.exists() and not (out.is_dir() and all(_is_leftover(p) for p in out.iterdir())):
        raise InputError(f"{out} exists and is not a {kind} directory; choose another --out")


def check_same(out: Path, what: str, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Raise `InputError` when what `out` holds was made with other settings."""
    differing = [key for key in {**here, **there} if there.get(key) != here.get(key)]
    if differing:
        raise InputError(
            f"{out} holds {what} ({', '.join(differing)} differ); choose another --out, or delete"
            " it"
        )


def check_data(folder: Path, what: str, fingerprint: str, task: Task) -> None:
    """Raise `InputError` when what `folder` holds was made of other data."""
    if fingerprint != task.fingerprint:
        raise InputError(
            f"{folder}: the data have changed since this {what}; choose another --out, or delete it"
        )


def completed(there: dict[str, Any], like: RunConfig) -> dict[str, Any]:
    """A stored configuration, with the defaults of settings that are younger than it.

    Of code it may only name what the configuration `like`, which is asked for, names as well.
    """
    model = there.get("model")
    try:
        trust = isinstance(model, dict) and model.get("name") == like.model["name"]
        return make_config(there, trust).to_dict()
    except InputError:
        return there


def tidy(out: Path) -> None:
    """Remove what a killed run was writing in `out`."""
    for path in [p for p in out.rglob(".*") if _is_leftover(p)]:
        path.unlink(missing_ok=True)


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".tmp"


def _finished(folder: Path, config: RunConfig, task: Task) -> Record | None:
    """The record of a run that is complete, or None; raise when it is of other data or settings."""
    if not (folder / "record.json").exists():
        return None
    record = read_record(folder)
    there = completed(record.config, config)
    check_same(folder, "the run of another configuration", there, config.to_dict())
    check_data(folder, "run", record.data.fingerprint, task)
    return record
