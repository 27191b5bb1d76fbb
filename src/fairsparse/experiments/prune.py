"""The library's front door for a network and examples of your own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairsparse.checkpoint import Stages
from fairsparse.core import InputError
from fairsparse.data import Task
from fairsparse.experiments.config import RunConfig, complete_method
from fairsparse.experiments.controls import Control
from fairsparse.experiments.execute import execute
from fairsparse.experiments.plan import Setup, check_fit, with_precision
from fairsparse.experiments.result import Result
from fairsparse.experiments.settings import checked, plain
from fairsparse.models import adapted, restored
from fairsparse.training import Progress, Recipe


def prune(
    model: nn.Module,
    task: Task,
    method: str = "ballot",
    sparsity: float = 0.9,
    *,
    cells: str = "class",
    training: Recipe | dict[str, Any] | None = None,
    seed: int = 0,
    resamples: int = 2000,
    least: int = 30,
    controls: Sequence[Control] = (),
    stages: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Train `model` densely, prune it, and compare the two on the test split.

    Parameters
    ----------
    model : nn.Module
        Maps inputs (B, *f), or a dict of them, to logits (B, C) or to an object that has them as
        ``.logits``. It is copied, not changed.
    task : Task
        From a builder, or `fairsparse.task` for tensors and data sets of your own.
    method : str
        A name from ``fairsparse list methods``.
    sparsity : float in [0, 1)
        Zero prunable weights / prunable weights.
    cells : str
        Whose statistics are to be equal: a name from ``fairsparse list notions``.
    training : Recipe or dict, optional
    seed : int
        Of data order, augmentation and every draw.
    resamples, least : int
        Of the bootstrap behind the intervals; test examples of a cell that is tested.
    controls : sequence of str
        Corrections after training to report too: ``offsets``, ``thresholds``.
    stages : str or Path, optional
        Folder in which finished stages are kept, so that a second call continues or shares them.
    progress : callable, optional
    **options
        Of the method; ``refinement`` is a `Refinement` or a dict of its fields.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        For unknown names, options out of range, or a model that does not fit the task.
    """
    _check_kinds(model, task)
    values = {"cells": cells, "seeds": [seed], "sparsities": [sparsity], "resamples": resamples}
    values |= {"training": training or {}, "controls": controls, "least": least}
    values["methods"] = [{"name": method, **options}]
    kept = Stages(Path(stages) if stages is not None else None)
    return _run(model, Setup(_config(model, task, values), task, kept, progress))


def _check_kinds(model: Any, task: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; give a torch nn.Module")
    if not isinstance(task, Task):
        raise InputError(f"task is a {type(task).__name__}; make one with fairsparse.task(...)")


def _config(model: nn.Module, task: Task, values: dict[str, Any]) -> RunConfig:
    named = {"data": task.name, "model": type(model).__name__}
    config: RunConfig = checked(RunConfig, named | plain(values), "")
    method = complete_method(config.methods[0], "method")
    return with_precision(config.model_copy(update={"methods": (method,)}))


def _run(model: nn.Module, setup: Setup) -> Result:
    network = adapted(_copy(model), setup.task.train.batch(torch.tensor([0, 0])).x)
    check_fit(network, setup)
    result = execute(network, setup, {"name": None, "options": {}})
    restored(result.model)
    return result


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:  # torch copies no tensor that was computed, as weight norm's are
        reason = str(error).split(".")[0]
        raise InputError(
            f"the model cannot be copied ({reason}); remove weight norm and other"
            " reparametrizations, so that its parameters are plain ones"
        ) from None
