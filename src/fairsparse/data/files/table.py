"""Tables from CSV, JSON-lines and Parquet files."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from fairsparse.core import InputError
from fairsparse.foreign import check_table
from fairsparse.registry import nearest


def read_table(name: str, path: Path, missing: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a CSV or JSON-lines (both also compressed) or Parquet file, by its suffix.

    What is missing is an empty field, or one of the words `missing`; without them, in published
    files, what pandas takes for it. A file that is absent, unreadable or empty, or has rows that do
    not match its header, is an `InputError`.
    """
    if not path.is_file():
        raise InputError(
            f"{name}: no file {path}; expected a table as .csv, .csv.gz, .jsonl or .parquet"
        )
    check_table(path)
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path).reset_index(drop=True)
        elif ".jsonl" in path.suffixes:
            frame = pd.read_json(path, lines=True)
        else:
            with warnings.catch_warnings():
                # Otherwise fields without a header would be dropped, or taken for row names.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                words = {} if missing is None else {"keep_default_na": False}
                frame = pd.read_csv(
                    path,
                    low_memory=False,
                    index_col=False,
                    na_values=["", *(missing or ())],
                    **words,
                )
    except pd.errors.ParserWarning:
        raise InputError(
            f"{name}: rows of {path} have more fields than its header; name every column"
        ) from None
    except Exception as error:  # a damaged file can make its reader raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name}: {path} is no readable table: {reason}") from error
    if frame.empty:
        raise InputError(f"{name}: {path} has no rows; give it examples")
    other = separator(frame.columns)
    if other:
        raise InputError(
            f"{name}: {path} has one column, '{frame.columns[0]}', which looks like several"
            f" separated by '{other}'; write the file with commas"
        )
    if missing is None:
        return frame
    for column in frame.columns[[not is_numeric_dtype(kind) for kind in frame.dtypes]]:
        values = _decoded(name, frame[column])
        with contextlib.suppress(TypeError):  # of lists, in which no word is
            frame[column] = values.where(~values.isin(["", *missing]))
    return frame


def _decoded(name: str, column: pd.Series) -> pd.Series:
    """Bytes, as Parquet holds them, as texts."""
    if not column.map(type).eq(bytes).any():
        return column
    try:
        return column.map(bytes.decode, na_action="ignore")
    except (UnicodeDecodeError, TypeError):
        raise InputError(
            f"{name}: column '{column.name}' holds bytes that are no UTF-8 text; decode or drop it"
        ) from None


def separator(names: Sequence[str]) -> str | None:
    """What separates the fields of a header that was read as one column; None if it is right.

    >>> separator(["sex;age"]), separator(["sex"]), separator(["sex", "a;b"])
    (';', None, None)
    """
    found = [s for s in (";", "\t", "|") if len(names) == 1 and s in str(names[0])]
    return {"\t": "tab"}.get(found[0], found[0]) if found else None


def require(name: str, frame: pd.DataFrame, columns: Iterable[str], kind: str = "column") -> None:
    """Raise `InputError`, with the nearest name, for the first column the table does not have."""
    there = [str(c) for c in frame.columns]
    for column in columns:
        if column not in there:
            names = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "")
            raise InputError(
                f"{name}: the table has no {kind} '{column}'{nearest(column, there)};"
                f" its {kind}s: {names}"
            )
