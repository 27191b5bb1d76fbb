"""From a run directory to heat maps of its networks, and to the line to another run's network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairsparse.core import UNKNOWN, InputError
from fairsparse.data import Task
from fairsparse.experiments.config import RunConfig, make_config
from fairsparse.experiments.plan import Setup, make_task, unwritten
from fairsparse.experiments.result import Result, load
from fairsparse.explain.agreement import (
    Agreement,
    WeightedMean,
    agreement,
    correlation,
    stratified,
    weighted_mean,
)
from fairsparse.explain.explanation import DENSE, NETWORKS, PRUNED, RANDOM, Explanation, Shown
from fairsparse.explain.heatmaps import explainer, heatmaps
from fairsparse.explain.loss_path import Line, check_alike, line
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.measure.counts import Array
from fairsparse.masks.maskset import MaskSet
from fairsparse.models import adapted
from fairsparse.record import read_record
from fairsparse.training import Trainer, derive


def explain(
    run: Path,
    other: Path | None = None,
    *,
    examples: int = 8,
    sample: int = 512,
    seed: int = 0,
    trust: bool = False,
) -> Explanation:
    """Compare heat maps of a run's dense and pruned network, and of a random mask's.

    Parameters
    ----------
    run, other : Path
        A run directory that names data and model, and another, to measure the loss between both.
    examples, sample : int
        Test examples shown, and those whose maps are correlated, at most: equally many of each
        class within each group, and all of smaller ones.
    seed : int
        Of the sample, the random mask, the order of cells and the intervals.
    trust : bool
        Make a network of ``module:factory``, and keep data where the run kept them.

    Raises
    ------
    InputError
        When a directory is no such run or of other data, or captum is missing.
    """
    for name, value, least in (("examples", examples, 0), ("sample", sample, 1)):
        if value < least:
            raise InputError(f"{name} is {value}; give {least} or more")
    result, config = _named(run, trust)
    if result.masks.n_kept == result.masks.n_total:
        raise InputError(f"{run}: nothing was pruned in this run; give that of a pruned network")
    second = None if other is None else _other(result, run, other, trust)
    task = _same_task(run, result, config)
    cells = Setup(config, task).cells
    rng = np.random.default_rng(derive(seed, "explain"))
    y, group = task.test.y.numpy(), task.test.group.numpy()
    index, weights = stratified(y * (len(task.group_names) + 1) + group, sample, rng)
    lost = flipped(result.predictions)
    chosen = choose(result.predictions, lost, cells, examples, rng)
    trainer = Trainer(config.training, cells, seed)
    maps = _make_maps(result, task, trainer, np.union1d(index, chosen), seed)
    alike = _agreement(maps, index, weights, seed)
    return Explanation(
        run=str(run),
        record=result.record,
        method=maps.method,
        agreement=alike,
        difference=_difference(alike, weights, rng),
        index=index,
        weights=weights,
        flips=len(lost),
        shown=_shown(maps, chosen) if len(chosen) else [],
        transform=task.test.transform,
        seed=seed,
        other="" if other is None else str(other),
        line=None if second is None else _line(task, config, result, second, seed),
    )


def _difference(alike: Agreement, weights: Array, rng: np.random.Generator) -> WeightedMean:
    """How much more alike to the dense network's the pruned one's maps are than chance's."""
    more = (alike.examples[PRUNED] - alike.examples[RANDOM]).to_numpy()
    both = ~np.isnan(more)
    return weighted_mean(more[both], weights[both], 2000, rng, (-2, 2))


@dataclass(frozen=True)
class _Maps:
    """How and where the heat maps of networks were made: for `target`, on `rows`, which rise."""

    task: Task
    trainer: Trainer
    models: Mapping[str, nn.Module]
    method: str
    rows: Array
    maps: Mapping[str, Array]
    target: Tensor

    def of(self, rows: Array) -> dict[str, Array]:
        """Those of some of the examples."""
        at = np.searchsorted(self.rows, rows)
        return {name: every[at] for name, every in self.maps.items()}


def _make_maps(result: Result, task: Task, trainer: Trainer, rows: Array, seed: int) -> _Maps:
    """Maps of a run's three networks for the class that the dense one predicts."""
    x, models = _some(task), networks(result, seed)
    for model in models.values():
        trainer.place(adapted(model, x).eval())
    method = explainer(models[DENSE], x, getattr(task.test.transform, "special", ())).summary
    target = torch.from_numpy(result.predictions["test_dense"].argmax(1))
    part = torch.from_numpy(rows)
    maps = heatmaps(models, task.test.subset(part), target[part])
    return _Maps(task, trainer, models, method, rows, maps, target)


def _some(task: Task) -> Any:
    return task.test.batch(torch.arange(min(2, len(task.test)))).x


def _agreement(maps: _Maps, index: Array, weights: Array, seed: int) -> Agreement:
    test, names = maps.task.test, maps.task.class_names
    group = np.array([*maps.task.group_names, None], object)[test.group.numpy()[index]]
    return agreement(
        maps.of(index),
        np.array(names, object)[test.y.numpy()[index]],
        groups={"group": group} if maps.task.group_names else None,
        class_names=names,
        weights=weights,
        seed=seed,
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


def _named(run: Path, trust: bool) -> tuple[Result, RunConfig]:
    """A run that can be made again from the names in its record."""
    record = read_record(run)
    if record.model.name is None:
        raise InputError(
            f"{run}: the network and data of this run were passed in from Python; make the maps"
            " there, with fairsparse.heatmaps and fairsparse.agreement"
        )
    result, config = load(run, trust=trust), make_config(record.config, trust)
    return result, config if trust else unwritten(config)


def _same_task(run: Path, result: Result, config: RunConfig) -> Task:
    task = make_task(config)
    if task.fingerprint != result.record.data.fingerprint:
        raise InputError(f"{run}: the data have changed since this run; restore them, or run again")
    return task


def _other(result: Result, run: Path, other: Path, trust: bool) -> Result:
    second, _ = _named(other, trust)
    ours, theirs = (r.record.data.fingerprint for r in (result, second))
    if ours != theirs:
        raise InputError(f"{other}: is a run on other data than {run}; give two on the same data")
    names = [r.record.model.name for r in (result, second)]
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


def _line(task: Task, config: RunConfig, first: Result, second: Result, seed: int) -> Line:
    a, b = (adapted(r.model, _some(task)) for r in (first, second))
    return line(a, b, task.val, task.train, recipe=config.training, seed=seed)


def _shown(maps: _Maps, chosen: Array) -> list[Shown]:
    task, part = maps.task, torch.from_numpy(chosen)
    split, mine = task.test.subset(part), maps.of(chosen)
    said = {n: maps.trainer.predict(m, split).logits.softmax(1) for n, m in maps.models.items()}
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
                target=names[int(maps.target[row])],
                predicted={
                    n: (names[int(p[i].argmax())], float(p[i].max())) for n, p in said.items()
                },
                correlation={n: float(each[i]) for n, each in alike.items()},
                x={k: t[i] for k, t in raw.items()} if isinstance(raw, Mapping) else raw[i],
                maps={n: m[i] for n, m in mine.items()},
            )
        )
    return shown
