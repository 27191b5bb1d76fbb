"""Tables from CSV, JSON-lines and Parquet files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fairsparse.core import InputError
from fairsparse.foreign import check_table
from fairsparse.registry import nearest


def read_table(name: str, path: Path) -> pd.DataFrame:
    """Read a CSV or JSON-lines (both also compressed) or Parquet file, by its suffix.

    One that is absent, unreadable or empty, or has rows that do not match its header, is an
    `InputError`.
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
                frame = pd.read_csv(path, low_memory=False, index_col=False)
    except pd.errors.ParserWarning:
        raise InputError(
            f"{name}: rows of {path} have more fields than its header; name every column"
        ) from None
    except Exception as error:  # a damaged file can make its reader raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name}: {path} is no readable table: {reason}") from error
    if frame.empty:
        raise InputError(f"{name}: {path} has no rows; give it examples")
    return frame


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
