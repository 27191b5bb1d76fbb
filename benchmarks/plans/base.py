"""What every plan is made of: settings of tasks, jobs, and the configurations of their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.records import finished, key

Settings = dict[str, Any]
SMALL = {"lr": 0.05, "precision": "bf16", "channels_last": True}
FACES = {"epochs": 5, **SMALL, "augment": ["flip"]}


class Job(NamedTuple):
    """One run: a method or variant of it on a task."""

    task: str
    name: str
    sparsity: float
    seed: int
    config: Settings
    """The run configuration, without the place of the data."""
    notes: Settings
    """What the record keeps besides: of a grid, the setting that is tried."""

    @property
    def key(self) -> str:
        """What the run is recorded by."""
        return key(self.task, self.config)


class Plan(NamedTuple):
    """Jobs that are recorded in one file."""

    records: str
    jobs: Callable[[], Iterator[Job]]
    tasks: dict[str, Settings]
    tuning: bool = False
    """Keep validation figures alone."""
    by_seed: bool = False
    """Seeds of a task do not wait for each other."""


def recorded(plan: Plan) -> list[dict[str, Any]]:
    """The recorded runs that are planned: those of superseded settings are left out."""
    planned = {job.key for job in plan.jobs()}
    return [run for name, run in finished(plan.records).items() if name in planned]


def adult(group: str) -> Settings:
    """Adult with one attribute of groups."""
    return {
        "data": {"name": "adult", "groups": [group], "cal": 0.2, "val": 0.2},
        "model": "mlp",
        "training": {"epochs": 8, "lr": 0.05},
        "cells": "equalized-odds",
    }


def configuration(
    task: Settings, method: Settings, sparsity: float, seed: int, width: int | None = None
) -> Settings:
    """The run configuration of a method on a task."""
    return {
        "data": task["data"],
        "model": {"name": task["model"]} | ({"width": width} if width else {}),
        "training": task["training"],
        "cells": task["cells"],
        "methods": [method],
        "sparsities": [sparsity],
        "seeds": [seed],
    }


def merged(setting: Settings, change: Settings) -> Settings:
    """A change on top of a method's setting; the refinement's options are merged one by one."""
    result = {**setting, **change}
    if isinstance(setting.get("refinement"), dict) and isinstance(change.get("refinement"), dict):
        result["refinement"] = {**setting["refinement"], **change["refinement"]}
    return result
