"""Tables: UCI Adult, and any CSV or Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from fairsparse.data.builders import DATASETS, Count, Seed, Share, terms
from fairsparse.data.features import encode
from fairsparse.data.generic import (
    Labels,
    assemble,
    find,
    given_splits,
    identities,
    read_table,
    require,
)
from fairsparse.data.splits import divide
from fairsparse.data.task import Task
from fairsparse.types import InputError

ADULT_NUMBERS = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
ADULT_COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation"),
    *("relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week"),
    *("native-country", "income"),
)


@DATASETS.register("adult")
def adult(
    path: Path,
    groups: Annotated[tuple[Literal["sex", "race"], ...], Field(min_length=1)] = ("sex",),
    drop_sensitive: bool = False,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """UCI Adult, 48,842 people of the 1994 US census: income above 50K, by sex or race.

    Numbers are standardized and categories one-hot, fitted on the train split alone. The census
    weight ``fnlwgt`` is no feature, and a value recorded as ``?`` is a category of its own.

    Terms: CC BY 4.0 (Becker and Kohavi, 1996, doi:10.24432/C5XW20); sex and race are as recorded
    by the census.

    Parameters
    ----------
    path : Path
        Folder of the official ``adult.data`` and ``adult.test``, plain or gzip, or the folder
        that holds it as ``adult``.
    groups : non-empty tuple of {"sex", "race"}
        With both, groups are intersections such as ``"Female x Black"``.
    drop_sensitive : bool
        Leave the columns in `groups` out of the features; columns that go along with them, such
        as ``relationship``, stay.
    cal, val : float in (0, 0.5)
        Shares of the official training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    files = find("adult", Path(path), ("", "adult"), ["adult.data", "adult.test"])
    train, test = (_read_adult(file) for file in files)
    frame = pd.concat([train, test], ignore_index=True)
    labels = Labels.of_columns("adult", frame, "income", groups)
    given = np.repeat(["train", "test"], [len(train), len(test)])
    parts = divide(labels.y, labels.group, cal=cal, val=val, given=given, limit=limit, seed=seed)
    unused = {"fnlwgt", "income", *(groups if drop_sensitive else ())}
    features = frame[[c for c in ADULT_COLUMNS if c not in unused]]
    x, about = encode("adult", features, [c for c in features if c not in ADULT_NUMBERS], parts)
    return assemble("adult", x, labels, parts, terms(adult), about)


def _read_adult(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(
            path, header=None, comment="|", skipinitialspace=True, keep_default_na=False, dtype=str
        )
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is no readable Adult file: {error}") from error
    if frame.shape[1] != len(ADULT_COLUMNS):
        raise InputError(
            f"{path} has {frame.shape[1]} columns; the official file has {len(ADULT_COLUMNS)}:"
            " fetch it again"
        )
    frame.columns = pd.Index(ADULT_COLUMNS)
    frame["income"] = frame["income"].str.rstrip(".")  # the test file ends each label in a dot
    other = sorted(set(frame["income"]) - {"<=50K", ">50K"})
    if other:
        raise InputError(
            f"{path} has the income '{other[0]}'; allowed are '<=50K' and '>50K': fetch it again"
        )
    return frame


@DATASETS.register("table")
def table(
    path: Path,
    target: str,
    groups: tuple[str, ...] = (),
    categorical: tuple[str, ...] | None = None,
    drop: tuple[str, ...] = (),
    split_column: str | None = None,
    identity: str | None = None,
    test: Share = 0.2,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """Your table: any CSV or Parquet file with a target column and optional group columns.

    Every column but target, `split_column`, identity and those in `drop` is a feature, group
    columns included. Numbers are standardized and categories one-hot, fitted on the train split
    alone; a missing number becomes the median, a missing category a category of its own.

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
        Columns to treat as categories; those that hold no numbers when absent.
    drop : tuple of str
        Columns that are no features; a column here can still be a group.
    split_column : str, optional
        Column with train, cal, val or test; splits it does not name are taken from train.
    identity : str, optional
        Column that says whose row it is; no identity is then in two splits.
    test : float in (0, 0.5)
        Share of all examples, where no column gives a test split.
    cal, val : float in (0, 0.5)
        Shares of the training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    frame = read_table("table", Path(path))
    roles = [column for column in (target, split_column, identity) if column is not None]
    require("table", frame, [*roles, *groups, *(categorical or ()), *drop])
    labels = Labels.of_columns("table", frame, target, groups)
    parts = divide(
        labels.y,
        labels.group,
        cal=cal,
        val=val,
        test=test,
        given=given_splits("table", frame, split_column),
        identity=identities(frame, identity),
        limit=limit,
        seed=seed,
    )
    x, about = encode("table", frame.drop(columns=[*roles, *drop]), categorical, parts)
    return assemble("table", x, labels, parts, terms(table), about)
