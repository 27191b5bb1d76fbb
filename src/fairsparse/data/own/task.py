"""The user's own examples as a task: tensors, arrays, or map-style data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fairsparse.core import UNKNOWN, InputError
from fairsparse.data.splits import assign, strata_of
from fairsparse.data.task import SPLITS, Split, Standardize, Task

Examples = Sequence[Any] | Dataset[Any]
"""``(x, y)`` or ``(x, y, group)`` of tensors or arrays, or a data set that yields such tuples."""


def task(
    train: Examples,
    test: Examples,
    *,
    cal: Examples | None = None,
    val: Examples | None = None,
    class_names: Sequence[str] = (),
    group_names: Sequence[str] = (),
    name: str = "own",
    cal_share: float = 0.1,
    val_share: float = 0.1,
    standardize: bool = False,
    seed: int = 0,
) -> Task:
    """Make a task of your own examples.

    Parameters
    ----------
    train, test : (x, y) or (x, y, group), or map-style Dataset
        Tensors or arrays: inputs (N, *f), classes (N,), groups (N,) with -1 where unknown. A data
        set is read once for its labels; its inputs, tensors or arrays that are not float64 or
        dicts of them, are read batch by batch when they are needed.
    cal, val : likewise, optional
        Taken from `train` when absent, stratified by class and group.
    class_names, group_names : sequence of str
        ``class 0``, ``group 0`` and so on when absent.
    name : str
    cal_share, val_share : float in (0, 0.5)
        Shares of `train` to take where `cal` or `val` is absent.
    standardize : bool
        Standardize inputs with constants of the training split: per channel for images, per
        feature for tables.
    seed : int
        Of the split.

    Raises
    ------
    InputError
        When lengths, labels, shapes or names do not agree, or inputs are not finite.
    """
    examples = {"train": train, "test": test, "cal": cal, "val": val}
    parts = {part: _split(e, part) for part, e in examples.items() if e is not None}
    shares = {"cal": cal_share, "val": val_share}
    shares = {part: share for part, share in shares.items() if part not in parts}
    for part, share in shares.items():
        if not 0 < share < 0.5:
            raise InputError(
                f"{part}_share is {share}; allowed are shares in (0, 0.5): change it, or give"
                f" {part} yourself"
            )
    parts |= _divide(parts["train"], shares, seed)
    classes = _names(class_names, "class", [s.y for s in parts.values()])
    groups = _names(group_names, "group", [s.group for s in parts.values()])
    if standardize:
        transform = _standardize(parts["train"])
        parts = {part: replace(split, transform=transform) for part, split in parts.items()}
    train_, cal_, val_, test_ = (parts[part] for part in SPLITS)
    return Task(name, train_, cal_, val_, test_, classes, groups)


def _split(examples: Examples, part: str) -> Split:
    if isinstance(examples, (tuple, list)):
        if len(examples) not in (2, 3):
            raise InputError(
                f"{part}: got {len(examples)} arrays; give (x, y) or (x, y, group), or a Dataset"
            )
        indices = [v.index for v in examples if isinstance(v, (pd.Series, pd.DataFrame))]
        if not all(index.equals(indices[0]) for index in indices):
            raise InputError(
                f"{part}: inputs, labels and groups have different indices; bring them into one"
                " order with .loc, or give .to_numpy() where rows are in the same order"
            )
        x, y, *rest = (_tensor(values, part) for values in examples)
        group = rest[0] if rest else torch.full(y.shape, UNKNOWN)
        sizes = [len(v) if v.dim() else 0 for v in (x, y, group)]
        if min(sizes) != max(sizes):
            raise InputError(
                f"{part}: got {sizes[0]} inputs, {sizes[1]} labels and {sizes[2]} groups; give one"
                " of each per example"
            )
        split = Split(
            x.float() if x.dtype == torch.float64 else x, _codes(y, part), _codes(group, part)
        )
    else:
        split = _read(examples, part)
    if len(split) == 0:
        raise InputError(f"{part}: has no examples; give it some")
    return split


def _tensor(values: Any, part: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        return torch.as_tensor(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{part}: got a {type(values).__name__} that is no array of numbers ({error}); give"
            " inputs as numbers and labels as codes 0, 1, ..."
        ) from None


def _read(examples: Examples, part: str) -> Split:
    """Read a data set once: its labels are kept, its inputs are looked at and forgotten."""
    if not hasattr(examples, "__len__") or not hasattr(examples, "__getitem__"):
        raise InputError(
            f"{part}: got a {type(examples).__name__}; give tensors, or a map-style Dataset with"
            " __len__ and __getitem__"
        )
    dataset = cast("Dataset[Any]", examples)
    labels, groups = [], []
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(len(cast(Sized, examples))):
        item = dataset[i]
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            raise InputError(f"{part}: item {i} is not (x, y) or (x, y, group)")
        x, *codes = item
        named = dict(x) if isinstance(x, Mapping) else {"": x}
        shapes = shapes or {k: tuple(v.shape) for k, v in named.items() if hasattr(v, "shape")}
        if isinstance(x, Mapping) and named.keys() != shapes.keys():
            raise InputError(
                f"{part}: item {i} has inputs {sorted(named)}, the ones before {sorted(shapes)};"
                " give tensors under the same names"
            )
        for key, value in named.items():
            where = f"{part}: item {i}" + (f" ('{key}')" if key else "")
            _check_input(value, shapes.get(key), where)
        try:
            label, group = int(codes[0]), int(codes[1]) if len(codes) > 1 else UNKNOWN
        except (TypeError, ValueError, RuntimeError):
            raise InputError(
                f"{part}: item {i} has the label and group {codes}; they are whole numbers"
            ) from None
        labels.append(label)
        groups.append(group)
    return Split(dataset, torch.tensor(labels), torch.tensor(groups))


def _check_input(x: Any, shape: tuple[int, ...] | None, where: str) -> None:
    if not isinstance(x, (Tensor, np.ndarray)):
        raise InputError(f"{where} has a {type(x).__name__} as input; give a tensor or an array")
    values = torch.as_tensor(x)
    if tuple(values.shape) != shape:
        raise InputError(
            f"{where} has shape {tuple(values.shape)}, the ones before {shape}; bring all inputs to"
            " one shape"
        )
    if values.dtype == torch.float64:
        raise InputError(f"{where} is float64; have the data set give float32, as networks take")
    if values.is_floating_point() and not bool(torch.isfinite(values).all()):
        raise InputError(f"{where} has NaN or infinite values; impute or drop such examples")


def _codes(values: Tensor, part: str) -> Tensor:
    if values.dim() != 1 or values.is_floating_point() or values.is_complex():
        raise InputError(
            f"{part}: labels and groups are whole numbers of shape (N,), got"
            f" {values.dtype} of shape {tuple(values.shape)}"
        )
    return values.long().cpu()


def _divide(whole: Split, shares: dict[str, float], seed: int) -> dict[str, Split]:
    strata = strata_of(whole.y.numpy(), whole.group.numpy())
    codes = torch.from_numpy(assign(strata, [*shares.values()], np.random.default_rng(seed)))
    names = ["train", *shares]
    return {part: whole.subset((codes == i).nonzero()[:, 0]) for i, part in enumerate(names)}


def _names(names: Sequence[str], what: str, codes: Sequence[Tensor]) -> tuple[str, ...]:
    highest = max(int(c.max()) for c in codes)
    return tuple(names) or tuple(f"{what} {i}" for i in range(highest + 1))


def _standardize(train: Split) -> Standardize:
    if not isinstance(train.x, Tensor):
        raise InputError("standardize needs tensors; let the data set standardize its own inputs")
    if train.x.dim() == 4:
        return Standardize.images(train.x)
    x = train.x.float()
    return Standardize(x.mean(0), x.std(0).clamp_min(1e-6))
