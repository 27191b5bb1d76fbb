"""An audit as Markdown: for a pull request, and for a model card."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fairsparse.auditing.engine import Audit
from fairsparse.report import phrases
from fairsparse.report.audit import sentences
from fairsparse.report.phrases import between, points
from fairsparse.report.table import Cell


def summary(audit: Audit) -> str:
    """The findings as Markdown, for a pull request."""
    lines = ["# Audit", ""]
    lines += [*(escape(s) for s in sentences.ranking(audit)), ""]
    for name in audit.candidates:
        measures, cells = sentences.of_candidate(audit, name)
        lines += [f"## {escape(name)}: {sentences.headline(audit, name)}", ""]
        for paragraph in sentences.paragraphs(audit, name):
            lines += [escape(paragraph), ""]
        lines += _measure_grid(measures)
        by_excess = sentences.by_excess(cells)
        behind = [c for c in by_excess if c["finding"] in (sentences.LOST_MORE, "lost")]
        if behind:
            lines += _grid(
                ["cell", "n", "drop", "95 % interval", "excess", "95 % interval", "finding"],
                [_cell_line(cell) for cell in behind[:20]],
            )
    lines += [escape(note) for note in audit.notes]
    return "\n".join(lines).rstrip() + "\n"


def model_card(audit: Audit) -> str:
    """A section for a model card: what compression changed, for whom, how sure we are."""
    lines = ["## What compression changed, and for whom", ""]
    for name in audit.candidates:
        lines += [f"### {escape(name)}", ""] if len(audit.candidates) > 1 else []
        for paragraph in sentences.paragraphs(audit, name):
            lines += [escape(paragraph), ""]
        lines += _measure_grid(sentences.of_candidate(audit, name)[0])
    lines += ["### How sure we are", ""]
    for paragraph in [*sentences.method(audit), *audit.notes]:
        lines += [escape(paragraph), ""]
    groups = "; ".join(
        f"{k} ({phrases.listing(v, 12)})" for k, v in audit.attributes.items() if " x " not in k
    )
    lines.append(escape(f"Groups compared: {groups or 'none; classes alone'}."))
    return "\n".join(lines) + "\n"


def _grid(head: list[str], rows: list[list[str]]) -> list[str]:
    table = [head, ["---"] * len(head), *[[escape(v) for v in row] for row in rows]]
    return [*("| " + " | ".join(row) + " |" for row in table), ""]


def _measure_grid(measures: pd.DataFrame) -> list[str]:
    head = ["measure", "over", "reference", "candidate", "change", "95 % interval", "adjusted p"]
    rows = [row for row in measures.to_dict("records") if phrases.defined(row["candidate"])]
    return _grid(head, [_measure_line(row) for row in rows])


def _measure_line(row: dict[str, Any]) -> list[str]:
    form, shift = phrases.value_form(row["measure"]), phrases.change_form(row["measure"])
    if row["p"] == row["p"]:
        values = [form(row["reference"]), form(row["candidate"]), shift(row["change"])]
        bounds = between(row["change_low"], row["change_high"], shift)
    else:  # of how a drop falls there is one value, and no change
        values = [phrases.DASH, form(row["candidate"]), phrases.DASH]
        bounds = between(row["candidate_low"], row["candidate_high"], form)
    over = "all" if phrases.about(row["measure"]).cells == "all" else row["attribute"]
    return [
        phrases.label(row["measure"]),
        over,
        *values,
        bounds,
        phrases.p_value(row["p_adjusted"]),
    ]


def _cell_line(row: Cell) -> list[str]:
    return [
        sentences.name(row),
        f"{row['n']:,}",
        points(row["drop"]),
        between(row["low"], row["high"], points),
        points(row["excess_drop"]),
        between(row["excess_low"], row["excess_high"], points),
        row["finding"],
    ]


def escape(text: str) -> str:
    """Text that Markdown shows as it is, whatever names hold.

    >>> escape("a|b <i>*x*")
    'a\\\\|b &lt;i&gt;\\\\*x\\\\*'
    """
    flat = " ".join(text.split(" ")).replace("\n", " ").replace("\r", " ")
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\|*_`[]#":
        flat = flat.replace(mark, "\\" + mark)
    return flat
