"""From the columns of a table to classes, groups, splits and identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairsparse.core import UNKNOWN, InputError, tells_apart
from fairsparse.data.splits import Assigned, Ints
from fairsparse.data.task import SPLITS


@dataclass(frozen=True)
class Labels:
    """Classes and groups of all N examples, before they are divided into splits.

    A group is -1 where it is unknown; the names are those of a `Task`.
    """

    y: Ints
    group: Ints
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()

    @classmethod
    def without_groups(cls, y: npt.ArrayLike, class_names: Sequence[str]) -> Labels:
        """Labels of a set that records no group."""
        codes = np.asarray(y).astype(np.int64)
        return cls(codes, np.full(len(codes), UNKNOWN), tuple(class_names))

    @classmethod
    def of_columns(
        cls, name: str, frame: pd.DataFrame, target: str, groups: Sequence[str]
    ) -> Labels:
        """Labels from a table; several group columns make one group per intersection that occurs.

        A missing target, or no row with a known group, is an `InputError` of the task `name`.
        """
        refuse_missing(name, frame, target, "target", " every example needs a class:")
        y, class_names = coded(frame[target])
        if not groups:
            return cls.without_groups(y, class_names)
        for column in groups:
            known = frame[column].dropna()
            values, rows = known.astype(str).nunique(), len(known)
            if tells_apart(values, rows):
                raise InputError(
                    f"{name}: group column '{column}' has {values:,} values in {rows:,} rows and is"
                    " no group of people; choose another, or put its values into ranges"
                )
        group, group_names = intersect(frame, groups)
        if not group_names:
            raise InputError(
                f"{name}: no row has a known value in the group columns {', '.join(groups)};"
                " choose columns with values, or no groups"
            )
        return cls(y, group, class_names, group_names, tuple(groups))


def refuse_missing(name: str, frame: pd.DataFrame, column: str, kind: str, why: str = "") -> None:
    """Raise `InputError` when a column is missing in some rows."""
    missing = np.flatnonzero(frame[column].isna())
    if len(missing):
        raise InputError(
            f"{name}: {kind} column '{column}' is missing in {len(missing)} rows (first: row"
            f" {missing[0] + 1});{why} fill in or remove those rows"
        )


def coded(values: pd.Series) -> tuple[Ints, tuple[str, ...]]:
    """Return the code of each value and the names of the codes, sorted; -1 is a missing value.

    >>> codes, names = coded(pd.Series([10, None, 9]))
    >>> codes.tolist(), names
    ([1, -1, 0], ('9', '10'))
    """
    column = pd.Categorical(values).remove_unused_categories()
    # A missing value turns a column of integers into floats; its names stay the same.
    names = [int(c) if isinstance(c, float) and c.is_integer() else c for c in column.categories]
    return column.codes.astype(np.int64), tuple(map(str, names))


def intersect(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[Ints, tuple[str, ...]]:
    """Return one group per combination of the columns' values that occurs; -1 where one is missing.

    >>> people = pd.DataFrame({"race": ["W", "B", "W", None], "sex": ["f", "f", "m", "m"]})
    >>> codes, names = intersect(people, ["race", "sex"])
    >>> codes.tolist(), names
    ([1, 0, 2, -1], ('B x f', 'W x f', 'W x m'))
    """
    codes, names = zip(*(coded(frame[c]) for c in columns), strict=True)
    stacked = np.stack(codes)  # (columns, N)
    complete = (stacked >= 0).all(0)
    present, inverse = np.unique(stacked[:, complete], axis=1, return_inverse=True)
    group = np.full(len(frame), UNKNOWN)
    group[complete] = inverse.reshape(-1)
    labels = (" x ".join(n[i] for n, i in zip(names, row, strict=True)) for row in present.T)
    return group, tuple(labels)


def yes_or_no(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Name both values of attributes, absent first."""
    named = {
        column: pd.Categorical.from_codes(frame[column].astype(int), [f"not {column}", column])
        for column in columns
        if frame[column].dtype == bool
    }
    return frame.assign(**named)


@dataclass(frozen=True)
class Columns:
    """Columns that say what is in which split, and words of all columns.

    Parameters
    ----------
    split_column : str, optional
        Column with train, cal, val or test; splits it does not name are taken from train.
    identity : str, optional
        Column that says whose row it is; no identity is then in two splits.
    missing : tuple of str
        Words that stand for a missing value, besides an empty field, such as ``"NA"``.
    """

    split_column: str | None = None
    identity: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns that are there to be read."""
        return [c for c in (self.split_column, self.identity) if c is not None]

    def assigned(self, name: str, frame: pd.DataFrame) -> Assigned:
        """Read them; a row without identity is alone, one of an unknown split an `InputError`."""
        split = identity = None
        if self.split_column is not None:
            split = split_names(name, frame[self.split_column])
        if self.identity is not None:
            alone = pd.Series([f"(row {i + 1})" for i in range(len(frame))], dtype=object)
            column = frame[self.identity]
            values = column.astype(str).astype(object).where(column.notna(), alone)
            identity = values.to_numpy(dtype=object)
        return Assigned(split, identity)


def split_names(name: str, column: pd.Series) -> npt.NDArray[np.object_]:
    """Return the split that a column names for each row, or raise `InputError`."""
    values = column.astype(object).where(column.notna(), "(missing)").astype(str)
    other = sorted(set(values) - set(SPLITS))
    if other:
        raise InputError(
            f"{name}: split column '{column.name}' has the values {', '.join(other[:8])}; allowed"
            f" are {', '.join(SPLITS)} in every row"
        )
    return values.to_numpy(dtype=object)
