"""Your table: any CSV, JSON-lines or Parquet file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fairsparse.data.assembly import table_task
from fairsparse.data.files.features import categories
from fairsparse.data.files.table import read_table, require
from fairsparse.data.labels import Columns
from fairsparse.data.registry import dataset
from fairsparse.data.splits import Held
from fairsparse.data.task import Task


@dataset("table")
def table(
    path: Path,
    target: str,
    groups: tuple[str, ...] = (),
    categorical: tuple[str, ...] | None = None,
    drop: tuple[str, ...] = (),
    *,
    columns: Columns,
    held: Held,
) -> Task:
    """Your table: any CSV or Parquet file with a target column and optional group columns.

    Every column but target, `split_column`, identity and those in `drop` is a feature, group
    columns included. Numbers are standardized and categories one-hot, fitted on the train split
    alone; a missing number becomes the median, a missing category a category of its own. A column
    of texts with fewer than five rows for each is refused unless it is in `categorical`.

    Terms: those of the data given; whether groups are inferred is for their owner to say.

    Parameters
    ----------
    path : Path
        The file, ``.csv`` (also compressed) or ``.parquet``.
    target : str
        Column of the classes; it must be known in every row.
    groups : tuple of str
        Columns of sensitive attributes; several are intersected. A missing value is unknown.
    categorical : tuple of str, optional
        Columns to treat as categories, besides those that hold no numbers.
    drop : tuple of str
        Columns that are no features; a column here can still be a group.
    test : float in (0, 0.5)
        Share of all examples, where no column gives a test split.
    """
    frame = read_table("table", path, columns.missing)
    roles = [target, *columns.names]
    require("table", frame, [*roles, *groups, *(categorical or ()), *drop])
    features = frame.drop(columns=[*roles, *drop])
    assigned = columns.assigned("table", frame)
    words, notes = categories("table", features, categorical or ())
    task = table_task("table", frame, target, groups, features, held, assigned, words)
    return replace(task, notes=notes)
