"""Columns of a table to standardized and one-hot features, fitted on the training rows alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pandas.api.types import is_datetime64_any_dtype, is_integer_dtype, is_numeric_dtype
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor

from fairsparse.core import MANY_VALUES, NOTHING, InputError, tells_apart

Ints: TypeAlias = npt.NDArray[np.int64]
MOST_CATEGORIES = 1000
_DATE = r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T]|$)"


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

    @property
    def columns(self) -> dict[str, str]:
        """What each column became.

        >>> Features(("age", "sex = f", "sex = m"), (0.0,) * 3, (1.0,) * 3, 2).columns
        {'age': 'number', 'sex': '2 categories'}
        """
        numbers = len(self.names) - self.categories
        words = Counter(name.partition(" = ")[0] for name in self.names[numbers:])
        return dict.fromkeys(self.names[:numbers], "number") | {
            name: f"{n} categories" for name, n in words.items()
        }

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


def categories(name: str, frame: pd.DataFrame, asked: Sequence[str]) -> tuple[list[str], str]:
    """Return the columns that become categories, and what has to be told of them.

    They are those that hold no numbers, and those that were `asked` for. `InputError` for one that
    was not and has about as many values as rows, or holds numbers and a word for nothing.
    """
    words, told = [], []
    for column in frame.columns:
        values = frame[column].dropna()
        if column not in asked and is_numeric_dtype(values):
            if len(values) > MANY_VALUES and _follow_on(values):
                told.append(f"'{column}' numbers the rows, of which each has another one")
            continue
        words.append(column)
        distinct, dates = values.astype(str).nunique(), _dates(values)
        if column not in asked:
            _check_words(name, values, distinct, dates)
        if distinct > MANY_VALUES or dates:
            told.append(f"'{column}' became {distinct:,} categories{', of dates' * dates}")
    return words, f"Features: {'; '.join(told)}." if told else ""


def _check_words(name: str, values: pd.Series, distinct: int, dates: bool) -> None:
    """Refuse a column that holds no categories and was not asked for as some."""
    where = f"{name}: column '{values.name}'"
    texts = values.astype(str).str.strip()
    rest = texts[pd.to_numeric(texts, errors="coerce").isna()]
    if 0 < len(rest) < len(texts) / 2 and rest.str.casefold().isin(NOTHING).all():
        raise InputError(
            f"{where} holds numbers, and '{rest.iloc[0]}' in row {rest.index[0] + 1}; list that in"
            " missing, or the column in categorical"
        )
    if tells_apart(distinct, len(values)):
        advice = "give a number such as the year" if dates else "merge its values"
        raise InputError(
            f"{where} has {distinct:,} {'dates' if dates else 'texts'} in {len(values):,} rows;"
            f" drop it, {advice}, or list it in categorical"
        )


def _follow_on(values: pd.Series) -> bool:
    """Whether whole numbers follow on each other, in any order."""
    return values.is_unique and is_integer_dtype(values) and np.ptp(values) == len(values) - 1


def _dates(values: pd.Series) -> bool:
    return is_datetime64_any_dtype(values) or bool(
        len(values) and values.astype(str).str.match(_DATE).mean() > 0.9
    )


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
