"""Compress neural networks without leaving some classes or groups worse served than others.

>>> import fairsparse
>>> {"ballot", "bifp", "lth"} <= set(fairsparse.METHODS)
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fairsparse._version import __version__

if TYPE_CHECKING:
    from fairsparse.auditing.compare import Comparison, compare
    from fairsparse.auditing.engine import Audit, audit
    from fairsparse.auditing.exemplars import Exemplars, exemplars
    from fairsparse.core import Batch, InputError, Predictions
    from fairsparse.data import DATASETS, Split, Task, task
    from fairsparse.experiments.config import RunConfig, make_config, read_config
    from fairsparse.experiments.prune import prune
    from fairsparse.experiments.result import Result, load
    from fairsparse.experiments.run import run
    from fairsparse.explain.agreement import Agreement, agreement
    from fairsparse.explain.heatmaps import heatmaps
    from fairsparse.explain.loss_path import Line, line
    from fairsparse.fairness.cells import Cells
    from fairsparse.fairness.measure.metrics import METRICS, measure
    from fairsparse.fairness.measure.outcomes import Confusion
    from fairsparse.masks.maskset import MaskSet, prunable
    from fairsparse.masks.selection import select
    from fairsparse.methods import METHODS, Method, Outcome
    from fairsparse.models import MODELS
    from fairsparse.training import Recipe, Trainer
    from fairsparse.training.refinement import Refinement

__all__ = [
    "DATASETS",
    "METHODS",
    "METRICS",
    "MODELS",
    "Agreement",
    "Audit",
    "Batch",
    "Cells",
    "Comparison",
    "Confusion",
    "Exemplars",
    "InputError",
    "Line",
    "MaskSet",
    "Method",
    "Outcome",
    "Predictions",
    "Recipe",
    "Refinement",
    "Result",
    "RunConfig",
    "Split",
    "Task",
    "Trainer",
    "__version__",
    "agreement",
    "audit",
    "compare",
    "exemplars",
    "heatmaps",
    "line",
    "load",
    "make_config",
    "measure",
    "prunable",
    "prune",
    "read_config",
    "run",
    "select",
    "task",
]

# a name is imported when it is first asked for: torch takes seconds, and --help needs none of it
_HOMES = {
    "explain.agreement": ("Agreement", "agreement"),
    "auditing.engine": ("Audit", "audit"),
    "auditing.compare": ("Comparison", "compare"),
    "auditing.exemplars": ("Exemplars", "exemplars"),
    "explain.heatmaps": ("heatmaps",),
    "explain.loss_path": ("Line", "line"),
    "data": ("DATASETS", "Split", "Task", "task"),
    "experiments.config": ("RunConfig", "make_config", "read_config"),
    "experiments.prune": ("prune",),
    "experiments.result": ("Result", "load"),
    "experiments.run": ("run",),
    "fairness.cells": ("Cells",),
    "fairness.measure.metrics": ("METRICS", "measure"),
    "fairness.measure.outcomes": ("Confusion",),
    "masks.maskset": ("MaskSet", "prunable"),
    "masks.selection": ("select",),
    "methods": ("METHODS", "Method", "Outcome"),
    "models": ("MODELS",),
    "training": ("Recipe", "Trainer"),
    "training.refinement": ("Refinement",),
    "core": ("Batch", "InputError", "Predictions"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
