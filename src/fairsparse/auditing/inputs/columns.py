"""Predictions from files: CSV, Parquet and NPZ, read in pieces, joined by id, and checked.

A table's columns are found by name: ``id``, ``y``, ``prediction``, or one ``score_CLASS`` for each
class; every name can be given. An NPZ file holds the same as arrays of one value for each example,
with ``scores`` (N, C) and ``class_names`` (C,) in place of the score columns. A run directory of
fairsparse stands for its sparse network, or with ``:dense`` for its dense one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from fairsparse.auditing.inputs.contents import (
    Coded,
    Contents,
    ReducedScores,
    coded,
    coded_groups,
    encoded,
    of_network,
    reduced,
    together,
)
from fairsparse.auditing.inputs.labels import text
from fairsparse.core import InputError
from fairsparse.fairness.measure.counts import Array
from fairsparse.foreign import check_table, read_npz
from fairsparse.record import read_predictions, read_record
from fairsparse.registry import listing, nearest

_BLOCK = 2**25  # bytes of a CSV file read at once


@dataclass(frozen=True)
class Columns:
    """Names of the columns that files are read by.

    Those of score columns begin with ``score``; the rest is the class.
    """

    id: str = "id"
    truth: str = "y"
    prediction: str = "prediction"
    score: str = "score_"


def read(path: str, columns: Columns, attributes: Sequence[str] | None = ()) -> Contents:
    """Read one file of predictions or of groups, or a run directory, perhaps with ``:dense``.

    Groups are the columns `attributes`; None is every other column. `InputError` when the file is
    missing, damaged or of another kind, or lacks a column that was asked for.
    """
    place, _, role = path.rpartition(":")
    if role in ("dense", "sparse") and place:
        if not Path(place).is_dir():
            raise InputError(f"{place}: no such run directory")
        return _run(Path(place), role)
    where = Path(path)
    if where.is_dir():
        return _run(where, "sparse")
    if where.suffix not in READERS:
        raise InputError(
            f"{path}: predictions are read from {', '.join(READERS)} or a run directory; convert it"
        )
    if not where.is_file():
        raise InputError(f"{path}: no such file")
    check_table(where)
    try:
        return READERS[where.suffix](path, columns, attributes)
    except InputError:
        raise
    except Exception as error:  # a damaged file can make its reader raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read ({reason}); restore it") from None


def _csv(path: str, columns: Columns, attributes: Sequence[str] | None) -> Contents:
    reading = pa.csv.ReadOptions(block_size=_BLOCK)
    with pa.csv.open_csv(path, reading) as reader:
        wanted = _wanted(path, reader.schema.names, columns, attributes)
    labels = pa.dictionary(pa.int32(), pa.string())
    kinds = dict.fromkeys(wanted.names, labels) | dict.fromkeys(wanted.scores, pa.float32())
    if columns.id in kinds:
        kinds[columns.id] = pa.string()
    convert = pa.csv.ConvertOptions(
        include_columns=wanted.names,
        column_types=kinds,
        strings_can_be_null=True,
        null_values=["", "NA", "NaN", "nan", "null", "None"],
    )
    with pa.csv.open_csv(path, reading, convert_options=convert) as reader:
        return _table(path, reader, columns, wanted)


def _parquet(path: str, columns: Columns, attributes: Sequence[str] | None) -> Contents:
    with pa.parquet.ParquetFile(path) as file:
        wanted = _wanted(path, file.schema_arrow.names, columns, attributes)
        batches = file.iter_batches(batch_size=2**20, columns=wanted.names)
        return _table(path, batches, columns, wanted)


class _Wanted(NamedTuple):
    """Columns to read, and which of them hold scores and groups."""

    names: list[str]
    scores: list[str]
    groups: list[str]


def _wanted(
    path: str, names: Sequence[str], columns: Columns, attributes: Sequence[str] | None
) -> _Wanted:
    twice = {n for n in names if list(names).count(n) > 1}
    if twice:
        raise InputError(f"{path}: has the column '{sorted(twice)[0]}' twice; rename one")
    fixed = [n for n in (columns.id, columns.truth, columns.prediction) if n in names]
    scores = [n for n in names if n.startswith(columns.score)]
    others = [n for n in names if n not in fixed and n not in scores]
    groups = others if attributes is None else list(attributes)
    for name in groups:
        if name not in names:
            raise InputError(
                f"{path}: has no column '{name}'{nearest(name, names)}; columns: {listing(names)}"
            )
    return _Wanted(list(dict.fromkeys([*fixed, *scores, *groups])), scores, groups)


def _table(
    path: str, batches: Iterable[Any], columns: Columns, wanted: _Wanted, n: int = 0
) -> Contents:
    """What pieces of a table say of their rows, or of `n` where it has no column."""
    labels = (columns.truth, columns.prediction, *wanted.groups)
    pieces: dict[str, list[Any]] = {name: [] for name in labels if name in wanted.names}
    ids: list[Any] = []
    classes = tuple(name.removeprefix(columns.score) for name in wanted.scores)
    scores: list[ReducedScores] = []
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        for name in pieces:
            pieces[name].append(encoded(batch.column(name)))
        if columns.id in wanted.names:
            ids.append(batch.column(columns.id))
        if wanted.scores:
            parts = [
                batch.column(c).cast(pa.float32()).to_numpy(zero_copy_only=False)
                for c in wanted.scores
            ]
            said = pieces.get(columns.prediction)
            chosen = coded(said[-1:]).recoded(classes) if said else None
            scores.append(reduced(np.stack(parts, axis=1), chosen))
    if not (rows or n):
        raise InputError(f"{path}: holds no rows")
    done = {name: coded(column) for name, column in pieces.items()}
    return Contents(
        path,
        rows or n,
        _ids(path, ids) if ids else None,
        done.get(columns.truth),
        done.get(columns.prediction),
        together(scores) if scores else None,
        classes,
        {name: done[name].in_order() for name in wanted.groups},
    )


def _ids(path: str, parts: list[Any]) -> pd.Index:
    column = pa.chunked_array(parts)
    if column.null_count:
        raise InputError(f"{path}: {column.null_count:,} rows have no id; give each row one")
    if not pa.types.is_integer(column.type):
        column = column.cast(pa.string())
        # whole numbers of 64 bits are small and fast; 007 is not 7, and stays text
        if pc.all(pc.match_substring_regex(column, r"^(0|-?[1-9][0-9]{0,17})$")).as_py():
            column = pc.cast(column, pa.int64())
    index = pd.Index(column.to_pandas())
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise InputError(
            f"{path}: {len(twice):,} ids occur more than once, such as"
            f" {listing([str(i) for i in twice], 3)}; give each example one row"
        )
    return index


def npz_arrays(path: str) -> dict[str, Array]:
    """The arrays of an NPZ file; nothing is unpickled."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    return read_npz(Path(path), path)


def _npz(path: str, columns: Columns, attributes: Sequence[str] | None) -> Contents:
    arrays = npz_arrays(path)
    scores = arrays.pop("scores", None)
    if scores is None:
        return of_arrays(path, arrays, columns, attributes)
    if scores.ndim != 2 or not np.issubdtype(scores.dtype, np.number):
        raise InputError(f"{path}: scores must be numbers (N, C); got shape {scores.shape}")
    source = of_arrays(path, arrays, columns, attributes, len(scores))
    classes = source.classes or tuple(str(c) for c in range(scores.shape[1]))
    if len(classes) != scores.shape[1]:
        raise InputError(
            f"{path}: scores has {scores.shape[1]} columns and class_names {len(classes)}"
        )
    chosen = None if source.prediction is None else source.prediction.recoded(classes)
    return replace(source, scores=reduced(scores.astype(np.float32), chosen), classes=classes)


def of_arrays(
    path: str,
    arrays: dict[str, Array],
    columns: Columns,
    attributes: Sequence[str] | None,
    n: int | None = None,
) -> Contents:
    """What arrays of one value for each of `n` examples say of them; others are left alone."""
    classes = tuple(text(c) for c in arrays.get("class_names", ()))
    flat = {k: v for k, v in arrays.items() if v.ndim == 1 and k != "class_names"}
    lengths = {len(v) for v in flat.values()} | ({n} if n is not None else set())
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(f"{path}: its arrays must be of one length; got {sorted(lengths)}")
    own = [k for k in (columns.id, columns.truth, columns.prediction) if k in flat]
    groups = [k for k in flat if k not in own] if attributes is None else list(attributes)
    for name in groups:
        if name not in flat:
            raise InputError(f"{path}: has no array '{name}'; arrays: {listing(sorted(flat))}")
    wanted = _Wanted(list(dict.fromkeys([*own, *groups])), [], groups)
    batches = pa.table({k: flat[k] for k in wanted.names}).to_batches()
    return replace(_table(path, batches, columns, wanted, lengths.pop()), classes=classes)


def _run(folder: Path, role: str) -> Contents:
    """The test predictions of a run directory; groups come with it."""
    record = read_record(folder)
    data, arrays = record.data, read_predictions(folder, record)
    logits, y, group = (arrays[f"test_{part}"] for part in (role, "y", "group"))
    classes = tuple(data.class_names)
    return Contents(
        f"{folder}:{role}",
        len(y),
        truth=Coded(y.astype(np.int32), classes),
        scores=of_network(logits)[0],
        classes=classes,
        attributes=coded_groups(group, data.group_names, data.attributes),
    )


READERS = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}
"""By what the name of a file ends in."""
