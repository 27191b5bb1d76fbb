"""An audit as files: HTML to read, JSON and CSV to compute with, Markdown to paste."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fairsparse._version import __version__
from fairsparse.auditing import audit_sentences as sentences
from fairsparse.auditing import plots, words
from fairsparse.auditing.audit import Audit
from fairsparse.auditing.document import document, safe_csv
from fairsparse.auditing.labels import CLASS
from fairsparse.auditing.report import environment
from fairsparse.auditing.tables import FOLD, Entry, Table
from fairsparse.auditing.words import between, number, percent, points
from fairsparse.checkpoint import write_json, write_text

MOST_ROWS = 200
"""Cells of one table of a page; the rest is in cells.csv."""
_PICTURED = 20


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
        f"{words.plural(len(audit.candidates), 'candidate')} against the reference"
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
    kinds = list(dict.fromkeys(cells["attribute"]))
    return {
        "name": name,
        "paragraphs": sentences.paragraphs(audit, name),
        "plot": _plot(name, cells),
        "measures": [
            _measures(measures[measures["attribute"] == a], a)
            for a in dict.fromkeys(measures["attribute"])
        ],
        "cells": [_cells(cells[cells["attribute"] == kind], kind) for kind in kinds],
        "calibration": _calibration(audit.calibration[audit.calibration["candidate_name"] == name]),
    }


def _ranking(audit: Audit) -> Table:
    rows: list[list[Entry]] = []
    for name in audit.candidates:
        measures, cells = sentences.of(audit, name)
        accuracy = measures[measures["measure"] == "accuracy"].iloc[0]
        tested = cells[cells["excess_p"].notna()]
        worst = tested.loc[tested["excess_drop"].idxmax()] if len(tested) else None
        rows.append(
            [
                name,
                (
                    points(accuracy["change"], sign="+"),
                    between(
                        accuracy["change_low"],
                        accuracy["change_high"],
                        lambda v: points(v, sign="+"),
                    ),
                ),
                str(int((cells["finding"] == sentences.LOST_MORE).sum())),
                "–" if worst is None else (points(worst["excess_drop"]), sentences.name(worst)),
                sentences.headline(audit, name),
            ]
        )
    head = ["candidate", "accuracy", "cells that lost more", "largest excess drop", "in words"]
    caption = "Candidates, those first that leave fewest cells behind"
    return Table(caption, head, rows, text=(3, 4))


def _measures(frame: pd.DataFrame, attribute: str) -> Table:
    rows: list[list[Entry]] = []
    for row in frame.to_dict("records"):
        metric = row["measure"]
        form, shift = words.value_form(metric), words.change_form(metric)
        entries: list[Entry] = [(words.label(metric), _about(row))]
        has_reference = "reference" in row and row["reference"] == row["reference"]
        for role, how in (("reference", form), ("candidate", form), ("change", shift)):
            if role != "candidate" and not has_reference:
                entries.append("–")
            elif not words.defined(row[role]):
                entries.append(words.UNDEFINED)
            else:
                bounds = between(row[f"{role}_low"], row[f"{role}_high"], how)
                entries.append((how(row[role]), bounds))
        entries.append(words.p_value(row["p_adjusted"]) if row["p"] == row["p"] else "–")
        rows.append(entries)
    whose = "classes" if attribute == CLASS else attribute
    caption = f"Measures over {whose}, with 95 % intervals"
    return Table(caption, ["measure", "reference", "candidate", "change", "adjusted p"], rows)


def _about(row: dict[str, Any]) -> str:
    text = words.about(row["measure"]).summary
    floor = row.get("floor")
    if floor is not None and floor == floor:
        text += f" Sampling alone makes about {words.value_form(row['measure'])(floor)} of it."
    if row["how"] == "all cells at once":
        text += " Interval: all cells at once."
    return text


def _cells(frame: pd.DataFrame, kind: str) -> Table:
    ordered = frame.sort_values("excess_drop", ascending=False, na_position="last", kind="stable")
    rows: list[list[Entry]] = []
    for row in ordered.head(MOST_ROWS).to_dict("records"):
        rows.append(
            [
                row["cell"],
                f"{row['n']:,}",
                percent(row["reference"], 1),
                percent(row["candidate"], 1),
                _bounded(row["drop"], row["low"], row["high"]),
                _bounded(row["excess_drop"], row["excess_low"], row["excess_high"]),
                f"{row['lost']:,} / {row['gained']:,}",
                _p(row["p_adjusted"]),
                _p(row["excess_p_adjusted"]),
                row["finding"],
            ]
        )
    title = f"By {kind}: {words.plural(len(frame), 'cell')}, the largest excess drop first"
    if len(frame) > MOST_ROWS:
        title += f"; the first {MOST_ROWS}, all are in cells.csv"
    head = [
        kind, "n", "reference", "candidate", "drop, points", "excess drop, points",
        "lost / gained", "adjusted p of flips", "adjusted p of excess", "finding",
    ]  # fmt: skip
    return Table(title, head, rows, text=(9,), folded=title if len(rows) > FOLD else "")


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
            entries.append(_bounded(row[role], row[f"{role}_low"], row[f"{role}_high"]))
        for role in ("reference", "candidate"):
            floor = f"floor {_bare(row[f'{role}_floor'])}"
            entries.append((_bare(row[f"{role}_ece"]), floor))
        rows.append([*entries, _p(row["p_adjusted"])])
    title = "Confidence less accuracy, and expected calibration error (ECE), in points"
    head = [
        "whose", "n", "reference", "candidate", "change", "ECE, reference", "ECE, candidate",
        "adjusted p of change",
    ]  # fmt: skip
    return Table(title, head, rows, folded=title if len(rows) > FOLD else "")


def _p(value: float) -> str:
    return "–" if value != value else words.p_value(value)


def _bounded(value: float, low: float, high: float) -> Entry:
    if not words.defined(value):
        return words.UNDEFINED
    return _bare(value), between(low, high, _bare)


def _bare(value: words.Number) -> str:
    return number(value if value is None else 100 * value, ".1f")


def _plot(name: str, cells: pd.DataFrame) -> dict[str, Any] | None:
    shown = cells[cells["excess_p"].notna()]
    shown = shown.sort_values("excess_drop", ascending=False, kind="stable").head(_PICTURED)
    if shown.empty:
        return None
    rows = [
        {**row, "name": f"{row['attribute']}: {row['cell']}"} for row in shown.to_dict("records")
    ]
    first = rows[0]
    caption = (
        f"The {words.plural(len(rows), 'cell')} that lost most beyond the overall drop: accuracy"
        f" with the reference and with {name}, and the drop with its 95 % interval."
    )
    alt = (
        f"{caption} First: {first['name']}, from {percent(first['reference'], 1)} to"
        f" {percent(first['candidate'], 1)}, n = {first['n']}."
    )
    return {"svg": plots.cell_changes(rows, alt, ("reference", name)), "caption": caption}


def _facts(audit: Audit) -> Table:
    classes = words.listing(audit.class_names, 12)
    rows: list[list[Entry]] = [
        ["examples", f"{audit.n:,}"],
        ["classes", f"{len(audit.class_names)}: {classes}"],
    ]
    for name, groups in audit.attributes.items():
        rows.append([f"groups by {name}", f"{len(groups)}: {words.listing(groups, 12)}"])
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
        f"{k} ({words.listing(v, 12)})" for k, v in audit.attributes.items() if " x " not in k
    )
    lines.append(escape(f"Groups compared: {groups or 'none; classes alone'}."))
    return "\n".join(lines) + "\n"


def _grid(head: list[str], rows: list[list[str]]) -> list[str]:
    table = [head, ["---"] * len(head), *[[escape(v) for v in row] for row in rows]]
    return [*("| " + " | ".join(row) + " |" for row in table), ""]


def _measure_grid(measures: pd.DataFrame) -> list[str]:
    head = ["measure", "over", "reference", "candidate", "change", "95 % interval", "adjusted p"]
    rows = [row for row in measures.to_dict("records") if words.defined(row["candidate"])]
    return _grid(head, [_measure_line(row) for row in rows])


def _measure_line(row: dict[str, Any]) -> list[str]:
    form, shift = words.value_form(row["measure"]), words.change_form(row["measure"])
    if row["p"] == row["p"]:
        values = [form(row["reference"]), form(row["candidate"]), shift(row["change"])]
        bounds = between(row["change_low"], row["change_high"], shift)
    else:  # of how a drop falls there is one value, and no change
        values = ["–", form(row["candidate"]), "–"]
        bounds = between(row["candidate_low"], row["candidate_high"], form)
    over = "all" if words.about(row["measure"]).cells == "all" else row["attribute"]
    return [words.label(row["measure"]), over, *values, bounds, _p(row["p_adjusted"])]


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
