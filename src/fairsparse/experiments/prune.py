"""The library's front door for a network and examples of your own."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from fairsparse.checkpoint import Stages
from fairsparse.data import Task
from fairsparse.experiments.config import check_config, complete, plain
from fairsparse.experiments.execute import check_fit, execute
from fairsparse.experiments.result import Result
from fairsparse.experiments.run import make_method
from fairsparse.fairness.cells import Cells, Notion
from fairsparse.methods import METHODS
from fairsparse.training import Progress, Recipe


def prune(
    model: nn.Module,
    task: Task,
    method: str = "ballot",
    sparsity: float = 0.9,
    *,
    cells: Notion = "class",
    training: Recipe | dict[str, Any] | None = None,
    seed: int = 0,
    resamples: int = 2000,
    stages: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Train `model` densely, prune it, and compare the two on the test split.

    Parameters
    ----------
    model : nn.Module
        Maps inputs (B, *f) to logits (B, C). It is copied, not changed.
    task : Task
        From a builder, or `fairsparse.task` for tensors and data sets of your own.
    method : str
        A name from ``fairsparse list methods``.
    sparsity : float in [0, 1)
        Zero prunable weights / prunable weights.
    cells : str
        Whose statistics are to be equal; see `fairsparse.fairness.cells.Cells`.
    training : Recipe or dict, optional
    seed : int
        Of data order, augmentation and every draw.
    resamples : int
        Of the bootstrap behind the intervals.
    stages : str or Path, optional
        Folder in which finished stages are kept, so that a second call continues or shares them.
    progress : callable, optional
    **options
        Of the method.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        For unknown names, options out of range, or a model that does not fit the task.
    """
    values = {
        "data": task.name,
        "model": type(model).__name__,
        "cells": cells,
        "seeds": [seed],
        "training": asdict(training) if isinstance(training, Recipe) else training or {},
        "sparsities": [sparsity],
        "resamples": resamples,
        "methods": [{"name": method, **plain(options)}],
    }
    config = check_config(values)
    given = complete(
        config.methods[0], "methods.0", lambda name: METHODS[name], leave_out=("sparsity",)
    )
    made = make_method(given, sparsity)
    which = Cells(cells, task.class_names, task.group_names)
    network = copy.deepcopy(model)
    check_fit(network, task, made, which)
    return execute(
        network,
        task,
        made,
        which,
        config.training,
        seed=seed,
        stages=Stages(Path(stages) if stages is not None else None),
        progress=progress,
        config={**config.to_dict(), "methods": [given]},
        model_info={"name": None, "options": {}},
        resamples=resamples,
    )
