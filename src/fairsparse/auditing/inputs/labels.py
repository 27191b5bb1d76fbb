"""People's own arrays as codes with names: classes, predictions, groups."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from fairsparse.core import UNKNOWN, InputError
from fairsparse.fairness.measure.counts import Array, as_array

CLASS = "class"
"""The attribute of the true class, beside the sensitive ones."""
TOLERANCE = 1e-3
"""How far the probabilities of an example may sum from 1."""


def column(what: str, values: Any) -> Array:
    """One value for each example, none of them missing."""
    array = as_array(values)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"{what} must be one value for each example; got shape {array.shape}")
    missing = int(pd.isna(array).sum())
    if missing:
        raise InputError(f"{what} lacks {missing:,} of {len(array):,} values; leave those rows out")
    return array


def predicted(name: str, values: Any, class_names: Sequence[Hashable] | None) -> Array:
    """Predicted classes from what was given for a model: classes (N,), or scores (N, C)."""
    array = as_array(values)
    if array.ndim != 2:
        return column(name, array)
    if class_names is None or array.shape[1] != len(class_names):
        count = "none" if class_names is None else str(len(class_names))
        raise InputError(
            f"{name} holds scores of {array.shape[1]} classes and class_names names {count};"
            " give one name for each column"
        )
    missing = int(np.isnan(array).any(1).sum())
    if missing:
        raise InputError(f"{name} has scores that are not a number in {missing:,} rows")
    return np.asarray(class_names)[array.argmax(1)]


def confidence(values: Any) -> Array | None:
    """What probabilities (N, C) give to the class that they are largest for; None for others.

    >>> confidence([[0.25, 0.75]]), confidence([[1.0, 2.0]]), confidence(["a", "b"])
    (array([0.75]), None, None)
    """
    array = as_array(values)
    if array.ndim != 2 or array.min() < 0 or np.abs(array.sum(1) - 1).max() > TOLERANCE:
        return None
    largest: Array = array.max(1)
    return largest


def text(value: Any) -> str:
    """A label as text: 1, 1.0 and "1" are the same class.

    >>> text(np.float64(1.0)), text(np.int64(1)), text("b"), text(True)
    ('1', '1', 'b', 'True')
    """
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def sorted_names(names: Any) -> tuple[str, ...]:
    """Names in numerical order where all are numbers, else in that of the alphabet."""
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))


def encode(
    columns: Mapping[str, Array], class_names: Sequence[Any] | None = None, every: bool = False
) -> tuple[tuple[str, ...], dict[str, Array]]:
    """Return the class names, and every column as codes of them.

    Candidates may not predict a class that neither the labels nor the reference have, unless
    `class_names` names it or `every` is set: two different tasks would otherwise be compared.
    """
    factors = {name: pd.factorize(column) for name, column in columns.items()}
    used = {name: [text(v) for v in values] for name, (_, values) in factors.items()}
    if class_names is None:
        names = sorted_names({v for k in used if every or k in ("y", "reference") for v in used[k]})
    else:
        names = tuple(text(c) for c in class_names)
        if len(set(names)) != len(names):
            raise InputError("class_names holds a name twice; give each class one name")
    allowed = set(names)
    for name, values in used.items():
        strange = [v for v in values if v not in allowed]
        if strange:
            raise InputError(
                f"{name} has classes that {'class_names' if class_names else 'y and reference'} do"
                f" not have: {', '.join(strange[:5])}; known: {', '.join(names[:8])}"
                f"{' ...' if len(names) > 8 else ''}; name all classes if that is right"
            )
    return names, {k: recode(code, used[k], names) for k, (code, _) in factors.items()}


def attributes(groups: Any, n: int) -> dict[str, Any]:
    """What was given as groups by attribute, each of `n` values."""
    if groups is None:
        return {}
    several = isinstance(groups, (Mapping, pd.DataFrame))
    columns = {str(k): v for k, v in groups.items()} if several else {"group": groups}
    for name, values in columns.items():
        if len(values) != n:
            raise InputError(f"groups '{name}' has {len(values):,} values for {n:,} examples")
    return columns


def recode(codes: Array, labels: Sequence[str], names: Sequence[str]) -> Array:
    """Codes of `labels`, -1 where unknown, as codes of `names`; -1 where the label is none."""
    position = {name: i for i, name in enumerate(names)}
    table = np.array([*(position.get(label, UNKNOWN) for label in labels), UNKNOWN], np.int64)
    turned: Array = table[codes]
    return turned


def sorted_codes(codes: Array, labels: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Codes of `labels`, -1 where unknown, as codes of the same names in order; "" is unknown."""
    names = sorted_names({*labels} - {""})
    return recode(codes, labels, names), names


def group_codes(values: Any) -> tuple[Array, tuple[str, ...]]:
    """Codes of groups, -1 where unknown, and their names."""
    series = pd.Series(as_array(values) if isinstance(values, Tensor) else values)
    codes, labels = pd.factorize(series)
    return sorted_codes(codes, [text(label) for label in labels])
