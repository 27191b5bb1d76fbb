"""From a configuration to run directories: data, model, method, check, audit, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from fairsparse.checkpoint import Stages, write_tensors, write_text
from fairsparse.core import Diverged, InputError
from fairsparse.data import DATASETS, Task
from fairsparse.experiments.config import RunConfig, make_config
from fairsparse.experiments.execute import check_fit, execute
from fairsparse.experiments.result import Result, read_record
from fairsparse.fairness.cells import Cells
from fairsparse.methods import METHODS, Method
from fairsparse.models import adapted, build
from fairsparse.report.sweep.page import comparison_report
from fairsparse.training import Progress


@dataclass(frozen=True)
class Job:
    """One method at one sparsity with one seed."""

    method: dict[str, Any]
    sparsity: float
    seed: int
    label: str

    @property
    def name(self) -> str:
        if self.method["name"] == "dense":
            return f"dense-seed{self.seed}"
        return f"{self.label}-{self.sparsity}-seed{self.seed}"


def plan(config: RunConfig) -> list[Job]:
    """The runs a configuration asks for, seed by seed; dense once a seed."""
    names = [m["name"] for m in config.methods]
    jobs = []
    for seed in config.seeds:
        for i, method in enumerate(config.methods):
            again = names[:i].count(method["name"])
            label = method["name"] + (f"-{again + 1}" if again else "")
            dense = method["name"] == "dense"
            for sparsity in (0.0,) if dense else config.sparsities:
                jobs.append(Job(method, sparsity, seed, label))
    return jobs


def run(config: RunConfig, out: Path, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Do all runs of a configuration and return their records.

    Finished stages and runs found in `out` are taken as they are, so the same call continues what
    was interrupted. A configuration of a single run fills `out` itself; several runs get a
    directory each and one comparison report.

    Raises
    ------
    InputError
        For anything the user can mend, before training where it can be known before.
    """
    check_out(out, config)
    task = make_task(config)
    jobs = plan(config)
    preflight(config, task, jobs)
    folders = [out if len(jobs) == 1 else out / job.name for job in jobs]
    done = [_finished(folder, task) for folder in folders]
    claim(out, config)
    stages = Stages(out / "stages")
    records = []
    for job, folder, record in zip(jobs, folders, done, strict=True):
        if record is None:
            alone = config if len(jobs) == 1 else single(config, job)
            siblings = [make_method(other.method, other.sparsity) for other in jobs]
            try:
                result = run_one(alone, task, job, stages, progress, siblings)
            except Diverged as error:
                raise _kept(error, folder, out / "stages") from None
            result.save(folder)
            record = result.record
        records.append(record)
    if len(jobs) > 1:
        names = [job.name for job in jobs]
        links = {name: f"{name}/report.html" for name in names}
        named = [{**record, "run": name} for record, name in zip(records, names, strict=True)]
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


def run_one(
    config: RunConfig,
    task: Task,
    job: Job,
    stages: Stages,
    progress: Progress | None,
    siblings: Sequence[Method] = (),
) -> Result:
    """Do the one run that a configuration asks for."""
    return execute(
        make_model(config, task, job.seed),
        task,
        make_method(job.method, job.sparsity),
        Cells(config.cells, task.class_names, task.group_names),
        config.training,
        seed=job.seed,
        stages=stages,
        progress=progress,
        config=config.to_dict(),
        model_info={"name": config.model["name"], "options": _options(config.model)},
        resamples=config.resamples,
        controls=config.controls,
        siblings=siblings,
    )


def check_out(out: Path, config: RunConfig) -> None:
    """Raise `InputError` unless `out` is absent, empty, or already the directory of `config`."""
    path = out / "config.yaml"
    if path.is_file():
        there, here = completed(_read(path)), config.to_dict()
        if there != here:
            differing = [key for key in here if there.get(key) != here[key]]
            raise InputError(
                f"{out} holds the runs of another configuration ({', '.join(differing)} differ);"
                " choose another --out, or delete it"
            )
    elif not is_free(out):
        raise InputError(f"{out} exists and is not a run directory; choose another --out")


def is_free(out: Path) -> bool:
    """Whether there is nothing at `out` but what a killed run was writing."""
    return not out.exists() or (out.is_dir() and all(_is_leftover(p) for p in out.iterdir()))


def _read(path: Path) -> dict[str, Any]:
    try:
        there = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError:
        there = None
    if not isinstance(there, dict):
        raise InputError(f"{path} is damaged; restore it, or delete its directory and run again")
    return there


def completed(there: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration, with the defaults of settings that are younger than it."""
    try:
        return make_config(there).to_dict()
    except InputError:
        return there


def claim(out: Path, config: RunConfig) -> None:
    """Make `out` the directory of `config`, rid of what a killed run was writing."""
    if not (out / "config.yaml").exists():
        write_text(out / "config.yaml", config.to_yaml())
    tidy(out)


def tidy(out: Path) -> None:
    """Remove what a killed run was writing in `out`."""
    for path in [p for p in out.rglob(".*") if _is_leftover(p)]:
        path.unlink(missing_ok=True)


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".tmp"


def _finished(folder: Path, task: Task) -> dict[str, Any] | None:
    """The record of a run that is complete, or None; raise when it was of other data."""
    if not (folder / "record.json").exists():
        return None
    record = read_record(folder)
    if record["data"]["fingerprint"] != task.fingerprint:
        raise InputError(
            f"{folder}: the data have changed since this run; choose another --out, or delete it"
        )
    return record


def single(config: RunConfig, job: Job) -> RunConfig:
    """The configuration of one of the runs alone."""
    return config.model_copy(
        update={"methods": (job.method,), "sparsities": (job.sparsity,), "seeds": (job.seed,)}
    )


def make_task(config: RunConfig) -> Task:
    """Build the task a configuration names."""
    return DATASETS[config.data["name"]](**_options(config.data))


def make_model(config: RunConfig, task: Task, seed: int) -> nn.Module:
    """Build the model a configuration names, with the initial weights of `seed`."""
    options = _options(config.model)
    model = build(config.model["name"], task.input_shape, task.n_classes, seed=seed, **options)
    return adapted(model, task.train.batch(torch.tensor([0, 0])).x)


def make_method(given: dict[str, Any], sparsity: float) -> Method:
    """Build a method from ``{name, **options}``."""
    if given["name"] == "dense":
        sparsity = 0.0
    return METHODS[given["name"]](sparsity=sparsity, **_options(given))  # type: ignore[call-arg]


def _options(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != "name"}


def preflight(config: RunConfig, task: Task, jobs: Sequence[Job]) -> None:
    """Raise for whatever would make a run fail later: model, cells, sparsities."""
    cells = Cells(config.cells, task.class_names, task.group_names)
    model = make_model(config, task, config.seeds[0])
    for job in jobs:
        method = make_method(job.method, job.sparsity)
        check_fit(model, task, method, cells, config.training, config.controls)
