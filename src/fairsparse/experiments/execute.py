"""One model from training to audit, and all that is recorded of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fairsparse._version import __version__
from fairsparse.auditing.compare import compare_networks
from fairsparse.checkpoint import Stages
from fairsparse.core import InputError, Predictions
from fairsparse.data import Task
from fairsparse.data.files.tokens import Tokens
from fairsparse.experiments.controls import Control, check_controls, measure_controls
from fairsparse.experiments.develop import develop
from fairsparse.experiments.result import Result, confusion
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.measure.metrics import plain
from fairsparse.fairness.steering.spread import Spread, spread
from fairsparse.masks.maskset import MaskSet
from fairsparse.methods import Method
from fairsparse.models import check_outputs
from fairsparse.models.language import TextNetwork
from fairsparse.training import Progress, Recipe, Trainer, augment

_SPLITS = ("val", "test")


def check_fit(
    model: nn.Module,
    task: Task,
    method: Method,
    cells: Cells,
    recipe: Recipe,
    controls: Sequence[Control] = (),
) -> None:
    """Raise `InputError` unless model, task, method, cells and recipe can work together."""
    check_controls(controls, task, cells)
    raw = task.train.raw(torch.tensor([0, 0]))
    check_tokens(model, task)
    check_outputs(model, task.train.prepare(raw), task.n_classes)
    if recipe.augment:
        augment(raw, recipe.augment, torch.Generator())
    for name in ("cal", "val"):
        split = getattr(task, name)
        counts = cells.counts(split.y, split.group)
        if bool((counts == 0).any()):
            empty = cells.names[int((counts == 0).nonzero()[0])]
            raise InputError(
                f"{task.name}: cell '{empty}' has no examples in the {name} split; use a larger"
                f" {name} share, or coarser cells than '{cells.notion}'"
            )
    method.snapshots(Trainer(recipe, cells).total_steps(task.train))
    method.weights(model)  # raises where nothing can be pruned
    method.check(model, cells)


def check_tokens(model: nn.Module, task: Task) -> None:
    """Raise `InputError` where texts have more tokens than the network knows or can take."""
    if not isinstance(task.train.transform, Tokens) or not isinstance(model, TextNetwork):
        return
    size, length = task.train.transform.vocabulary, task.input_shape[0]
    if size > model.vocabulary:
        raise InputError(
            f"{task.name}: the vocabulary has {size} tokens, and the network's embedding"
            f" {model.vocabulary}; set vocab_size of the data or of the model, or give the"
            " network's own tokenizer"
        )
    if model.length is not None and length > model.length:
        raise InputError(
            f"{task.name}: texts have up to {length} tokens, and the network takes {model.length};"
            " lower max_length of the data"
        )


def execute(
    model: nn.Module,
    task: Task,
    method: Method,
    cells: Cells,
    recipe: Recipe,
    *,
    seed: int,
    stages: Stages,
    progress: Progress | None,
    config: dict[str, Any],
    model_info: dict[str, Any],
    resamples: int,
    controls: Sequence[Control] = (),
    siblings: Sequence[Method] = (),
) -> Result:
    """Train, prune, check and audit one model, which is changed and ends up in evaluation mode.

    `siblings` are as for `develop`. `controls` are measured besides.
    """
    began = time.perf_counter()
    made = develop(
        model,
        task,
        method,
        cells,
        recipe,
        splits=(*_SPLITS, "cal") if controls else _SPLITS,
        seed=seed,
        stages=stages,
        progress=progress,
        siblings=siblings,
    )
    trainer, outcome, before, after = made.trainer, made.outcome, made.before, made.after
    data = describe(task)
    names = (task.class_names, task.group_names)
    comparison = compare_networks(
        before["test"], after["test"], *names, resamples=resamples, seed=seed
    )
    record = {
        "fairsparse": __version__,
        "config": config,
        "environment": environment(trainer.device),
        "data": data,
        "model": describe_model(model, outcome.masks, task, model_info),
        "method": {
            "name": method.name,
            "summary": (type(method).__doc__ or "").strip().splitlines()[0],
            "reference": method.reference,
            "options": method.settings(),
        },
        "seed": seed,
        "cells": cells.notion,
        "sparsity": {
            "asked": method.sparsity,
            "measured": outcome.masks.sparsity,
            "kept": outcome.masks.n_kept,
            "total": outcome.masks.n_total,
        },
        "masks": outcome.masks.digest(),
        "status": made.status,
        "rounds": outcome.rounds,
        "audit": comparison.to_dict(),
        "controls": measure_controls(
            controls,
            {"dense": before, "sparse": after},
            made.dense,
            cells,
            seed=seed,
            resamples=resamples,
        ),
        "counts": {
            "dense": _counts(before["test"], data),
            "sparse": _counts(after["test"], data),
        },
        "validation": {
            "dense": _spread(spread(cells, before["val"])),
            "sparse": _spread(made.reached),
        },
        "history": trainer.history,
        "cost": {"steps": trainer.steps, "dense_steps": made.dense_steps},
        "timings": {**trainer.seconds, "total": time.perf_counter() - began},
    }
    return Result(model, outcome.masks, plain(record), made.dense.final, _arrays(before, after))


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


def describe(task: Task) -> dict[str, Any]:
    """Names, sizes and fingerprint of a task."""
    return {
        "name": task.name,
        "fingerprint": task.fingerprint,
        "sizes": {name: len(getattr(task, name)) for name in ("train", "cal", "val", "test")},
        "class_names": list(task.class_names),
        "group_names": list(task.group_names),
        "attributes": list(task.attributes),
        "notes": task.notes,
    }


def describe_model(
    model: nn.Module, masks: MaskSet, task: Task, info: dict[str, Any]
) -> dict[str, Any]:
    """Size of a model, and where its weights are left."""
    return {
        **info,
        "class": type(model).__name__,
        "input_shape": list(task.input_shape),
        "n_classes": task.n_classes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "prunable": masks.n_total,
        "layers": [
            {
                "name": name,
                "shape": list(weight.shape),
                "total": weight.numel(),
                "kept": int(masks[name].sum()),
            }
            for name, weight in model.named_parameters()  # masks from a store come in its order
            if name in masks
        ],
    }


def _counts(predictions: Predictions, data: dict[str, Any]) -> list[Any]:
    return confusion(data, *(t.numpy() for t in predictions))


def _spread(value: Spread) -> dict[str, float]:
    return {"accuracy": value.accuracy, "variance": value.variance, "range": value.range}


def _arrays(before: dict[str, Predictions], after: dict[str, Predictions]) -> dict[str, np.ndarray]:
    arrays = {}
    for name in _SPLITS:
        dense = before[name]
        arrays[f"{name}_y"] = dense.y.numpy()
        arrays[f"{name}_group"] = dense.group.numpy()
        arrays[f"{name}_dense"] = dense.logits.numpy()
        arrays[f"{name}_sparse"] = after[name].logits.numpy()
    return arrays
