"""Predictions from files: CSV, Parquet and NPZ, read in pieces, joined by id, and checked.

A table's columns are found by name: ``id``, ``y``, ``prediction``, or one ``score_CLASS`` for each
class; every name can be given. An NPZ file holds the same as arrays of one value for each example,
with ``scores`` (N, C) and ``class_names`` (C,) in place of the score columns. A run directory of
fairsparse stands for its sparse network, or with ``:dense`` for its dense one.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from fairsparse.auditing.inputs.contents import (
    Contents,
    ReducedScores,
    coded,
    coded_groups,
    encoded,
    of_network,
    reduced,
    together,
)
from fairsparse.auditing.inputs.groups import groups_of
from fairsparse.auditing.inputs.labels import PLAIN, Coded, Notation, column, native, text
from fairsparse.core import InputError
from fairsparse.data.files.table import separator
from fairsparse.fairness.measure.counts import Array
from fairsparse.foreign import check_table, read_npz
from fairsparse.record import read_predictions, read_record
from fairsparse.registry import listing, nearest

_BLOCK = 2**25  # bytes of a CSV file read at once


@dataclass(frozen=True)
class Columns:
    """Names of the columns that files are read by, and how what they hold is meant.

    Those of score columns begin with ``score``; the rest is the class.
    """

    id: str = "id"
    truth: str = "y"
    prediction: str = "prediction"
    score: str = "score_"
    notation: Notation = field(default=PLAIN, kw_only=True)
    cluster: str | None = field(default=None, kw_only=True)
    weights: str | None = field(default=None, kw_only=True)

    @property
    def own(self) -> list[str]:
        """All that are not groups or scores."""
        names = (self.id, self.truth, self.prediction, self.cluster, self.weights)
        return [name for name in names if name is not None]


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


def key_of(path: str, name: str, columns: Columns) -> pd.Index | None:
    """What a column of a file holds, if it tells all rows apart; else None."""
    try:
        return READERS[Path(path).suffix](path, replace(columns, id=name), ()).ids
    except (InputError, pa.ArrowException):
        return None


def _csv(path: str, columns: Columns, attributes: Sequence[str] | None) -> Contents:
    _check_header(path)
    options = {
        "read_options": pa.csv.ReadOptions(block_size=_BLOCK),
        "parse_options": pa.csv.ParseOptions(newlines_in_values=True),
    }
    with pa.csv.open_csv(path, **options) as reader:
        wanted = _wanted(path, reader.schema.names, columns, attributes)
    labels = pa.dictionary(pa.int32(), pa.string())
    kinds = dict.fromkeys(wanted.names, labels) | dict.fromkeys(wanted.scores, pa.float32())
    if columns.id in kinds:
        kinds[columns.id] = pa.string()
    convert = pa.csv.ConvertOptions(
        include_columns=wanted.names,
        column_types=kinds,
        strings_can_be_null=True,
        null_values=[""],
    )
    with pa.csv.open_csv(path, convert_options=convert, **options) as reader:
        return _table(path, reader, columns, wanted)


def _check_header(path: str) -> None:
    """Refuse a table whose fields are not separated by commas."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        names = next(csv.reader([file.readline(2**16)]), [])
    other = separator(names)
    if other:
        raise InputError(
            f"{path}: its header is one column, '{names[0][:80]}', which looks like several"
            f" separated by '{other}'; write the file with commas"
        )


def _parquet(path: str, columns: Columns, attributes: Sequence[str] | None) -> Contents:
    with pa.parquet.ParquetFile(path) as file:
        wanted = _wanted(path, file.schema_arrow.names, columns, attributes)
        batches = file.iter_batches(batch_size=2**20, columns=wanted.names)
        return _table(path, batches, columns, wanted)


class _Wanted(NamedTuple):
    """Columns to read, which of them hold scores and groups, and all that hold neither labels.

    Whether groups were asked for by name says ``asked``.
    """

    names: list[str]
    scores: list[str]
    groups: list[str]
    others: tuple[str, ...] = ()
    asked: bool = True


def _wanted(
    path: str, names: Sequence[str], columns: Columns, attributes: Sequence[str] | None
) -> _Wanted:
    twice = {n for n in names if list(names).count(n) > 1}
    if twice:
        raise InputError(f"{path}: has the column '{sorted(twice)[0]}' twice; rename one")
    fixed = [n for n in columns.own if n in names]
    scores = [n for n in names if n.startswith(columns.score)]
    others = [n for n in names if n not in fixed and n not in scores]
    groups = others if attributes is None else list(attributes)
    for name in groups:
        if name not in names:
            raise InputError(
                f"{path}: has no column '{name}'{nearest(name, names)}; columns: {listing(names)}"
            )
    read = list(dict.fromkeys([*fixed, *scores, *groups]))
    return _Wanted(read, scores, groups, tuple(others), attributes is not None)


def _table(path: str, batches: Iterable[Any], columns: Columns, wanted: _Wanted) -> Contents:
    """What pieces of a table say of their rows."""
    labels = (*columns.own[1:], *wanted.groups)
    pieces: dict[str, list[Any]] = {name: [] for name in labels if name in wanted.names}
    ids: list[Any] = []
    classes = _score_classes(path, wanted.scores, columns)
    scores: list[ReducedScores] = []
    missing, rows = columns.notation.missing, 0
    for batch in batches:
        rows += batch.num_rows
        for name in pieces:
            pieces[name].append(encoded(_flat(path, name, batch.column(name))))
        if columns.id in wanted.names:
            ids.append(batch.column(columns.id))
        if wanted.scores:
            parts = [
                batch.column(c).cast(pa.float32()).to_numpy(zero_copy_only=False)
                for c in wanted.scores
            ]
            said = pieces.get(columns.prediction)
            chosen = coded(said[-1:], missing).recoded(classes) if said else None
            scores.append(reduced(np.stack(parts, axis=1), chosen))
    if not rows:
        raise InputError(f"{path}: holds no rows")
    done = {name: coded(column, missing) for name, column in pieces.items()}
    index = _ids(path, pa.chunked_array(ids)) if ids else None
    read = _contents(path, rows, columns, wanted, done, index)
    return replace(read, scores=together(scores) if scores else None, classes=classes)


def _contents(
    path: str,
    n: int,
    columns: Columns,
    wanted: _Wanted,
    labels: dict[str, Coded],
    ids: pd.Index | None,
) -> Contents:
    """What columns of labels, and ids, say of `n` rows."""
    attributes: dict[str, Coded] = {}
    notes: tuple[str, ...] = ()
    for name in wanted.groups:
        key = "" if ids is not None else f", or match rows by it with --id {name}"
        try:
            groups, told = groups_of(name, labels[name], columns.notation, wanted.asked, key)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        attributes[name], notes = groups, (*notes, *told)
    return Contents(
        path,
        n,
        ids,
        labels.get(columns.truth),
        labels.get(columns.prediction),
        attributes=attributes,
        sampling={k: labels[k] for k in columns.own[3:] if k in labels},
        others=wanted.others,
        notes=notes,
    )


def _score_classes(path: str, names: Sequence[str], columns: Columns) -> tuple[str, ...]:
    classes = tuple(text(name.removeprefix(columns.score)) for name in names)
    if len(set(classes)) < len(classes):
        raise InputError(f"{path}: has scores of one class twice; rename a column")
    return classes


def _flat(path: str, name: str, column: Any) -> Any:
    if pa.types.is_nested(column.type):
        raise InputError(
            f"{path}: column '{name}' holds {column.type}; one number or text in each row is"
            " needed: take it apart"
        )
    if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        return column.cast(pa.binary()).cast(pa.string())
    return column


def _ids(path: str, column: Any) -> pd.Index:
    """Ids (N,) of an arrow column, in one notation: whole numbers where all are, else texts.

    Numbers of 64 bits are small and fast; 007 is not 7, and stays text.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        raise InputError(f"{path}: ids are of {kind}; whole numbers or texts are needed")
    if pa.types.is_floating(kind):
        column = _whole(path, column)
    if column.type != pa.int64():
        column = column.cast(pa.string())
        whole = _all_whole(column)
        if not whole:
            column = pc.utf8_trim_whitespace(column)
            column = pc.replace_substring_regex(column, r"^(-?[0-9]+)\.0+$", r"\1")
            column = pc.if_else(pc.equal(column, ""), None, column)
            whole = _all_whole(column)
        if whole:
            with contextlib.suppress(pa.ArrowInvalid):  # more than 64 bits
                column = column.cast(pa.int64())
    if column.null_count:
        raise InputError(f"{path}: {column.null_count:,} rows have no id; give each row one")
    index = pd.Index(column.to_pandas())
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise InputError(
            f"{path}: {len(twice):,} ids occur more than once, such as"
            f" {listing([str(i) for i in twice], 3)}; give each example one row"
        )
    return index


def _all_whole(words: Any) -> bool:
    """Whether texts are whole numbers, of 64 bits or a little more."""
    return bool(pc.all(pc.match_substring_regex(words, r"^(0|-?[1-9][0-9]{0,18})$")).as_py())


def _whole(path: str, column: Any) -> Any:
    """Ids that are stored as decimal numbers, as whole ones where they are."""
    column = column.cast(pa.float64())
    values = column.drop_null().to_numpy()
    if (np.abs(values) > 2**53).any():
        raise InputError(
            f"{path}: ids are decimal numbers beyond 2**53, which have lost digits; write them as"
            " whole numbers or texts"
        )
    return column.cast(pa.int64()) if (values == np.floor(values)).all() else column


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
    if scores.ndim != 2 or scores.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: scores must be numbers (N, C); got {scores.dtype} of shape {scores.shape}"
        )
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
    own = [k for k in columns.own if k in flat]
    others = tuple(k for k in flat if k not in own)
    groups = list(others if attributes is None else attributes)
    for name in groups:
        if name not in flat:
            raise InputError(f"{path}: has no array '{name}'; arrays: {listing(sorted(flat))}")
    wanted = _Wanted([], [], groups, others, attributes is not None)
    labels = {
        k: column(f"{path}: {k}", flat[k], columns.notation.missing)
        for k in (*own, *groups)
        if k != columns.id
    }
    ids = None
    if columns.id in flat:
        ids = _ids(path, pa.array(native(f"{path}: {columns.id}", flat[columns.id])))
    read = _contents(path, lengths.pop(), columns, wanted, labels, ids)
    return replace(read, classes=classes)


def _run(folder: Path, role: str) -> Contents:
    """The test predictions of a run directory; groups come with it."""
    record = read_record(folder)
    data, arrays = record.data, read_predictions(folder, record)
    logits, y, group = (arrays[f"test_{part}"] for part in (role, "y", "group"))
    classes = tuple(text(name) for name in data.class_names)
    return Contents(
        f"{folder}:{role}",
        len(y),
        truth=Coded(y.astype(np.int32), classes),
        scores=of_network(logits)[0],
        classes=classes,
        attributes=coded_groups(group, data.group_names, data.attributes),
        positive=classes[1] if len(classes) == 2 else None,
    )


READERS = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}
"""By what the name of a file ends in."""
