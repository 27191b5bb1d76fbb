"""An audit as files: HTML to read, JSON and CSV to compute with, Markdown to paste."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fairsparse._version import __version__
from fairsparse.auditing.document import document, safe_csv
from fairsparse.auditing.engine import Audit
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.checkpoint import write_json, write_text
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.report import phrases
from fairsparse.report.audit import sentences
from fairsparse.report.phrases import between, points
from fairsparse.report.run.page import environment, pictured
from fairsparse.report.run.tables import (
    FOLD,
    MOST_ROWS,
    Entry,
    Table,
    bare,
    bounded,
    cell_table,
    estimate,
    measure,
)

_PICTURED = 20
MODELS = ("reference", "candidate")


def write(audit: Audit, folder: Path) -> Path:
    """Write report.html, audit.json, summary.md, model_card.md and the tables as CSV."""
    write_text(folder / "measures.csv", safe_csv(audit.measures))
    write_text(folder / "cells.csv", safe_csv(audit.cells))
    if len(audit.calibration):
        write_text(folder / "calibration.csv", safe_csv(audit.calibration))
    else:
        (folder / "calibration.csv").unlink(missing_ok=True)  # of an earlier audit
    write_text(folder / "summary.md", summary(audit))
    write_text(folder / "model_card.md", model_card(audit))
    write_text(folder / "report.html", html(audit))
    write_json(folder / "audit.json", document(audit))
    return folder


def html(audit: Audit) -> str:
    """The report: one file without outside parts and without scripts."""
    first = audit.candidates[0]
    several = len(audit.candidates) > 1
    title = (
        f"{phrases.plural(len(audit.candidates), 'candidate')} against the reference"
        if several
        else f"{first} against the reference"
    )
    return (
        environment()
        .get_template("audit.html")
        .render(
            title=title,
            lead="What changed between two classifiers, and for whom.",
            version=__version__,
            ranking=_ranking(audit) if several else None,
            candidates=[_candidate(audit, name) for name in audit.candidates],
            several=several,
            method=sentences.method(audit),
            notes=audit.notes,
            facts=_facts(audit),
        )
    )


def _candidate(audit: Audit, name: str) -> dict[str, Any]:
    measures, cells = sentences.of(audit, name)
    return {
        "name": name,
        "paragraphs": sentences.paragraphs(audit, name),
        "plot": _plot(name, cells),
        "measures": [
            _measures(measures[measures["attribute"] == a], a)
            for a in dict.fromkeys(measures["attribute"])
        ],
        "cells": [
            cell_table(cells[cells["attribute"] == kind], kind, MODELS, "cells.csv")
            for kind in dict.fromkeys(cells["attribute"])
        ],
        "calibration": _calibration(audit.calibration[audit.calibration["candidate_name"] == name]),
    }


def _ranking(audit: Audit) -> Table:
    rows: list[list[Entry]] = []
    for name in audit.candidates:
        measures, cells = sentences.of(audit, name)
        accuracy = measures[measures["measure"] == "accuracy"].to_dict("records")[0]
        tested = cells[cells["excess_p"].notna()]
        worst = tested.loc[tested["excess_drop"].idxmax()] if len(tested) else None
        rows.append(
            [
                name,
                estimate(_estimates(accuracy)["change"], phrases.change_form("accuracy")),
                str(int((cells["finding"] == sentences.LOST_MORE).sum())),
                "–" if worst is None else (points(worst["excess_drop"]), sentences.name(worst)),
                sentences.headline(audit, name),
            ]
        )
    head = ["candidate", "accuracy", "cells that lost more", "largest excess drop", "in words"]
    caption = "Candidates, those first that leave fewest cells behind"
    return Table(caption, head, rows, text=(3, 4))


def _measures(frame: pd.DataFrame, attribute: str) -> Table:
    rows = [
        measure(row["measure"], _estimates(row), row["p_adjusted"])
        for row in frame.to_dict("records")
    ]
    whose = "classes" if attribute == CLASS else attribute
    caption = f"Measures over {whose}, with 95 % intervals"
    return Table(caption, ["measure", *MODELS, "change", "adjusted p"], rows)


def _estimates(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What a row says of reference, candidate and change; a degradation has the candidate alone."""
    roles = ("candidate",) if row["measure"] in DEGRADATIONS else (*MODELS, "change")
    estimates: dict[str, Any] = {
        role: {"value": row[role], "low": row[f"{role}_low"], "high": row[f"{role}_high"]}
        for role in roles
    }
    estimates["candidate"] |= {"floor": row.get("floor"), "how": row["how"]}
    return estimates


def _calibration(frame: pd.DataFrame) -> Table | None:
    if frame.empty:
        return None
    rows: list[list[Entry]] = []
    for row in frame.head(MOST_ROWS).to_dict("records"):
        everyone = row["attribute"] == "all"
        entries: list[Entry] = [
            "all" if everyone else f"{row['attribute']}: {row['cell']}",
            f"{row['n']:,}",
        ]
        for role in ("reference", "candidate", "change"):
            entries.append(bounded(row[role], row[f"{role}_low"], row[f"{role}_high"]))
        for role in ("reference", "candidate"):
            floor = f"floor {bare(row[f'{role}_floor'])}"
            entries.append((bare(row[f"{role}_ece"]), floor))
        rows.append([*entries, phrases.p_value(row["p_adjusted"])])
    title = "Confidence less accuracy, and expected calibration error (ECE), in points"
    head = [
        "whose", "n", "reference", "candidate", "change", "ECE, reference", "ECE, candidate",
        "adjusted p of change",
    ]  # fmt: skip
    return Table(title, head, rows, folded=title if len(rows) > FOLD else "")


def _plot(name: str, cells: pd.DataFrame) -> dict[str, Any] | None:
    tested = cells[cells["excess_p"].notna()]
    worst = tested.sort_values("excess_drop", ascending=False, kind="stable").head(_PICTURED)
    if worst.empty:
        return None
    rows = [
        {**row, "name": f"{row['attribute']}: {row['cell']}"} for row in worst.to_dict("records")
    ]
    caption = (
        f"The {phrases.plural(len(rows), 'cell')} that lost most beyond the overall drop: accuracy"
        f" with the reference and with {name}, and the drop with its 95 % interval."
    )
    return pictured(rows, caption, ("reference", name))


def _facts(audit: Audit) -> Table:
    classes = phrases.listing(audit.class_names, 12)
    rows: list[list[Entry]] = [
        ["examples", f"{audit.n:,}"],
        ["classes", f"{len(audit.class_names)}: {classes}"],
    ]
    for name, groups in audit.attributes.items():
        rows.append([f"groups by {name}", f"{len(groups)}: {phrases.listing(groups, 12)}"])
    for name, value in vars(audit.settings).items():
        rows.append([name, str(value)])
    return Table("What this rests on", [], rows, text=(1,))


def summary(audit: Audit) -> str:
    """The findings as Markdown, for a pull request."""
    lines = ["# Audit", ""]
    lines += [*(escape(s) for s in sentences.ranking(audit)), ""]
    for name in audit.candidates:
        measures, cells = sentences.of(audit, name)
        lines += [f"## {escape(name)}: {sentences.headline(audit, name)}", ""]
        for paragraph in sentences.paragraphs(audit, name):
            lines += [escape(paragraph), ""] if paragraph else []
        lines += _measure_grid(measures)
        behind = cells[cells["finding"].isin([sentences.LOST_MORE, "lost"])]
        if len(behind):
            ordered = behind.sort_values("excess_drop", ascending=False)
            lines += _grid(
                ["cell", "n", "drop", "95 % interval", "excess", "95 % interval", "finding"],
                [_cell_line(row) for row in ordered.head(20).to_dict("records")],
            )
    lines += [escape(note) for note in audit.notes]
    return "\n".join(lines).rstrip() + "\n"


def model_card(audit: Audit) -> str:
    """A section for a model card: what compression changed, for whom, how sure we are."""
    lines = ["## What compression changed, and for whom", ""]
    for name in audit.candidates:
        lines += [f"### {escape(name)}", ""] if len(audit.candidates) > 1 else []
        for paragraph in sentences.paragraphs(audit, name):
            lines += [escape(paragraph), ""] if paragraph else []
        lines += _measure_grid(sentences.of(audit, name)[0])
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
        values = ["–", form(row["candidate"]), "–"]
        bounds = between(row["candidate_low"], row["candidate_high"], form)
    over = "all" if phrases.about(row["measure"]).cells == "all" else row["attribute"]
    return [
        phrases.label(row["measure"]),
        over,
        *values,
        bounds,
        phrases.p_value(row["p_adjusted"]),
    ]


def _cell_line(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['attribute']}: {row['cell']}",
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
