"""What models are given in an audit: the inputs of the examples, with what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fairsparse.auditing.inputs.columns import READERS, Columns, npz_arrays, of_arrays, read
from fairsparse.auditing.inputs.contents import Contents, coded_groups, of_network
from fairsparse.auditing.inputs.labels import Coded, native, text
from fairsparse.auditing.inputs.networks import MODEL_FILES, is_model, scores
from fairsparse.core import InputError, Inputs
from fairsparse.data.files.images import pixels
from fairsparse.data.task import Task
from fairsparse.fairness.measure.counts import Array
from fairsparse.registry import listing

FILES = (*READERS, *MODEL_FILES)
"""What the names of files of predictions, and of models, end in."""


@dataclass(frozen=True)
class ModelInputs:
    """Examples that models can be run on."""

    about: Contents  # their ids, true classes and groups, as far as known; no predictions
    batch: Callable[[Array], Inputs]  # from rows, int64 (B,), to their inputs as models take them
    show: Callable[[int], Array | str] | None = None  # of a row: uint8 pixels (H, W, 3), or a text

    def viewer(self, rows: Array) -> Callable[[int], Array | str] | None:
        """`show` for examples that are in these rows, by their position."""
        show = self.show
        return None if show is None else lambda at: show(int(rows[at]))


def read_inputs(
    path: str, columns: Columns, attributes: Sequence[str] | None = None
) -> ModelInputs:
    """Read an NPZ file of inputs.

    Its arrays of one value for each example are ids, true classes and groups, as in files of
    predictions; those of more dimensions are inputs, given by name to models that take several.
    Groups are the `attributes`, by default all that are neither ids nor classes. `InputError` when
    the file is missing or damaged, or holds no inputs.
    """
    arrays = npz_arrays(path)
    inputs = {k: v for k, v in arrays.items() if v.ndim >= 2}
    if not inputs:
        raise InputError(
            f"{path}: holds no inputs, arrays of two or more dimensions; arrays:"
            f" {listing(sorted(arrays))}"
        )
    inputs = {k: native(f"{path}: {k}", v) for k, v in inputs.items()}
    odd = sorted(k for k, v in inputs.items() if v.dtype.kind not in "fiub")
    if odd:
        raise InputError(f"{path}: {odd[0]} is of {inputs[odd[0]].dtype}; inputs must be numbers")
    lengths = {len(v) for v in inputs.values()}
    if len(lengths) != 1:
        raise InputError(f"{path}: its inputs must be of one length; got {sorted(lengths)}")
    rest = {k: v for k, v in arrays.items() if k not in inputs}
    about = of_arrays(path, rest, columns, attributes, lengths.pop())
    tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in inputs.items()}

    def batch(rows: Array) -> Inputs:
        at = torch.from_numpy(rows)
        inputs = {k: t[at] for k, t in tensors.items()}
        return next(iter(inputs.values())) if len(inputs) == 1 else inputs

    (first, *more) = tensors.values()
    pictures = not more and first.dim() == 4 and first.shape[1] in (1, 3)
    return ModelInputs(about, batch, (lambda i: pixels(first[i])) if pictures else None)


def of_task(task: Task, attributes: Sequence[str] | None = None) -> ModelInputs:
    """The test split of a task; its groups are those of all its attributes together."""
    split = task.test
    groups = coded_groups(split.group.numpy(), task.group_names, task.attributes)
    for name in attributes or ():
        if name not in groups:
            raise InputError(f"{task.name}: has no groups '{name}'; it has {listing(list(groups))}")
    classes = tuple(text(name) for name in task.class_names)
    about = Contents(
        f"{task.name}, test split",
        len(split),
        truth=Coded(split.y.numpy().astype(np.int32), classes),
        classes=classes,
        attributes=groups,
        positive=classes[1] if len(classes) == 2 else None,
    )
    return ModelInputs(about, lambda rows: split.batch(torch.from_numpy(rows)).x, task_viewer(task))


def task_viewer(task: Task) -> Callable[[int], Array | str] | None:
    """How a person looks at a test example of a task: as pixels or text; None for numbers."""
    split = task.test
    x: Any = split.raw(torch.tensor([0]))
    decode = getattr(split.transform, "decode", None)
    if decode is not None:
        return lambda i: str(decode(split.raw(torch.tensor([i]))[0]))
    if isinstance(x, torch.Tensor) and x.dim() == 4 and x.shape[1] in (1, 3):
        return lambda i: pixels(split.raw(torch.tensor([i]))[0])
    return None


def read_any(
    path: str,
    columns: Columns,
    attributes: Sequence[str] | None = (),
    inputs: ModelInputs | None = None,
    class_names: Sequence[str] | None = None,
    notes: list[str] | None = None,
) -> Contents:
    """Predictions from a file or run directory, or of a model that is run on what is given."""
    if not is_model(path):
        return read(path, columns, attributes)
    if inputs is None:
        raise InputError(
            f"{path}: is a model, and models need examples to run on; give --inputs with an NPZ"
            " file, or with the configuration of a run, whose test split is taken"
        )
    raw = scores(path, inputs.about.n, inputs.batch)
    names = tuple(map(text, class_names or inputs.about.classes))
    names = names or tuple(str(c) for c in range(raw.shape[1]))
    if len(names) != raw.shape[1]:
        raise InputError(
            f"{path}: gives {raw.shape[1]} scores an example for {len(names)} classes"
            f" ({listing(names)}); name all classes with --classes, in the model's order"
        )
    if not np.isfinite(raw).all():
        at = int((~np.isfinite(raw)).any(1).argmax())
        raise InputError(f"{path}: its scores are not a number, first for example {at + 1}")
    said, logits = of_network(raw)
    if logits and notes is not None:
        notes.append(f"The scores of {path} were taken for logits.")
    about = replace(inputs.about, attributes={}, others=(), notes=())
    return replace(about, path=path, scores=said, classes=names)
