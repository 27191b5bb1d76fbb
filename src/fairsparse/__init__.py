"""Compress neural networks without leaving some classes or groups worse served than others.

>>> import fairsparse
>>> sorted(fairsparse.METHODS)
['ballot', 'dense', 'lth', 'magnitude']
"""

from fairsparse._version import __version__
from fairsparse.audit.compare import Comparison, compare
from fairsparse.data import DATASETS, Split, Task, task
from fairsparse.experiments.config import RunConfig, make_config, read_config
from fairsparse.experiments.prune import prune
from fairsparse.experiments.result import Result, load
from fairsparse.experiments.run import run
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.counts import Confusion
from fairsparse.fairness.metrics import METRICS, measure
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.select import select
from fairsparse.methods import METHODS, Method, Outcome
from fairsparse.methods.refine import Refinement
from fairsparse.models import MODELS
from fairsparse.training import Recipe, Trainer
from fairsparse.types import Batch, InputError, Predictions

__all__ = [
    "DATASETS",
    "METHODS",
    "METRICS",
    "MODELS",
    "Batch",
    "Cells",
    "Comparison",
    "Confusion",
    "InputError",
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
    "compare",
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
