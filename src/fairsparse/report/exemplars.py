"""Exemplars as files: the examples themselves where they can be shown, and whose they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairsparse._version import __version__
from fairsparse.auditing.document import rows as json_rows
from fairsparse.auditing.document import safe_csv
from fairsparse.auditing.exemplars import Exemplars
from fairsparse.checkpoint import write_json, write_text
from fairsparse.fairness.measure.counts import Array
from fairsparse.report import phrases
from fairsparse.report.explain.pictures import data_uri
from fairsparse.report.phrases import SPACE, percent
from fairsparse.report.run.page import environment
from fairsparse.report.run.tables import FOLD, Entry, Table

FORMAT = "fairsparse-exemplars/1"
SHOWN = 24
_CELLS = 200


@dataclass(frozen=True)
class Found:
    """Exemplars of a joined set of examples.

    Parameters
    ----------
    exemplars : Exemplars
    references, candidates : int
        How many networks of either kind.
    labels : sequence of str
        What each example is called: its id, or its row.
    show : callable, optional
        From the position of an example to its pixels, uint8 (H, W, 3), or its text.
    alpha : float
        Of adjusted p-values.
    notes : sequence of str
    """

    exemplars: Exemplars
    references: int
    candidates: int
    labels: Sequence[str]
    show: Callable[[int], Array | str] | None = None
    alpha: float = 0.05
    notes: Sequence[str] = ()


def write(found: Found, folder: Path) -> Path:
    """Write report.html, exemplars.csv (every modal example), cells.csv and exemplars.json."""
    examples = found.exemplars.examples
    every = examples.assign(example=list(found.labels))
    every = every[["example", *examples.columns]].loc[found.exemplars.top(len(every)).index]
    modal = every[every["modal"]].drop(columns="modal")
    write_text(folder / "exemplars.csv", safe_csv(modal))
    write_text(folder / "cells.csv", safe_csv(found.exemplars.cells))
    write_text(folder / "report.html", html(found))
    document = {
        "format": FORMAT,
        "fairsparse": __version__,
        "n": len(examples),
        "references": found.references,
        "candidates": found.candidates,
        "exemplars": json_rows(modal),
        "cells": json_rows(found.exemplars.cells),
        "notes": list(found.notes),
    }
    write_json(folder / "exemplars.json", document)
    return folder


def paragraphs(found: Found) -> list[str]:
    """What was found, in a few sentences."""
    examples, cells = found.exemplars.examples, found.exemplars.cells
    modal = examples[examples["modal"]]
    text = (
        f"Of {len(examples):,} examples, {len(modal):,} ({percent(len(modal) / len(examples))})"
        f" are exemplars: what most of {phrases.plural(found.candidates, 'candidate')} predict is"
        f" not what most of {phrases.plural(found.references, 'reference')} predict."
    )
    if modal.empty:
        return [text]
    right = [(modal[role] == modal["y"]).mean() for role in ("reference", "candidate")]
    text += (
        f" On them most references are right for {percent(right[0])}, and most candidates for"
        f" {percent(right[1])}."
    )
    sure = cells[(cells["p_adjusted"] < found.alpha) & (cells["ratio"] > 1)]
    if sure.empty:
        return [text, "In no cell are they shown to be more than elsewhere."]
    ordered = sure.sort_values("ratio", ascending=False).to_dict("records")
    told = [
        f"“{c['attribute']}: {c['cell']}” ({percent(c['share'])} of {c['n']:,},"
        f" {c['ratio']:.1f}{SPACE}times the share elsewhere)"
        for c in ordered
    ]
    return [text, f"They are more than elsewhere in {phrases.listing(told, 4)}."]


def html(found: Found) -> str:
    """The report: one file without outside parts and without scripts."""
    return (
        environment()
        .get_template("exemplars.html")
        .render(
            title="Compression-identified exemplars",
            lead="The examples on which compressed networks part from the ones they were made of.",
            version=__version__,
            paragraphs=paragraphs(found),
            gallery=_gallery(found),
            top=None if found.show else _top(found),
            cells=_cells(found.exemplars.cells),
            notes=found.notes,
        )
    )


def _gallery(found: Found) -> list[dict[str, Any]]:
    if found.show is None:
        return []
    shown = []
    top = found.exemplars.top(SHOWN)
    for at, row in zip(top.index, top[top["taxicab"] > 0].to_dict("records"), strict=False):
        seen = found.show(int(at))
        caption = _caption(str(found.labels[int(at)]), row)
        if isinstance(seen, str):
            shown.append({"text": seen, "caption": caption})
        else:
            shown.append({"image": data_uri(seen), "alt": caption, "caption": caption})
    return shown


def _caption(label: str, row: dict[str, Any]) -> str:
    return (
        f"{label}: {row['y']}; references say {row['reference']}"
        f" ({percent(row['reference_share'], 0)}), candidates {row['candidate']}"
        f" ({percent(row['candidate_share'], 0)})"
    )


def _top(found: Found) -> Table:
    top = found.exemplars.top(SHOWN)
    rows: list[list[Entry]] = [
        [
            str(found.labels[int(at)]),
            row["y"],
            (row["reference"], percent(row["reference_share"], 0)),
            (row["candidate"], percent(row["candidate_share"], 0)),
            "yes" if row["modal"] else "no",
            f"{row['taxicab']:.2f}",
        ]
        for at, row in zip(top.index, top.to_dict("records"), strict=True)
    ]
    head = ["example", "class", "most references", "most candidates", "exemplar", "distance"]
    caption = f"The {len(rows)} examples whose predictions moved most"
    return Table(caption, head, rows, text=(1, 2, 3, 4))


def _cells(cells: pd.DataFrame) -> list[Table]:
    tables = []
    for kind, frame in cells.groupby("attribute", sort=False):
        ordered = frame.sort_values("share", ascending=False, na_position="last", kind="stable")
        rows: list[list[Entry]] = [
            [
                row["cell"],
                f"{row['n']:,}",
                f"{row['exemplars']:,}",
                (
                    percent(row["share"]),
                    phrases.between(row["share_low"], row["share_high"], percent),
                ),
                f"{row['ratio']:.2f}" if np.isfinite(row["ratio"]) else phrases.UNDEFINED,
                phrases.p_value(row["p_adjusted"]),
            ]
            for row in ordered.head(_CELLS).to_dict("records")
        ]
        title = f"By {kind}: {phrases.plural(len(frame), 'cell')}, the largest share first"
        if len(frame) > _CELLS:
            title += f"; the first {_CELLS}, all are in cells.csv"
        head = [str(kind), "n", "exemplars", "share", "times elsewhere's", "adjusted p"]
        tables.append(Table(title, head, rows, folded=title if len(rows) > FOLD else ""))
    return tables
