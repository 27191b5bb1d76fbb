"""From a run directory to heat maps of its networks, and to the line to another run's network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairsparse.core import UNKNOWN, InputError
from fairsparse.data import Task
from fairsparse.experiments.config import RunConfig, make_config
from fairsparse.experiments.result import Result, load, read_record
from fairsparse.experiments.run import make_task
from fairsparse.explain.agreement import agreement, correlation, stratified, weighted_mean
from fairsparse.explain.explanation import DENSE, NETWORKS, PRUNED, RANDOM, Explanation, Shown
from fairsparse.explain.heatmaps import explainer, heatmaps
from fairsparse.explain.loss_path import Line, check_alike, line
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.measure.counts import Array
from fairsparse.masks.maskset import MaskSet
from fairsparse.models import adapted
from fairsparse.training import Trainer, derive


def explain(
    run: Path, other: Path | None = None, *, examples: int = 8, sample: int = 512, seed: int = 0
) -> Explanation:
    """Compare heat maps of a run's dense and pruned network, and of a random mask's.

    Parameters
    ----------
    run : Path
        A run directory whose configuration names data and model.
    other : Path, optional
        Another of the same data and architecture, to measure the loss on the line between both.
    examples : int
        Shown ones, at most.
    sample : int
        Test examples whose maps are correlated, at most: equally many of each class within each
        group, and all of smaller ones.
    seed : int
        Of the sample, the random mask, the order of cells and the intervals.

    Raises
    ------
    InputError
        When a directory is no such run, its data have changed, captum is missing, or the other run
        is of other data or another architecture.
    """
    for name, value, least in (("examples", examples, 0), ("sample", sample, 1)):
        if value < least:
            raise InputError(f"{name} is {value}; give {least} or more")
    result, config = _named(run)
    if result.masks.n_kept == result.masks.n_total:
        raise InputError(f"{run}: nothing was pruned in this run; give that of a pruned network")
    second = None if other is None else _other(result, run, other)
    task = make_task(config)
    if task.fingerprint != result.record["data"]["fingerprint"]:
        raise InputError(f"{run}: the data have changed since this run; restore them, or run again")
    cells = Cells(config.cells, task.class_names, task.group_names)
    trainer = Trainer(config.training, cells, seed)
    x = task.test.batch(torch.arange(min(2, len(task.test)))).x
    models = networks(result, seed)
    for model in models.values():
        trainer.place(adapted(model, x).eval())
    special = getattr(task.test.transform, "special", ())
    summary = explainer(models[DENSE], x, special).summary
    rng = np.random.default_rng(derive(seed, "explain"))
    y, group = task.test.y.numpy(), task.test.group.numpy()
    index, weights = stratified(y * (len(task.group_names) + 1) + group, sample, rng)
    lost = flipped(result.predictions)
    chosen = choose(result.predictions, lost, cells, examples, rng)
    rows = np.union1d(index, chosen)
    target = torch.from_numpy(result.predictions["test_dense"].argmax(1))
    part = torch.from_numpy(rows)
    maps = heatmaps(models, task.test.subset(part), target[part])
    inside = {name: found[np.searchsorted(rows, index)] for name, found in maps.items()}
    found = agreement(
        inside,
        np.array(task.class_names, object)[y[index]],
        groups=_groups(task, group[index]),
        class_names=task.class_names,
        weights=weights,
        seed=seed,
    )
    more = (found.examples[PRUNED] - found.examples[RANDOM]).to_numpy()
    both = ~np.isnan(more)
    return Explanation(
        run=str(run),
        record=result.record,
        method=summary,
        agreement=found,
        difference=weighted_mean(more[both], weights[both], 2000, rng, (-2, 2)),
        index=index,
        weights=weights,
        flips=len(lost),
        shown=_shown(task, trainer, models, maps, rows, chosen, target),
        transform=task.test.transform,
        seed=seed,
        other="" if other is None else str(other),
        line=None if second is None else _line(task, config, result, second, x, seed),
    )


def networks(result: Result, seed: int) -> dict[str, nn.Module]:
    """The dense network, its weights under a random mask, and the pruned network of a run."""
    dense = copy.deepcopy(result.model)
    dense.load_state_dict(result.dense)
    masked = copy.deepcopy(dense)
    random_masks(result.masks, seed).apply_(masked)
    return dict(zip(NETWORKS, (dense, masked, result.model), strict=True))


def random_masks(masks: MaskSet, seed: int) -> MaskSet:
    """Masks that keep as many of the same weights, drawn uniformly over all of them."""
    kept = torch.zeros(masks.n_total, dtype=torch.bool)
    generator = torch.Generator().manual_seed(derive(seed, "random mask"))
    kept[torch.randperm(masks.n_total, generator=generator)[: masks.n_kept]] = True
    names = sorted(masks)  # masks that were read from a file come in any order
    parts = kept.split([masks[name].numel() for name in names])
    return MaskSet({n: p.view(masks[n].shape) for n, p in zip(names, parts, strict=True)})


def flipped(predictions: Mapping[str, Array]) -> Array:
    """Rows of the test split that the dense network gets right and the pruned one wrong."""
    y = predictions["test_y"]
    dense, sparse = (predictions[f"test_{kind}"].argmax(1) for kind in ("dense", "sparse"))
    return np.flatnonzero((dense == y) & (sparse != y))


def choose(
    predictions: Mapping[str, Array],
    rows: Array,
    cells: Cells,
    most: int,
    rng: np.random.Generator,
) -> Array:
    """Up to `most` of `rows`, one from each cell in turn, the surest of the dense network first.

    Cells take turns in an order that is drawn; examples in no cell come last.
    """
    logits = torch.from_numpy(predictions["test_dense"][rows]).double()
    sure = logits.softmax(1).amax(1).numpy() if len(rows) else np.zeros(0)
    y, group = (torch.from_numpy(predictions[f"test_{part}"][rows]) for part in ("y", "group"))
    cell = cells.index(y, group).numpy()
    rank = np.append(rng.permutation(len(cells)), len(cells))  # the last is that of no cell
    turn = np.zeros(len(rows), np.int64)
    for k in np.unique(cell):
        mine = np.flatnonzero(cell == k)
        turn[mine[np.argsort(-sure[mine], kind="stable")]] = np.arange(len(mine))
    order = np.lexsort((rank[cell], turn, cell == UNKNOWN))
    return rows[order[:most]]


def _named(run: Path) -> tuple[Result, RunConfig]:
    """A run that can be made again from the names in its record."""
    record = read_record(run)
    if record["model"]["name"] is None:
        raise InputError(
            f"{run}: the network and data of this run were passed in from Python; make the maps"
            " there, with fairsparse.heatmaps and fairsparse.agreement"
        )
    return load(run), make_config(record["config"])


def _other(result: Result, run: Path, other: Path) -> Result:
    second, _ = _named(other)
    ours, theirs = (r.record["data"]["fingerprint"] for r in (result, second))
    if ours != theirs:
        raise InputError(f"{other}: is a run on other data than {run}; give two on the same data")
    names = [r.record["model"]["name"] for r in (result, second)]
    if names[0] != names[1]:
        raise InputError(
            f"{other}: is a run of the network {names[1]}, and {run} one of {names[0]}; give two of"
            " one architecture"
        )
    try:
        check_alike(result.model, second.model)
    except InputError as error:
        raise InputError(f"{run} and {other}: {error}") from None
    return second


def _line(task: Task, config: RunConfig, first: Result, second: Result, x: Any, seed: int) -> Line:
    a, b = (adapted(r.model, x) for r in (first, second))
    return line(a, b, task.val, task.train, recipe=config.training, seed=seed)


def _groups(task: Task, group: Array) -> dict[str, Array] | None:
    if not task.group_names:
        return None
    return {"group": np.array([*task.group_names, None], object)[group]}


def _shown(
    task: Task,
    trainer: Trainer,
    models: Mapping[str, nn.Module],
    maps: Mapping[str, Array],
    rows: Array,
    chosen: Array,
    target: Tensor,
) -> list[Shown]:
    if not len(chosen):
        return []
    part = torch.from_numpy(chosen)
    split = task.test.subset(part)
    said = {n: trainer.predict(m, split).logits.softmax(1) for n, m in models.items()}
    at = np.searchsorted(rows, chosen)
    mine = {name: found[at] for name, found in maps.items()}
    alike = {n: correlation(mine[DENSE], m) for n, m in mine.items() if n != DENSE}
    names, raw = task.class_names, task.test.raw(part)
    shown = []
    for i, row in enumerate(chosen.tolist()):
        g = int(split.group[i])
        shown.append(
            Shown(
                index=row,
                y=names[int(split.y[i])],
                group=(*task.group_names, "unknown")[g] if task.group_names else None,
                target=names[int(target[row])],
                predicted={
                    n: (names[int(p[i].argmax())], float(p[i].max())) for n, p in said.items()
                },
                correlation={n: float(found[i]) for n, found in alike.items()},
                x={k: t[i] for k, t in raw.items()} if isinstance(raw, Mapping) else raw[i],
                maps={n: m[i] for n, m in mine.items()},
            )
        )
    return shown
