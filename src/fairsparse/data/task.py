"""A task: four splits, the names of classes and groups, and a fingerprint of the content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, default_collate

from fairsparse.core import UNKNOWN, Batch, InputError, Shown
from fairsparse.data.files.rows import Rows
from fairsparse.registry import listing

SPLITS = ("train", "cal", "val", "test")


@dataclass(frozen=True)
class Standardize:
    """``(x - mean) / std`` in float32; the constants come from the training split alone.

    They are broadcast against one example, in the units in which the split stores it.
    """

    mean: Tensor
    std: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        mean, std = self.mean.to(x.device), self.std.to(x.device)
        return (x.to(torch.float32) - mean) / std

    @classmethod
    def images(cls, x: Tensor | Rows) -> Standardize:
        """Per-channel constants of images ``(N, channels, H, W)``, in memory or not."""
        channels, *sides = x.shape[1:] if isinstance(x, Tensor) else x.shape
        total, square = torch.zeros((2, channels), dtype=torch.float64)
        for index in torch.arange(len(x)).split(1024):
            values = (x[index] if isinstance(x, Tensor) else x.rows(index)).to(torch.float64)
            total += values.sum((0, 2, 3))
            square += values.square().sum((0, 2, 3))
        n = len(x) * sides[0] * sides[1]
        mean = total / n
        std = (square / n - mean.square()).clamp_min(1e-12).sqrt()
        return cls(mean.float().view(-1, 1, 1), std.float().view(-1, 1, 1))


Transform = Callable[[Tensor], Tensor]
"""From a batch of stored inputs to what a network takes."""


@dataclass(frozen=True)
class Split:
    """Examples with their classes and groups, in memory, on disk, or behind a map-style data set.

    Parameters
    ----------
    x : Tensor, shape (N, *f), or Dataset of length N
        Inputs: uint8 images ``(N, channels, H, W)``, also as `Rows`, float features ``(N, F)``, or
        a map-style data set whose items are ``x`` or tuples that begin with ``x``, a tensor or a
        dict of tensors.
    y : Tensor of int64, shape (N,)
    group : Tensor of int64, shape (N,)
        -1 where the group is unknown.
    transform : callable, optional
        Applied to a batch of ``x`` by `prepare`, after any augmentation.
    """

    x: Tensor | Dataset[Any]
    y: Tensor
    group: Tensor
    transform: Transform | None = None

    def __len__(self) -> int:
        return len(self.y)

    def raw(self, index: Tensor) -> Any:
        """Return the inputs at `index` as they are stored: (B, *f), or a dict of such tensors."""
        if isinstance(self.x, Tensor):
            return self.x[index]
        if isinstance(self.x, Rows):
            return self.x.rows(index)
        items = (self.x[int(i)] for i in index)
        return default_collate([x[0] if isinstance(x, (tuple, list)) else x for x in items])

    def prepare(self, x: Any) -> Any:
        """Turn stored inputs into what the model takes: transformed, or float32, or a dict."""
        if isinstance(x, Mapping):
            return dict(x)
        if self.transform is not None:
            return self.transform(x)
        return x if x.is_floating_point() else x.to(torch.float32)

    def batch(self, index: Tensor) -> Batch:
        """Return the prepared examples at `index` (int64, shape (B,)), without augmentation."""
        return Batch(self.prepare(self.raw(index)), self.y[index], self.group[index])

    def subset(self, index: Tensor) -> Split:
        """Return the examples at `index` as a split of their own."""
        x: Tensor | Dataset[Any]
        if isinstance(self.x, Tensor):
            x = self.x[index]
        else:
            x = self.x.select(index) if isinstance(self.x, Rows) else Subset(self.x, index.tolist())
        return replace(self, x=x, y=self.y[index], group=self.group[index])


@dataclass(frozen=True)
class TrainData:
    """What a method may see of a task: everything but the test split."""

    train: Split
    cal: Split
    val: Split
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Task(Shown):
    """A classification task with everything needed to train, choose, and judge.

    Parameters
    ----------
    name : str
    train, cal, val, test : Split
        `cal` feeds detection and cell weights, `val` every choice, `test` the final audit alone.
    class_names : tuple of str, length C
    group_names : tuple of str, length G
        Empty where the task has no groups. With several attributes the groups are their
        intersections, named ``"Black x female"``.
    attributes : tuple of str
        Names of the sensitive attributes, in the order in which they make up a group name.
    notes : str
        Licence, terms, and what is inferred rather than recorded; printed in reports.
    fingerprint : str
        SHA-256 of the content of all splits; computed when empty.
    """

    name: str
    train: Split
    cal: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    notes: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        check(self)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint(self))

    def about(self) -> dict[str, str]:
        """Its name and content, classes, groups, and how many examples its splits have."""
        by = f" by {', '.join(self.attributes)}" if self.attributes else ""
        return {
            "data": f"{self.name}, fingerprint {self.fingerprint[:12]}",
            "classes": f"{self.n_classes}: {listing(self.class_names)}",
            "groups": f"{self.n_groups}{by}: {listing(self.group_names) or 'none'}",
            "examples": ", ".join(f"{name} {len(getattr(self, name)):,}" for name in SPLITS),
        }

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def n_groups(self) -> int:
        return len(self.group_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one prepared input; of the first tensor where it is a dict."""
        x = self.train.raw(torch.tensor([0]))
        first: Tensor = next(iter(x.values())) if isinstance(x, Mapping) else x
        return tuple(first.shape[1:])

    @property
    def training(self) -> TrainData:
        """The task without its test split."""
        return TrainData(self.train, self.cal, self.val, self.class_names, self.group_names)


def check(task: Task) -> None:
    """Raise `InputError` unless the splits agree with each other and with the names.

    Checked: lengths; labels in ``0 .. C-1``; groups in ``-1 .. G-1``; at least two classes; every
    class and every group present in every split; finite inputs; one input shape.
    """
    if task.n_classes < 2:
        raise InputError(
            f"{task.name}: the target has {task.n_classes} class ({', '.join(task.class_names)});"
            " a classification task needs at least 2: choose another target column"
        )
    shapes = {}
    for name in SPLITS:
        split: Split = getattr(task, name)
        n = len(split)
        if n == 0:
            raise InputError(f"{task.name}: the {name} split is empty; give it examples")
        size = len(split.x)  # type: ignore[arg-type]
        if size != n or len(split.group) != n:
            raise InputError(
                f"{task.name}: the {name} split has {size} inputs, {n} labels and"
                f" {len(split.group)} groups; give one of each per example"
            )
        _check_codes(task.name, name, "label", split.y, task.class_names, lowest=0)
        _check_codes(task.name, name, "group", split.group, task.group_names, lowest=UNKNOWN)
        if isinstance(split.x, Tensor):
            shapes[name] = tuple(split.x.shape[1:])
            if split.x.is_floating_point() and not bool(torch.isfinite(split.x).all()):
                bad = int((~torch.isfinite(split.x).flatten(1).all(1)).nonzero()[0])
                raise InputError(
                    f"{task.name}: the {name} split has NaN or infinite inputs (first at example"
                    f" {bad}); only finite numbers are allowed: impute or drop such examples"
                )
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"{task.name}: inputs have different shapes {shapes}; bring all splits to one shape"
        )


def _check_codes(
    task: str, split: str, what: str, codes: Tensor, names: Sequence[str], lowest: int
) -> None:
    low, high = int(codes.min()), int(codes.max())
    if low < lowest or high >= len(names):
        raise InputError(
            f"{task}: the {split} split has {what}s from {low} to {high}; allowed are"
            f" {lowest} .. {len(names) - 1} ({len(names)} {what} names)"
        )
    counts = torch.bincount(codes[codes >= 0], minlength=len(names))
    empty = [names[int(i)] for i in (counts == 0).nonzero()[:, 0]]
    if empty:
        plural = "classes" if what == "label" else "groups"
        raise InputError(
            f"{task}: {plural} without examples in the {split} split: {', '.join(empty[:8])};"
            f" give them examples there or leave them out of the task"
        )


def fingerprint(task: Task) -> str:
    """Return the SHA-256 of all splits' inputs, labels and groups, and of the names.

    Inputs behind a data set enter through their labels, groups and up to 64 evenly spaced items.
    """
    digest = hashlib.sha256()
    digest.update(repr((task.class_names, task.group_names, task.attributes)).encode())
    for name in SPLITS:
        split: Split = getattr(task, name)
        tensors = [split.y, split.group]
        if isinstance(split.x, Tensor):
            tensors.append(split.x)
        else:
            some = np.unique(np.linspace(0, len(split) - 1, 64).astype(np.int64))
            x = split.raw(torch.from_numpy(some))
            tensors += [x[key] for key in sorted(x)] if isinstance(x, Mapping) else [x]
        for tensor in tensors:
            array = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
