"""What the builders share: finding and reading files, naming classes and groups, the `Task`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from fairsparse.data.rows import Rows
from fairsparse.data.splits import Ints, Parts
from fairsparse.data.task import SPLITS, Split, Standardize, Task, Transform
from fairsparse.registry import nearest
from fairsparse.types import UNKNOWN, InputError


@dataclass(frozen=True)
class Labels:
    """Classes and groups of all examples, before they are divided into splits.

    Parameters
    ----------
    y, group : int64 arrays, shape (N,)
        `group` is -1 where it is unknown.
    class_names, group_names, attributes : tuple of str
        As in `Task`.
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

        Raises
        ------
        InputError
            Naming the task `name`, when a target is missing or no row has a known group.
        """
        missing = np.flatnonzero(frame[target].isna())
        if len(missing):
            raise InputError(
                f"{name}: target column '{target}' is missing in {len(missing)} rows (first: row"
                f" {missing[0] + 1}); every example needs a class: fill in or remove those rows"
            )
        y, class_names = coded(frame[target])
        if not groups:
            return cls.without_groups(y, class_names)
        group, group_names = intersect(frame, groups)
        if not group_names:
            raise InputError(
                f"{name}: no row has a known value in the group columns {', '.join(groups)};"
                " choose columns with values, or no groups"
            )
        return cls(y, group, class_names, group_names, tuple(groups))


def coded(values: pd.Series) -> tuple[Ints, tuple[str, ...]]:
    """Return the code of each value and the names of the codes, sorted; -1 is a missing value.

    >>> codes, names = coded(pd.Series([10, None, 9]))
    >>> codes.tolist(), names
    ([1, -1, 0], ('9', '10'))
    """
    found = pd.Categorical(values).remove_unused_categories()
    # A missing value turns a column of integers into floats; its names stay the same.
    names = [int(c) if isinstance(c, float) and c.is_integer() else c for c in found.categories]
    return found.codes.astype(np.int64), tuple(map(str, names))


def intersect(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[Ints, tuple[str, ...]]:
    """Return one group per combination of the columns' values that occurs; -1 where one is missing.

    >>> people = pd.DataFrame({"race": ["W", "B", "W", None], "sex": ["f", "f", "m", "m"]})
    >>> codes, names = intersect(people, ["race", "sex"])
    >>> codes.tolist(), names
    ([1, 0, 2, -1], ('B x f', 'W x f', 'W x m'))
    """
    codes, names = zip(*(coded(frame[c]) for c in columns), strict=True)
    stacked = np.stack(codes)  # (columns, N)
    known = (stacked >= 0).all(0)
    present, inverse = np.unique(stacked[:, known], axis=1, return_inverse=True)
    group = np.full(len(frame), UNKNOWN)
    group[known] = inverse.reshape(-1)
    labels = (" x ".join(n[i] for n, i in zip(names, row, strict=True)) for row in present.T)
    return group, tuple(labels)


def assemble(
    name: str,
    x: Tensor | Rows,
    labels: Labels,
    parts: Parts,
    notes: str,
    transform: Transform | None = None,
) -> Task:
    """Return the task whose inputs `x` hold the four splits one after another.

    Images, uint8 ``(N, channels, H, W)``, are standardized with constants of the train split, where
    no other `transform` is given.
    """
    sizes = [len(parts[split]) for split in SPLITS]
    pieces: Sequence[Tensor | Rows]
    if isinstance(x, Tensor):
        pieces = x.split(sizes)  # views: large sets are held once
    else:
        pieces = [x.select(span) for span in torch.arange(len(x)).split(sizes)]
    is_image = not isinstance(x, Tensor) or x.dtype == torch.uint8
    if transform is None and is_image and sizes[0]:
        transform = Standardize.images(pieces[0])
    y, group = torch.from_numpy(labels.y), torch.from_numpy(labels.group)
    train, cal, val, test = (
        Split(piece, y[parts[split]], group[parts[split]], transform)
        for split, piece in zip(SPLITS, pieces, strict=True)
    )
    return Task(
        name=name,
        train=train,
        cal=cal,
        val=val,
        test=test,
        class_names=labels.class_names,
        group_names=labels.group_names,
        attributes=labels.attributes,
        notes=notes,
    )


def in_order(parts: Parts) -> Ints:
    """Return the positions of all splits' examples, one split after another."""
    return np.concatenate([parts[split] for split in SPLITS])


def find(name: str, root: Path, folders: Sequence[str], files: Sequence[str]) -> list[Path]:
    """Return `files` from the first of root's `folders` that holds all, plain or with ``.gz``.

    Raises
    ------
    InputError
        Saying what was expected and where it was looked for.
    """
    for folder in folders:
        both = [[root / folder / (file + end) for end in ("", ".gz")] for file in files]
        found = [next((path for path in pair if path.is_file()), None) for pair in both]
        if None not in found:
            return [path for path in found if path is not None]
    raise InputError(
        f"{name}: expected the official files {', '.join(files)} (plain or .gz) together in one of"
        f" {', '.join(str(root / folder) for folder in folders)}; set path to where they are"
    )


def read_table(name: str, path: Path) -> pd.DataFrame:
    """Read a CSV or JSON-lines (both also compressed) or Parquet file, by its suffix.

    Raises
    ------
    InputError
        When the file is absent, unreadable or empty, or its rows do not match its header.
    """
    if not path.is_file():
        raise InputError(
            f"{name}: no file {path}; expected a table as .csv, .csv.gz, .jsonl or .parquet"
        )
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path).reset_index(drop=True)
        elif ".jsonl" in path.suffixes:
            frame = pd.read_json(path, lines=True)
        else:
            with warnings.catch_warnings():
                # Otherwise fields without a header would be dropped, or taken for row names.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(path, low_memory=False, index_col=False)
    except pd.errors.ParserWarning:
        raise InputError(
            f"{name}: rows of {path} have more fields than its header; name every column"
        ) from None
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name}: {path} is no readable table: {reason}") from error
    if frame.empty:
        raise InputError(f"{name}: {path} has no rows; give it examples")
    return frame


def require(name: str, frame: pd.DataFrame, columns: Iterable[str], kind: str = "column") -> None:
    """Raise `InputError`, with the nearest name, for the first column the table does not have."""
    known = [str(c) for c in frame.columns]
    for column in columns:
        if column not in known:
            shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
            raise InputError(
                f"{name}: the table has no {kind} '{column}'{nearest(column, known)};"
                f" its {kind}s: {shown}"
            )


def given_splits(name: str, frame: pd.DataFrame, column: str | None) -> npt.NDArray[Any] | None:
    """Return the split that `column` names for each row, or None without such a column.

    Raises
    ------
    InputError
        Listing the values that name no split.
    """
    if column is None:
        return None
    values = frame[column].astype(object).where(frame[column].notna(), "(missing)").astype(str)
    other = sorted(set(values) - set(SPLITS))
    if other:
        raise InputError(
            f"{name}: split column '{column}' has the values {', '.join(other[:8])}; allowed are"
            f" {', '.join(SPLITS)} in every row"
        )
    return values.to_numpy(dtype=object)


def identities(frame: pd.DataFrame, column: str | None) -> npt.NDArray[Any] | None:
    """Return whose example each row is; a row without identity stands for itself alone."""
    if column is None:
        return None
    alone = pd.Series([f"(row {i + 1})" for i in range(len(frame))], dtype=object)
    values = frame[column].astype(str).astype(object)
    return values.where(frame[column].notna(), alone).to_numpy(dtype=object)
