"""An audit as Markdown: for a pull request, and for a model card."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import yaml

from fairsparse.auditing.engine import Audit
from fairsparse.auditing.findings import LOST_MORE, NEITHER
from fairsparse.neutral import neutral
from fairsparse.report import phrases, table
from fairsparse.report.audit import sentences
from fairsparse.report.phrases import between, number, percent, points
from fairsparse.report.table import Cell, Column, Entry, Table

_MEASURE = ["measure", "over", "reference", "candidate", "change", "95 % interval", "adjusted p"]
_ends = partial(between, form=partial(number, spec=".1f", scale=100))
_CELL = (
    Column("who", lambda cell: phrases.line(sentences.name(cell), 120)),
    Column("n", lambda cell: f"{cell['n']:,}"),
    Column("reference", lambda cell: percent(cell["reference"], 1)),
    Column("candidate", lambda cell: percent(cell["candidate"], 1)),
    Column("drop", lambda cell: points(cell["drop"], 1)),
    Column("95 % interval", lambda cell: _ends(cell["low"], cell["high"])),
    Column("finding", lambda cell: cell["finding"]),
)
_MOST = 20
"""Rows of a table of a pull request."""
_FITS = 60_000
"""Characters that a comment on a pull request holds."""


def summary(audit: Audit) -> str:
    """The verdict and one table as Markdown, for a pull request; the rest is folded."""
    several = len(audit.candidates) > 1
    lines = ["# Audit", ""]
    rows: list[list[Entry]] = []
    for name in audit.candidates:
        said = escape(phrases.sentence(sentences.headline(audit, name)))
        lines += [f"**{escape(name)}**: {said}." if several else f"**{said}.**", ""]
        told = table.of("", _told(audit, name), _CELL)
        rows += [[name, *row] if several else [*row] for row in told.rows]
    head = ["model"] * several + [column.head for column in _CELL]
    lines += _grid(Table("", head, rows))
    for name in audit.candidates:
        texts = _paragraphs(sentences.paragraphs(audit, name))
        measures = _measure_grid(sentences.of_candidate(audit, name)[0])
        lines += _folded(f"All of {name}", [*texts, *measures], lines)
    lines += _folded("How this was found", _paragraphs([*sentences.method(audit), *audit.notes]))
    return "\n".join(lines).rstrip() + "\n"


def _told(audit: Audit, candidate: str) -> list[Cell]:
    """Everybody, and those of whom a change is told; where there are none, those furthest down."""
    measures, cells = sentences.of_candidate(audit, candidate)
    accuracy = measures[measures["measure"] == "accuracy"].to_dict("records")[0]
    change = {"drop": -accuracy["change"], "low": -accuracy["change_high"]}
    everybody = {"kind": "", "name": "all", "n": audit.n, "high": -accuracy["change_low"]} | change
    everybody |= {role: accuracy[role] for role in ("reference", "candidate")} | {"finding": ""}
    ranked = sentences.by_excess(cells)
    told = [cell for cell in ranked if cell["finding"] in (LOST_MORE, "lost", NEITHER)]
    return [everybody, *(told[:_MOST] or ranked[:5])]


def _folded(title: str, body: list[str], before: Sequence[str] = ()) -> list[str]:
    """Lines that are shown on demand; none where they would not fit after those `before`."""
    if sum(len(line) + 1 for line in (*before, *body)) > _FITS:
        body = ["It is too long for this place: see report.html.", ""]
    return [f"<details><summary>{escape(title)}</summary>", "", *body, "</details>", ""]


def model_card(audit: Audit) -> str:
    """A model card: results by class and group, also as metadata of Hugging Face's."""
    index = {"model-index": [_results(audit, name) for name in audit.candidates]}
    lines = ["---", yaml.safe_dump(index, sort_keys=False).rstrip(), "---", ""]
    lines += ["## What compression changed, and for whom", ""]
    for name in audit.candidates:
        measures, cells = sentences.of_candidate(audit, name)
        said = phrases.sentence(sentences.headline(audit, name))
        lines += [f"### {escape(name)}", ""] if len(audit.candidates) > 1 else []
        lines += [f"**{escape(said)}.**", ""]
        lines += _grid(table.of("", _plain(cells), _CELL))
        lines += _paragraphs(sentences.paragraphs(audit, name))
        lines += _measure_grid(measures)
    lines += ["### How sure we are", ""]
    lines += _paragraphs([*sentences.method(audit), *audit.notes])
    groups = "; ".join(
        f"{k} ({phrases.listing(v, 12)})" for k, v in audit.attributes.items() if " x " not in k
    )
    lines.append(escape(f"Groups compared: {groups or 'none; classes alone'}."))
    return "\n".join(lines) + "\n"


def _plain(cells: Sequence[Cell]) -> list[Cell]:
    """Classes and the groups of single attributes, without their crossings."""
    return [cell for cell in cells if " x " not in cell["kind"]][: table.MOST_ROWS]


def _results(audit: Audit, candidate: str) -> dict[str, Any]:
    """Accuracy of everybody and of each class and group, as a ``model-index`` has it."""
    measures, cells = sentences.of_candidate(audit, candidate)
    overall = measures.loc[measures["measure"] == "accuracy", "candidate"].iloc[0]
    values = {"accuracy": overall} | {
        f"accuracy, {sentences.name(cell)}": cell["candidate"]
        for cell in _plain(cells)
        if phrases.defined(cell["candidate"])
    }
    titles = [html.escape(title, quote=False) for title in phrases.lines([*values], 120)]
    metrics = [
        {"type": "accuracy", "value": round(float(value), 6), "name": title}
        for title, value in zip(titles, values.values(), strict=True)
    ]
    dataset = {"type": "audit", "name": f"the {audit.n:,} examples of an audit"}
    task = {"type": "other", "name": "classification"}
    results = [{"task": task, "dataset": dataset, "metrics": metrics}]
    title = html.escape(phrases.line(candidate, 96), quote=False)
    return {"name": title, "results": results}


def _paragraphs(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in (escape(text), "")]


def _grid(grid: Table) -> list[str]:
    """A table whose entries are texts."""
    rows = [grid.head, ["---"] * len(grid.head), *([escape(str(v)) for v in r] for r in grid.rows)]
    return [*("| " + " | ".join(row) + " |" for row in rows), ""]


def _measure_grid(measures: pd.DataFrame) -> list[str]:
    rows = [row for row in measures.to_dict("records") if phrases.defined(row["candidate"])]
    return _grid(Table("", _MEASURE, [*map(_measure_line, rows)]))


def _measure_line(row: dict[Any, Any]) -> list[Entry]:
    form, shift = phrases.value_form(row["measure"]), phrases.change_form(row["measure"])
    if row["p"] == row["p"]:
        values = [form(row["reference"]), form(row["candidate"]), shift(row["change"])]
        bounds = between(row["change_low"], row["change_high"], shift)
    else:  # of how a drop falls there is one value, and no change
        values = [phrases.DASH, form(row["candidate"]), phrases.DASH]
        bounds = between(row["candidate_low"], row["candidate_high"], form)
    over = "all" if phrases.about(row["measure"]).cells == "all" else row["attribute"]
    p = phrases.p_value(row["p_adjusted"])
    return [phrases.label(row["measure"]), over, *values, bounds, p]


def escape(text: str) -> str:
    """Text that Markdown shows as it is, whatever names hold.

    >>> escape("a|b <i>*x*")
    'a\\\\|b &lt;i&gt;\\\\*x\\\\*'
    """
    changes = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    changes |= {mark: "\\" + mark for mark in "\\|*_`[]#"}
    return "".join(changes.get(letter, letter) for letter in neutral(text))
