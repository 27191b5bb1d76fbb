"""Exemplars as files: the examples themselves where they can be shown, and whose they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairsparse._version import __version__
from fairsparse.auditing.document import rows as json_rows
from fairsparse.auditing.document import safe_csv
from fairsparse.auditing.exemplars import Exemplars
from fairsparse.checkpoint import write_json, write_text
from fairsparse.fairness.measure.counts import Array
from fairsparse.report import phrases, table
from fairsparse.report.audit.sentences import cells, quoted
from fairsparse.report.explain.pictures import data_uri
from fairsparse.report.page import Block, Picture, note, render, section, words
from fairsparse.report.phrases import SPACE, percent
from fairsparse.report.table import Column, Table

FORMAT = "fairsparse-exemplars/2"
MOST_EXAMPLES = 24
_CARE = "Exemplars are often hard or wrongly labelled: look at them before anything else is done."
_HOW = (
    f"A share has its 95{SPACE}% interval. Hard examples part any two sets of networks, so the same"
    " networks were dealt into two kinds of these sizes in every other way, or in"
    " 2,000 drawn ones: a p-value is the share of all ways in which predictions move as far in the"
    " cell, less elsewhere, as between the candidates and the references, or Fisher's for the"
    " number of exemplars in the cell if that is larger. Both are adjusted over all cells: by the"
    " largest of them in each way, and by Holm."
)


@dataclass(frozen=True)
class ExemplarReport:
    """Exemplars of a joined set of examples, of so many networks, and what a page needs besides."""

    exemplars: Exemplars
    references: int
    candidates: int
    labels: Sequence[str]
    """What each example is called: its id, or its row."""
    show: Callable[[int], Array | str] | None = None
    """From the position of an example to its pixels, uint8 (H, W, 3), or its text."""
    alpha: float = 0.05
    """Of adjusted p-values."""
    notes: Sequence[str] = ()


def write(report: ExemplarReport, folder: Path) -> Path:
    """Write report.html, exemplars.csv (every modal example), cells.csv and exemplars.json."""
    exemplars, examples = report.exemplars, report.exemplars.examples
    every = examples.assign(example=list(report.labels))
    every = every[["example", *examples.columns]].loc[exemplars.top(len(every)).index]
    modal = every[every["modal"]].drop(columns="modal")
    write_text(folder / "exemplars.csv", safe_csv(modal))
    write_text(folder / "cells.csv", safe_csv(exemplars.cells))
    write_text(folder / "report.html", html(report))
    document = {
        "format": FORMAT,
        "fairsparse": __version__,
        "n": len(examples),
        "references": report.references,
        "candidates": report.candidates,
        "smallest_p": exemplars.smallest_p,
        "exemplars": json_rows(modal),
        "cells": json_rows(exemplars.cells),
        "notes": list(report.notes),
    }
    write_json(folder / "exemplars.json", document)
    return folder


def paragraphs(report: ExemplarReport) -> list[str]:
    """How many exemplars there are, who is right on them, and whose they are."""
    examples = report.exemplars.examples
    modal = examples[examples["modal"]]
    text = (
        f"Of {len(examples):,} examples, {len(modal):,} ({percent(len(modal) / len(examples))})"
        f" are exemplars: what most of {phrases.plural(report.candidates, 'candidate')} predict is"
        f" not what most of {phrases.plural(report.references, 'reference')} predict."
    )
    if not modal.empty:
        right = [(modal[role] == modal["y"]).mean() for role in ("reference", "candidate")]
        text += (
            f" On them most references are right for {percent(right[0])}, and most candidates for"
            f" {percent(right[1])}."
        )
    return [text, _whose(report)]


def _whose(report: ExemplarReport) -> str:
    """In which cells there are more than elsewhere, or why that cannot be told."""
    frame, smallest = report.exemplars.cells, report.exemplars.smallest_p
    if smallest >= report.alpha:
        return (
            "There are too few networks to tell whose exemplars are more than chance deals out:"
            f" with {report.references:,} + {report.candidates:,} no p-value can be below"
            f" {phrases.p_value(smallest)}. Give more of them, trained from other seeds."
        )
    more = (frame["p_adjusted"] < report.alpha) & ~(frame["ratio"] <= 1) & (frame["exemplars"] > 0)
    if not more.any():
        return "In no cell are they shown to be more than elsewhere."
    most = [
        f"{quoted(c)} ({percent(c['share'])} of {c['n']:,}, {_times(c['ratio'])})"
        for c in table.ranked(cells(frame[more]), "ratio", -1)
    ]
    return f"They are more than elsewhere in {phrases.listing(most, 4)}."


def _times(ratio: float) -> str:
    return f"{ratio:.1f}{SPACE}times the share elsewhere" if ratio == ratio else "none elsewhere"


def html(report: ExemplarReport) -> str:
    """The report: one file without outside parts and without scripts."""
    return render(
        "Compression-identified exemplars",
        "The examples on which compressed networks part from the ones they were made of.",
        section("", *words(paragraphs(report)), _CARE),
        section("The examples whose predictions moved most", _gallery(report)),
        section("", None if report.show else _top(report)),
        section("Whose they are", *_cells(report), _HOW, *map(note, report.notes)),
    )


def _gallery(report: ExemplarReport) -> Block | None:
    if report.show is None:
        return None
    pictures = []
    top = report.exemplars.top(MOST_EXAMPLES)
    for at, row in zip(top.index, top[top["taxicab"] > 0].to_dict("records"), strict=False):
        example = report.show(int(at))
        (before, most), (after, others) = (_majority(row, r) for r in ("reference", "candidate"))
        caption = (
            f"{report.labels[int(at)]}: {row['y']}; references say {before} ({most}), candidates"
            f" {after} ({others})"
        )
        if isinstance(example, str):
            pictures.append(Picture(caption, text=example))
        else:
            pictures.append(Picture(caption, data_uri(example), caption))
    return Block("gallery", pictures) if pictures else None


def _top(report: ExemplarReport) -> Table:
    top = report.exemplars.top(MOST_EXAMPLES)
    top = top.assign(label=[str(report.labels[int(at)]) for at in top.index])
    columns = [
        Column("example", lambda row: row["label"]),
        Column("class", lambda row: row["y"], text=True),
        Column("most references", lambda row: _majority(row, "reference"), text=True),
        Column("most candidates", lambda row: _majority(row, "candidate"), text=True),
        Column("exemplar", lambda row: "yes" if row["modal"] else "no", text=True),
        Column("distance", lambda row: f"{row['taxicab']:.2f}"),
    ]
    caption = f"The {len(top)} examples whose predictions moved most"
    return table.of(caption, top.to_dict("records"), columns)


def _majority(row: dict[Any, Any], role: str) -> tuple[str, str]:
    return row[role], percent(row[f"{role}_share"], 0)


def _cells(report: ExemplarReport) -> list[Table]:
    columns = [
        Column("exemplars", lambda c: f"{c['exemplars']:,}"),
        Column("share", lambda c: table.estimate(c, percent, "share", "share_")),
        Column("times elsewhere's", lambda c: phrases.number(c["ratio"], ".2f")),
        Column("distance", lambda c: phrases.number(c["distance"], ".2f")),
        Column("adjusted p", lambda c: phrases.p_value(c["p_adjusted"])),
    ]
    return table.cell_tables(cells(report.exemplars.cells), columns, "share", "cells.csv")
