"""An audit as Markdown: for a pull request, and for a model card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from fairsparse.auditing.engine import Audit
from fairsparse.neutral import neutral
from fairsparse.report import phrases, table
from fairsparse.report.audit import sentences
from fairsparse.report.phrases import between, points
from fairsparse.report.table import Column, Entry, Table

_MEASURE = ["measure", "over", "reference", "candidate", "change", "95 % interval", "adjusted p"]
_CELL = (
    Column("cell", sentences.name),
    Column("n", lambda cell: f"{cell['n']:,}"),
    Column("drop", lambda cell: points(cell["drop"])),
    Column("95 % interval", lambda cell: between(cell["low"], cell["high"], points)),
    Column("excess", lambda cell: points(cell["excess_drop"])),
    Column("95 % interval", lambda cell: between(cell["excess_low"], cell["excess_high"], points)),
    Column("finding", lambda cell: cell["finding"]),
)


def summary(audit: Audit) -> str:
    """The findings as Markdown, for a pull request."""
    lines = ["# Audit", "", *map(escape, sentences.ranking(audit)), ""]
    for name in audit.candidates:
        measures, cells = sentences.of_candidate(audit, name)
        lines += [f"## {escape(name)}: {sentences.headline(audit, name)}", ""]
        lines += [*_paragraphs(sentences.paragraphs(audit, name)), *_measure_grid(measures)]
        lost = (sentences.LOST_MORE, "lost")
        behind = [cell for cell in sentences.by_excess(cells) if cell["finding"] in lost]
        lines += _grid(table.of("", behind[:20], _CELL)) if behind else []
    lines += map(escape, audit.notes)
    return "\n".join(lines).rstrip() + "\n"


def model_card(audit: Audit) -> str:
    """A section for a model card: what compression changed, for whom, how sure we are."""
    lines = ["## What compression changed, and for whom", ""]
    for name in audit.candidates:
        lines += [f"### {escape(name)}", ""] if len(audit.candidates) > 1 else []
        lines += _paragraphs(sentences.paragraphs(audit, name))
        lines += _measure_grid(sentences.of_candidate(audit, name)[0])
    lines += ["### How sure we are", ""]
    lines += _paragraphs([*sentences.method(audit), *audit.notes])
    groups = "; ".join(
        f"{k} ({phrases.listing(v, 12)})" for k, v in audit.attributes.items() if " x " not in k
    )
    lines.append(escape(f"Groups compared: {groups or 'none; classes alone'}."))
    return "\n".join(lines) + "\n"


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
