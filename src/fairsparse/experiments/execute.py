"""One model from training to audit, and all that is recorded of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from fairsparse._version import __version__
from fairsparse.auditing.compare import compare_networks
from fairsparse.checkpoint import Stages, digest
from fairsparse.core import Predictions
from fairsparse.data import Task
from fairsparse.data.files.features import Features
from fairsparse.data.task import SPLITS
from fairsparse.experiments.controls import measure_controls
from fairsparse.experiments.plan import Setup
from fairsparse.experiments.result import Result
from fairsparse.fairness.measure.metrics import plain
from fairsparse.fairness.steering.spread import Spread, spread
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import n_kept
from fairsparse.methods import Dense, Method, Outcome, Run, train_dense
from fairsparse.record import FORMAT, Record, confusion
from fairsparse.training import Trainer

_SPLITS = ("val", "test")
_STAGES = 2  # raise when what a stage computes changes, so that stored ones are not reused


@dataclass(frozen=True)
class Developed:
    """What came of a model.

    `before` and `after` are what the dense and the sparse network say on the splits asked for, by
    name; `reached` is that of the sparse one on validation, `status` the outcome's or `collapsed`.
    """

    trainer: Trainer
    dense: Dense
    dense_steps: int
    outcome: Outcome
    before: dict[str, Predictions]
    after: dict[str, Predictions]
    reached: Spread
    status: str


def execute(model: nn.Module, setup: Setup, source: dict[str, Any]) -> Result:
    """Train, prune, check and audit one model, which is changed and ends up in evaluation mode.

    `source` is the name and the options by which the model can be built again.
    """
    config, task = setup.config, setup.task
    developed = develop(model, setup, (*_SPLITS, "cal") if config.controls else _SPLITS)
    began = time.perf_counter()
    before, after = developed.before, developed.after
    networks = {"dense": before, "sparse": after}
    draws: dict[str, Any] = {
        "resamples": config.resamples,
        "seed": setup.seed,
        "least": config.least,
    }
    compared = compare_networks(
        before["test"], after["test"], task.class_names, task.group_names, **draws
    )
    reached = {"dense": spread(setup.cells, before["val"]), "sparse": developed.reached}
    stages = developed.trainer.seconds
    values = {
        **describe_run(model, setup, developed, source),
        "audit": compared.to_dict(),
        "controls": measure_controls(
            config.controls, networks, developed.dense, setup.cells, **draws
        ),
        "counts": {
            name: confusion(task, *(t.numpy() for t in splits["test"]))
            for name, splits in networks.items()
        },
        "validation": {
            name: {"accuracy": r.accuracy, "variance": r.variance, "range": r.range}
            for name, r in reached.items()
        },
        "timings": {**stages, "total": sum(stages.values()), "audit": time.perf_counter() - began},
        "memory": developed.trainer.memory,
    }
    record = Record.model_validate(plain(values))
    arrays = _arrays(before, after)
    return Result(model, developed.outcome.masks, record, developed.dense.final, arrays)


def describe_run(
    model: nn.Module, setup: Setup, developed: Developed, source: dict[str, Any]
) -> dict[str, Any]:
    """What a record tells of a run besides what was measured."""
    task, method, about = setup.task, setup.method, setup.task.train.transform
    masks, trainer = developed.outcome.masks, developed.trainer
    return {
        "format": FORMAT,
        "fairsparse": __version__,
        "config": setup.config.to_dict(),
        "environment": environment(trainer.device),
        "data": {
            "name": task.name,
            "fingerprint": task.fingerprint,
            "sizes": {name: len(getattr(task, name)) for name in SPLITS},
            "class_names": task.class_names,
            "group_names": task.group_names,
            "attributes": task.attributes,
            "notes": task.notes,
            **({"columns": about.columns} if isinstance(about, Features) else {}),
        },
        "model": describe_model(model, masks, task, source),
        "method": {
            "name": method.name,
            "summary": (type(method).__doc__ or "").strip().splitlines()[0],
            "reference": method.reference,
            "options": method.settings(),
        },
        "seed": setup.seed,
        "cells": setup.cells.notion,
        "sparsity": {
            "asked": method.sparsity,
            "measured": masks.sparsity,
            "kept": masks.n_kept,
            "total": masks.n_total,
        },
        "masks": masks.digest(),
        "status": developed.status,
        "rounds": developed.outcome.rounds,
        "history": trainer.history,
        "cost": {"steps": trainer.steps, "dense_steps": developed.dense_steps},
    }


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and hardware a result depends on."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{device.type} ({kind})",
        "threads": torch.get_num_threads(),
    }


def describe_model(
    model: nn.Module, masks: MaskSet, task: Task, source: dict[str, Any]
) -> dict[str, Any]:
    """Size of a model, and where its weights are left."""
    return {
        **source,
        "class": type(model).__name__,
        "input_shape": task.input_shape,
        "n_classes": task.n_classes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "prunable": masks.n_total,
        "layers": [
            {"name": name, "shape": [*w.shape], "total": w.numel(), "kept": int(masks[name].sum())}
            for name, w in model.named_parameters()  # masks from a store come in its order
            if name in masks
        ],
    }


def _arrays(before: dict[str, Predictions], after: dict[str, Predictions]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name in _SPLITS:
        logits, y, group = before[name]
        parts = {"y": y, "group": group, "dense": logits, "sparse": after[name].logits}
        arrays |= {f"{name}_{part}": values.numpy() for part, values in parts.items()}
    return arrays


def develop(model: nn.Module, setup: Setup, splits: Sequence[str]) -> Developed:
    """Train, prune and check one model, which is changed and ends up in evaluation mode.

    Predictions are made on `splits`, ``val`` among them, and on no other split for the result's
    sake.
    """
    task, method, cells, recipe = setup.task, setup.method, setup.cells, setup.config.training
    # repr tells apart networks of equal weights: dropout rates, activations
    initial = digest(model.state_dict(), repr(model))
    parent = Stages.key(_STAGES, task.fingerprint, initial, recipe.key(), setup.seed, cells.notion)
    trainer = Trainer(recipe, cells, setup.seed, setup.stages, parent, setup.progress)
    with _repeatable(trainer.device):
        total = trainer.total_steps(task.train)
        wanted = set().union(*(m.snapshots(total) for m in (method, *setup.siblings)))
        dense = train_dense(model, task.training, trainer, wanted)
        dense_steps = trainer.steps
        before = {name: trainer.predict(model, getattr(task, name)) for name in splits}
        outcome = method.run(Run(model, task.training, trainer, dense))
        verify(model, method, outcome)
        after = {name: trainer.predict(model, getattr(task, name)) for name in splits}
    model.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    reached = spread(cells, after["val"])
    status = "collapsed" if guesses(reached, task.n_classes) else outcome.status
    return Developed(trainer, dense, dense_steps, outcome, before, after, reached, status)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Deterministic kernels and a random state of our own, both given back afterwards."""
    was = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=warned)


def verify(model: nn.Module, method: Method, outcome: Outcome) -> None:
    """Raise `RuntimeError` unless the method did what it was asked: counted, applied, nested."""
    masks = outcome.masks
    expected = n_kept(method.sparsity, masks.n_total)
    short = method.may_fall_short and outcome.status != "feasible"
    if masks.n_kept != expected and not short:
        raise RuntimeError(f"the method kept {masks.n_kept} weights, {expected} were asked for")
    if set(masks) != set(method.weights(model)):
        raise RuntimeError("the method's masks do not cover exactly the prunable weights")
    if not masks.is_applied(model):
        raise RuntimeError("the method returned masks that are not applied to the model")
    if not all(b <= a for a, b in pairwise(outcome.path)):
        raise RuntimeError("the method's rounds are not nested")


def guesses(reached: Spread, n_classes: int) -> bool:
    """Whether accuracy is within a fifth of what guessing among the classes gives."""
    return reached.accuracy <= 1.2 / n_classes
