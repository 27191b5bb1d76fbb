"""The largest sparsity within a fairness budget: searched on validation, confirmed once on test."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from fairsparse._version import __version__
from fairsparse.checkpoint import Stages, locked, write_json
from fairsparse.core import InputError, Predictions
from fairsparse.data import Task
from fairsparse.experiments.config import RunConfig
from fairsparse.experiments.execute import develop
from fairsparse.experiments.plan import (
    Job,
    Setup,
    make_model,
    make_task,
    preflight,
    single,
    with_precision,
)
from fairsparse.experiments.run import (
    check_data,
    check_free,
    check_same,
    completed,
    run_one,
    tidy,
)
from fairsparse.fairness.measure.metrics import plain
from fairsparse.fairness.steering.budget import Budget
from fairsparse.methods.method import Sparsity
from fairsparse.training import Progress


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Search:
    """What is searched for, and where."""

    budget: Budget
    low: Annotated[Sparsity, Field(description="smallest sparsity tried")] = 0.5
    high: Annotated[Sparsity, Field(description="largest sparsity tried")] = 0.98
    resolution: Annotated[
        float, Field(ge=1e-4, lt=1, description="distance of the sparsities that can be found")
    ] = 0.01
    runs: Annotated[int, Field(ge=1, description="sparsities tried at most")] = 8

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise InputError(
                f"low is {self.low} and high {self.high}; give sparsities low <= high in [0, 1)"
            )

    def grid(self) -> list[float]:
        """The sparsities that can be found, rising.

        >>> Search(Budget(0.1), low=0.5, high=0.68, resolution=0.05).grid()
        [0.5, 0.55, 0.6, 0.65, 0.68]
        """
        steps = math.ceil((self.high - self.low) / self.resolution - 1e-9)
        inner = [round(self.low + i * self.resolution, 9) for i in range(1, steps)]
        return [self.low, *inner, self.high] if steps else [self.low]


def bisect(within: Callable[[float], bool], grid: list[float], runs: int) -> float | None:
    """The largest sparsity of `grid` that is `within`, or None when the first is not.

    Asks the first, the last, and then halves what lies between one that is and one that is not,
    until they are neighbours or `runs` were asked. What costs more the higher the sparsity has one
    boundary, and this finds it.

    >>> bisect(lambda s: s <= 0.72, [0.5, 0.6, 0.7, 0.8, 0.9], 9)
    0.7
    """
    if not within(grid[0]):
        return None
    good, bad, asked = 0, len(grid), 1
    while bad - good > 1 and asked < runs:
        middle = len(grid) - 1 if bad == len(grid) else (good + bad) // 2
        good, bad = (middle, bad) if within(grid[middle]) else (good, middle)
        asked += 1
    return grid[good]


def search(
    config: RunConfig, asked: Search, out: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Find the largest sparsity within a budget; return what ``search.json`` holds.

    A sparsity is within when the upper bound of the measure on validation is within the limit and
    the method itself calls its network feasible. The largest one is run in full into a directory
    in `out`, which measures it on the test split; no other network is ever tested. Finished
    candidates and stages found in `out` are taken as they are.

    The configuration has one method and one seed; its sparsities do not matter. Whatever the user
    can mend is an `InputError`, before training where it can be known before.
    """
    method, seed = _only(config)
    there = _read(out)
    config = with_precision(config, None if there is None else there["config"])
    task = make_task(config)
    jobs = {s: Job(method, s, seed, method["name"]) for s in asked.grid()}
    preflight(config, task, [jobs[asked.low], jobs[asked.high]])
    with locked(out):
        return _search(config, asked, out, task, jobs, progress)


def _search(
    config: RunConfig,
    asked: Search,
    out: Path,
    task: Task,
    jobs: dict[float, Job],
    progress: Progress | None,
) -> dict[str, Any]:
    """Go on with what is in `out`, of the job of each sparsity."""
    there = _read(out)
    fresh: dict[str, Any] = {
        "fairsparse": __version__,
        "config": config.to_dict(),
        "search": asdict(asked),
        "fingerprint": task.fingerprint,
        "candidates": [],
        "chosen": None,
        "confirmation": None,
        "complete": False,
    }
    state = fresh if there is None else {**there, "config": completed(there["config"], config)}
    settings = ({key: values[key] for key in ("config", "search")} for values in (state, fresh))
    check_same(out, "another search", *settings)
    check_data(out, "search", state["fingerprint"], task)
    tidy(out)
    tried = {c["sparsity"]: c for c in state["candidates"]}

    def setup(sparsity: float) -> Setup:
        return Setup(single(config, jobs[sparsity]), task, Stages(out / "stages"), progress)

    def within(sparsity: float) -> bool:
        if sparsity not in tried:
            tried[sparsity] = evaluate(setup(sparsity), asked.budget)
            state["candidates"].append(tried[sparsity])
            _write(out, state)
        return bool(tried[sparsity]["within"])

    _write(out, state)
    chosen = state["chosen"] = bisect(within, asked.grid(), asked.runs)
    if chosen is not None and not state["complete"]:
        state["confirmation"] = confirm(setup(chosen), asked.budget, out / jobs[chosen].name)
    state["complete"] = True
    _write(out, state)
    return state


def evaluate(setup: Setup, budget: Budget) -> dict[str, Any]:
    """Train and prune a candidate, and judge it on validation alone."""
    model = make_model(setup.config, setup.task, setup.seed)
    developed = develop(model, setup, ("val",))
    judged = _judged(budget, developed.before["val"], developed.after["val"], setup)
    within = judged["within"] and developed.status == "feasible"
    sparsity = setup.config.sparsities[0]
    return {"sparsity": sparsity, **judged, "status": developed.status, "within": within}


def confirm(setup: Setup, budget: Budget, folder: Path) -> dict[str, Any]:
    """Run the chosen candidate in full, into a directory of its own, and judge it on test."""
    result = run_one(setup)
    result.save(folder)
    dense, sparse, y, group = (
        torch.from_numpy(result.predictions[f"test_{part}"])
        for part in ("dense", "sparse", "y", "group")
    )
    models = Predictions(dense, y, group), Predictions(sparse, y, group)
    judged = _judged(budget, *models, setup)
    return {"sparsity": setup.config.sparsities[0], **judged, "run": folder.name}


def _judged(
    budget: Budget, dense: Predictions, sparse: Predictions, setup: Setup
) -> dict[str, Any]:
    draws = {"resamples": setup.config.resamples, "seed": setup.seed}
    bounded = budget.bounded(dense, sparse, setup.cells, **draws)
    accuracy = {
        name: float((p.logits.argmax(1) == p.y).double().mean())
        for name, p in (("dense_accuracy", dense), ("accuracy", sparse))
    }
    return {**accuracy, **plain(bounded), "within": budget.keeps(bounded.bound)}


def _only(config: RunConfig) -> tuple[dict[str, Any], int]:
    names = [method["name"] for method in config.methods]
    if len(names) > 1 or len(config.seeds) > 1 or names == ["dense"]:
        seeds = ", ".join(map(str, config.seeds))
        raise InputError(
            "a search prunes by one method with one seed; the configuration names the methods"
            f" {', '.join(names)} and the seeds {seeds}; choose, for example with --set methods=lth"
            f" --set seeds={config.seeds[0]}"
        )
    return config.methods[0], config.seeds[0]


def _digest(state: dict[str, Any]) -> str:
    return Stages.key({key: value for key, value in state.items() if key != "digest"})


def _write(out: Path, state: dict[str, Any]) -> None:
    write_json(out / "search.json", {**state, "digest": _digest(state)})


def _read(out: Path) -> dict[str, Any] | None:
    """What an earlier call left in `out`, or None."""
    path = out / "search.json"
    if not path.is_file():
        check_free(out, "search")
        return None
    try:
        there = json.loads(path.read_text())
    except (ValueError, RecursionError):
        there = None
    needed = {"config", "search", "fingerprint", "candidates", "complete"}
    whole = isinstance(there, dict) and there.keys() >= needed
    # those that earlier versions wrote have no digest
    if not whole or there.pop("digest", _digest(there)) != _digest(there):
        raise InputError(f"{path} is damaged; restore it, or delete its directory and run again")
    return there
