"""Your texts: any CSV, JSON-lines or Parquet file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fairsparse.data.assembly import text_task
from fairsparse.data.files.table import read_table, require
from fairsparse.data.files.tokens import Tokenization
from fairsparse.data.labels import Columns, Labels, coded, refuse_missing
from fairsparse.data.registry import dataset
from fairsparse.data.splits import Held
from fairsparse.data.task import Task


@dataset("text")
def text_table(
    path: Path,
    text: str = "text",
    label: str = "label",
    groups: tuple[str, ...] = (),
    unknown: tuple[str, ...] = (),
    *,
    columns: Columns,
    tokenization: Tokenization,
    held: Held,
) -> Task:
    """Your texts: a CSV, JSON-lines or Parquet file with a text, a class and optional groups.

    Texts become token ids; a batch is as long as its longest text.

    Terms: those of the data given; whether groups are inferred is for their owner to say.

    Parameters
    ----------
    path : Path
        The file, ``.csv``, ``.jsonl`` (both also compressed) or ``.parquet``.
    text, label : str
        Columns of the texts and of the classes; both must be known in every row.
    groups : tuple of str
        Columns of sensitive attributes; several are intersected. A missing value is unknown.
    unknown : tuple of str
        Values of group columns that also mean unknown, such as ``"-1"``.
    identity : str, optional
        Column that says whose text it is; no identity is then in two splits.
    test : float in (0, 0.5)
        Share of all examples, where no column gives a test split.
    """
    name = "text"
    frame = read_table(name, path, columns.missing)
    require(name, frame, [text, label, *groups, *columns.names])
    for column in groups:
        codes, names = coded(frame[column])
        is_group = np.array([name not in unknown for name in names] + [False])  # -1: missing
        frame[column] = frame[column].astype(object).where(is_group[codes], None)
    labels = Labels.of_columns(name, frame, label, groups)
    parts = held.divide(labels.y, labels.group, columns.assigned(name, frame))
    refuse_missing(name, frame, text, "text")
    return text_task(name, frame[text].astype(str).tolist(), labels, parts, tokenization)
