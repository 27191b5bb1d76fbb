"""Columns of a table to standardized and one-hot features, fitted on the training rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pandas.api.types import is_numeric_dtype
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor

from fairsparse.core import InputError

Ints: TypeAlias = npt.NDArray[np.int64]
MOST_CATEGORIES = 1000


@dataclass(frozen=True)
class Features:
    """What the F features of a table are; as a transform it hands them on as float32.

    A name is that of a column, or ``column = category``, and a feature is ``(value - mean) /
    scale``. The last ones, for `categories`, are 1 where the column has the category and else 0.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    categories: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        return x.to(torch.float32)

    def value(self, i: int, x: float) -> str:
        """The value of feature `i` as it was in the table.

        >>> features = Features(("age", "sex = male"), (40.0, 0.0), (10.0, 1.0), 1)
        >>> features.value(0, -0.5), features.value(1, 1.0)
        ('35', 'yes')
        """
        if i >= len(self.names) - self.categories:
            return "yes" if x > 0.5 else "no"
        return f"{x * self.scale[i] + self.mean[i]:.6g}"


def encode_table(
    name: str, frame: pd.DataFrame, categorical: Sequence[str] | None, train: Ints, order: Ints
) -> tuple[Tensor, Features]:
    """Encode the columns of a table to (N, F), float32, and say what each feature is.

    Numbers are standardized, a missing one replaced by the median first; categories become one
    feature each, where a missing value is a category and one unseen in training is all zeros.

    Parameters
    ----------
    name : str
        The data set, for error messages.
    categorical : sequence of str, optional
        Columns to treat as categories; those that hold no numbers when absent.
    train, order : int64 arrays
        The rows from which constants and categories come, and the N rows to encode.

    Raises
    ------
    InputError
        For text in a numeric column, an infinite number, a column without training values, or
        a category column with more than 1000 values.
    """
    if categorical is None:
        categorical = [c for c in frame.columns if not is_numeric_dtype(frame[c])]
    words = [c for c in frame.columns if c in categorical]
    numbers = [c for c in frame.columns if c not in categorical]
    if not words and not numbers:
        raise InputError(f"{name}: no feature columns are left; drop fewer columns")
    clean = pd.DataFrame(
        {c: _numbers(name, frame[c], train) for c in numbers}
        | {c: _words(name, frame[c]) for c in words}
    )
    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    encoder = ColumnTransformer([("numbers", numeric, numbers), ("words", one_hot, words)])
    encoder.fit(clean.iloc[train])
    features = encoder.transform(clean.iloc[order])
    x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    return x, _described(encoder, numbers, words)


def _described(
    encoder: ColumnTransformer, numbers: Sequence[str], words: Sequence[str]
) -> Features:
    mean, scale = [], []
    if numbers:
        scaler = encoder.named_transformers_["numbers"][-1]
        mean, scale = scaler.mean_.tolist(), scaler.scale_.tolist()
    levels = encoder.named_transformers_["words"].categories_ if words else []
    of_words = [
        f"{column} = {category or '(missing)'}"
        for column, categories in zip(words, levels, strict=True)
        for category in categories
    ]
    n = len(of_words)
    names = (*map(str, numbers), *of_words)
    return Features(names, (*mean, *[0.0] * n), (*scale, *[1.0] * n), n)


def _numbers(name: str, column: pd.Series, train: Ints) -> pd.Series:
    values = pd.to_numeric(column, errors="coerce").astype("Float64")
    text = values.isna() & column.notna()
    if text.any():
        row = int(text.argmax())
        raise InputError(
            f"{name}: column '{column.name}' is numeric but has '{column.iloc[row]}' in row"
            f" {row + 1}; correct it, list the column in categorical, or drop it"
        )
    array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(array).any():
        row = int(np.isinf(array).argmax())
        raise InputError(
            f"{name}: column '{column.name}' is infinite in row {row + 1}; only finite numbers"
            " are allowed: correct the value or leave it empty"
        )
    if np.isnan(array[train]).all():
        raise InputError(
            f"{name}: column '{column.name}' has no value in the training rows; drop it"
        )
    return pd.Series(array, index=column.index)


def _words(name: str, column: pd.Series) -> pd.Series:
    values = column.astype(str).astype(object).where(column.notna(), "")
    if values.nunique() > MOST_CATEGORIES:
        raise InputError(
            f"{name}: column '{column.name}' has {values.nunique()} categories, at most"
            f" {MOST_CATEGORIES} are allowed; drop it or merge categories"
        )
    return values
